"""Several seeds in one compiled call: their states stacked on a new first axis, the functions of one seed vmapped.

A single seed goes through here unchanged: its state is not stacked, its functions are not vmapped.
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
"""Of the available memory, how much is planned with; the rest is for fragmentation and what else the process does."""


def stack(run: Setup, states: Sequence[TrainState]) -> TrainState:
    """Puts the states of the seeds on the devices as `train_epoch` takes them."""
    stacked = states[0] if len(states) == 1 else jax.tree.map(lambda *leaves: np.stack(leaves), *states)
    placed: TrainState = jax.device_put(stacked, run.arrays.examples.sharding)
    return placed


def unstack(results: Any, number: int) -> list[Any]:
    """What the functions below returned, for each of `number` seeds."""
    return [results] if number == 1 else [jax.tree.map(lambda leaf: leaf[n], results) for n in range(number)]  # noqa: B023


def train_epoch(
    run: Setup, states: TrainState, seeds: Sequence[int], epochs: Sequence[int]
) -> tuple[TrainState, ByTerm]:
    """Trains every seed for one epoch.

    Args:
      run: assembled.
      states: of `stack`; donated.
      seeds: in the order of the states.
      epochs: which epoch it is for each of them.

    Returns:
      The states and the means of each loss term, stacked likewise.
    """
    if len(seeds) == 1:
        return run.epoch_on_device(states, run.arrays, seeds[0], epochs[0])
    states, losses = run.epochs_on_device(states, run.arrays, np.array(seeds, np.int32), np.array(epochs, np.int32))
    return states, losses


def evaluate(run: Setup, params: Params, split: str, number: int) -> Counts | None:
    """What the targets' ranks in a split follow from, with the parameters of `number` seeds, stacked likewise.

    None where the split has no rows, as in a refit.
    """
    if not len(run.splits[split][0]):
        return None
    compiled = run.evaluation_on_device if number == 1 else run.evaluations_on_device
    counts: Counts = compiled(params, run.arrays, *run.splits[split])
    return counts


def bytes_needed(run: Setup, number: int) -> int:
    """Memory that `number` seeds, two or more, take at once, beside the dataset that is on the devices already.

    The programs are compiled for it, and need not be compiled again when they are called.

    Returns:
      Bytes on each device; on a CPU, whose devices share the memory, on all of them.
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
    """Memory that is still free on the fullest device, on a CPU the host's; None where the system does not tell."""
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
    """How many of `number` seeds train at once: as many as fit, spread evenly over the groups; one at least.

    Args:
      number: of seeds.
      needed: bytes for all of them together.
      available: bytes; None for no limit that is known.
    """
    if available is None:
        return number
    fitting = max(1, min(number, int(number * MEMORY_SHARE * available / needed)))
    groups = -(-number // fitting)
    return -(-number // groups)
