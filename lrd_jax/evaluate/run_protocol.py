"""The targets of a split against the candidates of a protocol, part after part."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import numpy as np

from lrd_jax.data.batch import from_host
from lrd_jax.devices import data_mesh
from lrd_jax.models.system import Params
from lrd_jax.ranking.metrics import Counts
from lrd_jax.ranking.on_device import users_per_block
from lrd_jax.ranking.protocols import Protocol, SplitName
from lrd_jax.runs.terminal import row_progress
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
    corpus, mesh = run.corpus, data_mesh()
    history_length = run.config.data.history_length
    evaluation = protocol.build(run.system, corpus, split_name, mesh=mesh, history_length=history_length)
    put = functools.partial(jax.device_put, device=run.arrays.examples.sharding)
    shared = put(evaluation.shared)

    # Parts of equal size, so that one program does for all, and of whole blocks, since others are filled up.
    num_rows = len(evaluation.by_row[0])
    candidates = int(protocol.num_candidates(corpus, split_name).max())
    num_parts = -(-num_rows * candidates // _PAIRS_PER_PART[jax.default_backend() == "cpu"])
    block = users_per_block(run.system, corpus.num_items) * mesh.size
    size = min(num_rows, -(-num_rows // (num_parts * block)) * block)

    def count(params: Params) -> Counts:
        parts = []
        with row_progress(num_rows, f"{run.config.model.name}, {protocol.name}") as bar:
            for start in range(0, num_rows, size):
                part = np.minimum(np.arange(start, start + size), num_rows - 1)
                by_row = put([x[part] for x in evaluation.by_row])
                parts.append(jax.device_get(evaluation.counts(params, run.arrays, *by_row, *shared)))
                bar.update(min(size, num_rows - start))
        greater, equal, finite = (np.concatenate(x)[:num_rows] for x in zip(*parts, strict=True))
        return Counts(from_host(greater), from_host(equal), from_host(finite))

    return count
