"""Trained runs from Python: scores, recommendations, evaluations."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from lrd_jax import plugins
from lrd_jax.api.dataset import Dataset, as_frame, as_ids
from lrd_jax.api.new_items import extend
from lrd_jax.config.schema import Config
from lrd_jax.data.pipeline import dataset_folder
from lrd_jax.errors import UserError
from lrd_jax.evaluate.flags import make_protocol
from lrd_jax.evaluate.report import results_frame, summarise
from lrd_jax.evaluate.run_protocol import build_ranking
from lrd_jax.models.system import Params, RelationalSystem, System
from lrd_jax.ranking.histories import Histories
from lrd_jax.ranking.protocols import Protocol, SplitName, TieRule
from lrd_jax.ranking.ranker import Ranker, TopItems
from lrd_jax.recommend.lists import allowed_items, lists_frame
from lrd_jax.recommend.reasons import Reasons
from lrd_jax.recommend.retrieve import knn_ranker, text_ranker
from lrd_jax.recommend.similar import similarities
from lrd_jax.runs.folder import read_results
from lrd_jax.text.store import load_or_embed
from lrd_jax.training.load import Trained, load_trained, refuse_untestable
from lrd_jax.training.setup import Setup


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
      results: what results.json holds: metrics on dev and test (not of a refit), seconds, versions; None where
        the run has not finished.
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
    _text: np.ndarray | None = dataclasses.field(default=None, repr=False)

    @functools.cached_property
    def ranker(self) -> Ranker:
        """Scores and top-K lists in the dataset's own ids; compiled once per shape."""
        config, arrays = self.config, self.setup.arrays
        length, number = config.data.history_length, self.setup.corpus.num_items
        return Ranker(self.model, self.params, arrays.tables, history_length=length, num_items=number)

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
        candidates = self.dataset.own_ids("item", items) if items is not None else self._all_items
        return self.ranker.score(self.histories(users, histories, times), candidates)

    def histories(
        self,
        users: Sequence[Any] | None = None,
        histories: Sequence[Sequence[Any]] | None = None,
        times: Sequence[Sequence[float]] | None = None,
    ) -> Histories:
        """What the ranker reads: all interactions of known users, or histories of anybody; arguments as of `score`.

        Raises:
          UserError: an unknown id, an empty history, times that do not fit, or users and histories both or neither.
        """
        if (users is None) == (histories is None):
            raise UserError("give either users or histories", remedy="Leave one of them out")
        if users is not None:
            return Histories.of_users(self.dataset.corpus, self.dataset.own_ids("user", users))
        own = [self.dataset.own_ids("item", history) for history in histories or ()]
        return Histories.of_items(own, times)

    def recommend(
        self,
        users: Sequence[Any] | None = None,
        *,
        histories: Sequence[Sequence[Any]] | None = None,
        times: Sequence[Sequence[float]] | None = None,
        k: int = 10,
        exclude_seen: bool = True,
        candidates: Sequence[Any] | None = None,
        where: pl.Expr | None = None,
        retrieve: int | None = None,
        by: str | Path | Run = "item_knn",
    ) -> pl.DataFrame:
        """The K best items for users with all their interactions (dev and test too), or for histories of anybody.

        Args:
          users: B ids of the source. None and no histories: an error.
          histories: in place of users, B lists of item ids, oldest first. The user's own vector is then the mean of
            all users' vectors.
          times: of the histories, in seconds, ascending. None: all interactions at one moment.
          k: K, how many items each list has; fewer where there are fewer candidates.
          exclude_seen: leave out the items of the history.
          candidates: item ids to choose from. None: the whole catalogue.
          where: a polars expression over `dataset.facts`, such as `pl.col("genre").list.contains("Comedy")`.
          retrieve: N: rank only the N items that another model puts first. None: rank all candidates.
          by: the model that retrieves: "item_knn", "text", or a run of a sequence model (or its folder).

        Returns:
          A frame: user (or row, the number of the history), rank, item, title, score; best first. Of equal scores the
          item that comes first in the dataset leads.

        Raises:
          UserError: an unknown id, an empty history, K or N below 1, no item left by the filter, or no text
            embeddings for `by="text"`.
        """
        given = self.histories(users, histories, times)
        name = as_ids(users).alias("user") if users is not None else pl.Series("row", range(len(given)))
        top = self.top_items(
            given, k, exclude_seen=exclude_seen, candidates=candidates, where=where, retrieve=retrieve, by=by
        )
        return lists_frame(name, top, self.dataset.item_ids, self.dataset.facts["title"])

    def top_items(
        self,
        histories: Histories,
        k: int = 10,
        *,
        exclude_seen: bool = True,
        candidates: Sequence[Any] | None = None,
        where: pl.Expr | None = None,
        retrieve: int | None = None,
        by: str | Path | Run = "item_knn",
    ) -> TopItems:
        """As `recommend`, in the dataset's own ids, of what `histories` returns."""
        for value, name in ((k, "k"), (1 if retrieve is None else retrieve, "retrieve")):
            if value < 1:
                raise UserError(f"{name} is {value}", remedy=f"Set {name} to 1 or more")
        allowed = None if candidates is None else np.unique(self.dataset.own_ids("item", candidates))
        if where is not None:
            fitting = allowed_items(self.dataset.facts, where)
            allowed = fitting if allowed is None else np.intersect1d(allowed, fitting)
            if not len(allowed):
                raise UserError("no candidate fulfils the filter", remedy="Widen the filter")
        excluded = histories.seen() if exclude_seen else np.zeros((len(histories), 1), np.int32)
        k = min(k, self.dataset.corpus.num_items if allowed is None else len(allowed))
        name = self.config.model.name
        if retrieve is None:
            return self.ranker.top_items(histories, k, excluded=excluded, items=allowed, what=name)
        found = self._retriever(by).top_items(
            histories, max(k, retrieve), excluded=excluded, items=allowed, what="retrieval"
        )
        return self.ranker.top_of_candidates(histories, k, found.items, excluded=excluded, what=name)

    def with_new_items(self, items: Any) -> Run:
        """The run with items that it was not trained on and that nobody has interacted with; nothing is written.

        A new item's vector is the mean of those of the 10 items most similar in text and attributes, weighted by the
        similarity (`lrd_jax.recommend.new_items`). The new items can be recommended, explained and stand in histories;
        "item_knn" retrieves none of them.

        Args:
          items: a frame of polars or pandas, or of `read_new_items`, a row for each: item (or item_id), text (or
            title), and perhaps the dataset's attributes, several values being a list or text with | between them. A
            value that no item of the dataset has counts as none, with a warning.

        Raises:
          UserError: a column is missing or unknown, an id is missing, there twice or in the dataset already, a text is
            missing, the model has no item vectors, or its text encoder cannot be asked for more.
        """
        found = extend(self.dataset, self.setup, self.params, self.text, as_frame(items, "items"))
        trained = self._trained._replace(run=found.setup, params=found.params)
        return dataclasses.replace(
            self,
            dataset=found.dataset,
            model=found.setup.system,
            params=found.params,
            setup=found.setup,
            _trained=trained,
            _text=found.text,
        )

    def explain(
        self,
        users: Sequence[Any] | None = None,
        *,
        items: Sequence[Sequence[Any]],
        histories: Sequence[Sequence[Any]] | None = None,
        times: Sequence[Sequence[float]] | None = None,
    ) -> pl.DataFrame:
        """Why items have their scores: what each history item adds, through each relation for RCF and KDA.

        Args:
          users, histories, times: as of `recommend`.
          items: for each of the B users or histories, the ids of the items to explain.

        Returns:
          A frame: user (or row), candidate, candidate_title, score, baseline, item, title, place (1 is the newest
          interaction), relation, contribution. See `Reasons.explain` for what adds up.

        Raises:
          UserError: as `recommend`; or as many lists of items are not given as users.
        """
        given = self.histories(users, histories, times)
        if len(items) != len(given):
            raise UserError(f"{len(items)} lists of items for {len(given)} users", remedy="Give one list for each")
        wanted = np.zeros((len(given), max(map(len, items), default=0)), np.int32)
        for row, of_row in enumerate(items):
            wanted[row, : len(of_row)] = self.dataset.own_ids("item", of_row)
        name = as_ids(users).alias("user") if users is not None else pl.Series("row", range(len(given)))
        return self.named_reasons(self.reasons.explain(given, wanted), name)

    def named_reasons(self, reasons: pl.DataFrame, rows: pl.Series) -> pl.DataFrame:
        """What `Reasons.explain` returns, with ids of the source and titles; `rows` [B] names the rows."""
        ids, titles = self.dataset.item_ids, self.dataset.facts["title"]
        return reasons.select(
            rows.gather(reasons["row"]),
            ids.gather(reasons["candidate"] - 1).alias("candidate"),
            titles.gather(reasons["candidate"] - 1).alias("candidate_title"),
            "score",
            "baseline",
            ids.gather(reasons["item"] - 1).alias("item"),
            titles.gather(reasons["item"] - 1).alias("title"),
            "place",
            "relation",
            "contribution",
        )

    def similar(self, items: Sequence[Any], *, by: str = "vectors", k: int = 10) -> pl.DataFrame:
        """The K items most similar to each of some items.

        Args:
          items: B ids of the source.
          by: "vectors" (cosine of the model's item vectors; ItemKNN: of its interactions), "text" (cosine of the text
            embeddings), or the name of a relation in `relations` (the model's score of the triple, Eq. 15).
          k: K.

        Returns:
          A frame: item, rank, similar, title, score.

        Raises:
          UserError: an unknown item, or a model without such vectors or relation.
        """
        own = self.dataset.own_ids("item", items)
        scores = similarities(
            self.model,
            self.params,
            own,
            by=by,
            relations=self.relations,
            item_values=self.dataset.corpus.item_values,
            text=self.text if by == "text" else None,
        )
        scores[np.arange(len(own)), own - 1] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, : min(k, scores.shape[1] - 1)]
        top = TopItems((order + 1).astype(np.int32), np.take_along_axis(scores, order, axis=1))
        frame = lists_frame(as_ids(items).alias("of"), top, self.dataset.item_ids, self.dataset.facts["title"])
        return frame.rename({"item": "similar"}).rename({"of": "item"})

    @property
    def relations(self) -> tuple[str, ...]:
        """Names of the model's relations: "virtual", the predefined ones, "latent 1" and so on; empty without any."""
        if not isinstance(self.model, RelationalSystem):
            return ()
        return self.dataset.corpus.relation_names(self.model.scorer.num_relations)

    @functools.cached_property
    def reasons(self) -> Reasons:
        """Explains scores in the dataset's own ids."""
        return Reasons(self.ranker, self.relations)

    @property
    def _all_items(self) -> np.ndarray:
        return np.arange(1, self.dataset.corpus.num_items + 1, dtype=np.int32)

    def _retriever(self, by: str | Path | Run) -> Ranker:
        corpus, length = self.dataset.corpus, self.config.data.history_length
        if by == "item_knn":
            return self._knn_ranker
        if by == "text":
            return text_ranker(corpus, self.text, length)
        other = by if isinstance(by, Run) else load_run(by)
        if other.dataset.corpus.content_hash != corpus.content_hash:
            raise UserError(
                "the run that retrieves has another dataset", file=other.folder, remedy="Choose another run"
            )
        return other.ranker

    @functools.cached_property
    def _knn_ranker(self) -> Ranker:
        return knn_ranker(self.dataset.corpus, self.config.data.history_length)

    @functools.cached_property
    def text(self) -> np.ndarray:
        """Text embeddings of the items, float32 [I + 1, T], row 0 is padding: the run's own, else those of its options.

        Raises:
          UserError: the items have no texts.
        """
        held = self._text if self._text is not None else self.setup.arrays.tables.text
        if held is not None:
            return np.asarray(held)
        return load_or_embed(self.dataset.folder, self.dataset.corpus.num_items, self.config.text)

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
          UserError: an unknown protocol or option, a score that is not finite, or a refit, which has seen the test set.
        """
        refuse_untestable(self.config)
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
