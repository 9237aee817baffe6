"""How long one training epoch takes on the device: shuffle, negatives, gradients, updates."""

from __future__ import annotations

from benchmarks.options import TrainingOptions, parse_options
from benchmarks.peak import timed
from benchmarks.report import Measurement, report, timed_compilation
from benchmarks.workload import build_workload
from lrd_jax.cli import run_command


def main() -> None:
    """Times one epoch after another, each from the state that the last one left."""
    options = parse_options(TrainingOptions, "train_epoch", __doc__)
    workload = build_workload(options)
    run, state, epoch = workload.run, workload.run.init(), 0
    compiled, compile_seconds = timed_compilation(run.epoch_on_device, state, run.arrays, run.config.run.seed, epoch)

    def next_epoch():
        nonlocal state, epoch
        state, losses = compiled(state, run.arrays, run.config.run.seed, epoch)
        epoch += 1
        return state, losses

    seconds = timed(next_epoch, options.repeat)
    examples, candidates = len(run.arrays.examples), 1 + run.config.loss.num_negatives
    measurement = Measurement(
        seconds,
        compile_seconds=compile_seconds,
        examples=examples,
        pairs=examples * candidates,
        # Forward, and twice as much for the gradients.
        flop=None if workload.pair_flop is None else 3 * examples * candidates * workload.pair_flop,
        shapes={"B": options.batch_size, "C": candidates, "examples": examples},
    )
    report("train_epoch", workload, [measurement])


if __name__ == "__main__":
    run_command(main)
