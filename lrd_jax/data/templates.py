"""Item texts: a template over the columns that are known of the items.

    {title:32} {category} {brand}

A name in braces is a column, whatever it is called but for braces; :32 cuts its text at 32 words, lists are joined by
", ". What stands between two blanks of the template goes together: "({year})" leaves no brackets behind where the year
is missing. HTML entities are resolved (also those that were escaped twice), blanks and line breaks folded into single
blanks, control characters dropped.
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
"""The text of an item of which nothing is known, as in the published code: alike for all, while an id would differ from
item to item and mean nothing."""

_PLACE = re.compile(r"\{([^{}]*)\}")
_WORD = re.compile(r"(?:\{[^{}]*\}|\S)+")  # blanks in braces belong to a column's name
_MAX_WORDS = {"title": 32}  # columns whose text the paper cuts


@dataclasses.dataclass(frozen=True)
class Column:
    """A column in a template, cut at so many words (None: not cut)."""

    name: str
    max_words: int | None = None


@dataclasses.dataclass(frozen=True)
class ItemTexts:
    """What a template made of the items.

    Attributes:
      texts: String [I], NO_TEXT where all columns were empty.
      empty: how many were.
      cut: {column: items whose text in it was cut}, for the columns with a limit.
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
    """The blank-separated pieces of a template, each of literals and columns.

    Args:
      template: see above.
      columns: the names that there are.

    Raises:
      UserError: an unknown column, a limit that is no number, a brace without its partner, or no column at all.
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
            raise UserError(f"a brace in {word!r} has no partner", field=field, remedy=remedy)
        pieces.append(piece)
    if not any(isinstance(part, Column) for piece in pieces for part in piece):
        remedy = f"Name columns in braces; there are: {', '.join(columns) or 'none'}"
        raise UserError("the template names no column", field=field, remedy=remedy)
    return pieces


def _column(inside: str, columns: Sequence[str]) -> Column:
    if inside in columns:
        return Column(inside)
    name, _, limit = inside.rpartition(":") if ":" in inside else (inside, "", "")
    if name not in columns:
        remedy = f"There are: {', '.join(columns) or 'none'}"
        raise UserError(f"there is no column {name!r}", field="--template", remedy=remedy)
    if not re.fullmatch("[1-9][0-9]{0,8}", limit):
        remedy = f"Write a number of words, as in {{{name}:32}}"
        raise UserError(f"{limit!r} is no number of words", field="--template", remedy=remedy)
    return Column(name, int(limit))


def default_template(columns: Sequence[str]) -> str:
    """All columns in their order, the title cut at 32 words; without those that no template can name.

    Those are columns without a name, as of an index that pandas wrote, and those with a brace in it.
    """
    nameable = [name for name in columns if name.strip() and not set(name) & set("{}")]
    return " ".join(f"{{{name}:{_MAX_WORDS[name]}}}" if name in _MAX_WORDS else f"{{{name}}}" for name in nameable)


def fill_template(template: str, items: pl.DataFrame) -> ItemTexts:
    """The text of each item.

    Args:
      template: see above.
      items: a row per item; its columns are numbers, String or lists of them, null where nothing is known.

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
    """One line of text per value, "" for null: entities resolved, blanks folded, control characters dropped.

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
    if escaped.any():  # entities are rare, and only Python knows them all
        some = texts.filter(escaped).to_list()
        texts = texts.scatter(escaped.arg_true(), [unescape(text) for text in some])
    texts = texts.str.replace_all(r"\s+", " ").str.replace_all(r"[\p{Cc}\u{FEFF}]", "")
    return texts.str.replace_all(" {2,}", " ").str.strip_chars()


def _cut(texts: pl.Series, max_words: int) -> tuple[pl.Series, int]:
    """The texts without what follows the first so many words, and how many lost some."""
    words = texts.str.split(" ")
    return words.list.head(max_words).list.join(" "), int((words.list.len() > max_words).sum())
