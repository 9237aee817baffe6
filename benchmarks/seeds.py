"""What several seeds cost at once against one after the other: one epoch and its evaluation on dev for each of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from benchmarks.options import TrainingOptions, parse_options
from benchmarks.peak import timed
from benchmarks.report import Measurement, report, timed_compilation
from benchmarks.workload import Workload, build_workload, rows_to_score
from lrd_jax.command_line.parse import run_command
from lrd_jax.data.corpus import Split
from lrd_jax.data.device import put_split
from lrd_jax.devices import data_mesh
from lrd_jax.training import multi_seed


@dataclasses.dataclass(frozen=True)
class SeedsOptions(TrainingOptions):
    """What is measured and where the record goes."""

    seeds: int = 3
    """How many seeds."""


def main() -> None:
    """Times rounds of one epoch for every seed, each from the states that the last one left."""
    options = parse_options(SeedsOptions, "seeds", __doc__)
    workload = build_workload(options)
    dev = workload.run.corpus.dev
    some = rows_to_score(dev, 1 + dev.negatives.shape[1], workload.run.system.users_per_block)
    split = Split(dev.rows[some], dev.negatives[some])
    seeds = list(range(options.seeds))
    separate = measure_groups(workload, split, [[seed] for seed in seeds], "one after the other")
    at_once = measure_groups(workload, split, [seeds], "at once")
    ratio = float(np.median(at_once.seconds) / np.median(separate.seconds))
    report("seeds", workload, [separate, at_once._replace(ratio=ratio)])


def measure_groups(workload: Workload, split: Split, groups: Sequence[Sequence[int]], part: str) -> Measurement:
    """Times an epoch and the ranking of a split for every seed: one group after the other, a group's seeds at once."""
    run, size, epoch = workload.run._replace(splits={"dev": put_split(split, data_mesh())}), len(groups[0]), 0
    states = [multi_seed.stack(run, [run.init(seed) for seed in group]) for group in groups]
    if size == 1:
        programs, numbers = (run.epoch_on_device, run.evaluation_on_device), 0
    else:
        programs, numbers = (run.epochs_on_device, run.evaluations_on_device), np.zeros(size, np.int32)
    _, epoch_seconds = timed_compilation(programs[0], states[0], run.arrays, numbers, numbers)
    _, evaluation_seconds = timed_compilation(programs[1], states[0].params, run.arrays, *run.splits["dev"])

    def next_epoch():
        nonlocal epoch
        results = []
        for n, group in enumerate(groups):
            states[n], losses = multi_seed.train_epoch(run, states[n], group, [epoch] * size)
            results.append((losses, multi_seed.evaluate(run, states[n].params, "dev", size)))
        epoch += 1
        return results

    seconds = timed(next_epoch, workload.options.repeat)
    number, examples, users = size * len(groups), len(run.arrays.examples), len(split.rows)
    trained = examples * (1 + run.config.loss.num_negatives)
    ranked = users * (1 + split.negatives.shape[1])
    # Forward, and in training twice as much for the gradients.
    flop = None if workload.pair_flop is None else number * (3 * trained + ranked) * workload.pair_flop
    return Measurement(
        seconds,
        part=part,
        compile_seconds=epoch_seconds + evaluation_seconds,
        examples=number * examples,
        pairs=number * (trained + ranked),
        flop=flop,
        shapes={"S": number, "B": run.config.optim.batch_size, "examples": examples, "users": users},
    )


if __name__ == "__main__":
    run_command(main)
