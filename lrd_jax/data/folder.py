"""From interactions to the files of a dataset folder: filter, leave-one-out split, negatives, writing."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from lrd_jax.errors import UserError

MARKER = "dataset.json"
"""The file that tells a folder of ours, which may be replaced, from one that the user made."""


def filter_core(users: np.ndarray, items: np.ndarray, minimum: int) -> np.ndarray:
    """Which interactions remain when users and items with fewer than `minimum` of them go, until none has fewer.

    Args:
      users, items: non-negative ids, int [N].
      minimum: interactions that every user and item must keep.

    Returns:
      bool [N]
    """
    keep = np.ones(len(users), bool)
    while True:
        counts = [np.bincount(ids[keep], minlength=ids.max(initial=0) + 1)[ids] for ids in (users, items)]
        remaining = keep & (np.minimum(*counts) >= minimum)
        if (remaining == keep).all():
            return keep
        keep = remaining


def leave_one_out(users: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split interactions: each user's last goes to test, the one before it to dev, the rest to train.

    Args:
      users, times: int [N]; equal times keep their order.

    Returns:
      (train, dev, test): row indices int [·], each sorted by time, then user, then first order.
    """
    by_user = np.lexsort((times, users))
    sorted_users = users[by_user]
    from_end = np.searchsorted(sorted_users, sorted_users, side="right") - 1 - np.arange(len(users))
    remaining = np.empty_like(from_end)  # interactions of the same user that come later
    remaining[by_user] = from_end
    by_time = np.lexsort((users, times))
    left = remaining[by_time]
    return by_time[left > 1], by_time[left == 1], by_time[left == 0]


def sample_negatives(touched: np.ndarray, num_negatives: int, rng: np.random.Generator) -> np.ndarray:
    """Draw items that each user has not touched, uniformly and without replacement.

    Args:
      touched: bool [U, I + 1], by user and item id; item 0 is padding and never drawn.
      num_negatives: items per user.
      rng: source of randomness.

    Returns:
      int64 [U, num_negatives]

    Raises:
      UserError: a user has touched so many items that fewer than num_negatives are left.
    """
    left = int((~touched[:, 1:]).sum(axis=1).min())
    if left < num_negatives:
        problem = f"{num_negatives} negatives per user are too many: one user leaves only {left} items untouched"
        raise UserError(problem, field="negatives", remedy=f"Choose at most {left}")
    keys = np.where(touched, np.inf, rng.random(touched.shape))  # the smallest keys are a uniform draw, in random order
    keys[:, 0] = np.inf
    return np.argsort(keys, axis=1, kind="stable")[:, :num_negatives]


def write_interactions(
    folder: Path, users: np.ndarray, items: np.ndarray, times: np.ndarray, num_negatives: int, seed: int
) -> None:
    """Write train.csv, dev.csv and test.csv: leave-one-out, with negatives of their own for dev and test.

    Args:
      folder: where to write.
      users, items, times: int [N], ids from 1 without gaps, times in seconds; every user has three rows or more.
      num_negatives: negatives per user and split.
      seed: of the negatives.
    """
    touched = np.zeros((users.max() + 1, items.max() + 1), bool)
    touched[users, items] = True
    for split, rows in zip(("train", "dev", "test"), leave_one_out(users, times), strict=True):
        columns = {"user_id": users[rows], "item_id": items[rows], "time": times[rows]}
        if split != "train":
            rng = np.random.default_rng((seed, ("dev", "test").index(split)))
            negatives = sample_negatives(touched[1:], num_negatives, rng)[users[rows] - 1]
            columns["neg_items"] = json_lists(negatives.tolist())
        write_tsv(folder / f"{split}.csv", pl.DataFrame(columns))


def json_lists(lists: Sequence[Sequence[int]]) -> list[str]:
    """Each list as JSON, such as "[3, 1, 2]"."""
    return [str(list(values)) for values in lists]


def write_tsv(path: Path, rows: pl.DataFrame) -> None:
    """Write a tab-separated file with header; quotation marks mean nothing in it."""
    rows.write_csv(path, separator="\t", quote_style="never", line_terminator="\n")


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary sibling that becomes `folder` when the block ends well and vanishes otherwise.

    The block writes the files, MARKER among them.

    Raises:
      UserError: the folder exists and holds something else than a dataset made here, or cannot be written.
    """
    folder = Path(folder).absolute()
    old = None
    if folder.exists() and not (folder.is_dir() and (not any(folder.iterdir()) or (folder / MARKER).exists())):
        raise UserError("it exists and was not made by this program", file=folder, remedy="Name another folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise UserError(f"the folder cannot be written ({error.strerror})", file=folder) from None
    try:
        temporary.chmod(0o755)  # mkdtemp's is for its owner only
        yield temporary
        if folder.exists():  # a folder that is not empty cannot be renamed over
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
            folder.rename(old / folder.name)
        temporary.rename(folder)
    except OSError as error:
        raise UserError(f"the folder cannot be written ({error.strerror or error})", file=folder) from None
    finally:
        for leftover in (temporary, old):
            if leftover is not None:
                shutil.rmtree(leftover, ignore_errors=True)
