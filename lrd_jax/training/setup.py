"""Sets up training from a configuration: the data on the devices and the compiled functions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from lrd_jax.config.schema import Config
from lrd_jax.data.batch import Batch, History
from lrd_jax.data.corpus import Corpus
from lrd_jax.data.device import Arrays, put_corpus, put_split
from lrd_jax.data.notices import Notice, corpus_notices, texts_of_folder, untestable
from lrd_jax.data.pipeline import dataset_folder
from lrd_jax.data.rechorus import read_corpus
from lrd_jax.data.sources.movielens import ensure_ml_100k
from lrd_jax.data.splits import with_all_interactions
from lrd_jax.devices import available_cores, data_mesh
from lrd_jax.errors import UserError
from lrd_jax.models import build_system
from lrd_jax.models.precision import in_float32
from lrd_jax.models.system import Params, System
from lrd_jax.ranking.metrics import Counts, target_ranks
from lrd_jax.ranking.on_device import build_evaluation
from lrd_jax.ranking.protocols import TieRule
from lrd_jax.text.naming import model_name
from lrd_jax.text.store import load_or_embed
from lrd_jax.training.epoch import (
    ByTerm,
    Epoch,
    TrainState,
    build_epoch,
    build_optimizer,
    draw_batch,
    draw_edges,
    init_state,
)


class Setup(NamedTuple):
    """A configured run, ready to start.

    Attributes:
      config: the configuration, with all machine-dependent options and the width of the text embeddings filled in.
      corpus: the dataset on the host.
      arrays: the dataset on the devices.
      system: the model with its losses.
      splits: the rows and negatives of "dev" and "test" on the devices; of a refit there are none.
      init: (seed; config.run.seed by default) → the state before the first epoch.
      rank_targets: (params, "dev" or "test") → float64 [N], the target's rank in every row of the split.
      fingerprint: SHA-256 (hex) of the dataset and the text embeddings.
      earlier_fingerprint: the same, with `Corpus.earlier_hash`.
      epoch_on_device, evaluation_on_device: jitted functions for one seed; see `build_epoch` and `build_evaluation`.
      epochs_on_device, evaluations_on_device: the same for stacked states, seeds and epochs, and parameters; see
        `multi_seed.py`.
      notices: notices about the dataset for readers of the results.
    """

    config: Config
    corpus: Corpus
    arrays: Arrays
    system: System
    splits: dict[str, tuple[jax.Array, jax.Array]]
    init: Callable[..., TrainState]
    rank_targets: Callable[[Params, str], np.ndarray]
    fingerprint: str
    earlier_fingerprint: str
    epoch_on_device: Epoch
    evaluation_on_device: Callable[[Params, Arrays, jax.Array, jax.Array], Counts]
    epochs_on_device: jax.stages.Wrapped
    evaluations_on_device: jax.stages.Wrapped
    notices: tuple[Notice, ...] = ()

    def train_epoch(self, state: TrainState, seed: int, epoch: int) -> tuple[TrainState, ByTerm]:
        """Trains one epoch on the device; returns the new state and the mean of each loss term. `state` is donated.

        All randomness follows from (seed, epoch). Epochs count from 1.
        """
        return self.epoch_on_device(state, self.arrays, np.int32(seed), np.int32(epoch))

    def batch(self, rows: jax.Array, key: jax.Array) -> Batch:
        """Makes a batch of training examples with histories, negatives and triples.

        Args:
          rows: int32 [B], entries of `arrays.examples`.
          key: random key.
        """
        batch_key, edge_key = jax.random.split(key)
        return draw_batch(
            self.arrays,
            rows,
            draw_edges(edge_key, self.arrays.sampler, len(rows)),
            jnp.ones(len(rows), jnp.float32),
            batch_key,
            num_items=self.corpus.num_items,
            num_negatives=self.config.loss.num_negatives,
            history_length=self.config.data.history_length,
            uses_triples="kg" in self.system.loss_weights,
            uses_text="lrd" in self.system.loss_weights,
        )

    def loss(self, params: Params, batch: Batch, key: jax.Array) -> tuple[jax.Array, ByTerm]:
        """The joint loss of a batch (Eq. 16) and the mean of each of its terms; a pure, differentiable function.

        Args:
          params: parameters, as from `init`.
          batch: a batch, as from `batch`.
          key: random key for dropout.
        """
        terms = self.system.losses(params, batch, self.arrays.tables, key)
        means = {
            name: jnp.vdot(batch.weights, sums) / jnp.maximum(jnp.vdot(batch.weights, counts), 1.0)
            for name, (sums, counts) in terms.items()
        }
        total = sum(self.system.loss_weights[name] * mean for name, mean in means.items())
        return cast(jax.Array, total), means

    def score(self, params: Params, users: jax.Array, history: History, candidates: jax.Array) -> jax.Array:
        """Scores candidates int32 [B, C] of users int32 [B] with these histories; float32 [B, C], a pure function."""
        encoded = self.system.encode(params, users, history, self.arrays.tables)
        return self.system.score(params, encoded, candidates, self.arrays.tables)


def assemble(config: Config, *, text: np.ndarray | None = None) -> Setup:
    """Reads the data, makes missing data, and builds the compiled functions on jax's devices.

    Args:
      config: all options.
      text: float32 [I + 1, T], text embeddings to use instead of those of the options.

    Raises:
      UserError: the input is bad.
    """
    config = resolve(config)
    corpus, text = _read_inputs(config, text)
    if text is not None:
        config = config.model_copy(update={"text": config.text.model_copy(update={"dimensions": text.shape[1]})})
    return assemble_corpus(config, corpus, text)._replace(notices=tuple(_notices(config, corpus)))


def assemble_corpus(config: Config, corpus: Corpus, text: np.ndarray | None) -> Setup:
    """Builds the compiled functions for a corpus in memory; the devices must be set up.

    Args:
      config: all options; data.path is ignored.
      corpus: the dataset.
      text: float32 [I + 1, T], text embeddings; None without LRD.
    """
    mesh, history_length = data_mesh(), config.data.history_length
    arrays = put_corpus(corpus, text, mesh, config.loss)
    splits = {"dev": put_split(corpus.dev, mesh), "test": put_split(corpus.test, mesh)}
    users = {split: corpus.sequence_users[getattr(corpus, split).rows] for split in splits}
    system = build_system(config, corpus, has_triples=arrays.sampler.triples is not None)
    optimizer = build_optimizer(config.optim)
    epoch_on_device = build_epoch(
        system,
        optimizer,
        mesh,
        batch_size=config.optim.batch_size,
        num_negatives=config.loss.num_negatives,
        history_length=history_length,
        num_items=corpus.num_items,
        lazy=config.optim.update == "lazy",
    )
    evaluation_on_device = build_evaluation(system, mesh, history_length=history_length)

    @jax.jit
    @in_float32
    def init(arrays: Arrays, seed: jax.Array) -> TrainState:  # one compilation for all seeds
        return init_state(system, optimizer, arrays, seed, mesh)

    def rank_targets(params: Params, split: str) -> np.ndarray:
        return checked_ranks(evaluation_on_device(params, arrays, *splits[split]), users[split], split)

    return Setup(
        config=config,
        corpus=corpus,
        arrays=arrays,
        system=system,
        splits=splits,
        init=lambda seed=config.run.seed: init(arrays, seed),
        rank_targets=rank_targets,
        fingerprint=_fingerprint(corpus.content_hash, text),
        earlier_fingerprint=_fingerprint(corpus.earlier_hash, text),
        epoch_on_device=epoch_on_device,
        evaluation_on_device=evaluation_on_device,
        epochs_on_device=jax.jit(jax.vmap(epoch_on_device, in_axes=(0, None, 0, 0)), donate_argnums=0),
        evaluations_on_device=jax.jit(jax.vmap(evaluation_on_device, in_axes=(0, None, None, None))),
    )


def _fingerprint(content_hash: str, text: np.ndarray | None) -> str:
    return hashlib.sha256(content_hash.encode() + (b"" if text is None else text.tobytes())).hexdigest()


def refuse_other_data(run: Setup, fingerprint: str, folder: Path) -> None:
    """Rejects a run folder that was made with other data, or by a version that numbered the entities differently.

    Args:
      run: the setup now.
      fingerprint: `Setup.fingerprint` at the start of the run in the folder.
      folder: the run folder.

    Raises:
      UserError: the data differ, or the earlier version differs for this model; otherwise earlier runs are accepted.
    """
    if fingerprint == run.fingerprint:
        return
    if fingerprint != run.earlier_fingerprint:
        path = run.config.data.path
        dataset = "the dataset" if path is None else f"the dataset in {path}"
        problem = f"{dataset} or its text embeddings differ from those that the run was started with"
        raise UserError(
            problem,
            file=folder,
            remedy="Restore them, set --data.path to where they are now, or start a new run with another --run.workdir",
        )
    if change := _change_since_earlier(run):
        problem = f"the run was made by an earlier version of lrd_jax, which {change}"
        remedy = f"Train it again with --config {folder / 'config.toml'} and another --run.workdir"
        raise UserError(problem, file=folder, remedy=remedy)


def _change_since_earlier(run: Setup) -> str | None:
    """How the version of `Setup.earlier_fingerprint` differs for this model and dataset; None if it does not."""
    if run.config.model.is_relational and run.corpus.attributes:
        return "had no entity for items without an attribute value, so its parameters do not fit"
    if run.config.model.name == "tisasrec":
        return "measured intervals in units of at most 65,535 seconds, so its ranks would be different"
    return None


def checked_ranks(
    counts: Counts, users: np.ndarray, split: str, *, ties: TieRule = "average", folder: Path | None = None
) -> np.ndarray:
    """Computes ranks from an evaluation's counts, float64 [N] on the host.

    Args:
      counts: counts of rows [N].
      users: int32 [N], the users of the rows.
      split: name of the split, for the error.
      ties: see `TieRule`.
      folder: the run folder, for the error.

    Raises:
      UserError: a score was not finite.
    """
    finite = np.asarray(counts.finite)
    if not finite.all():
        number, total = len(np.unique(users[~finite])), len(np.unique(users))
        raise UserError(
            f"{number} of {total} {split} users have scores that are not finite",
            file=folder,
            remedy="Lower --optim.learning-rate, and choose another --run.workdir; checkpoints so far are kept",
        )
    return target_ranks(counts.greater, counts.equal, ties)


def resolve(config: Config) -> Config:
    """Fills in options that depend on machine and directory, so that the recorded configuration repeats the run."""
    data, text, run = config.data, config.text, config.run
    if data.path is not None:
        data = data.model_copy(update={"path": data.path.absolute()})
    text = text.model_copy(
        update={
            "model": model_name(text),
            "dimensions": text.known_dimensions,
            "file": text.file and text.file.absolute(),
        }
    )
    if run.init_from is not None:
        run = run.model_copy(update={"init_from": run.init_from.absolute()})
    if run.refit_of is not None:
        run = run.model_copy(update={"refit_of": run.refit_of.absolute()})
    run = run.model_copy(
        update={"workdir": config.run_folder.absolute(), "cpu_devices": run.cpu_devices or available_cores()}
    )
    return config.model_copy(update={"data": data, "text": text, "run": run})


def _notices(config: Config, corpus: Corpus) -> list[Notice]:
    """The notices before training; those about texts only if the model embeds the texts."""
    folder = dataset_folder(config.data.path)
    reads_texts = config.uses_text and config.text.encoder != "file"
    of_texts = texts_of_folder(folder, corpus.num_items) if reads_texts else []
    return untestable(config.untestable) + corpus_notices(corpus, folder) + of_texts


def _read_inputs(config: Config, text: np.ndarray | None) -> tuple[Corpus, np.ndarray | None]:
    """The corpus and, for an LRD model, its text embeddings [I + 1, T]: `text` if given."""
    folder = config.data.path if config.data.path is not None else ensure_ml_100k()
    corpus = read_corpus(folder)
    if config.run.refit_of is not None:
        corpus = with_all_interactions(corpus)
    if not config.uses_text or text is not None:
        return corpus, text
    return corpus, load_or_embed(folder, corpus.num_items, config.text) * np.float32(config.text.scale)
