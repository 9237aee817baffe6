"""The data card of a dataset folder: what a reader of results must know of the data, as JSON and as Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from lrd_jax.data.dates import date_text
from lrd_jax.data.notices import Notice, card_notices, interaction_notices
from lrd_jax.data.splits import repeated
from lrd_jax.data.templates import NO_TEXT, ItemTexts

CARD_JSON, CARD_MARKDOWN = "data_card.json", "data_card.md"

_SIZES = ("users", "items", "interactions")
_OPTIONS: tuple[str, ...] = ("core", "split", "dev_from", "test_from", "negatives")
_OPTIONS += ("drop_users_with_too_few_negatives", "seed", "like", "template")


def data_card(
    marker: Mapping[str, Any],
    dropped: Mapping[str, int],
    splits: Mapping[str, np.ndarray],
    users: np.ndarray,
    items: np.ndarray,
    times: np.ndarray,
    attributes: Mapping[str, pl.DataFrame],
    relations: Mapping[str, pl.DataFrame],
    texts: ItemTexts | None,
    further: Sequence[Notice] = (),
) -> dict[str, Any]:
    """Everything that the card says.

    Args:
      marker: of dataset.json; with "times" (see `RawDataset`) no dates are given.
      dropped: interactions given, and dropped for each reason; empty where that is not known.
      splits: rows of each file.
      users, items, times: int [N], ids from 1, seconds.
      attributes: {name: item_id, value_id}.
      relations: {name: item_id, other_id}.
      texts: of the items; None: nothing is known of any.
      further: notices beside those that follow from all this.
    """
    num_items = marker["items"]
    leakage = _leakage(marker["split"], splits, times)
    if "times" in marker:
        leakage["warning"] += " There are no times in the source, so all this goes by the order of its rows."
    of_the_source = {key: value for key, value in marker.items() if key not in (*_SIZES, *_OPTIONS, "name")}
    card = {
        "name": marker["name"],
        "source": of_the_source,
        "options": {key: marker[key] for key in _OPTIONS if key in marker},
        "sizes": {
            **{size: marker[size] for size in _SIZES},
            "density": len(users) / (marker["users"] * num_items),
            "interactions_per_user": _spread(np.bincount(users)[1:]),
            "interactions_per_item": _spread(np.bincount(items)[1:]),
        },
        "dropped": dict(dropped),
        "splits": {
            name: _of_split(rows, users, items, None if "times" in marker else times)
            for name, rows in splits.items()
            if len(rows)
        },
        "relations": {
            name: {"triples": len(pairs), **_coverage(pairs["item_id"].n_unique(), num_items)}
            for name, pairs in relations.items()
        },
        "attributes": {
            name: {
                "triples": len(values),
                "values": values["value_id"].n_unique(),
                **_coverage(values["item_id"].n_unique(), num_items),
            }
            for name, values in attributes.items()
        },
        "text": card_of_texts(texts, num_items),
        "leakage": leakage,
    }
    order = np.lexsort((times, users))
    again = np.empty(len(order), bool)
    again[order] = repeated(users[order], items[order])
    found = interaction_notices(
        {name: marker["negatives"] for name in ("dev", "test")},
        {name: again[splits[name]] for name in ("dev", "test")},
        {name: len(pairs) for name, pairs in relations.items()},
        {name: _is_uniform(values, num_items) for name, values in attributes.items()},
    )
    return card | {"warnings": [*further, *card_notices(card), *found]}


def _is_uniform(values: pl.DataFrame, num_items: int) -> bool:
    """Whether all items are alike in an attribute: none has a value, or all have the same one."""
    return values["value_id"].n_unique() <= 1 and values["item_id"].n_unique() in (0, num_items)


def card_files(card: Mapping[str, Any]) -> dict[str, bytes]:
    """The contents of data_card.json and data_card.md."""
    as_json = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    return {CARD_JSON: as_json.encode(), CARD_MARKDOWN: card_markdown(card).encode()}


def card_markdown(card: Mapping[str, Any]) -> str:
    """The card for people."""
    sizes, text, leakage = card["sizes"], card["text"], card["leakage"]
    lines = [f"# {card['name']}", "", *_bullets({**card["source"], **card["options"]}), "", "## Sizes", ""]
    lines += _table(("users", "items", "interactions", "density"), [[sizes[size] for size in (*_SIZES, "density")]])
    lines += [""] + _table(
        ("interactions per", "least", "median", "mean", "most"),
        [[what, *sizes[f"interactions_per_{what}"].values()] for what in ("user", "item")],
    )
    gone = card["dropped"]
    if gone:
        lines += ["", f"{gone['given']:,} interactions were given; {gone['duplicates']:,} duplicates and "]
        lines[-1] += f"{gone['by_the_core_filter']:,} by the core filter were dropped."
    lines += ["", "## Splits", ""]
    columns = ("interactions", "users", "items", "from (UTC)", "until (UTC)")[: len(card["splits"]["train"])]
    lines += _table(("split", *columns), [[name, *part.values()] for name, part in card["splits"].items()])
    for title, key in (("Relations between items", "relations"), ("Attributes", "attributes")):
        if card[key]:
            figures = list(next(iter(card[key].values())))
            rows = [[name, *values.values()] for name, values in card[key].items()]
            lines += ["", f"## {title}", "", *_table((title.split()[0].lower(), *figures), rows)]
    lines += ["", "## Texts", "", f"{text['items']:,} items have a text ({text['coverage']:.1%})."]
    if text["items"]:
        lines[-1] += f" The other {text['empty']:,} read {text['text_of_the_empty']!r}." if text["empty"] else ""
        lines += [f"Cut: {number:,} in {column}." for column, number in text["cut"].items()]
        rows = [[what, *text[what].values()] for what in ("words", "characters")]
        lines += ["", *_table(("per text", "least", "median", "mean", "most", "total"), rows)]
    lines += ["", "## Leakage", "", leakage["warning"]]
    if card["warnings"]:
        lines += ["", "## Warnings", "", *(f"- {notice['text']}" for notice in card["warnings"])]
    return "\n".join(lines) + "\n"


def _of_split(rows: np.ndarray, users: np.ndarray, items: np.ndarray, times: np.ndarray | None) -> dict[str, Any]:
    dates = {} if times is None else {"first": date_text(times[rows].min()), "last": date_text(times[rows].max())}
    return {
        "interactions": len(rows),
        "users": int(np.count_nonzero(np.bincount(users[rows]))),
        "items": int(np.count_nonzero(np.bincount(items[rows]))),
        **dates,
    }


def _spread(counts: np.ndarray) -> dict[str, float]:
    return {
        "least": int(counts.min()),
        "median": float(np.median(counts)),
        "mean": round(float(counts.mean()), 2),
        "most": int(counts.max()),
    }


def _coverage(number: int, num_items: int) -> dict[str, float]:
    return {"items": number, "coverage": number / num_items}


def card_of_texts(texts: ItemTexts | None, num_items: int) -> dict[str, Any]:
    """The part "text" of the card."""
    if texts is None:
        return {"items": 0, "coverage": 0.0, "empty": num_items}
    known = num_items - texts.empty
    placeholder = {"text_of_the_empty": NO_TEXT} if texts.empty else {}
    return {**_coverage(known, num_items), "empty": texts.empty, **placeholder, "cut": dict(texts.cut)} | (
        texts.statistics()
    )


def _leakage(split: str, splits: Mapping[str, np.ndarray], times: np.ndarray) -> dict[str, Any]:
    """How far training looks into the future of what is evaluated, measured and in words."""
    last_trained = times[splits["train"]].max()
    shares = {name: float((times[splits[name]] < last_trained).mean()) for name in ("dev", "test")}
    ordered = np.sort(times[splits["train"]])
    median = int(np.median(times[splits["test"]]))
    later = 1 - float(np.searchsorted(ordered, median, side="right")) / len(ordered)
    found = {"rows_before_the_last_training_interaction": shares, "training_after_the_median_test_row": later}
    if split == "leave-one-out":
        warning = (
            "Leave-one-out leaks time: other users' later interactions are trained on, and one user's dev and test "
            f"rows may precede another's training. {shares['test']:.1%} of the test rows and {shares['dev']:.1%} of "
            f"the dev rows happened before the last training interaction; {later:.1%} of the training interactions "
            "happened after half of the test rows. Figures are comparable with published ones of the same split, but "
            "say little about predicting the future; --split temporal does."
        )
    elif shares["dev"] or shares["test"]:
        warning = (
            f"Training looks into the future: {shares['test']:.1%} of the test rows and {shares['dev']:.1%} of the dev "
            f"rows happened before the last training interaction; {later:.1%} of the training interactions happened "
            "after half of the test rows."
        )
    else:
        warning = (
            "Nothing that is trained on happened after anything that is evaluated. The core filter, the items that "
            "there are, their metadata and the negatives (no item that the user touches at any time) still know the "
            "whole data."
        )
    return {"warning": warning, **found}


def _bullets(values: Mapping[str, Any]) -> list[str]:
    return [f"- {key.replace('_', ' ')}: {_inline(value)}" for key, value in values.items()]


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_inline(inner)}" for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_inline, value))
    return f"`{value}`" if isinstance(value, str) and "{" in value else str(value)


def _table(columns: tuple[str, ...], rows: list[list[Any]]) -> list[str]:
    def cell(value: Any) -> str:
        if isinstance(value, float):
            return f"{value:.3g}" if abs(value) < 1 else f"{value:,.1f}"
        return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|")

    lines = [list(columns), ["---"] * len(columns), *rows]
    return ["| " + " | ".join(cell(value) for value in line) + " |" for line in lines]
