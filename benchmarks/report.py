"""What a benchmark leaves: a line of JSON per measurement and a table for people."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jaxlib
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.options import write_lines
from benchmarks.peak import measure_peak, peak_bytes
from benchmarks.workload import Workload
from lrd_jax.devices import available_cores


class Measurement(NamedTuple):
    """Timings of one thing; see README.md for what each becomes.

    Attributes:
      seconds: wall seconds of each repetition.
      part: which of a benchmark's several measurements.
      compile_seconds: to lower and compile what was timed.
      examples, pairs: training examples or ranked users, and (user, candidate) pairs, of one repetition.
      flop: floating-point operations of one repetition, by formula.
      shapes: sizes besides those of the workload.
      ratio: to another measurement's seconds.
    """

    seconds: Sequence[float]
    part: str | None = None
    compile_seconds: float | None = None
    examples: int | None = None
    pairs: int | None = None
    flop: int | None = None
    shapes: dict[str, int] = {}
    ratio: float | None = None


def timed_compilation(jitted, *args) -> tuple[jax.stages.Compiled, float]:
    """Lowers and compiles a jitted function for these arguments: the executable and the seconds it took."""
    started = time.perf_counter()
    compiled = jitted.lower(*args).compile()
    return compiled, time.perf_counter() - started


def compile_epochs(workload: Workload) -> tuple[Callable[[], tuple], jax.stages.Compiled, float]:
    """A function that trains one more epoch at each call, what it runs, and the seconds that compiling it took."""
    run, state, epoch = workload.run, workload.run.init(), 0
    compiled, seconds = timed_compilation(run.epoch_on_device, state, run.arrays, run.config.run.seed, epoch)

    def next_epoch():
        nonlocal state, epoch
        state, losses = compiled(state, run.arrays, run.config.run.seed, epoch)
        epoch += 1
        return state, losses

    return next_epoch, compiled, seconds


def report(benchmark: str, workload: Workload, measurements: Sequence[Measurement]) -> None:
    """Measures the machine's peak, then prints the table and writes the lines."""
    used, used_of = peak_bytes()  # before the peak's own arrays
    peak = measure_peak(workload.options.dtype)
    records = []
    for measurement in measurements:
        p50, p90 = (float(np.percentile(measurement.seconds, q)) for q in (50, 90))
        per_second = lambda amount, p50=p50: None if amount is None else amount / p50  # noqa: E731
        flop_per_second = per_second(measurement.flop)
        records.append(
            {
                "benchmark": benchmark,
                "part": measurement.part,
                **surroundings(workload),
                "shapes": {**workload.shapes, **measurement.shapes},
                "repeat": len(measurement.seconds),
                "compile_seconds": measurement.compile_seconds,
                "p50": p50,
                "p90": p90,
                "min": min(measurement.seconds),
                "ratio": measurement.ratio,
                "examples_per_second": per_second(measurement.examples),
                "pairs_per_second": per_second(measurement.pairs),
                "flop": measurement.flop,
                "matmul_flops": peak.matmul_flops,
                "matmul": peak.matmul,
                "share_of_matmul": None if flop_per_second is None else flop_per_second / peak.matmul_flops,
                "copy_bytes_per_second": peak.copy_bytes_per_second,
                "peak_bytes": used,
                "peak_bytes_of": used_of,
            }
        )
    to_stdout = workload.options.json == "-"
    Console(stderr=to_stdout).print(_table(records))
    write_lines([rounded(record) for record in records], workload.options.json)


def surroundings(workload: Workload) -> dict:
    """What was measured and where, the keys that every line has."""
    return {
        "model": workload.options.model,
        "scale": workload.scale,
        "shapes": workload.shapes,
        "dtype": workload.options.dtype,
        "update": getattr(workload.options, "update", None),
        "device_kind": jax.devices()[0].device_kind,
        "device_count": jax.device_count(),
        "machine": machine(),
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "commit": commit(),
    }


def machine() -> str:
    """The processor and the cores that this process may use."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return f"{(names or [platform.machine()])[0]}, {available_cores()} cores"


def commit() -> str | None:
    """The checked-out commit, with "-dirty" after it where files differ from it; None outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() or None


def rounded(record: dict) -> dict:
    """Six significant digits are more than any timing has."""
    return {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in record.items()}


def _table(records: Sequence[dict]) -> Table:
    """A column per measurement, a row per figure that any of them has."""
    first = records[0]
    table = Table(
        title=f"{first['benchmark']}  {first['model']}  {first['scale']}  {first['dtype']}",
        caption=f"{first['device_count']} x {first['device_kind']}, {first['machine']}, jax {first['jax']}",
    )
    table.add_column(no_wrap=True)
    for record in records:
        table.add_column(record["part"] or "", justify="right")
    for label, key, unit in _FIGURES:
        cells = ["" if record[key] is None else _number(record[key] / unit) for record in records]
        if any(cells):
            table.add_row(label, *cells)
    return table


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


_FIGURES = (
    ("p50, s", "p50", 1),
    ("p90, s", "p90", 1),
    ("min, s", "min", 1),
    ("ratio", "ratio", 1),
    ("compile, s", "compile_seconds", 1),
    ("examples/s", "examples_per_second", 1),
    ("pairs/s", "pairs_per_second", 1),
    ("GFLOP", "flop", 1e9),
    ("matmul, GFLOP/s", "matmul_flops", 1e9),
    ("share of matmul, %", "share_of_matmul", 0.01),
    ("copy, GB/s", "copy_bytes_per_second", 1e9),
    ("peak memory, GB", "peak_bytes", 1e9),
)
