"""Scores, lists, reasons and similar items, in the ids of the source."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lrd_jax.api.dataset import Dataset, as_ids
from lrd_jax.config.schema import Config
from lrd_jax.data.pipeline import dataset_folder
from lrd_jax.errors import UserError
from lrd_jax.models.simple import PopularitySystem
from lrd_jax.models.system import Params, RelationalSystem, System
from lrd_jax.ranking.frames import allowed_items, lists_frame
from lrd_jax.ranking.histories import Histories
from lrd_jax.ranking.ranker import Ranker, TopItems
from lrd_jax.ranking.reasons import Reasons
from lrd_jax.ranking.retrieve import knn_ranker, text_ranker
from lrd_jax.ranking.similar import similarities
from lrd_jax.text.store import load_or_embed
from lrd_jax.training.load import Trained, load_trained
from lrd_jax.training.setup import Setup


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recommender:
    """A model with its parameters and its dataset.

    Attributes:
      config: the configuration that it was trained with.
      dataset: the dataset it was trained on.
      model: the model with its losses and scores, pure functions of the parameters (`lrd_jax.models.system.System`).
      params: the parameters, a tree of arrays on the devices.
      setup: the dataset on the devices and the compiled functions.
    """

    config: Config
    dataset: Dataset
    model: System
    params: Params
    setup: Setup
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
        """Scores items for known users, with all their interactions as history, or for any given histories.

        Args:
          users: B user ids of the source.
          items: C item ids of the source. None: all items, in the order of the dataset's own ids.
          histories: instead of users, B lists of item ids of the source, oldest first, each with at least one item. The
            user embedding is then the mean over all users.
          times: times of the histories in seconds, ascending. None: all interactions happen at the same time.

        Returns:
          float32 [B, C]; higher is better. Compare scores only within a row. The time of prediction is the time of the
          newest interaction.

        Raises:
          UserError: an id is unknown, a history is empty, the times do not fit, or not exactly one of users and
            histories is given.
        """
        candidates = self.dataset.own_ids("item", items) if items is not None else self._all_items
        return self.ranker.score(self.histories(users, histories, times), candidates)

    def histories(
        self,
        users: Sequence[Any] | None = None,
        histories: Sequence[Sequence[Any]] | None = None,
        times: Sequence[Sequence[float]] | None = None,
        *,
        remove: Sequence[Any] = (),
        add: Sequence[Any] = (),
    ) -> Histories:
        """What the ranker reads: all interactions of known users, or histories of anybody; arguments as of `recommend`.

        Raises:
          UserError: an id is unknown, a history is empty, the times do not fit, or not exactly one of users and
            histories is given.
        """
        if (users is None) == (histories is None):
            raise UserError("expected either users or histories", remedy="Give exactly one of them")
        if users is not None:
            found = Histories.of_users(self.dataset.corpus, self.dataset.own_ids("user", users))
        else:
            lengths = [len(history) for history in histories or ()]
            own = self.dataset.own_ids("item", [item for history in histories or () for item in history])
            found = Histories.of_items(np.split(own, np.cumsum(lengths)[:-1]) if lengths else [], times)
        if not len(remove) and not len(add):
            return found
        items = self.dataset.own_ids
        return found.edited(remove=items("item", remove), add=items("item", add))

    def recommend(
        self,
        users: Sequence[Any] | None = None,
        *,
        histories: Sequence[Sequence[Any]] | None = None,
        times: Sequence[Sequence[float]] | None = None,
        remove: Sequence[Any] = (),
        add: Sequence[Any] = (),
        k: int = 10,
        exclude_seen: bool = True,
        candidates: Sequence[Any] | None = None,
        filter: pl.Expr | None = None,
        retrieve: int | None = None,
        by: str | Path | Recommender = "item_knn",
        explain: bool = False,
    ) -> pl.DataFrame:
        """The K best items for users with all their interactions (dev and test too), or for histories of anybody.

        Args:
          users: B ids of the source. None and no histories: an error.
          histories: in place of users, B lists of item ids, oldest first. The user's own vector is then the mean of
            all users' vectors.
          times: of the histories, in seconds, ascending. None: all interactions at one moment.
          remove: items to take out of every history first: what if they had not been there?
          add: items to put at the end of every history, at its newest moment.
          k: K, how many items each list has; fewer where there are fewer candidates.
          exclude_seen: leave out the items of the history.
          candidates: item ids to choose from. None: the whole catalogue.
          filter: a polars expression over `dataset.facts`, such as `pl.col("genre").list.contains("Comedy")`.
          retrieve: N: rank only the N items that another model puts first. None: rank all candidates.
          by: the model that retrieves: "item_knn", "text", or a run of a sequence model (or its folder).
          explain: return the reasons of the items in place of the lists.

        Returns:
          A frame: user (or row, the number of the history), rank, item, title, score; best first. Of equal scores the
          item that comes first in the dataset leads. With `explain`, what `Run.explain` returns for these items, and
          their rank.

        Raises:
          UserError: an unknown id, an empty history, K or N below 1, no item left by the filter, or no text
            embeddings for `by="text"`.
        """
        given = self.histories(users, histories, times, remove=remove, add=add)
        names = _names(users, len(given))
        top = self.top_items(
            given, k, exclude_seen=exclude_seen, candidates=candidates, filter=filter, retrieve=retrieve, by=by
        )
        if explain:
            return self._named_reasons(self.reasons.explain(given, top.items), names, top.items)
        return lists_frame(names, top, self.dataset.item_ids, self.dataset.facts["title"])

    def top_items(
        self,
        histories: Histories,
        k: int = 10,
        *,
        exclude_seen: bool = True,
        candidates: Sequence[Any] | None = None,
        filter: pl.Expr | None = None,
        retrieve: int | None = None,
        by: str | Path | Recommender = "item_knn",
    ) -> TopItems:
        """As `recommend`, in the dataset's own ids, of what `histories` returns."""
        for value, name in ((k, "k"), (1 if retrieve is None else retrieve, "retrieve")):
            if value < 1:
                raise UserError(f"{name} is {value}", remedy=f"Set {name} to 1 or more")
        allowed = None if candidates is None else np.unique(self.dataset.own_ids("item", candidates))
        if filter is not None:
            fitting = allowed_items(self.dataset.facts, filter)
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

    def explain(
        self,
        users: Sequence[Any] | None = None,
        *,
        items: Sequence[Sequence[Any]],
        histories: Sequence[Sequence[Any]] | None = None,
        times: Sequence[Sequence[float]] | None = None,
        remove: Sequence[Any] = (),
        add: Sequence[Any] = (),
    ) -> pl.DataFrame:
        """Why items have their scores: what each history item adds, through each relation for RCF and KDA.

        Args:
          users, histories, times, remove, add: as of `recommend`.
          items: for each of the B users or histories, the ids of the items to explain.

        Returns:
          A frame: user (or row), candidate, candidate_title, score, baseline, item, title, place (1 is the newest
          interaction), relation, contribution. See `Reasons.explain` for what adds up.

        Raises:
          UserError: as `recommend`; or as many lists of items are not given as users.
        """
        given = self.histories(users, histories, times, remove=remove, add=add)
        if len(items) != len(given):
            raise UserError(f"{len(items)} lists of items for {len(given)} users", remedy="Give one list for each")
        lengths = np.array([len(of_row) for of_row in items], np.int64)
        wanted = np.zeros((len(given), lengths.max(initial=0)), np.int32)
        wanted[np.arange(wanted.shape[1])[None] < lengths[:, None]] = self.dataset.own_ids(
            "item", [item for of_row in items for item in of_row]
        )
        return self._named_reasons(self.reasons.explain(given, wanted), _names(users, len(given)))

    def _named_reasons(self, reasons: pl.DataFrame, names: pl.Series, ranked: np.ndarray | None = None) -> pl.DataFrame:
        """What `Reasons.explain` returns, with ids of the source, titles and, of lists int32 [B, K], the ranks."""
        ids, titles = self.dataset.item_ids, self.dataset.facts["title"]
        named = reasons.select(
            names.gather(reasons["row"]),
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
        if ranked is None:
            return named
        places = ranked[reasons["row"].to_numpy()] == reasons["candidate"].to_numpy()[:, None]
        return named.insert_column(1, pl.Series("rank", places.argmax(axis=1) + 1, dtype=pl.Int32))

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

    @property
    def comparisons(self) -> tuple[str, ...]:
        """What `similar` can compare items by."""
        vectors = () if isinstance(self.model, PopularitySystem) else ("vectors",)
        text = () if self.dataset.facts["title"].null_count() == len(self.dataset.facts) else ("text",)
        return (*vectors, *self.relations, *text)

    @functools.cached_property
    def reasons(self) -> Reasons:
        """Explains scores in the dataset's own ids."""
        return Reasons(self.ranker, self.relations)

    @property
    def _all_items(self) -> np.ndarray:
        return np.arange(1, self.dataset.corpus.num_items + 1, dtype=np.int32)

    def _retriever(self, by: str | Path | Recommender) -> Ranker:
        corpus, length = self.dataset.corpus, self.config.data.history_length
        if by == "item_knn":
            return self._knn_ranker
        if by == "text":
            return text_ranker(corpus, self.text, length)
        other = by if isinstance(by, Recommender) else Recommender(**parts_of(load_trained(Path(by))))
        if other.dataset.corpus.content_hash != corpus.content_hash:
            folder = other.config.run.workdir
            raise UserError("the run that retrieves has another dataset", file=folder, remedy="Choose another run")
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


def parts_of(trained: Trained) -> dict[str, Any]:
    """The fields of a `Recommender` from a run that has been loaded."""
    return {
        "config": trained.config,
        "dataset": Dataset(dataset_folder(trained.config.data.path)),
        "model": trained.run.system,
        "params": trained.params,
        "setup": trained.run,
    }


def _names(users: Sequence[Any] | None, number: int) -> pl.Series:
    """What names the rows of a frame: the users, or the numbers of the histories."""
    return pl.Series("row", range(number)) if users is None else as_ids(users).alias("user")
