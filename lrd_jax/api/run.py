"""Trained runs from Python: what `Recommender` does, and evaluations."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lrd_jax.api import evaluation
from lrd_jax.api.evaluation import Evaluation, ListEvaluation
from lrd_jax.api.frames import as_frame
from lrd_jax.api.new_items import extend
from lrd_jax.api.recommender import Recommender, parts_of
from lrd_jax.ranking.protocols import SplitName, TieRule
from lrd_jax.runs.folder import read_results
from lrd_jax.training.load import Trained, load_trained, refuse_untestable


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(Recommender):
    """A trained run: a `Recommender` with the parameters of its best epoch.

    Attributes:
      folder: the run folder.
      epoch: the best epoch.
      results: the contents of results.json: metrics on dev and test (not of a refit), seconds, versions. None if the
        run is unfinished.
    """

    folder: Path
    epoch: int
    results: dict[str, Any] | None
    _trained: Trained = dataclasses.field(repr=False)

    def with_new_items(self, items: Any) -> Run:
        """The run with items that it was not trained on and that nobody has interacted with; nothing is written.

        A new item's vector is the mean of those of the 10 items most similar in text and attributes, weighted by the
        similarity (`lrd_jax.ranking.new_items`). The new items can be recommended, explained and stand in histories;
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
          protocol: "given", "sampled", "full", or the name of a protocol that another package adds.
          split: "dev" or "test".
          ties: how a target is ranked among candidates with the same score.
          at: the cutoffs K.
          options: options of the protocol: negatives, sampling and seed of "sampled"; keep_seen of "full".

        Raises:
          UserError: the protocol or an option is unknown, a score is not finite, or the run is a refit.
        """
        refuse_untestable(self.config)
        return evaluation.evaluate(self.folder, self._trained, protocol, split, ties, at, options)

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
        refuse_untestable(self.config)
        return evaluation.evaluate_lists_of_run(self.folder, self._trained, protocol, split, ties, at, options)


def load_run(folder: str | Path, *, data: str | Path | None = None) -> Run:
    """Loads the best epoch of a run folder, finished or not.

    Args:
      folder: the run folder.
      data: where its dataset is now. None: where it was during training.

    Raises:
      UserError: there is no run or no checkpoint, or the dataset is missing or has changed.
    """
    folder = Path(folder)
    trained = load_trained(folder, data=None if data is None else Path(data))
    return Run(folder=folder, epoch=trained.epoch, results=read_results(folder), _trained=trained, **parts_of(trained))
