"""From interactions to the files of a dataset folder: filter, split, negatives, writing."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from lrd_jax.data.dates import date_text
from lrd_jax.errors import UserError

MARKER = "dataset.json"
"""The file that tells a folder of ours, which may be replaced, from one that the user made."""

_CELLS = 2**22  # (row, item) pairs in memory at once while negatives are drawn, 32 MiB of float64


class Dates(NamedTuple):
    """Where a temporal split cuts: seconds since 1970, or None for what `complete_dates` fills in."""

    dev_from: int | None = None
    test_from: int | None = None


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


def leave_one_out(users: np.ndarray, times: np.ndarray) -> dict[str, np.ndarray]:
    """Split interactions: each user's last goes to test, the one before it to dev, the rest to train.

    Args:
      users, times: int [N]; equal times keep their order.

    Returns:
      Row indices int [·] of "train", "dev" and "test", each sorted by time, then user, then first order.
    """
    by_user = np.lexsort((times, users))
    sorted_users = users[by_user]
    from_end = np.searchsorted(sorted_users, sorted_users, side="right") - 1 - np.arange(len(users))
    remaining = np.empty_like(from_end)  # interactions of the same user that come later
    remaining[by_user] = from_end
    by_time = np.lexsort((users, times))
    left = remaining[by_time]
    return {"train": by_time[left > 1], "dev": by_time[left == 1], "test": by_time[left == 0]}


def complete_dates(times: np.ndarray, dates: Dates) -> Dates:
    """Fill in the dates that are not given: 80, 10 and 10 percent of the interactions train, are dev and test.

    Beside a given test_from, dev is the last ninth of what comes before it; beside a given dev_from, the later half of
    what follows tests.

    Args:
      times: int [N], when each interaction happened.
      dates: what is given.
    """
    ordered, number = np.sort(times), len(times)
    dev_from, test_from = dates
    if test_from is None:
        before = number * 8 // 10 if dev_from is None else int(np.searchsorted(ordered, dev_from))
        test_from = int(ordered[min((before + number) // 2, number - 1)])
    if dev_from is None:
        dev_from = int(ordered[np.searchsorted(ordered, test_from) * 8 // 9])
    return Dates(dev_from, test_from)


def temporal_split(users: np.ndarray, times: np.ndarray, dev_from: int, test_from: int) -> dict[str, np.ndarray]:
    """Split interactions at two dates: train before dev_from, dev before test_from, test at test_from or later.

    A user's first interaction has no history to be ranked with. From dev_from on it is put into "history", neither
    trained on, which would tell of the future, nor evaluated: it only stands in the histories of the user's later ones.

    Args:
      users, times: int [N]; equal times keep their order.
      dev_from, test_from: seconds since 1970, as `times`.

    Returns:
      Row indices int [·] of "train", "history", "dev" and "test", each sorted by time, then user, then first order.

    Raises:
      UserError: train, dev or test has no interaction.
    """
    by_time = np.lexsort((users, times))
    first = np.zeros(len(users), bool)
    first[np.unique(users[by_time], return_index=True)[1]] = True  # in the order of by_time
    ordered = times[by_time]
    train = ordered < dev_from
    test = ~train & (ordered >= test_from)
    parts = {"train": train, "history": ~train & first, "dev": ~(train | test | first), "test": test & ~first}
    for name in ("train", "dev", "test"):
        if not parts[name].any():
            raise UserError(
                f"nothing is left for {name} with dev from {date_text(dev_from)} and test from {date_text(test_from)}",
                field="--dev-from, --test-from",
                remedy=f"Choose dates from {date_text(ordered[0])} to {date_text(ordered[-1])}, dev's before test's",
            )
    return {name: by_time[chosen] for name, chosen in parts.items()}


def sample_negatives(touched: csr_array, users: np.ndarray, num_negatives: int, rng: np.random.Generator) -> np.ndarray:
    """Draw items that a user has not touched, uniformly and without replacement, anew for every entry of `users`.

    Args:
      touched: bool [U + 1, I + 1], by user and item id; item 0 is padding and never drawn.
      users: int [N], a user may come several times.
      num_negatives: items per entry.
      rng: source of randomness.

    Returns:
      int64 [N, num_negatives]

    Raises:
      UserError: a user has touched so many items that fewer than num_negatives are left.
    """
    width = touched.shape[1]
    left = width - 1 - int(np.diff(touched.indptr)[users].max())
    if left < num_negatives:
        problem = f"{num_negatives} negatives per user are too many: one user leaves only {left} items untouched"
        raise UserError(problem, field="negatives", remedy=f"Choose at most {left}")
    negatives = np.empty((len(users), num_negatives), np.int64)
    block_size = max(1, _CELLS // width)
    for start in range(0, len(users), block_size):
        block = slice(start, start + block_size)
        refused = touched[users[block]].toarray()
        refused[:, 0] = True
        keys = np.where(refused, np.inf, rng.random(refused.shape))
        # The smallest keys are a uniform draw, in random order.
        smallest = np.argpartition(keys, num_negatives - 1, axis=1)[:, :num_negatives]
        order = np.argsort(np.take_along_axis(keys, smallest, axis=1), axis=1)
        negatives[block] = np.take_along_axis(smallest, order, axis=1)
    return negatives


def write_interactions(
    folder: Path,
    splits: Mapping[str, np.ndarray],
    users: np.ndarray,
    items: np.ndarray,
    times: np.ndarray,
    num_negatives: int,
    seed: int,
) -> None:
    """Write a file per split, such as train.csv; every row of dev.csv and test.csv has negatives of its own.

    Args:
      folder: where to write.
      splits: rows of each file, from `leave_one_out` or `temporal_split`; without rows, no file.
      users, items, times: int [N], ids from 1 without gaps, times in seconds.
      num_negatives: negatives per row; the user touches none of them in any split.
      seed: of the negatives.
    """
    touched = csr_array((np.ones(len(users), bool), (users, items)))
    for split, rows in splits.items():
        columns = {"user_id": users[rows], "item_id": items[rows], "time": times[rows]}
        if split in ("dev", "test"):
            rng = np.random.default_rng((seed, ("dev", "test").index(split)))
            negatives = np.empty((len(rows), num_negatives), np.int64)
            by_user = np.argsort(users[rows], kind="stable")
            negatives[by_user] = sample_negatives(touched, users[rows][by_user], num_negatives, rng)
            columns["neg_items"] = json_lists(row.tolist() for row in negatives)
        if len(rows):
            write_tsv(folder / f"{split}.csv", pl.DataFrame(columns))


def json_lists(lists: Iterable[Sequence[int]]) -> list[str]:
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
