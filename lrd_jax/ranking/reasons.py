"""Why an item was recommended: what each item of the history adds to its score, through each relation where known."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import polars as pl

from lrd_jax.models.precision import in_float32
from lrd_jax.models.system import RelationalSystem
from lrd_jax.ranking.histories import Histories, take
from lrd_jax.ranking.ranker import Ranker

_PAIRS_PER_CALL = 64
_SCHEMA = {
    "row": pl.Int64,
    "candidate": pl.Int32,
    "score": pl.Float32,
    "baseline": pl.Float32,
    "item": pl.Int32,
    "place": pl.Int32,
    "relation": pl.String,
    "contribution": pl.Float32,
}
"""Of what `Reasons.explain` returns."""


class Reasons:
    """Explains scores of one run; compiled once per shape."""

    def __init__(self, ranker: Ranker, relations: tuple[str, ...]) -> None:
        """Takes the run's ranker and the names of its R relations."""
        self._ranker, self._relations = ranker, relations
        system = ranker.system
        if isinstance(system, RelationalSystem):

            def explain(params: Any, users: Any, history: Any, candidates: Any, tables: Any) -> Any:
                return system.explain(params, system.encode(params, users, history, tables), candidates, tables)

            self._explain = jax.jit(in_float32(explain))

    def explain(self, histories: Histories, items: np.ndarray) -> pl.DataFrame:
        """What adds up to the scores of candidates.

        Relational models: integrated gradients (`models.attribution.attribute`), a row for each history item and
        relation; baseline + the contributions of a (row, candidate) are its score. Other models: a row for each history
        item, the score minus the score without that item; these do not add up to the score.

        Args:
          histories: B of them; only the last H items of each can count.
          items: int32 [B, C], candidates in own ids; 0 for padding.

        Returns:
          A frame in own ids: row, candidate, score, baseline (the score without any history; null for a model that is
          not relational), item (of the history), place (1 is the newest), relation (null likewise), contribution.
        """
        relational = isinstance(self._ranker.system, RelationalSystem)
        return self._by_relation(histories, items) if relational else self._by_item(histories, items)

    def _by_relation(self, histories: Histories, items: np.ndarray) -> pl.DataFrame:
        ranker, number = self._ranker, len(histories)
        batch = histories.padded(ranker.history_length)
        block = max(1, _PAIRS_PER_CALL // max(1, items.shape[1]))
        parts = [pl.DataFrame(schema=_SCHEMA)]
        for start in range(0, number, block):
            rows = np.minimum(np.arange(start, start + block), number - 1)
            history = take(batch, rows)
            found = self._explain(ranker.params, histories.users[rows], history, items[rows], ranker.tables)
            scores, baselines, contributions = jax.device_get(found)
            kept = min(block, number - start)
            held = (np.asarray(history.items)[:kept, None, :, None] > 0) & (items[rows][:kept, :, None, None] > 0)
            held = np.broadcast_to(held, contributions[:kept].shape)
            row, candidate, place, relation = np.nonzero(held)
            history_items = np.asarray(history.items)
            lengths = np.sum(history_items > 0, axis=1)
            parts.append(
                pl.DataFrame(
                    {
                        "row": row + start,
                        "candidate": items[rows][row, candidate],
                        "score": scores[row, candidate],
                        "baseline": baselines[row, candidate],
                        "item": history_items[row, place],
                        "place": (lengths[row] - place).astype(np.int32),
                        "relation": pl.Series(self._relations).gather(relation),
                        "contribution": contributions[row, candidate, place, relation],
                    }
                )
            )
        return pl.concat(parts)

    def _by_item(self, histories: Histories, items: np.ndarray) -> pl.DataFrame:
        """Each of the last H items left out in turn; of the model's whole history, so that older items move up."""
        ranker = self._ranker
        scores = ranker.score_rows(histories, items)
        lengths = np.diff(histories.offsets)
        counting = np.minimum(lengths, ranker.history_length)
        rows = np.repeat(np.arange(len(histories)), counting)
        place = np.arange(len(rows)) - np.repeat(np.cumsum(counting) - counting, counting) + 1  # 1 is the newest
        without = _without(histories, rows, histories.offsets[rows + 1] - place)
        others = ranker.score_rows(without, items[rows])
        alone = lengths[rows] == 1  # nothing is left to predict from: the whole score is this item's
        others = np.where(alone[:, None], 0.0, others)
        pairs, candidate = np.nonzero(items[rows] > 0)
        row = rows[pairs]
        return pl.DataFrame(
            {
                "row": row,
                "candidate": items[row, candidate],
                "score": scores[row, candidate],
                "baseline": pl.Series([None] * len(row), dtype=pl.Float32),
                "item": histories.items[(histories.offsets[rows + 1] - place)[pairs]],
                "place": place[pairs].astype(np.int32),
                "relation": pl.Series([None] * len(row), dtype=pl.String),
                "contribution": (scores[row, candidate] - others[pairs, candidate]).astype(np.float32),
            }
        ).sort("row", "candidate", "place", maintain_order=True)


def _without(histories: Histories, rows: np.ndarray, places: np.ndarray) -> Histories:
    """The histories `rows` [M], each without one place int [M] of the flat arrays; a history of one item keeps it."""
    taken = histories.rows(rows)
    lengths = np.diff(taken.offsets)
    drop = taken.offsets[:-1] + places - histories.offsets[rows]
    keep = np.ones(len(taken.items), bool)
    keep[drop[lengths > 1]] = False
    offsets = np.concatenate([[0], np.cumsum(lengths - (lengths > 1))])
    return Histories(taken.users, taken.items[keep], taken.times[keep], offsets)
