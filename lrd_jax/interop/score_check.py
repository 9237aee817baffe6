"""Compares an imported model's scores and ranks with those of the published code for the same weights."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from lrd_jax.data.corpus import Corpus
from lrd_jax.data.device import gather_history
from lrd_jax.errors import UserError
from lrd_jax.interop.state_file import read_npz
from lrd_jax.models.precision import in_float32
from lrd_jax.models.system import Params
from lrd_jax.training.setup import Setup, checked_ranks

SCORE_TOLERANCE = 1e-4
"""Tolerance for scores: absolute, or relative if the score is larger than 1."""


class Checked(NamedTuple):
    """The result of `check_scores`.

    Attributes:
      rows, scores: numbers of compared rows and scores.
      ranks_off: number of rows with another rank of the target.
      scores_off: number of scores that differ by more than `SCORE_TOLERANCE`.
      largest: the largest difference of a score.
    """

    rows: int
    scores: int
    ranks_off: int
    scores_off: int
    largest: float

    def __str__(self) -> str:
        """One line for the terminal."""
        return (
            f"{self.ranks_off:,} of {self.rows:,} ranks differ, and {self.scores_off:,} of {self.scores:,} scores by"
            f" more than {SCORE_TOLERANCE:g}; the largest difference of a score is {self.largest:.2g}"
        )

    @property
    def agrees(self) -> bool:
        """Whether no score differs. Ranks may still differ where two scores are equal up to rounding."""
        return self.scores_off == 0


def check_scores(path: Path, run: Setup, params: Params) -> Checked:
    """Compares a file of the published code's scores with those of a model.

    Args:
      path: .npz with user_id and item_id [N], the user and the target of rows of test.csv in any order; scores
        [N, 1 + n], of the target and then of the row's neg_items; rank [N], of the target, from 1.
      run: the setup.
      params: parameters of the model.

    Raises:
      UserError: the file cannot be read, lacks an array, or belongs to another dataset, or a score is not finite.
    """
    theirs = _read(path)
    places = _places(path, theirs, run.corpus)
    split = run.corpus.test
    rows, negatives = split.rows[places], split.negatives[places]
    if theirs["scores"].shape != (len(rows), 1 + negatives.shape[1]):
        problem = f"expected shape {(len(rows), 1 + negatives.shape[1])}, got {theirs['scores'].shape}"
        raise UserError(problem, file=path, field="scores", remedy="Give the scores of the target and of all neg_items")
    counts = jax.device_get(run.evaluation_on_device(params, run.arrays, rows, negatives))
    checked_ranks(counts, run.corpus.sequence_users[rows], "test")
    first = 1 + counts.greater  # a tied target may have any of several ranks
    ranks_off = (theirs["rank"] < first) | (theirs["rank"] > first + counts.equal)
    candidates = np.concatenate([run.corpus.sequence_items[rows][:, None], negatives], axis=1)
    scores = candidate_scores(run, params, rows, candidates).astype(np.float64)
    differences = np.where(candidates > 0, np.abs(scores - theirs["scores"]), 0.0)
    scores_off = ~(differences <= SCORE_TOLERANCE * np.maximum(1.0, np.abs(scores)))  # NaN counts as different
    return Checked(
        rows=len(rows),
        scores=int((candidates > 0).sum()),
        ranks_off=int(ranks_off.sum()),
        scores_off=int(scores_off.sum()),
        largest=float(differences.max()),
    )


def candidate_scores(run: Setup, params: Params, rows: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """The model's scores, float32 [N, C], of candidates int32 [N, C] for rows int32 [N] of the sequences."""
    system, arrays, history_length = run.system, run.arrays, run.config.data.history_length

    @jax.jit
    @in_float32
    def score(params: Params, rows: jax.Array, candidates: jax.Array) -> jax.Array:
        history = gather_history(arrays, rows, history_length)
        encoded = system.encode(params, arrays.sequence_users[rows], history, arrays.tables)
        return system.score(params, encoded, candidates, arrays.tables)

    size = min(len(rows), system.users_per_block)
    found = np.empty(candidates.shape, np.float32)
    for start in range(0, len(rows), size):
        part = np.minimum(np.arange(start, start + size), len(rows) - 1)  # the last row is repeated as padding
        found[part] = score(params, rows[part], candidates[part])
    return found


def _read(path: Path) -> dict[str, np.ndarray]:
    if path.suffix != ".npz":
        raise UserError("not a .npz file", file=path, field="--check", remedy="Write it with numpy.savez")
    arrays = read_npz(path)
    for name, axes in {"user_id": 1, "item_id": 1, "scores": 2, "rank": 1}.items():
        if name not in arrays:
            problem = "the array is missing"
            remedy = "Write user_id, item_id, scores and rank, with one row per target of test.csv"
            raise UserError(problem, file=path, field=name, remedy=remedy)
        value = arrays[name]
        if (
            value.ndim != axes
            or len(value) != len(arrays["user_id"])
            or not len(value)
            or value.dtype.kind not in "iuf"
        ):
            problem = f"expected {axes} axes of numbers, one row per user_id, got {value.dtype} {value.shape}"
            raise UserError(problem, file=path, field=name)
    return arrays


def _places(path: Path, theirs: dict[str, np.ndarray], corpus: Corpus) -> np.ndarray:
    """The row of the test split for each row of the file, by user and target; equal pairs match in order of time."""
    rows = corpus.test.rows
    found: dict[tuple[int, int], list[int]] = defaultdict(list)
    for place in np.argsort(-rows, kind="stable").tolist():
        found[int(corpus.sequence_users[rows[place]]), int(corpus.sequence_items[rows[place]])].append(place)
    places = []
    for number, pair in enumerate(zip(theirs["user_id"].tolist(), theirs["item_id"].tolist(), strict=True)):
        if not found.get(pair):
            problem = f"row {number}: test.csv has no row of user {pair[0]} and item {pair[1]}"
            remedy = "Give the scores of the dataset that --data names, with its ids"
            raise UserError(problem + " left" if pair in found else problem, file=path, field="user_id", remedy=remedy)
        places.append(found[pair].pop())
    return np.array(places)
