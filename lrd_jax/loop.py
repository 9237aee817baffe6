"""A whole run, top to bottom: train with early stopping, test the best epoch once."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import rich
import rich.markup

from lrd_jax.assemble import Run, assemble, resolve
from lrd_jax.checkpoint import Checkpoints
from lrd_jax.config import Config
from lrd_jax.display import epoch_line, epoch_progress, losses_text, results_table, say
from lrd_jax.engine import TrainState
from lrd_jax.errors import UserError
from lrd_jax.metrics import ranking_metrics
from lrd_jax.writer import RunWriter, check_run_folder, open_run_folder, read_results

STOPPING_METRIC = "NDCG@5"


class Progress(NamedTuple):
    """The state of a run: what a checkpoint holds, and nothing else.

    Attributes:
      train: parameters and optimizer state.
      best_epoch, best_score: the best epoch so far and its dev NDCG@5.
      seconds: wall time of training and evaluation so far.
      fingerprint: uint8 [32], `Run.fingerprint`; a run does not go on with other data.
    """

    train: TrainState
    best_epoch: np.ndarray
    best_score: np.ndarray
    seconds: np.ndarray
    fingerprint: np.ndarray


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
    folder, patience, epochs = config.run_folder, config.run.patience, config.run.epochs
    check_run_folder(folder, config, resume=resume)
    run = assemble(config)
    open_run_folder(folder, config, resume=resume)
    checkpoints = Checkpoints(folder / "checkpoints")
    epoch, progress = _start(run, checkpoints, folder, resume)
    if resume and (finished := read_results(folder)) is not None:
        _show(finished["dev"], finished["test"], config, finished["best_epoch"])
        return {split: finished[split] for split in ("dev", "test")}
    writer = RunWriter(folder, resume_after=epoch if resume else None)
    say(_describe(run, progress))

    with epoch_progress(epochs, epoch) as bar:
        while epoch < epochs and epoch - int(progress.best_epoch) < patience:
            epoch += 1
            started = time.perf_counter()
            train, losses = run.train_epoch(progress.train, epoch)
            losses = _checked(losses, run.system.loss_weights, epoch, folder)
            metrics = ranking_metrics(run.rank_targets(train.params, "dev"))
            seconds = time.perf_counter() - started
            progress = progress._replace(train=train, seconds=np.float32(progress.seconds + seconds))
            score = np.float32(metrics[STOPPING_METRIC])
            if score > progress.best_score:
                progress = progress._replace(best_epoch=np.int32(epoch), best_score=score)
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
    params = _placed_like(params, progress.train.params)
    checkpoints.close()
    corpus = run.corpus
    ranks = {split: run.rank_targets(params, split) for split in ("dev", "test")}
    metrics = {split: ranking_metrics(values) for split, values in ranks.items()}
    users = {"dev": corpus.sequence_users[corpus.dev.rows], "test": corpus.sequence_users[corpus.test.rows]}
    writer.write_ranks(**{split: (users[split], ranks[split]) for split in ranks})
    writer.write_results(
        **metrics,
        best_epoch=best_epoch,
        epochs=epoch,
        seconds=float(progress.seconds),
        device=f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        config=config,
        dataset_hash=corpus.content_hash,
    )
    writer.close()
    _show(metrics["dev"], metrics["test"], config, best_epoch)
    return metrics


def _show(dev: dict[str, float], test: dict[str, float], config: Config, best_epoch: int) -> None:
    title = rich.markup.escape(f"{config.model.name} on {config.dataset_name}, best epoch {best_epoch}")
    rich.print(results_table(dev, test, title=title))
    say(f"results in {config.run_folder}")


def _describe(run: Run, progress: Progress) -> str:
    corpus, device = run.corpus, jax.devices()[0].device_kind
    num_params = sum(leaf.size for leaf in jax.tree.leaves(progress.train.params))
    return (
        f"{run.config.model.name} on {corpus.name}: {corpus.num_users:,} users, {corpus.num_items:,} items, "
        f"{len(corpus.sequence_items):,} interactions; {num_params:,} parameters; {jax.device_count()} x {device}\n"
        "The first epoch includes compilation."
    )


def _start(run: Run, checkpoints: Checkpoints, folder: Path, resume: bool) -> tuple[int, Progress]:
    """The last epoch done and the state after it: of the checkpoint to resume from, else before the first epoch."""
    fingerprint = np.frombuffer(bytes.fromhex(run.fingerprint), np.uint8)
    progress = Progress(run.init(), np.int32(0), np.float32(-1.0), np.float32(0.0), fingerprint)
    if not resume or checkpoints.latest_epoch("latest") is None:
        return 0, progress
    epoch, saved = checkpoints.restore("latest", progress)
    if not np.array_equal(saved.fingerprint, fingerprint):
        raise UserError(
            "the dataset or its text embeddings have changed since the run was started",
            file=folder,
            remedy="Restore them, or start a new run with another --run.workdir",
        )
    checkpoints.discard_after(epoch)
    return epoch, saved._replace(train=_placed_like(saved.train, progress.train))


def _placed_like(restored: Any, example: Any) -> Any:
    """Restored arrays on the devices as the example's are, so that nothing is compiled anew for them."""
    return jax.device_put(restored, jax.tree.leaves(example)[0].sharding)


def _checked(losses: dict[str, jax.Array], weights: dict[str, float], epoch: int, folder: Path) -> dict[str, float]:
    """The epoch's losses on the host, with their weighted total; refuses any that is not finite."""
    losses = {name: float(losses[name]) for name in weights}
    losses["total"] = sum(weights[name] * value for name, value in losses.items())
    if not all(math.isfinite(value) for value in losses.values()):
        raise UserError(
            f"the loss of epoch {epoch} is not finite ({losses_text(losses)})",
            file=folder,
            remedy="Lower --optim.learning-rate or the loss weights and choose another --run.workdir; "
            "the checkpoints saved so far are kept",
        )
    return losses
