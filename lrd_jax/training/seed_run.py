"""State of one seed during training, alone or with others: its run folder, progress and early stopping."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from lrd_jax.config.schema import Config
from lrd_jax.config.toml_file import load_config
from lrd_jax.data.id_maps import raw_ids
from lrd_jax.data.pipeline import dataset_folder
from lrd_jax.errors import UserError
from lrd_jax.models.system import Params
from lrd_jax.ranking.metrics import Counts, ranking_metrics
from lrd_jax.runs.checkpoint import CheckpointReader, Checkpoints
from lrd_jax.runs.folder import RunWriter, forget_results, is_longer, open_run_folder, read_dev_metrics, read_results
from lrd_jax.terminal.lines import epoch_line, losses_text, say
from lrd_jax.training.epoch import TrainState
from lrd_jax.training.setup import Setup, checked_ranks, refuse_other_data
from lrd_jax.training.stopping import STOPPING_METRIC, stopping_of

AfterEpoch = Callable[[int, Mapping[str, float]], None]
"""A callback with the number of an epoch and its metrics on dev, which are empty if dev has no rows."""


class Progress(NamedTuple):
    """The complete state of a run, as saved in a checkpoint.

    Attributes:
      train: parameters and optimizer state; None in `SeedRun` during training.
      best_epoch, best_score: the best epoch so far and its score (`Stopping`), dev NDCG@5 unless it is a refit.
      seconds: wall time of training and evaluation so far; divided among seeds that train at once.
      fingerprint: uint8 [32], `Setup.fingerprint`; a run cannot continue with other data.
    """

    train: TrainState | None
    best_epoch: np.ndarray | np.int32
    best_score: np.ndarray | np.float32
    seconds: np.ndarray | np.float32
    fingerprint: np.ndarray


def read_fingerprint(checkpoints: CheckpointReader) -> str:
    """`Setup.fingerprint` (hex) at the start of the run, from its latest checkpoint."""
    return checkpoints.restore_leaf("latest", ".fingerprint").tobytes().hex()


class SeedRun:
    """The run of one seed, without the training itself: records each epoch's results, and checkpoints, stops and tests.

    Attributes:
      config: the configuration with this seed.
      seed: config.run.seed.
      label: prefix of its lines on the terminal; empty for a single seed.
      epoch: the last finished epoch.
      results: the contents of results.json; None until the run has finished and its best epoch has been tested.
      failure: the error that ended the run before that, if any.
      close: closes the files and releases orbax's threads.
    """

    def __init__(
        self,
        config: Config,
        run: Setup,
        *,
        resume: bool,
        label: str = "",
        params: Params | None = None,
        after_epoch: AfterEpoch | None = None,
    ) -> None:
        """Starts a run in its run folder, or returns to the last checkpoint of the run in it.

        Args:
          config: the configuration with this seed, resolved.
          run: the setup, with this seed or another.
          resume: continue the run in the folder.
          label: see the class.
          params: initial parameters of a new run; None to draw them.
          after_epoch: called after an epoch and its checkpoints are written.

        Raises:
          UserError: the run folder is not writable or has another run, a checkpoint or an id map cannot be read, or
            the data has changed.
        """
        self.config, self.seed, self.label, self.epoch = config, config.run.seed, label, 0
        self.results: dict[str, Any] | None = None
        self.failure: UserError | None = None
        self._run, self._folder, self._after_epoch = run, config.run_folder, after_epoch
        self._stopping = stopping_of(config.run)
        # Before training, so that an unreadable id map does not waste it.
        self._raw_users = raw_ids(dataset_folder(config.data.path), "user", np.arange(1, run.corpus.num_users + 1))
        state = jax.device_get(run.init(self.seed))
        if params is not None:
            state = state._replace(params=params)
        fingerprint = np.frombuffer(bytes.fromhex(run.fingerprint), np.uint8)
        self._progress = Progress(state, np.int32(0), np.float32(-1.0), np.float32(0.0), fingerprint)
        self._scores: list[float] = []  # scores of every epoch
        with contextlib.ExitStack() as opened:
            if not resume:
                open_run_folder(self._folder, config, resume=False)
            self._checkpoints = Checkpoints(self._folder / "checkpoints")
            opened.callback(self._checkpoints.close)
            if resume:
                self._go_back()
            if self.results is None:
                self._writer = RunWriter(self._folder, resume_after=self.epoch if resume else None)
                opened.callback(self._writer.close)
            self.close = opened.pop_all().close

    def _go_back(self) -> None:
        """Loads the run in the folder: its last checkpoint and, if it has finished, its results."""
        checkpoint = self._checkpoints.latest_epoch("latest")
        if checkpoint is not None:
            refuse_other_data(self._run, read_fingerprint(self._checkpoints), self._folder)
            self.epoch, self._progress = self._checkpoints.restore("latest", self._progress)
            self._checkpoints.discard_after(self.epoch)
            dev = read_dev_metrics(self._folder)
            self._scores = [self._stopping.score(epoch, dev.get(epoch)) for epoch in range(1, self.epoch + 1)]
        self.results = read_results(self._folder)
        if self.results is not None and is_longer(load_config(self._folder / "config.toml"), self.config):
            self._train_on(checkpoint)
        open_run_folder(self._folder, self.config, resume=True)

    def _train_on(self, checkpoint: int | None) -> None:
        """Deletes the results of a finished run that trains longer, unless it would stop at the same epoch."""
        if checkpoint is None:
            remedy = "Start a new run with another --run.workdir"
            raise UserError("the run has no checkpoint to continue from", file=self._folder, remedy=remedy)
        if self.goes_on:  # before the configuration in the folder changes, because it shows that the run is longer
            self.results = None
            forget_results(self._folder)
        elif self._run.system.loss_weights:
            waited = f"dev {STOPPING_METRIC} has not improved for {self.epoch - self.best[0]} epochs"
            say(f"{self.label}the run does not continue: {waited}. Raise --run.patience too.")

    @property
    def tested(self) -> dict[str, Any]:
        """`results`, of a seed that has finished."""
        assert self.results is not None
        return self.results

    @property
    def best(self) -> tuple[int, float]:
        """The best epoch so far and its score, dev NDCG@5 unless it is a refit."""
        return int(self._progress.best_epoch), float(self._progress.best_score)

    @property
    def goes_on(self) -> bool:
        """Whether to train another epoch: the seed has neither failed nor stopped (`Stopping.stops`).

        Models without trained parameters need only one epoch.
        """
        if self.failure is not None or (self.epoch and not self._run.system.loss_weights):
            return False
        return not self._stopping.stops(self._scores, int(self._progress.best_epoch))

    def take_state(self) -> TrainState:
        """Returns the initial state, on the host, and drops it here, so that only one state per seed is in memory."""
        state, self._progress = self._progress.train, self._progress._replace(train=None)
        assert state is not None
        return state

    @contextlib.contextmanager
    def or_fail(self) -> Iterator[None]:
        """Turns a `UserError` inside into this seed's `failure`; with several seeds, prints it, and others continue."""
        try:
            yield
        except UserError as error:
            self.failure = error
            if self.label:
                say(f"{self.label}failed: {error}")

    def record(
        self, state: TrainState, losses: dict[str, np.ndarray], counts: Counts | None, seconds: float
    ) -> tuple[dict[str, float], str]:
        """Records one more epoch: its numbers and its checkpoints.

        Args:
          state: state after the epoch, on the host.
          losses: mean of each loss term.
          counts: counts of the evaluation on dev; None if it has no rows.
          seconds: duration of the epoch and its evaluation.

        Returns:
          The losses with their weighted total, and the epoch's line for the terminal.

        Raises:
          UserError: a loss or a score is not finite (then nothing of the epoch is kept), or the disk is full.
        """
        epoch, progress = self.epoch + 1, self._progress
        totalled = _checked_losses(losses, self._run.system.loss_weights, epoch, self._folder)
        metrics = None if counts is None else ranking_metrics(self._checked_ranks(counts))
        progress = progress._replace(train=state, seconds=np.float32(progress.seconds + seconds))
        score = self._stopping.score(epoch, metrics)
        if np.float32(score) > progress.best_score:
            progress = progress._replace(best_epoch=np.int32(epoch), best_score=np.float32(score))
            self._checkpoints.save("best", epoch, state.params)
        self._writer.write_epoch(epoch, totalled, metrics, seconds)
        # Last, so that a checkpoint implies that everything before it is written.
        self._checkpoints.save("latest", epoch, progress)
        self.epoch, self._progress = epoch, progress._replace(train=None)
        self._scores.append(score)
        if self._after_epoch is not None:
            self._after_epoch(epoch, metrics or {})
        best_epoch, best_score = self.best
        line = epoch_line(epoch, totalled, metrics, best_epoch=best_epoch, best_score=best_score, seconds=seconds)
        return totalled, self.label + line

    def _checked_ranks(self, counts: Counts) -> np.ndarray:
        """The ranks on dev, float64 [N]."""
        corpus = self._run.corpus
        return checked_ranks(counts, corpus.sequence_users[corpus.dev.rows], "dev")

    def adopt(self) -> None:
        """Makes the initial parameters the best epoch, with number 0, and tests them.

        Raises:
          UserError: as for `finish`.
        """
        assert self._progress.train is not None
        self._checkpoints.save("best", 0, self._progress.train.params)
        self._checkpoints.save("latest", 0, self._progress)
        self.finish()

    def finish(self) -> None:
        """Tests the best epoch, the only use of the test split, and writes the results.

        Of a refit nothing is tested: its splits have no rows.

        Raises:
          UserError: a score is not finite, or the folder cannot be written.
        """
        run, best_epoch = self._run, int(self._progress.best_epoch)
        metrics = {} if self.config.untestable else self._test(best_epoch)
        self._writer.write_results(
            **metrics,
            best_epoch=best_epoch,
            epochs=self.epoch,
            seconds=float(self._progress.seconds),
            device=f"{jax.device_count()} x {jax.devices()[0].device_kind}",
            config=self.config,
            dataset_hash=run.corpus.content_hash,
            fingerprint=run.fingerprint,
            warnings=run.notices,
        )
        self.results = {**metrics, "best_epoch": best_epoch}

    def _test(self, best_epoch: int) -> dict[str, dict[str, float]]:
        """The metrics of the best epoch on dev and test; writes the ranks."""
        run, corpus = self._run, self._run.corpus
        like = jax.eval_shape(run.init, self.seed).params
        _, params = self._checkpoints.restore("best", like, epoch=best_epoch)
        params = jax.device_put(params, run.arrays.examples.sharding)
        ranks = {split: run.rank_targets(params, split) for split in ("dev", "test")}
        users = {"dev": corpus.sequence_users[corpus.dev.rows], "test": corpus.sequence_users[corpus.test.rows]}
        raw_users = {split: self._raw_users[users[split] - 1] for split in users}
        self._writer.write_ranks(**{split: (users[split], raw_users[split], ranks[split]) for split in ranks})
        return {split: ranking_metrics(values) for split, values in ranks.items()}


def _checked_losses(
    losses: dict[str, np.ndarray], weights: dict[str, float], epoch: int, folder: Path
) -> dict[str, float]:
    """The epoch's losses with their weighted total; raises UserError if any is not finite."""
    totalled = {name: float(losses[name]) for name in weights}
    totalled["total"] = sum(weights[name] * value for name, value in totalled.items())
    if not all(math.isfinite(value) for value in totalled.values()):
        raise UserError(
            f"the loss of epoch {epoch} is not finite ({losses_text(totalled)})",
            file=folder,
            remedy="Lower --optim.learning-rate or the loss weights, and choose another --run.workdir; "
            "the checkpoints saved so far are kept",
        )
    return totalled
