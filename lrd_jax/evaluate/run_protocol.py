"""The targets of a split against the candidates of a protocol, part after part."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import numpy as np

from lrd_jax.data.corpus import Corpus, Split
from lrd_jax.data.splits import repeated
from lrd_jax.devices import data_mesh
from lrd_jax.errors import UserError
from lrd_jax.models.simple import item_counts
from lrd_jax.models.system import Params
from lrd_jax.ranking.metrics import Counts
from lrd_jax.ranking.on_device import build_full_evaluation, build_sampled_evaluation, users_per_block
from lrd_jax.ranking.protocols import Full, Given, Protocol, Sampled, SplitName
from lrd_jax.runs.terminal import row_progress
from lrd_jax.training.setup import Run

_PAIRS_PER_PART = {True: 200_000, False: 20_000_000}
"""(user, candidate) pairs between two moves of the progress bar, on a CPU and on accelerators."""


def build_ranking(run: Run, split_name: SplitName, protocol: Protocol) -> Callable[[Params], Counts]:
    """Prepares the evaluation of a split, compiled when it is first called, with a progress bar.

    Returns:
      Parameters → counts of the split's rows, on the host.

    Raises:
      UserError: fewer items than are to be sampled can be drawn for a row.
    """
    corpus = run.corpus
    split: Split = getattr(corpus, split_name)
    put = functools.partial(jax.device_put, device=run.arrays.examples.sharding)
    build_options = {"system": run.system, "mesh": data_mesh(), "history_length": run.config.data.history_length}
    by_row, further = (split.rows,), ()
    if isinstance(protocol, Given):
        evaluate, by_row, candidates = run.evaluation_on_device, (split.rows, split.negatives), split.negatives.shape[1]
    elif isinstance(protocol, Full):
        candidates = corpus.num_items
        evaluate = build_full_evaluation(**build_options, num_items=candidates, keep_seen=protocol.keep_seen)
    else:
        candidates = protocol.negatives
        weights = np.ones(corpus.num_items) if protocol.sampling == "uniform" else item_counts(corpus)[1:]
        _check_enough_items(corpus, split.rows, weights > 0, protocol)
        with np.errstate(divide="ignore"):
            further = put((np.log(weights).astype(np.float32), jax.random.key(protocol.seed)))
        evaluate = build_sampled_evaluation(**build_options, num_negatives=candidates)

    # Parts of equal size, so that one program does for all, and of whole blocks, since others are filled up.
    num_rows = len(split.rows)
    num_parts = -(-num_rows * candidates // _PAIRS_PER_PART[jax.default_backend() == "cpu"])
    block = users_per_block(run.system, corpus.num_items) * data_mesh().size
    size = min(num_rows, -(-num_rows // (num_parts * block)) * block)

    def count(params: Params) -> Counts:
        parts = []
        with row_progress(num_rows, f"{run.config.model.name}, {protocol.name}") as bar:
            for start in range(0, num_rows, size):
                part = np.minimum(np.arange(start, start + size), num_rows - 1)
                parts.append(jax.device_get(evaluate(params, run.arrays, *put([x[part] for x in by_row]), *further)))
                bar.update(min(size, num_rows - start))
        return Counts(*(np.concatenate(x)[:num_rows] for x in zip(*parts, strict=True)))

    return count


def _check_enough_items(corpus: Corpus, rows: np.ndarray, drawable: np.ndarray, protocol: Sampled) -> None:
    """Refuses more negatives than some row leaves; drawable bool [I]: items with a weight."""
    left = int(drawable.sum() - _items_until(corpus, rows, drawable).max())
    if left < protocol.negatives:
        kind = "untouched items" if protocol.sampling == "uniform" else "untouched items that training holds"
        raise UserError(
            f"{protocol.negatives} negatives are too many: some user of {corpus.name} leaves only {left} {kind}",
            field="--negatives",
            remedy=f"Give at most {left}" if left > 0 else "Choose another --protocol",
        )


def candidate_counts(corpus: Corpus, split_name: SplitName, protocol: Protocol) -> np.ndarray:
    """How many candidates the target of each row of a split is ranked among, itself included: int [N]."""
    split: Split = getattr(corpus, split_name)
    if isinstance(protocol, Given):
        return np.full(len(split.rows), 1 + split.negatives.shape[1])
    if isinstance(protocol, Sampled):
        return np.full(len(split.rows), 1 + protocol.negatives)
    if protocol.keep_seen:
        return np.full(len(split.rows), corpus.num_items)
    return 1 + corpus.num_items - _items_until(corpus, split.rows, np.ones(corpus.num_items, bool))


def _items_until(corpus: Corpus, rows: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Different items of each row's user until the row, its target included: int [N]; counted bool [I]: which."""
    is_new = ~repeated(corpus.sequence_users, corpus.sequence_items) & counted[corpus.sequence_items - 1]
    until = np.concatenate([[0], np.cumsum(is_new)])
    return until[rows + 1] - until[corpus.sequence_offsets[corpus.sequence_users[rows]]]
