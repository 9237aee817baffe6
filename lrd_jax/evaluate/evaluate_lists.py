"""Lists that other systems made, evaluated as runs are: the same rows, targets and candidates."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from lrd_jax.data.corpus import Corpus
from lrd_jax.data.device import Arrays
from lrd_jax.errors import quoted
from lrd_jax.evaluate.lists import Evaluated, Lists, ranks_in_lists
from lrd_jax.evaluate.others_lists import OthersLists
from lrd_jax.evaluate.ranks import Subject, ranks_frame
from lrd_jax.evaluate.run_protocol import are_candidates
from lrd_jax.ranking.protocols import Protocol, SplitName, TieRule
from lrd_jax.terminal.lines import warn


class Data(NamedTuple):
    """A dataset: on the host, on the devices, and its folder."""

    corpus: Corpus
    arrays: Arrays
    folder: Path


def evaluate_lists(
    given: OthersLists, data: Data, split_name: SplitName, protocol: Protocol, ties: TieRule, length: int
) -> Evaluated:
    """Evaluates the lists of a system.

    Items that are no candidates of their row are taken out, and those behind them move up; a row without a list is a
    miss. Both are warned about with their number.

    Args:
      given: of `read_lists`.
      data: what the lists are for.
      split_name, protocol: which rows, and what their candidates are.
      ties: for the frame; lists have no ties.
      length: K, the largest cutoff.
    """
    corpus = data.corpus
    is_candidate = are_candidates(corpus, data.arrays, split_name, protocol, given.lists.items)
    kept = only_candidates(given.lists, is_candidate)
    _warn(given, kept, corpus, split_name, protocol, length)
    rows = getattr(corpus, split_name).rows
    subject = Subject(given.name, given.model, None, corpus, data.folder)
    ranks = ranks_in_lists(kept.items, corpus.sequence_items[rows])
    frame = ranks_frame(subject, split_name, protocol, ties, ranks)
    return Evaluated(subject, frame, Lists(kept.items[:, :length], kept.scores[:, :length]))


def only_candidates(lists: Lists, is_candidate: np.ndarray) -> Lists:
    """The lists [N, L] without items that are no candidates, bool [N, L]; those behind them move up."""
    order = np.argsort(~is_candidate, axis=1, kind="stable")
    kept = np.take_along_axis(is_candidate, order, axis=1)
    items, scores = np.take_along_axis(lists.items, order, axis=1), np.take_along_axis(lists.scores, order, axis=1)
    return Lists(np.where(kept, items, 0), np.where(kept, scores, np.float32(np.nan)))


def _warn(
    given: OthersLists, kept: Lists, corpus: Corpus, split_name: SplitName, protocol: Protocol, length: int
) -> None:
    """What a reader of the figures must know of these lists."""
    users = corpus.sequence_users[getattr(corpus, split_name).rows]
    name, listed = quoted(given.name), given.lists.items > 0
    without = users[~listed.any(axis=1)]
    if len(without):
        warn(
            f"{name}: {len(np.unique(without)):,} of {len(np.unique(users)):,} {split_name} users have no list; "
            "each of their rows counts as a miss"
        )
    out = int(listed.sum() - (kept.items > 0).sum())
    if out:
        warn(
            f"{name}: {out:,} of {int(listed.sum()):,} listed items are no candidates of their row "
            f"({protocol.description}); they are taken out, and those behind them move up"
        )
    most = int((kept.items > 0).sum(axis=1).max())
    if most < min(length, int(protocol.num_candidates(corpus, split_name).max())):
        warn(f"{name}: the longest list has {most:,} candidates, fewer than the largest cutoff, {length}")
