"""The targets of a split against the candidates of a protocol, part after part."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from lrd_jax.data.corpus import Corpus
from lrd_jax.data.device import Arrays
from lrd_jax.devices import data_mesh
from lrd_jax.evaluate.lists import Lists
from lrd_jax.models.system import Params
from lrd_jax.ranking.lists import build_lists, build_membership, with_items
from lrd_jax.ranking.metrics import Counts
from lrd_jax.ranking.on_device import build_counts, users_per_block
from lrd_jax.ranking.protocols import Candidates, Protocol, SplitName
from lrd_jax.terminal.lines import row_progress
from lrd_jax.training.setup import Setup

_PAIRS_PER_PART = {True: 200_000, False: 20_000_000}
"""(user, candidate) pairs between two moves of the progress bar, on a CPU and on accelerators."""


def build_ranking(run: Setup, split_name: SplitName, protocol: Protocol) -> Callable[[Params], Counts]:
    """Prepares the evaluation of a split, compiled when it is first called, with a progress bar.

    Returns:
      Parameters → counts of the split's rows, on the host.

    Raises:
      UserError: the protocol's options do not fit the dataset.
    """
    candidates = protocol.candidates(run.corpus, split_name)
    counts = build_counts(run.system, data_mesh(), candidates, history_length=run.config.data.history_length)
    return functools.partial(_in_parts, _work_of(run, split_name, protocol), candidates, counts)


def build_listing(
    run: Setup, split_name: SplitName, protocol: Protocol, length: int
) -> Callable[[Params], tuple[Counts, Lists]]:
    """As `build_ranking`, with the first `length` candidates of every row beside the counts, from the same scores."""
    candidates = protocol.candidates(run.corpus, split_name)
    history_length = run.config.data.history_length
    lists = build_lists(run.system, data_mesh(), candidates, history_length=history_length, length=length)
    work = _work_of(run, split_name, protocol)

    def find(params: Params) -> tuple[Counts, Lists]:
        counts, found = _in_parts(work, candidates, lists, params)
        return counts, Lists(found.items, found.scores)

    return find


def are_candidates(
    corpus: Corpus, arrays: Arrays, split_name: SplitName, protocol: Protocol, items: np.ndarray
) -> np.ndarray:
    """Which items of the split's rows, int32 [N, K], are candidates of their row; bool [N, K], False for 0."""
    candidates = with_items(protocol.candidates(corpus, split_name), items)
    found: np.ndarray = _in_parts(
        _Work(f"lists, {protocol.name}", arrays, corpus.num_items, 256, protocol.num_candidates(corpus, split_name)),
        candidates,
        build_membership(data_mesh(), candidates),
        (),
    )
    return found


class _Work(NamedTuple):
    """What is done in parts: a label for the bar, the dataset on the devices, I, rows of a block, candidates [N]."""

    label: str
    arrays: Arrays
    num_items: int
    users_per_block: int
    num_candidates: np.ndarray


def _work_of(run: Setup, split_name: SplitName, protocol: Protocol) -> _Work:
    label = f"{run.config.model.name}, {protocol.name}"
    numbers = protocol.num_candidates(run.corpus, split_name)
    return _Work(label, run.arrays, run.corpus.num_items, run.system.users_per_block, numbers)


def _in_parts(work: _Work, candidates: Candidates, evaluate: Callable[..., Any], params: Any) -> Any:
    """What `evaluate` finds of all rows of the split, on the host, with a progress bar."""
    put = functools.partial(jax.device_put, device=work.arrays.examples.sharding)
    shared, num_rows, size = put(candidates.shared), len(candidates.by_row[0]), _rows_per_part(work)
    parts: list[Any] = []
    with row_progress(num_rows, work.label) as bar:
        for start in range(0, num_rows, size):
            part = np.minimum(np.arange(start, start + size), num_rows - 1)
            by_row: Sequence[jax.Array] = put([x[part] for x in candidates.by_row])
            parts.append(jax.device_get(evaluate(params, work.arrays, *by_row, *shared)))
            bar.update(min(size, num_rows - start))
    return jax.tree.map(lambda *x: np.concatenate(x)[:num_rows], *parts)


def _rows_per_part(work: _Work) -> int:
    """Parts of equal size, so that one program does for all, and of whole blocks, since others are filled up."""
    num_rows = len(work.num_candidates)
    pairs = num_rows * int(work.num_candidates.max())
    num_parts = -(-pairs // _PAIRS_PER_PART[jax.default_backend() == "cpu"])
    block = users_per_block(work.users_per_block, work.num_items) * data_mesh().size
    return min(num_rows, -(-num_rows // (num_parts * block)) * block)
