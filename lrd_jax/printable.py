"""Names from files and folders, safe to print: a terminal would obey the escape codes in them."""

from __future__ import annotations

import unicodedata

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # control, format, lone surrogate, line and paragraph separators


def printable(text: str) -> str:
    """The text with every character that is no visible one as an escape, such as \\x1b; line breaks stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode() if _is_hidden(character) and character != "\n" else character
        for character in text
    )


def quoted(name: object) -> str:
    """A name as it is, or in quotation marks with escapes where it holds characters that are not visible."""
    text = str(name)
    return repr(text) if any(map(_is_hidden, text)) else text


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in _HIDDEN
