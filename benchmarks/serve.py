"""Load on a server of a run: requests per second and latency at 1, 8 and 64 clients, every answer checked.

`python -m benchmarks.serve RUN` starts `python -m lrd_jax.serve RUN` on a free port of this machine, sends 10,000
requests in all, and compares each answer with that of `Run.recommend` in another process.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import random
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import tyro
from rich.table import Table

from lrd_jax.command_line.parse import run_command
from lrd_jax.errors import UserError
from lrd_jax.terminal.tables import print_table

K = 10
KINDS = 200
"""Different histories that are asked for."""


@dataclasses.dataclass(frozen=True)
class ServeOptions:
    """Measures a server of a trained run."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder of `train`."""
    clients: tuple[int, ...] = (1, 8, 64)
    """How many clients ask at once, in turn."""
    requests: tuple[int, ...] = (500, 2000, 7500)
    """How many requests in all, for each of these."""
    seed: int = 0
    """Of the histories."""


def main() -> None:
    """Measures, prints the table, and fails where an answer was lost or wrong."""
    options = tyro.cli(ServeOptions, prog="python -m benchmarks.serve", description=__doc__)
    if len(options.clients) != len(options.requests):
        raise UserError("there must be as many --requests as --clients")
    with multiprocessing.get_context("spawn").Pool(1) as pool:  # jax's devices stay out of this process
        histories, lists = pool.apply(expected_lists, (options.run, options.seed))
    command = [sys.executable, "-m", "lrd_jax.serve", str(options.run), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        found = re.search(r"at (http://\S+),", server.stdout.readline())
        if found is None:
            raise UserError("the server did not start")
        table = Table()
        for column in ("clients", "requests", "requests/s", "p50 ms", "p99 ms", "lost", "wrong"):
            table.add_column(column, justify="right")
        bad = 0
        for clients, number in zip(options.clients, options.requests, strict=True):
            seconds, latencies, lost, wrong = load(found[1], histories, lists, clients, number)
            bad += lost + wrong
            p50, p99 = 1000 * np.percentile(latencies, [50, 99])
            row = (clients, number, f"{number / seconds:.1f}", f"{p50:.1f}", f"{p99:.1f}", lost, wrong)
            table.add_row(*map(str, row))
    finally:
        server.terminate()
        code = server.wait(60)
    print_table(table)
    if bad or code:
        raise UserError(f"{bad} answers were lost or wrong; the server ended with {code}")


def expected_lists(folder: Path, seed: int) -> tuple[list[list[str]], list[dict[str, float]]]:
    """Histories of 1 to 20 items, and for each the items of its list with their scores."""
    from lrd_jax.command_line.jax_setup import set_up_jax

    set_up_jax(None)
    from lrd_jax import load_run

    run, chance = load_run(folder), random.Random(seed)
    ids = run.dataset.item_ids.to_list()
    histories = [chance.sample(ids, chance.randint(1, min(20, len(ids) - K))) for _ in range(KINDS)]
    frame = run.recommend(histories=histories, k=K)
    parts = frame.partition_by("row", maintain_order=True)
    return histories, [dict(zip(part["item"], part["score"], strict=True)) for part in parts]


def load(
    url: str, histories: list[list[str]], lists: list[dict[str, float]], clients: int, number: int
) -> tuple[float, list[float], int, int]:
    """Seconds in all, seconds of each answer, and how many answers were lost or wrong."""
    latencies: list[float] = []
    wrong: list[Any] = []
    todo = iter(range(number))
    lock = threading.Lock()

    def ask() -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            while True:
                with lock:
                    turn = next(todo, None)
                if turn is None:
                    return
                which = turn % len(histories)
                started = time.perf_counter()
                try:
                    answer = client.post("/recommend", json={"history": histories[which], "k": K})
                except httpx.HTTPError:
                    continue
                latencies.append(time.perf_counter() - started)
                if answer.status_code != 200 or not is_right(answer.json()["items"], lists[which]):
                    wrong.append(which)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - started, latencies, number - len(latencies), len(wrong)


def is_right(items: list[dict[str, Any]], expected: dict[str, float]) -> bool:
    """Whether a list is the expected one, up to the rounding of batches of other sizes, which may swap equal scores."""
    scores = list(expected.values())
    if len(items) != len(scores) or len({item["item"] for item in items}) != len(scores):
        return False
    if not np.allclose([item["score"] for item in items], scores, atol=1e-3, rtol=1e-4):
        return False
    return all(abs(expected.get(item["item"], scores[-1]) - item["score"]) < 2e-3 for item in items)


if __name__ == "__main__":
    run_command(main)
