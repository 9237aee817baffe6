"""The Python API: datasets, training and trained runs. `import lrd_jax` offers all of it, imported when first used."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import polars as pl

from lrd_jax import plugins
from lrd_jax.config.schema import Config
from lrd_jax.config.toml_file import load_config, with_options
from lrd_jax.data.cache import cache_dir
from lrd_jax.data.corpus import Corpus
from lrd_jax.data.device import put_corpus
from lrd_jax.data.id_maps import source_ids
from lrd_jax.data.options import PrepareOptions
from lrd_jax.data.pipeline import dataset_folder, prepare_folder
from lrd_jax.data.rechorus import read_corpus
from lrd_jax.data.sources.interaction_table import InteractionColumns, ItemColumns, read_interaction_table
from lrd_jax.data.sources.movielens import ensure_ml_100k
from lrd_jax.devices import data_mesh
from lrd_jax.errors import UserError
from lrd_jax.evaluate.evaluate_lists import Data, evaluate_lists
from lrd_jax.evaluate.flags import make_protocol
from lrd_jax.evaluate.lists import Evaluated, lists_frame
from lrd_jax.evaluate.others_lists import read_lists
from lrd_jax.evaluate.ranks import Subject, results_frame
from lrd_jax.evaluate.report import summarise
from lrd_jax.evaluate.run_protocol import build_listing, build_ranking
from lrd_jax.evaluate.show import summarise_all
from lrd_jax.models.system import Params, System
from lrd_jax.ranking.protocols import Protocol, SplitName, TieRule
from lrd_jax.ranking.score import Histories, score_histories
from lrd_jax.runs.folder import read_results
from lrd_jax.training.load import Trained, load_trained
from lrd_jax.training.loop import train_and_evaluate
from lrd_jax.training.setup import Setup, assemble


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A dataset folder.

    Attributes:
      folder: where it is; docs/datasets.md says what it holds.
    """

    folder: Path

    @functools.cached_property
    def corpus(self) -> Corpus:
        """Its arrays, read once."""
        return read_corpus(self.folder)

    def ids_of(self, kind: str, ids: np.ndarray) -> pl.Series:
        """The source's ids, String [N], of the folder's own ids [N] of users or items; the own ones where there is no
        map."""
        return source_ids(self.folder, "user" if kind == "user" else "item", ids)

    def own_ids(self, kind: str, raw: Sequence[Any]) -> np.ndarray:
        """The folder's own ids, int32 [N], of the source's ids of users or items.

        Raises:
          UserError: an id is unknown.
        """
        number = self.corpus.num_users if kind == "user" else self.corpus.num_items
        known = self._map_of(kind, number)
        own = np.array([known.get(str(one), 0) for one in raw], np.int32)
        if len(own) and not own.all():
            strange = raw[int(np.flatnonzero(own == 0)[0])]
            remedy = f"Give ids as the source has them, such as {', '.join(list(known)[:3])}"
            raise UserError(f"there is no {kind} {strange!r}", file=self.folder, remedy=remedy)
        return own

    def evaluate_lists(
        self,
        lists: Any,
        protocol: str = "full",
        *,
        split: SplitName = "test",
        at: Sequence[int] = (5, 10),
        **options: Any,
    ) -> ListEvaluation:
        """Evaluates lists that any system made, as `python -m lrd_jax.evaluate --lists-from` does.

        Args:
          lists: a frame of polars or pandas, or a file: the columns user, item, and rank or score, ids of the source.
          protocol, split, at, options: as in `Run.evaluate`. Items that are no candidates are taken out of the lists.

        Raises:
          UserError: a column is missing, or a row is wrong: an unknown id, an item that a list has twice, ...
        """
        chosen, length = _protocol(protocol, options), max(at)
        data = Data(self.corpus, put_corpus(self.corpus, None, data_mesh()), self.folder)
        with tempfile.TemporaryDirectory() as temporary, _frames_named(Path(temporary)):
            file = Path(lists) if isinstance(lists, str | Path) else _parquet(lists, Path(temporary), "lists")
            given = read_lists(file, self.corpus, self.folder, split)
        done = [evaluate_lists(one, data, split, chosen, "average", length) for one in given]
        return _list_evaluation(done, split, at)

    @functools.cache  # noqa: B019 - a handful of datasets live as long as the program
    def _map_of(self, kind: str, number: int) -> dict[str, int]:
        ids = np.arange(1, number + 1, dtype=np.int32)
        return dict(zip(self.ids_of(kind, ids).to_list(), ids.tolist(), strict=True))


class ListEvaluation(NamedTuple):
    """What `Run.evaluate_lists` and `Dataset.evaluate_lists` return.

    Attributes:
      metrics: one row for each system: HR@K, NDCG@K and MRR@K, then the metrics of lists, such as "Coverage@10"; see
        docs/how-to/evaluate.md.
      lists: one row for each item of each list: row, user, rank, item, score, is_target and what else
        `evaluate --lists` writes to Parquet.
      rows: one row per target, as in `Evaluation`.
    """

    metrics: pl.DataFrame
    lists: pl.DataFrame
    rows: pl.DataFrame


class Evaluation(NamedTuple):
    """What `Run.evaluate` returns.

    Attributes:
      metrics: one row: HR@K, NDCG@K, MRR@K and MRR, means over the rows.
      slices: the same by the target's popularity, the history's length and, where there are any, repeated targets.
      rows: one row per target: user, item, rank and what else `evaluate` writes to Parquet.
    """

    metrics: pl.DataFrame
    slices: pl.DataFrame
    rows: pl.DataFrame


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained run: the parameters of its best epoch.

    Attributes:
      folder: the run folder.
      config: of the run.
      dataset: what it was trained on.
      model: the model with its losses and scores, pure functions of the parameters (`lrd_jax.models.system.System`).
      params: of the best epoch, a tree of arrays on the devices.
      epoch: the best epoch.
      results: what results.json holds: metrics on dev and test, seconds, versions; None where the run has not finished.
      setup: the dataset on the devices and the compiled functions.
    """

    folder: Path
    config: Config
    dataset: Dataset
    model: System
    params: Params
    epoch: int
    results: dict[str, Any] | None
    setup: Setup
    _trained: Trained = dataclasses.field(repr=False)

    def score(
        self,
        users: Sequence[Any] | None = None,
        items: Sequence[Any] | None = None,
        *,
        histories: Sequence[Sequence[Any]] | None = None,
        times: Sequence[Sequence[float]] | None = None,
    ) -> np.ndarray:
        """Scores items for users with all their interactions, or for histories of anybody.

        Args:
          users: B ids of the source.
          items: C ids of the source. None: all items, in the order of the dataset's own ids.
          histories: in place of users, B lists of item ids of the source, oldest first, one item at least in each. The
            user's own vector is then the mean of all users'.
          times: of the histories, in seconds; ascending. None: all at once.

        Returns:
          float32 [B, C]; higher is better, and only scores of one row compare. The moment of prediction is that of the
          newest interaction.

        Raises:
          UserError: an unknown id, an empty history, times that do not fit, or users and histories both or neither.
        """
        if (users is None) == (histories is None):
            raise UserError("give either users or histories", remedy="Leave one of them out")
        corpus = self.dataset.corpus
        all_items = np.arange(1, corpus.num_items + 1, dtype=np.int32)
        candidates = all_items if items is None else self.dataset.own_ids("item", items)
        if users is not None:
            given = Histories.of_users(corpus, self.dataset.own_ids("user", users))
        else:
            own = [self.dataset.own_ids("item", history) for history in histories or ()]
            given = Histories.of_items(own, times)
        return score_histories(self.setup, self.params, given, candidates)

    def evaluate(
        self,
        protocol: str = "given",
        *,
        split: SplitName = "test",
        ties: TieRule = "average",
        at: Sequence[int] = (5, 10),
        **options: Any,
    ) -> Evaluation:
        """Ranks the targets of a split by a protocol, as `python -m lrd_jax.evaluate` does.

        Args:
          protocol: "given", "sampled", "full", or the name of another package's.
          split: "dev" or "test".
          ties: the rank of a target among candidates of its score.
          at: the cutoffs K.
          options: of the protocol: negatives, sampling and seed of "sampled", keep_seen of "full".

        Raises:
          UserError: an unknown protocol or option, or a score that is not finite.
        """
        chosen = _protocol(protocol, options)
        counts = build_ranking(self.setup, split, chosen)(self.params)
        rows = results_frame(self.folder, self._trained, split, chosen, ties, counts)
        summary = summarise(rows, tuple(at))
        slices = [
            {"slice": column, "bin": part["bin"], "rows": part["rows"], **(part["metrics"] or {})}
            for column, parts in summary["slices"].items()
            for part in parts
        ]
        metrics = pl.DataFrame([{"rows": summary["rows"], **summary["metrics"]}])
        return Evaluation(metrics, pl.DataFrame(slices, infer_schema_length=None), rows)

    def evaluate_lists(
        self,
        protocol: str = "given",
        *,
        split: SplitName = "test",
        ties: TieRule = "average",
        at: Sequence[int] = (5, 10),
        **options: Any,
    ) -> ListEvaluation:
        """The top-K list of every row of a split, K the largest of `at`, as `python -m lrd_jax.evaluate --lists` does.

        Args:
          protocol, split, ties, at, options: as in `evaluate`.

        Raises:
          UserError: as `evaluate`.
        """
        chosen = _protocol(protocol, options)
        counts, lists = build_listing(self.setup, split, chosen, max(at))(self.params)
        rows = results_frame(self.folder, self._trained, split, chosen, ties, counts)
        return _list_evaluation([Evaluated(Subject.of_run(self.folder, self._trained), rows, lists)], split, at)


@contextlib.contextmanager
def _frames_named(temporary: Path) -> Iterator[None]:
    """Names the frame in an error of a file in a temporary folder, which is gone when the message is read."""
    try:
        yield
    except UserError as error:
        if error.file is None or Path(error.file).parent != temporary:
            raise
        frame = Path(error.file).stem
        raise UserError(error.problem, file=frame, field=error.field, remedy=error.remedy) from error


def _list_evaluation(done: Sequence[Evaluated], split: SplitName, at: Sequence[int]) -> ListEvaluation:
    metrics = [
        {"run": one["run"], "model": one["model"], "rows": one["rows"], **one["metrics"], **one["list_metrics"]}
        for one in summarise_all(done, split, tuple(at))
    ]
    lists = [lists_frame(one.subject, one.ranks, one.lists) for one in done if one.lists is not None]
    return ListEvaluation(pl.DataFrame(metrics), pl.concat(lists), pl.concat([one.ranks for one in done]))


def load_dataset(folder: str | Path) -> Dataset:
    """A dataset folder, read and checked.

    Raises:
      UserError: anything missing or wrong in its files, with file, line, field and remedy.
    """
    dataset = Dataset(Path(folder).absolute())
    _ = dataset.corpus  # read now, so that a mistake comes here
    return dataset


def dataset_from_frame(
    interactions: Any,
    *,
    user: str = "user_id",
    item: str = "item_id",
    time: str | None = None,
    items: Any = None,
    item_id: str | None = None,
    attributes: Sequence[str] = (),
    relations: Sequence[str] = (),
    template: str | None = None,
    folder: str | Path | None = None,
    core: int = 5,
    negatives: int = 99,
    seed: int = 0,
) -> Dataset:
    """A dataset of a frame of interactions and perhaps one of items, as `python -m lrd_jax.prepare table` makes it.

    Args:
      interactions: of polars or pandas, a row for each.
      user, item: its columns of ids, whatever they look like.
      time: its column of times: seconds, milliseconds, dates, ... None: the order of the rows.
      items: of polars or pandas, a row for each item; its columns can fill the template.
      item_id: its column of ids. None: as in the interactions.
      attributes: columns of items whose values, one or a list of them, become attributes.
      relations: columns of items with lists of other items' ids.
      template: of the item texts, as in "{title:32} {category}". None: all columns of items.
      folder: where the dataset folder is written. None: in the cache, under a name made of the content.
      core: interactions that every user and item must keep.
      negatives: per row of dev and test.
      seed: of the negatives.

    Raises:
      UserError: a column is missing, a cell cannot be understood, or nothing is left after the filter.
    """
    options = PrepareOptions(core=core, negatives=negatives, seed=seed, template=template)
    with tempfile.TemporaryDirectory() as temporary:
        files = {"interactions": _parquet(interactions, Path(temporary), "interactions")}
        if items is not None:
            files["items"] = _parquet(items, Path(temporary), "items")
        if folder is None:
            contents = [file.read_bytes() for file in files.values()]
            chosen = repr((user, item, time, item_id, tuple(attributes), tuple(relations), options))
            digest = hashlib.sha256(b"".join([*contents, chosen.encode()])).hexdigest()[:16]
            folder = cache_dir() / "datasets" / f"frame-{digest}"
        about = None
        if items is not None:
            about = ItemColumns(files["items"], item_id or item, tuple(attributes), tuple(relations))
        with _frames_named(Path(temporary)):
            raw, _ = read_interaction_table(files["interactions"], InteractionColumns(user, item, time), about)
        prepare_folder(raw, Path(folder), options)
    return load_dataset(folder)


def fit(config: Config | str | Path | None = None, dataset: Dataset | None = None, *, resume: bool = False) -> Run:
    """Trains with early stopping on dev, tests the best epoch once, and keeps everything in the run folder.

    Args:
      config: the options, or a TOML file of them. None: the defaults.
      dataset: None: the one that the configuration names, MovieLens-100k by default.
      resume: continue the run that the run folder holds.

    Returns:
      The trained run.

    Raises:
      UserError: bad input, a run folder that holds a run, or a loss that is not finite.
    """
    config = config if isinstance(config, Config) else Config() if config is None else load_config(config)
    options: dict[str, Any] = {} if dataset is None else {"data.path": str(dataset.folder)}
    if jax.default_backend() == "cpu":  # what jax has in this process; commands choose it by run.cpu_devices
        options["run.cpu_devices"] = jax.device_count()
    config = with_options(config, options)
    train_and_evaluate(config, resume=resume)
    return load_run(config.run_folder)


def load_run(folder: str | Path, *, data: str | Path | None = None) -> Run:
    """The best epoch of a run folder, finished or not.

    Args:
      folder: the run folder.
      data: where its dataset is now. None: where it was.

    Raises:
      UserError: there is no run or no checkpoint, or the dataset is missing or has changed.
    """
    folder = Path(folder)
    trained = load_trained(folder, data=None if data is None else Path(data))
    return Run(
        folder=folder,
        config=trained.config,
        dataset=Dataset(dataset_folder(trained.config.data.path)),
        model=trained.run.system,
        params=trained.params,
        epoch=trained.epoch,
        results=read_results(folder),
        setup=trained.run,
        _trained=trained,
    )


def setup(config: Config, dataset: Dataset | None = None) -> Setup:
    """What a training loop of one's own needs: the dataset on the devices, and pure functions of the parameters.

    `Setup.init`, `Setup.train_epoch`, `Setup.loss` and `Setup.score` are stable.

    Raises:
      UserError: bad input.
    """
    if dataset is None and config.data.path is None:
        dataset = Dataset(ensure_ml_100k())
    return assemble(config if dataset is None else with_options(config, {"data.path": str(dataset.folder)}))


def _protocol(name: str, options: dict[str, Any]) -> Protocol:
    known = plugins.names(plugins.PROTOCOLS)
    if name not in known:
        raise UserError(f"there is no protocol {name!r}", remedy=f"Choose one of {', '.join(known)}")
    protocol = plugins.load(plugins.PROTOCOLS, name)
    for option in options:
        if option not in protocol.model_fields:
            remedy = f"Its options are {', '.join(protocol.model_fields)}" if protocol.model_fields else "It has none"
            raise UserError(f"the protocol {name} has no option {option!r}", remedy=remedy)
    return make_protocol(protocol, options)


def _parquet(frame: Any, folder: Path, name: str) -> Path:
    """A frame of polars or pandas as a file."""
    if not isinstance(frame, pl.DataFrame):
        if not (hasattr(frame, "columns") and hasattr(frame, "to_numpy")):
            raise UserError(f"{name} is a {type(frame).__name__}", remedy="Give a frame of polars or pandas")
        columns = {}
        for column in frame.columns:
            values = frame[column].to_numpy()
            columns[str(column)] = values.tolist() if values.dtype == object else values
        frame = pl.DataFrame(columns, strict=False, nan_to_null=True)
    path = folder / f"{name}.parquet"
    frame.write_parquet(path)
    return path
