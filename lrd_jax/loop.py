"""A whole run, top to bottom: read, train with early stopping, test the best epoch once."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import rich

from lrd_jax.checkpoint import Checkpoints
from lrd_jax.config import Config
from lrd_jax.data.corpus import Corpus
from lrd_jax.data.movielens import ensure_ml_100k
from lrd_jax.data.rechorus import read_corpus
from lrd_jax.devices import available_cores, data_mesh, set_up_devices
from lrd_jax.display import epoch_line, epoch_progress, losses_text, results_table, say
from lrd_jax.engine import (
    TrainState,
    build_epoch,
    build_evaluation,
    build_optimizer,
    init_state,
    put_corpus,
    put_split,
)
from lrd_jax.errors import UserError
from lrd_jax.metrics import ranking_metrics
from lrd_jax.models import build_system
from lrd_jax.models.system import Params
from lrd_jax.text.store import load_or_embed
from lrd_jax.writer import RunWriter, open_run_folder

STOPPING_METRIC = "NDCG@5"


class Progress(NamedTuple):
    """The state of a run: what a checkpoint holds, and nothing else.

    Attributes:
      train: parameters and optimizer state.
      best_epoch, best_score: the best epoch so far and its dev NDCG@5.
      seconds: wall time of training and evaluation so far.
    """

    train: TrainState
    best_epoch: np.ndarray
    best_score: np.ndarray
    seconds: np.ndarray


def train_and_evaluate(config: Config, *, resume: bool = False) -> dict[str, dict[str, float]]:
    """Trains with early stopping on dev, tests the best epoch, and leaves everything in the run folder.

    Args:
      config: all options.
      resume: continue the run that the run folder holds.

    Returns:
      {"dev": {"HR@5": ...}, "test": {...}} of the best epoch.

    Raises:
      UserError: bad input, an unwritable or foreign run folder, or a loss that is not finite.
    """
    config = resolve(config)
    set_up_devices(config.run.cpu_devices)
    corpus, text = read_inputs(config)
    folder = config.run_folder
    open_run_folder(folder, config, resume=resume)

    mesh = data_mesh()
    arrays = put_corpus(corpus, text, mesh)
    splits = {"dev": put_split(corpus.dev, mesh), "test": put_split(corpus.test, mesh)}
    system = build_system(config, corpus, has_triples=arrays.sampler.triples is not None)
    optimizer = build_optimizer(config.optim)
    run_epoch = build_epoch(
        system,
        optimizer,
        mesh,
        batch_size=config.optim.batch_size,
        num_negatives=config.loss.num_negatives,
        history_length=config.data.history_length,
        num_items=corpus.num_items,
    )
    rank_targets = build_evaluation(system, mesh, history_length=config.data.history_length)

    def rank(params: Params, split: str) -> np.ndarray:
        ranks, finite = jax.device_get(rank_targets(params, arrays, *splits[split]))
        if not finite.all():
            raise UserError(
                f"{np.count_nonzero(~finite)} of {len(finite)} {split} users have scores that are not finite",
                remedy="The checkpoints of the epochs before are kept; lower --optim.learning-rate",
            )
        return ranks

    checkpoints = Checkpoints(folder / "checkpoints")
    state = init_state(system, optimizer, arrays, config.run.seed, mesh)
    progress = Progress(state, np.int32(0), np.float32(-1.0), np.float32(0.0))
    done = checkpoints.latest_epoch("latest") if resume else None
    if done is not None:
        done, progress = checkpoints.restore("latest", progress)
        progress = progress._replace(train=jax.device_put(progress.train, jax.tree.leaves(state)[0].sharding))
    del state  # Donated to the first epoch.
    writer = RunWriter(folder, resume_after=done)
    epoch = done or 0
    with epoch_progress(config.run.epochs, epoch) as bar:
        while epoch < config.run.epochs and epoch - int(progress.best_epoch) < config.run.patience:
            epoch += 1
            started = time.perf_counter()
            train, losses = run_epoch(progress.train, arrays, config.run.seed, epoch)
            losses = _checked(losses, system.loss_weights, epoch, folder)
            metrics = ranking_metrics(rank(train.params, "dev"))
            seconds = time.perf_counter() - started
            progress = progress._replace(train=train, seconds=np.float32(progress.seconds + seconds))
            if metrics[STOPPING_METRIC] > progress.best_score:
                progress = progress._replace(
                    best_epoch=np.int32(epoch), best_score=np.float32(metrics[STOPPING_METRIC])
                )
                checkpoints.save("best", epoch, train.params)
            writer.write_epoch(epoch, losses, metrics, seconds)
            # Last, so that a checkpoint vouches for everything before it.
            checkpoints.save("latest", epoch, progress)
            best = {"best_epoch": int(progress.best_epoch), "best_score": float(progress.best_score)}
            say(epoch_line(epoch, losses, metrics, **best, seconds=seconds))
            bar.set_postfix_str(losses_text(losses))
            bar.update()

    # The only time that the test split is looked at.
    best_epoch = int(progress.best_epoch)
    _, params = checkpoints.restore("best", progress.train.params, epoch=best_epoch)
    checkpoints.close()
    ranks = {name: rank(params, name) for name in splits}
    metrics = {name: ranking_metrics(values) for name, values in ranks.items()}
    users = {"dev": corpus.sequence_users[corpus.dev.rows], "test": corpus.sequence_users[corpus.test.rows]}
    writer.write_ranks(**{name: (users[name], ranks[name]) for name in splits})
    writer.write_results(
        **metrics,
        best_epoch=best_epoch,
        epochs=epoch,
        seconds=float(progress.seconds),
        device=jax.devices()[0].device_kind,
        config=config,
        dataset_hash=corpus.content_hash,
    )
    writer.close()
    rich.print(results_table(**metrics, title=f"{config.model.name} on {corpus.name}, best epoch {best_epoch}"))
    rich.print(f"results in {folder}")
    return metrics


def resolve(config: Config) -> Config:
    """Fills in what depends on the machine, so that the configuration in the run folder repeats the run."""
    if config.run.cpu_devices is not None:
        return config
    run = config.run.model_copy(update={"cpu_devices": available_cores()})
    return config.model_copy(update={"run": run})


def read_inputs(config: Config) -> tuple[Corpus, np.ndarray | None]:
    """Reads the corpus and, for an LRD model, its text embeddings [I + 1, T]; makes what is missing."""
    folder = config.data.path if config.data.path is not None else ensure_ml_100k()
    corpus = read_corpus(folder)
    text = load_or_embed(folder, corpus.num_items, config.text) if config.model.uses_text else None
    return corpus, text


def _checked(losses: dict[str, jax.Array], weights: dict[str, float], epoch: int, folder: Path) -> dict[str, float]:
    losses = {name: float(value) for name, value in losses.items()}
    losses["total"] = sum(weights[name] * value for name, value in losses.items())
    if not all(math.isfinite(value) for value in losses.values()):
        raise UserError(
            f"the loss of epoch {epoch} is not finite ({losses_text(losses)})",
            file=folder,
            remedy="The checkpoints of the epochs before are kept; lower --optim.learning-rate or the loss weights",
        )
    return losses
