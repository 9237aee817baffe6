"""How long one training epoch takes on the device: shuffle, negatives, gradients, updates."""

from __future__ import annotations

from benchmarks.options import TrainingOptions, parse_options
from benchmarks.peak import timed
from benchmarks.report import Measurement, compile_epochs, report
from benchmarks.workload import build_workload
from lrd_jax.command_line.parse import run_command


def main() -> None:
    """Times one epoch after another, each from the state that the last one left."""
    options = parse_options(TrainingOptions, "train_epoch", __doc__)
    workload = build_workload(options)
    run = workload.run
    next_epoch, _, compile_seconds = compile_epochs(workload)
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
