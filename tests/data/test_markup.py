"""HTML in fields that were cut out of web pages."""

import pytest

from lrd_jax.data.sources.markup import plain_text

TEXTS = {
    '<span id="t">Game 0</span>': "Game 0",
    '<span class="a-size-large">Tom &amp; Jerry</span>': "Tom & Jerry",
    "<SPAN>Up</SPAN>": "Up",
    "<b>G</b>ame": "Game",
    "Two<br>words<br/>more<p>and</p>more": "Two words more and more",
    "\n\n  Line\n\tbreaks&nbsp;here\u00a0 ": "Line breaks here",
    "&lt;b&gt;Escaped&lt;/b&gt;": "Escaped",
    "&amp;lt;b&amp;gt;Twice&amp;lt;/b&amp;gt; R&amp;amp;D": "Twice R&D",
    "&#39;tis &quot;so&quot; 5&deg;": '\'tis "so" 5°',
    "<script>if (a < b) write('<b>x</b>')</script>Toy<style>.a{b:c}</style>": "Toy",
    "<!-- a > comment -->Toy": "Toy",
    '<a href="x>y" title="&lt;">Toy</a>': "Toy",
    'Cut off <span class="a-si': "Cut off",
    "Cut off </spa": "Cut off </spa",
    "Cut off </span": "Cut off",
    "5 < 6 and 7 > 2": "5 < 6 and 7 > 2",
    "I <3 this": "I <3 this",
    "Songs <Remastered> <Live 1999>": "Songs <Remastered> <Live 1999>",
    "AT&T R&D": "AT&T R&D",
    "</span></span></span>": "",
    "": "",
}


@pytest.mark.parametrize("text", TEXTS)
def test_plain_text(text):
    assert plain_text(text) == TEXTS[text]
