"""Trains several seeds in one compiled call: stacks their states on a new first axis and vmaps the functions.

For a single seed, nothing is stacked or vmapped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lrd_jax.models.system import Params
from lrd_jax.ranking.metrics import Counts
from lrd_jax.training.epoch import ByTerm, TrainState
from lrd_jax.training.setup import Setup

MEMORY_SHARE = 0.8
"""Fraction of the available memory to use; the rest is for fragmentation and other uses by the process."""


def stack(run: Setup, states: Sequence[TrainState]) -> TrainState:
    """Puts the states of the seeds on the devices in the form that `train_epoch` needs."""
    stacked = states[0] if len(states) == 1 else jax.tree.map(lambda *leaves: np.stack(leaves), *states)
    placed: TrainState = jax.device_put(stacked, run.arrays.examples.sharding)
    return placed


def unstack(results: Any, number: int) -> list[Any]:
    """Splits a result of the functions below into the results of `number` seeds."""
    return [results] if number == 1 else [jax.tree.map(lambda leaf: leaf[n], results) for n in range(number)]  # noqa: B023


def train_epoch(
    run: Setup, states: TrainState, seeds: Sequence[int], epochs: Sequence[int]
) -> tuple[TrainState, ByTerm]:
    """Trains every seed for one epoch.

    Args:
      run: the setup.
      states: the result of `stack`; donated.
      seeds: seeds in the order of the states.
      epochs: the epoch number of each seed.

    Returns:
      The states and the means of each loss term, stacked in the same way.
    """
    if len(seeds) == 1:
        return run.epoch_on_device(states, run.arrays, seeds[0], epochs[0])
    states, losses = run.epochs_on_device(states, run.arrays, np.array(seeds, np.int32), np.array(epochs, np.int32))
    return states, losses


def evaluate(run: Setup, params: Params, split: str, number: int) -> Counts | None:
    """The counts from which the ranks in a split follow, for the stacked parameters of `number` seeds.

    None if the split has no rows, as in a refit.
    """
    if not len(run.splits[split][0]):
        return None
    compiled = run.evaluation_on_device if number == 1 else run.evaluations_on_device
    counts: Counts = compiled(params, run.arrays, *run.splits[split])
    return counts


def bytes_needed(run: Setup, number: int) -> int:
    """Memory that two or more seeds need at once, in addition to the dataset on the devices.

    This compiles the programs; later calls do not compile them again.

    Returns:
      Bytes per device; on a CPU, where devices share memory, bytes in total.
    """
    sharding = run.arrays.examples.sharding
    states = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((number, *leaf.shape), leaf.dtype, sharding=sharding),
        jax.eval_shape(run.init),
    )
    numbers = np.zeros(number, np.int32)
    epoch = run.epochs_on_device.lower(states, run.arrays, numbers, numbers).compile().memory_analysis()
    evaluation = run.evaluations_on_device.lower(states.params, run.arrays, *run.splits["dev"]).compile()
    held: int = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(states))
    programs: tuple[Any, ...] = epoch, evaluation.memory_analysis()
    working: int = max(
        memory.temp_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes for memory in programs
    )
    return (held + working) * (jax.device_count() if jax.default_backend() == "cpu" else 1)


def bytes_available() -> int | None:
    """Free memory of the fullest device, or of the host for CPU devices; None if the system does not report it."""
    if jax.default_backend() != "cpu":
        stats = [device.memory_stats() or {} for device in jax.local_devices()]
        free = [device["bytes_limit"] - device["bytes_in_use"] for device in stats if "bytes_limit" in device]
        return min(free, default=None)
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def seeds_at_once(number: int, needed: int, available: int | None) -> int:
    """How many of `number` seeds train at once: as many as fit in memory, in groups of equal size; at least one.

    Args:
      number: number of seeds.
      needed: bytes for all seeds together.
      available: available bytes; None: unknown.
    """
    if available is None:
        return number
    fitting = max(1, min(number, int(number * MEMORY_SHARE * available / needed)))
    groups = -(-number // fitting)
    return -(-number // groups)
