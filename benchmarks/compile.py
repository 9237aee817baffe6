"""How long XLA takes to compile the training epoch and the evaluation, in new processes and again in one process."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import jax

from benchmarks.options import TrainingOptions, parse_options
from benchmarks.report import Measurement, report, timed_compilation
from benchmarks.workload import Workload, build_workload
from lrd_jax.command_line.parse import run_command
from lrd_jax.data.device import put_split
from lrd_jax.devices import data_mesh

FRESH_PROCESSES = 3


def main() -> None:
    """Times lowering and compiling; nothing that was compiled is run."""
    options = parse_options(TrainingOptions, "compile", __doc__)
    # Before this process touches a device: an accelerator's memory goes to whoever comes first.
    fresh = [_in_new_process(options) for _ in range(min(options.repeat, FRESH_PROCESSES))]
    workload = build_workload(options)
    again = _compile(workload, options.repeat)
    measurements = [
        Measurement(
            [seconds[function] for seconds in timings],
            part=f"{function}, {where}",
            compile_seconds=timings[0][function],
            shapes={"B": options.batch_size},
        )
        for where, timings in (("new process", fresh), ("same process", again))
        for function in ("epoch", "evaluation")
    ]
    report("compile", workload, measurements)


def _in_new_process(options: TrainingOptions) -> dict[str, float]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(_build_and_compile, options).result()


def _build_and_compile(options: TrainingOptions) -> dict[str, float]:
    return _compile(build_workload(options), 1)[0]


def _compile(workload: Workload, repeat: int) -> list[dict[str, float]]:
    """Seconds to lower and compile each function, each time from nothing."""
    run = workload.run
    state, dev = run.init(), put_split(run.corpus.dev, data_mesh())
    timings = []
    for _ in range(repeat):
        jax.clear_caches()
        _, epoch = timed_compilation(run.epoch_on_device, state, run.arrays, run.config.run.seed, 0)
        _, evaluation = timed_compilation(run.evaluation_on_device, state.params, run.arrays, *dev)
        timings.append({"epoch": epoch, "evaluation": evaluation})
    return timings


if __name__ == "__main__":
    run_command(main)
