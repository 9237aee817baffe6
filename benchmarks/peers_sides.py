"""The two sides of `benchmarks.peers`, which train, rank dev and rank test on request."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple, Protocol, Self

import jax

from benchmarks.peers_environment import ENVIRONMENT
from benchmarks.peers_export import CUTOFF, METRIC
from benchmarks.report import compile_epochs, timed_compilation
from benchmarks.workload import Workload
from lrd_jax.devices import data_mesh
from lrd_jax.errors import UserError
from lrd_jax.ranking.metrics import ranking_metrics
from lrd_jax.ranking.on_device import build_counts
from lrd_jax.ranking.protocols.full import Full
from lrd_jax.training.setup import checked_ranks

SCRIPT = Path(__file__).with_name("peers_recbole.py")
RANKINGS = 5  # as on RecBole's side


class Timed(NamedTuple):
    """Wall seconds of an epoch or a ranking, and the loss or the NDCG@10 that came of it."""

    seconds: float
    value: float


class Side(Protocol):
    """A model in training."""

    def describe(self) -> dict:
        """device, torch (None on our side), compile_seconds (None on theirs), examples, parameters."""

    def train(self) -> Timed:
        """One more epoch."""

    def validate(self) -> Timed:
        """Ranks every dev target among all items that its user has not seen; keeps the best weights so far."""

    def test(self) -> Timed:
        """Ranks the test targets in the same way, with the best weights."""


class Ours:
    """A model of lrd_jax on the devices of this process."""

    def __init__(self, workload: Workload) -> None:
        """Compiles everything, so that no timing holds a compilation."""
        run = workload.run
        self._run, self._best = run, (-1.0, None)
        self._next_epoch, _, epoch_seconds = compile_epochs(workload)
        self._params = run.init().params
        candidates = Full().candidates(run.corpus, "dev")
        evaluate = build_counts(run.system, data_mesh(), candidates, history_length=run.config.data.history_length)
        args = (self._params, run.arrays, run.splits["dev"][0])
        self._evaluate, ranking_seconds = timed_compilation(evaluate, *args)
        self._description = {
            "device": jax.devices()[0].device_kind,
            "torch": None,
            "compile_seconds": epoch_seconds + ranking_seconds,
            "examples": len(run.arrays.examples),
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(self._params)),
        }

    def describe(self) -> dict:
        """See `Side`."""
        return self._description

    def train(self) -> Timed:
        """See `Side`."""
        started = time.perf_counter()
        state, losses = jax.block_until_ready(self._next_epoch())
        seconds = time.perf_counter() - started
        self._params = state.params
        return Timed(seconds, float(losses["rec"]))

    def validate(self) -> Timed:
        """See `Side`."""
        ranked = self._rank("dev", self._params)
        if ranked.value > self._best[0]:
            self._best = (ranked.value, jax.device_get(self._params))
        return ranked

    def test(self) -> Timed:
        """See `Side`."""
        return self._rank("test", jax.device_put(self._best[1], jax.tree.map(lambda x: x.sharding, self._params)))

    def _rank(self, split: str, params) -> Timed:
        corpus, seconds = self._run.corpus, []
        for _ in range(RANKINGS):
            started = time.perf_counter()
            counts = self._evaluate(params, self._run.arrays, self._run.splits[split][0])
            ranks = checked_ranks(counts, corpus.sequence_users[getattr(corpus, split).rows], split)
            ndcg = ranking_metrics(ranks, (CUTOFF,))[METRIC]
            seconds.append(time.perf_counter() - started)
        return Timed(statistics.median(seconds), ndcg)


class RecBole:
    """A model of RecBole in a process of its own, which waits while it is not asked; a context manager."""

    def __init__(self, python: Path, model: str, settings: dict, folder: Path) -> None:
        """Starts it and waits until the data and the model are there.

        Args:
          python: of RecBole's environment.
          model: RecBole's name of it.
          settings: RecBole's configuration.
          folder: where it may leave files.
        """
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            # -I: neither our packages nor this folder, whose profile.py would hide Python's.
            [python, "-I", "-W", "ignore::FutureWarning", SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=folder,
            env=os.environ | ENVIRONMENT,
        )
        self._description = self._ask(json.dumps({"model": model, "settings": settings}))

    def describe(self) -> dict:
        """See `Side`."""
        return {"compile_seconds": None, **self._description}

    def train(self) -> Timed:
        """See `Side`."""
        return Timed(**self._ask("train"))

    def validate(self) -> Timed:
        """See `Side`."""
        return Timed(**self._ask("validate"))

    def test(self) -> Timed:
        """See `Side`."""
        return Timed(**self._ask("test"))

    def __enter__(self) -> Self:
        """The running side."""
        return self

    def __exit__(self, *_) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def _ask(self, line: str) -> dict:
        answer = ""
        try:
            print(line, file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            pass
        if not answer:
            self._errors.seek(0)
            said = self._errors.read().strip().splitlines() or ["nothing"]
            self.__exit__()
            raise UserError(f"RecBole's process ended; its last words: {said[-1].rstrip('.')}")
        return json.loads(answer)
