"""Names as people read them: "Barnes &amp; Noble" and "Barnes & Noble" are one brand."""

from __future__ import annotations

import html

import polars as pl


def unescaped(names: pl.Series) -> pl.Series:
    """HTML entities as the characters they stand for, no blanks around, null where nothing is left; String [N]."""
    escaped = names.filter(names.str.contains("&", literal=True)).unique()
    plain = {name: html.unescape(name) for name in escaped.to_list()}
    names = names.replace(plain) if plain else names
    names = names.str.strip_chars()
    return names.set(names == "", None)
