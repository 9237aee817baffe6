"""Notices about a dataset that a reader of results must know, for the terminal and for the files of a run.

A notice is {"kind": ..., "text": one line, and the numbers behind it}. `data_card.json`, `results.json` and the JSON of
`evaluate` list them under "warnings"; the terminal shows their texts. Most functions return a list of at most one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lrd_jax.config.schema import CUTOFFS
from lrd_jax.data.corpus import Corpus
from lrd_jax.data.splits import repeated
from lrd_jax.data.tables import read_bytes
from lrd_jax.data.templates import NO_TEXT
from lrd_jax.data.texts import read_texts
from lrd_jax.errors import quoted
from lrd_jax.files import is_there

Notice = dict[str, Any]

_NAMES_SHOWN = 5  # in the text; the notice lists all of them


def untestable(why: str | None) -> list[Notice]:
    """Of a run that cannot be evaluated, why (`Config.untestable`)."""
    return [] if why is None else [{"kind": "untestable", "text": why}]


def corpus_notices(corpus: Corpus, folder: Path | None) -> list[Notice]:
    """All notices about a dataset as it was read, except those about its texts.

    Args:
      corpus: the dataset.
      folder: where it was read from; None: it was made in memory.

    Raises:
      UserError: item_meta.csv cannot be read.
    """
    splits = {"dev": corpus.dev, "test": corpus.test}
    again = repeated(corpus.sequence_users, corpus.sequence_items)
    triples = np.bincount(corpus.triples[:, 1], minlength=1 + len(corpus.item_relations))[1:].tolist()
    values = corpus.item_values[1:]  # [I, A, V]
    uniform = (values == values[:1]).all(axis=(0, 2)).tolist()
    found = interaction_notices(
        {name: split.negatives.shape[1] for name, split in splits.items()},
        {name: again[split.rows] for name, split in splits.items()},
        dict(zip(corpus.item_relations, triples, strict=True)),
        dict(zip(corpus.attributes, uniform, strict=True)),
    )
    return found + ([] if folder is None else unused_columns(folder))


def interaction_notices(
    negatives: Mapping[str, int],
    is_repeated: Mapping[str, np.ndarray],
    triples: Mapping[str, int],
    is_uniform: Mapping[str, bool],
) -> list[Notice]:
    """The notices that both a prepared and a read dataset can give.

    Args:
      negatives: {split: number of negatives of each row}.
      is_repeated: {split: bool [N], whether the user interacted with the target before}.
      triples: {relation: number of triples}.
      is_uniform: {attribute: whether it is the same for all items}.
    """
    candidates = {name: np.full(len(is_repeated[name]), 1 + number) for name, number in negatives.items()}
    return [
        *one_by_construction(candidates, CUTOFFS),
        *repeated_targets(is_repeated),
        *empty_relations(triples),
        *uniform_attributes(is_uniform),
    ]


def card_notices(card: Mapping[str, Any]) -> list[Notice]:
    """The notices that only a data card can give: about filters, time and texts."""
    options, text, num_items = card["options"], card["text"], card["sizes"]["items"]
    return [
        *below_min_rating(card["source"].get("below_min_rating")),
        *(filtered(card["dropped"], options["core"]) if card["dropped"] else []),
        *leakage(
            card["leakage"]["rows_before_the_last_training_interaction"],
            leave_one_out=options["split"] == "leave-one-out",
            timed="times" not in card["source"],
        ),
        *without_text(num_items - text["items"], num_items),
    ]


def one_by_construction(candidates: Mapping[str, np.ndarray], cutoffs: Sequence[int]) -> list[Notice]:
    """HR@K where K is at least the number of candidates.

    Args:
      candidates: {split: int [N], number of candidates of each row, including the target}.
      cutoffs: the values of K.
    """
    rows = {
        f"HR@{cutoff}": {split: int((number <= cutoff).sum()) for split, number in candidates.items()}
        for cutoff in cutoffs
    }
    rows = {figure: by_split for figure, by_split in rows.items() if any(by_split.values())}
    if not rows:
        return []
    where = [
        f"{figure} in "
        + " and ".join(f"{number:,} of {len(candidates[split]):,} {split} rows" for split, number in by_split.items())
        for figure, by_split in rows.items()
    ]
    least = {split: int(number.min(initial=np.iinfo(np.int32).max)) for split, number in candidates.items()}
    text = (
        f"{', '.join(where)} {'is' if len(rows) == 1 else 'are'} 1 by construction: K is at or above the number of "
        f"candidates ({min(least.values())}, the target included); rank against more negatives"
    )
    return [{"kind": "one_by_construction", "text": text, "rows": rows, "least_candidates": least}]


def below_min_rating(removed: Mapping[str, Mapping[str, int]] | None) -> list[Notice]:
    """What --min-rating removed: {"interactions" | "users" | "items": {"given", "removed"}}; None if not used."""
    if removed is None or not removed["interactions"]["removed"]:
        return []
    what = [f"{part['removed']:,} of {part['given']:,} {name}" for name, part in removed.items()]
    return [{"kind": "below_min_rating", "text": f"--min-rating removed {_list(what)}", **removed}]


def filtered(dropped: Mapping[str, int], core: int) -> list[Notice]:
    """What the core filter and the removal of duplicates removed.

    Args:
      dropped: from `pipeline`: the size of the input, and how much of it was removed.
      core: the minimum of the core filter.
    """
    rows = dropped["duplicates"] + dropped["by_the_core_filter"]
    if not rows:
        return []
    text = (
        f"the filters removed {rows:,} of {dropped['given']:,} interactions ({rows / dropped['given']:.1%}: "
        f"{dropped['duplicates']:,} duplicates, {dropped['by_the_core_filter']:,} by --core {core}), "
        f"{dropped['users']:,} of {dropped['given_users']:,} users and "
        f"{dropped['items']:,} of {dropped['given_items']:,} items"
    )
    return [{"kind": "filtered", "text": text, "core": core, **dropped}]


def leakage(shares: Mapping[str, float], *, leave_one_out: bool, timed: bool) -> list[Notice]:
    """Rows that happened before the last training interaction.

    Args:
      shares: share of such rows in "dev" and "test".
      leave_one_out: whether the split is leave-one-out.
      timed: whether the data has times; otherwise the order of rows is used.
    """
    if not any(shares.values()):
        return []
    text = f"{shares['test']:.1%} of the test rows and {shares['dev']:.1%} of the dev rows happened before the last "
    text += "training interaction"
    text = f"leave-one-out leaks the future: {text}; use --split temporal to avoid this" if leave_one_out else text
    text += "" if timed else "; the data has no times, so this figure uses the order of its rows"
    return [{"kind": "leakage", "text": text, "shares": dict(shares)}]


def repeated_targets(is_repeated: Mapping[str, np.ndarray]) -> list[Notice]:
    """Targets that the user had interacted with before; is_repeated: {split: bool [N]}."""
    found = {
        split: {"rows": int(rows.sum()), "share": float(rows.mean()) if len(rows) else 0.0}
        for split, rows in is_repeated.items()
    }
    if not any(part["rows"] for part in found.values()):
        return []
    text = " and ".join(
        f"{part['rows']:,} of {len(is_repeated[split]):,} {split} targets ({part['share']:.1%})"
        for split, part in found.items()
    )
    text += " are items that the user had before; `python -m lrd_jax.evaluate` gives metrics for new and repeated ones"
    return [{"kind": "repeated_targets", "text": text, **found}]


def empty_relations(triples: Mapping[str, int]) -> list[Notice]:
    """Item relations without any pair of items; triples: {name: number of triples}."""
    names = [name for name, number in triples.items() if not number]
    if not names:
        return []
    text = f"no items are related by {name_some(names)}: check the ids in the relation's column, or leave it out"
    return [{"kind": "empty_relations", "text": text, "relations": names}]


def uniform_attributes(is_uniform: Mapping[str, bool]) -> list[Notice]:
    """Attributes that are the same for all items; is_uniform: {name: whether it is}."""
    names = [name for name, uniform in is_uniform.items() if uniform]
    if not names:
        return []
    text = f"all items have the same value, or none, of {name_some(names)}, so the attribute does not distinguish items"
    return [{"kind": "uniform_attributes", "text": text, "attributes": names}]


def without_text(number: int, num_items: int) -> list[Notice]:
    """Items without a text."""
    if not number:
        return []
    text = f"{number:,} of {num_items:,} items have no text ({number / num_items:.1%}), "
    text += f"so LRD reads {NO_TEXT!r} for each of them" if number < num_items else "which the LRD models need"
    return [{"kind": "items_without_text", "text": text, "items": number, "share": number / num_items}]


def texts_of_folder(folder: Path, num_items: int) -> list[Notice]:
    """`without_text` of a dataset folder.

    Raises:
      UserError: the texts cannot be read.
    """
    texts = pl.Series(read_texts(folder, num_items)[1:], dtype=pl.String)
    return without_text(int((texts == NO_TEXT).sum()), num_items)


def unused_columns(folder: Path) -> list[Notice]:
    """Columns of item_meta.csv that are ignored, because their names have none of the prefixes.

    Raises:
      UserError: the file cannot be read.
    """
    path = folder / "item_meta.csv"
    if not is_there(path):
        return []
    header = read_bytes(path).split(b"\n", 1)[0].decode("utf-8-sig", errors="replace")
    columns = [name.strip() for name in header.split("\t")]
    names = [name for name in columns if name != "item_id" and not name.startswith(("i_", "r_"))]
    if not names:
        return []
    text = f"item_meta.csv: {name_some(names)} {'is' if len(names) == 1 else 'are'} not used: "
    text += "names of attributes must start with i_, names of relations with r_"
    return [{"kind": "unused_columns", "text": text, "columns": names}]


def dropped_users(names: Sequence[str], negatives: int) -> list[Notice]:
    """Users that --drop-users-with-too-few-negatives removed, by the ids of the source."""
    if not names:
        return []
    who = "1 user" if len(names) == 1 else f"{len(names):,} users"
    text = f"dropped {who} with fewer than {negatives} items left to draw negatives from: {name_some(names)}"
    return [{"kind": "dropped_users", "text": text, "users": list(names)}]


def _list(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + f" and {words[-1]}" if len(words) > 1 else words[0]


def name_some(names: Sequence[str]) -> str:
    """The first names in one line, and the number of further ones."""
    shown = ", ".join(map(quoted, names[:_NAMES_SHOWN]))
    return shown + (f" and {len(names) - _NAMES_SHOWN:,} more" if len(names) > _NAMES_SHOWN else "")
