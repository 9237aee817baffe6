"""Normalises the ids of a source, so that they keep all digits and match on both sides of a join."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import polars as pl

from lrd_jax.data.sources.columns import first_row
from lrd_jax.errors import UserError
from lrd_jax.terminal.lines import warn

_WHOLE = r"^-?(?:0|[1-9]\d*)(?:\.0+)?$"
_NUMBER = r"^[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?$"
_ROUNDED = r"^[+-]?\d\.\d{5,}[eE]"  # the way spreadsheets show long numbers
_EXACT_BELOW = 2**53  # 64-bit floats represent every whole number up to here
_EXACT_BELOW_32 = 2**24


def clean_ids(values: pl.Series) -> pl.Series:
    """Whole numbers as Int64, everything else as stripped text; "" and NaN are null.

    A column of floats that are all whole counts as whole numbers, and so does text such as 3.0, because pandas turns
    whole numbers into floats if some are missing. Numbers that do not fit in 64 bits are text.
    """
    if values.dtype.is_float():
        values = values.fill_nan(None)
        whole = values.cast(pl.Int64, strict=False)
        exact = (whole.cast(values.dtype) == values) & (whole.abs() < _exact_below(values))
        if (values.is_null() | exact.fill_null(False)).all():
            return whole
    if values.dtype.is_integer():
        numbers = values.cast(pl.Int64, strict=False)
        if numbers.null_count() == values.null_count():
            return numbers
    texts = values.cast(pl.String).str.strip_chars()
    texts = texts.set(texts == "", None)
    if texts.str.contains(r"\.0+$").any() and texts.str.contains(_WHOLE).all():
        return texts.str.replace(r"\.0+$", "")
    return texts


def refuse_lost_digits(values: pl.Series, file: Path, field: str) -> None:
    """Rejects ids that have lost digits because they were converted to floating-point numbers.

    Args:
      values: a column of ids as read from the file.
      file, field: for messages.

    Raises:
      UserError: a column of only numbers has a float of 2⁵³ or more (2²⁴ for 32 bits), also as text (7.6561198e+16).
    """
    if values.dtype.is_float():
        lost = values.is_finite() & (values.abs() >= _exact_below(values))
    elif values.dtype == pl.String:
        texts = values.str.strip_chars()
        suspects = texts.str.contains(r"^[+-]?\d+(?:\.\d+)?[eE.]")
        if not suspects.any() or not texts.filter(texts != "").str.contains(_NUMBER).all():
            return
        large = texts.cast(pl.Float64, strict=False).abs() >= _EXACT_BELOW
        lost = texts.str.contains(_ROUNDED) | (texts.str.contains(r"[eE.]") & large)
    else:
        return
    if lost.fill_null(False).any():
        row = first_row(lost.fill_null(False))
        problem = f"row {row + 1} has {values[row]}, an id that has lost digits as a floating-point number"
        remedy = "Export the column again as text or as 64-bit integers"
        raise UserError(problem, file=file, field=field, remedy=remedy)


def _exact_below(values: pl.Series) -> int:
    return _EXACT_BELOW if values.dtype == pl.Float64 else _EXACT_BELOW_32


def refuse_strangers(touched: pl.Series, known: pl.Series, file: Path, field: str, remedy: str) -> int:
    """The number of items of the interactions that a table of items contains; raises UserError if it is 0.

    Args:
      touched: distinct ids of the items in the interactions.
      known: ids in the table.
      file, field: the table and its id column.
      remedy: the remedy in the error message.
    """
    found = len(_among(touched, known))
    if not found:
        ours, theirs = _alike(touched, known)
        problem = f"it has none of the items of the interactions: they have {ours!r}, the table has {theirs!r}"
        raise UserError(problem, file=file, field=field, remedy=remedy)
    return found


def _alike(ours: pl.Series, theirs: pl.Series) -> tuple[str, str]:
    """One id of each side; if possible, two that differ only in white space, leading zeros or case."""
    sides = []
    for side, ids in (("ours", ours), ("theirs", theirs)):
        text = ids.drop_nulls().cast(pl.String).alias(side)
        bare = (
            text.str.to_lowercase().str.replace_all(r"\s", "").str.replace(r"^0+(.)", "${1}").str.replace(r"\.0+$", "")
        )
        sides.append(pl.DataFrame([text, bare.alias("bare")]))
    pairs = sides[0].join(sides[1], on="bare", how="inner", maintain_order="left")
    pairs = pairs.filter(pl.col("ours").str.len_chars() > 1) if len(pairs) > 1 else pairs
    if len(pairs):
        ours_like, theirs_like = pairs.select("ours", "theirs").row(0)
    else:
        ours_like, theirs_like = (side[side.columns[0]].first() for side in sides)
    return ours_like, theirs_like


def check_relation(name: str, others: pl.Series, known: pl.Series, file: Path) -> None:
    """Rejects a relation if none of its values is an item id, and warns if some are not.

    Args:
      name: the name of its column.
      others: its values, without missing ones.
      known: ids of all items, of the table and of the interactions.
      file: the table.
    """
    others, known = others.cast(pl.String), known.cast(pl.String)
    found = len(_among(others, known))
    if len(others) and not found:
        problem = f"none of its values is the id of an item: it has {_three(others)}, the ids are {_three(known)}"
        remedy = "Choose a column with item ids, and check --list-separator"
        raise UserError(problem, file=file, field=name, remedy=remedy)
    if found < len(others):
        share = 1 - found / len(others)
        stranger = _among(others, known, how="anti")[0]
        warn(f"relation {name}: {share:.1%} of its values are not item ids (such as {stranger!r}) and are left out")


def check_attribute(name: str, values: pl.DataFrame, touched: pl.Series, file: Path) -> None:
    """Rejects an attribute if no item of the interactions has a value, and warns if some have none.

    Args:
      name: the name of its column.
      values: `item` and `value`, as in `RawDataset`.
      touched: distinct ids of the items in the interactions.
      file: the table.
    """
    found = len(_among(touched, values["item"]))
    if not found:
        held = f"it has {_three(values['value'])} for {_three(values['item'])}" if len(values) else "it is empty"
        problem = f"no item of the interactions has a value: {held}, the interactions have {_three(touched)}"
        raise UserError(problem, file=file, field=name, remedy="Choose another column, or leave it out")
    if found < len(touched):
        share = 1 - found / len(touched)
        warn(f"attribute {name}: {share:.1%} of the items of the interactions have no value")


def _among(ids: pl.Series, known: pl.Series, how: Literal["semi", "anti"] = "semi") -> pl.Series:
    """The ids that are ("semi") or are not ("anti") among the known ones, in their order."""
    kept = ids.to_frame("id").join(known.to_frame("id"), on="id", how=how, maintain_order="left")
    return kept["id"]


def _three(values: pl.Series) -> str:
    return ", ".join(map(repr, values.drop_nulls().unique(maintain_order=True).head(3)))
