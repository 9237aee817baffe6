"""Plain text of fields scraped from web pages: removes HTML tags and decodes entities."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

_INLINE = frozenset(
    "a abbr acronym b bdi bdo big cite code data del dfn em font i ins kbd mark q s samp small span strike strong sub "
    "sup time tt u var wbr".split()
)  # removed without leaving a space: "<b>G</b>ame" is one word
_BLOCK = frozenset(
    "address article aside blockquote body br button center caption dd div dl dt fieldset figcaption figure footer "
    "form h1 h2 h3 h4 h5 h6 head header hr html img iframe input label legend li link main meta nav noscript object ol "
    "option p param picture pre script section select source style svg table tbody td textarea tfoot th thead title tr "
    "ul video".split()
)
_UNSEEN = frozenset(("script", "style"))  # elements with invisible content
_CUT_TAG = re.compile(r"<(?:/?[a-zA-Z][\w-]*(?:\s+[\w-]+\s*=[^<>]*)?|!--[^<>]*)$")


def plain_text(text: str) -> str:
    """The text without HTML tags, comments, scripts and styles, with decoded entities, also those escaped twice.

    Only HTML elements count as tags, so "5 < 6" and "<3" stay unchanged. White space is collapsed.
    """
    text = unescape(text)
    if "<" in text:
        parser = _Text()
        parser.feed(_without_cut_tag(text))
        parser.close()
        text = "".join(parser.pieces)
    return " ".join(text.split())


def unescape(text: str) -> str:
    """Decodes entities until none is left, at most three times: "&amp;amp;" was escaped twice."""
    for _ in range(3):
        resolved = html.unescape(text)
        if resolved == text:
            break
        text = resolved
    return text


def _without_cut_tag(text: str) -> str:
    """The text without an HTML tag at its end that lacks its closing bracket, as in a truncated field."""
    match = _CUT_TAG.search(text)
    if match is None:
        return text
    name = re.match(r"</?([a-zA-Z][\w-]*)", match[0])
    is_tag = name is None or name[1].lower() in _INLINE | _BLOCK
    return text[: match.start()] if is_tag else text


class _Text(HTMLParser):
    """Collects the text between tags in `pieces`."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self._unseen = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag(tag, self.get_starttag_text() or "")
        self._unseen += tag in _UNSEEN

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag(tag, self.get_starttag_text() or "")

    def handle_endtag(self, tag: str) -> None:
        self._unseen = max(0, self._unseen - (tag in _UNSEEN))
        self._tag(tag, f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.pieces.append(data)

    def _tag(self, tag: str, text: str) -> None:
        if tag in _BLOCK:
            self.pieces.append(" ")
        elif tag not in _INLINE:
            self.handle_data(text)
