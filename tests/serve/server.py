"""Servers as real processes, clients in threads, and what their answers must be."""

from __future__ import annotations

import contextlib
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from tests.processes import start

SECONDS = 120


class Server:
    """A process of `python -m lrd_jax.serve` that is ready.

    Attributes:
      process: it.
      url: where it listens.
    """

    def __init__(self, process: subprocess.Popen) -> None:
        self.process = process
        assert select.select([process.stdout], [], [], SECONDS)[0], "not ready in time"
        line = process.stdout.readline()
        found = re.search(r"at (http://\S+),", line)
        assert found, line + process.communicate(timeout=SECONDS)[1]
        self.url = found[1]

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=SECONDS)

    def post(self, path: str, body: Any) -> httpx.Response:
        return httpx.post(self.url + path, json=body, timeout=SECONDS)

    def health(self) -> dict:
        return httpx.get(self.url + "/health", timeout=SECONDS).json()

    def wait_for(self, holds: Callable[[dict], bool]) -> dict:
        """/health as soon as something holds of it."""
        end = time.monotonic() + SECONDS
        while not holds(health := self.health()):
            assert time.monotonic() < end, health
            time.sleep(0.05)
        return health

    def stop(self) -> tuple[int, str]:
        """SIGTERM; the exit code and stderr."""
        self.process.send_signal(signal.SIGTERM)
        _, stderr = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, stderr


@contextlib.contextmanager
def serving(place: Path, run: Path, *arguments: str) -> Iterator[Server]:
    """A server on a free port; it ends with the block."""
    process = start(place, "serve", run, "--port", "0", *arguments)
    try:
        yield Server(process)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def together(number: int, call: Callable[[Any], Any], values: Iterable[Any]) -> list[Any]:
    """The answers to all values, by so many threads."""
    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(call, values))


def same_list(answered: list[dict], items: list[str], scores: list[float]) -> bool:
    """Whether an answer is the list; batches of other sizes round otherwise, so equal scores may change places."""
    found = {one["item"]: one["score"] for one in answered}
    if len(found) != len(items) or not np.allclose([one["score"] for one in answered], scores, atol=1e-4, rtol=1e-4):
        return False
    expected = dict(zip(items, scores, strict=True))
    last = min(scores, default=0)
    return all(abs(expected.get(item, last) - score) < 2e-4 for item, score in found.items())
