"""Latency of an exported run beside the run itself, same requests: python -m benchmarks.export RUN."""

from __future__ import annotations

import dataclasses
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.table import Table

from lrd_jax.command_line.jax_setup import set_up_jax
from lrd_jax.command_line.parse import run_command

BATCHES = (1, 8, 64)


@dataclasses.dataclass(frozen=True)
class Flags:
    """Time `recommend` (10 of all items) and `score` (100 items) of a run and of its export, request by request."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder of `train`."""
    repeat: int = 30
    """Requests of each size, the run's and the export's in turn, after one to compile."""
    cpu_devices: int = 1
    """CPU devices; the export uses one of them."""


def main() -> None:
    """Times both and prints medians in milliseconds, and the export's over the run's."""
    flags = tyro.cli(Flags, prog="python -m benchmarks.export", args=sys.argv[1:], description=Flags.__doc__)
    set_up_jax(flags.cpu_devices)
    from lrd_jax.api.run import load_run
    from lrd_jax.export.write import export_run
    from lrd_jax.exported import Exported
    from lrd_jax.terminal.tables import print_table

    run = load_run(flags.run)
    with tempfile.TemporaryDirectory() as folder:
        export_run(run, Path(folder) / "export", with_histories=True)
        exported = Exported.load(Path(folder) / "export")
    users, items = run.dataset.user_ids.to_list(), run.dataset.item_ids.to_list()[:100]
    table = Table("request", "users", "run ms", "export ms", "ratio", title=run.config.model.name)
    for batch in BATCHES:
        some = users[:batch]
        requests: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
            "recommend": (lambda s=some: run.recommend(s), lambda s=some: exported.recommend(s)),
            "score": (lambda s=some: run.score(s, items), lambda s=some: exported.score(s, items)),
        }
        for name, pair in requests.items():
            ours, theirs = medians(pair, flags.repeat)
            row = (f"{1000 * ours:.2f}", f"{1000 * theirs:.2f}", f"{theirs / ours:.2f}")
            table.add_row(name, str(len(some)), *row)
    print_table(table)


def medians(calls: tuple[Callable[[], Any], ...], repeat: int) -> list[float]:
    """Median seconds of each call; the calls take turns, so that what else the machine does strikes all alike."""
    seconds: list[list[float]] = [[] for _ in calls]
    for number in range(repeat + 1):
        for call, taken in zip(calls, seconds, strict=True):
            started = time.perf_counter()
            call()
            if number:  # the first compiles
                taken.append(time.perf_counter() - started)
    return [statistics.median(taken) for taken in seconds]


if __name__ == "__main__":
    run_command(main)
