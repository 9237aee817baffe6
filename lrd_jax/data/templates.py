"""Fills a template with the columns of the items to make the item texts.

    {title:32} {category} {brand}

A name in braces is a column (any name without braces); :32 cuts its text after 32 words; lists are joined by ", ". The
parts between two spaces of the template belong together: "({year})" leaves no brackets behind if the year is missing.
HTML entities are resolved (also if escaped twice), white space is collapsed to single spaces, and control characters
are removed.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from lrd_jax.data.sources.markup import unescape
from lrd_jax.errors import UserError

NO_TEXT = "."
"""The text of an item without any data, as in the published code. It is the same for all such items; an id would differ
between items without any meaning."""

_PLACE = re.compile(r"\{([^{}]*)\}")
_WORD = re.compile(r"(?:\{[^{}]*\}|\S)+")  # spaces in braces belong to a column's name
_MAX_WORDS = {"title": 32}  # columns that the paper shortens


@dataclasses.dataclass(frozen=True)
class Column:
    """A column in a template and its limit in words (None: no limit)."""

    name: str
    max_words: int | None = None


@dataclasses.dataclass(frozen=True)
class ItemTexts:
    """The item texts that a template gives.

    Attributes:
      texts: String [I], NO_TEXT where all columns are empty.
      empty: number of items with NO_TEXT.
      cut: {column: number of items with shortened text}, for the columns with a limit.
    """

    texts: pl.Series
    empty: int
    cut: Mapping[str, int]

    def statistics(self) -> dict[str, dict[str, float]]:
        """{"words" | "characters": {"least", "median", "mean", "most", "total"}} of the texts that are not empty."""
        known = self.texts.filter(self.texts != NO_TEXT)
        # Any: by polars' types the least of a column may be a date or a list.
        counts: dict[str, Any] = {"words": known.str.count_matches(r"\S+"), "characters": known.str.len_chars()}
        return {
            what: {
                "least": int(number.min() or 0),
                "median": float(number.median() or 0),
                "mean": round(float(number.mean() or 0), 2),
                "most": int(number.max() or 0),
                "total": int(number.sum()),
            }
            for what, number in counts.items()
        }


def parse_template(template: str, columns: Sequence[str]) -> list[list[str | Column]]:
    """The space-separated pieces of a template, each a list of literals and columns.

    Args:
      template: see the module docstring.
      columns: the available columns.

    Raises:
      UserError: a column is unknown, a limit is not a number, a brace is unmatched, or there is no column.
    """
    field, pieces = "--template", []
    for word in _WORD.findall(template):
        piece: list[str | Column] = []
        end = 0
        for match in _PLACE.finditer(word):
            piece += [word[end : match.start()], _column(match[1], columns)]
            end = match.end()
        piece = [part for part in [*piece, word[end:]] if part != ""]
        if any(brace in part for part in piece if isinstance(part, str) for brace in "{}"):
            remedy = "Write columns as {title} or {title:32}"
            raise UserError(f"a brace in {word!r} is unmatched", field=field, remedy=remedy)
        pieces.append(piece)
    if not any(isinstance(part, Column) for piece in pieces for part in piece):
        remedy = f"Write column names in braces; available columns: {', '.join(columns) or 'none'}"
        raise UserError("the template names no column", field=field, remedy=remedy)
    return pieces


def _column(inside: str, columns: Sequence[str]) -> Column:
    if inside in columns:
        return Column(inside)
    name, _, limit = inside.rpartition(":") if ":" in inside else (inside, "", "")
    if name not in columns:
        remedy = f"Available columns: {', '.join(columns) or 'none'}"
        raise UserError(f"there is no column {name!r}", field="--template", remedy=remedy)
    if not re.fullmatch("[1-9][0-9]{0,8}", limit):
        remedy = f"Write a number of words, as in {{{name}:32}}"
        raise UserError(f"{limit!r} is not a number of words", field="--template", remedy=remedy)
    return Column(name, int(limit))


def default_template(columns: Sequence[str]) -> str:
    """A template of all columns in order, with the title cut after 32 words.

    Left out are columns that no template can name: those with an empty name, such as an index written by pandas, and
    those with a brace in the name.
    """
    nameable = [name for name in columns if name.strip() and not set(name) & set("{}")]
    return " ".join(f"{{{name}:{_MAX_WORDS[name]}}}" if name in _MAX_WORDS else f"{{{name}}}" for name in nameable)


def fill_template(template: str, items: pl.DataFrame) -> ItemTexts:
    """The text of each item.

    Args:
      template: see the module docstring.
      items: one row per item; its columns are numbers, String or lists of them, null if unknown.

    Raises:
      UserError: the template is wrong (`parse_template`).
    """
    pieces = parse_template(template, items.columns)
    cut: dict[str, int] = {}
    filled = []
    for piece in pieces:
        parts, known = [], pl.repeat(False, len(items), dtype=pl.Boolean, eager=True)
        for part in piece:
            if isinstance(part, str):
                parts.append(pl.repeat(part, len(items), dtype=pl.String, eager=True))
                continue
            text = clean(items[part.name])
            if part.max_words is not None:
                text, number = _cut(text, part.max_words)
                cut[part.name] = max(number, cut.get(part.name, 0))
            known |= text != ""
            parts.append(text)
        joined = pl.select(pl.concat_str(parts)).to_series()
        if any(isinstance(part, Column) for part in piece):
            joined = pl.select(pl.when(known).then(joined)).to_series()
        filled.append((joined, known))
    something = pl.Series(np.logical_or.reduce([known.to_numpy() for _, known in filled]), dtype=pl.Boolean)
    texts = pl.select(
        pl.when(something).then(pl.concat_str([joined for joined, _ in filled], separator=" ", ignore_nulls=True))
        .otherwise(pl.lit(NO_TEXT)).alias("text")
    ).to_series()  # fmt: skip
    return ItemTexts(texts, len(items) - int(something.sum()), cut)


def clean(values: pl.Series) -> pl.Series:
    """One line of text per value, "" for null: resolves entities, collapses white space, removes control characters.

    Args:
      values: numbers, String, or lists of them [I].
    """
    if values.dtype == pl.List:
        lists = pl.DataFrame({"row": pl.int_range(len(values), eager=True), "value": values}).explode("value")
        lists = lists.with_columns(clean(lists["value"]).alias("value")).filter(pl.col("value") != "")
        joined = lists.group_by("row", maintain_order=True).agg(pl.col("value").str.join(", "))
        rows = pl.DataFrame({"row": pl.int_range(len(values), eager=True)})
        return rows.join(joined, on="row", how="left", maintain_order="left")["value"].fill_null("")
    texts = values.cast(pl.String).fill_null("")
    escaped = texts.str.contains("&", literal=True)
    if escaped.any():  # entities are rare, and only Python's html module covers all of them
        some = texts.filter(escaped).to_list()
        texts = texts.scatter(escaped.arg_true(), [unescape(text) for text in some])
    texts = texts.str.replace_all(r"\s+", " ").str.replace_all(r"[\p{Cc}\u{FEFF}]", "")
    return texts.str.replace_all(" {2,}", " ").str.strip_chars()


def _cut(texts: pl.Series, max_words: int) -> tuple[pl.Series, int]:
    """The texts cut after `max_words` words, and how many were shortened."""
    words = texts.str.split(" ")
    return words.list.head(max_words).list.join(" "), int((words.list.len() > max_words).sum())
