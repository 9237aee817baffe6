"""Writes a dataset folder of tab-separated files, completely or not at all."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from lrd_jax.data.negatives import notebook_items, notebook_negatives, sample_negatives
from lrd_jax.errors import UserError
from lrd_jax.terminal.lines import row_progress

MARKER = "dataset.json"
"""The file that marks a folder as written by this program, so that it may be replaced."""

_ROWS_AT_ONCE = 2**15  # rows written at once, so that the whole text is never in memory


def write_interactions(
    folder: Path,
    splits: Mapping[str, np.ndarray],
    users: np.ndarray,
    items: np.ndarray,
    times: np.ndarray,
    num_negatives: int,
    seed: int,
    *,
    like_notebooks: bool = False,
) -> None:
    """Writes one file per split, such as train.csv; every row of dev.csv and test.csv has its own negatives.

    Args:
      folder: where to write.
      splits: rows of each file, from `leave_one_out` or `temporal_split`; a split without rows gets no file.
      users, items, times: int [N], ids from 1 without gaps, times in seconds.
      num_negatives: negatives per row; the user interacts with none of them in any split.
      seed: seed of the negatives.
      like_notebooks: draw negatives as the published notebooks do (`notebook_negatives`).

    Raises:
      UserError: a user has interacted with so many items that too few are left for the negatives.
    """
    touched = csr_array((np.ones(len(users), bool), (users, items)))
    touched.sum_duplicates()
    negatives = {}
    if like_notebooks:
        random = np.random.RandomState(seed)
        num_items = notebook_items(splits, users, items, times)
        for split in ("test", "dev"):
            of_rows = users[splits[split]]
            negatives[split] = notebook_negatives(touched, of_rows, num_items, num_negatives, random)
    for split, rows in splits.items():
        if split in ("dev", "test") and not like_notebooks:
            rng = np.random.default_rng((seed, ("dev", "test").index(split)))
            negatives[split] = np.empty((len(rows), num_negatives), np.int32)
            by_user = np.argsort(users[rows], kind="stable")
            negatives[split][by_user] = sample_negatives(touched, users[rows][by_user], num_negatives, rng)
        if len(rows):
            columns = {"user_id": users[rows], "item_id": items[rows], "time": times[rows]}
            _write_rows(folder / f"{split}.csv", columns, negatives.pop(split, None))


def _write_rows(path: Path, columns: Mapping[str, np.ndarray], negatives: np.ndarray | None) -> None:
    """Writes rows block by block, the negatives int [N, n] as JSON lists."""
    number = len(columns["user_id"])
    with path.open("wb") as file, row_progress(number, path.name) as progress:
        for start in range(0, number, _ROWS_AT_ONCE):
            block = slice(start, start + _ROWS_AT_ONCE)
            frame = pl.DataFrame({name: values[block] for name, values in columns.items()})
            if negatives is not None:
                lists = pl.Series("neg_items", negatives[block]).cast(pl.List(pl.Int32))
                frame = frame.with_columns(json_lists(lists))
            _write_tsv(file, frame, include_header=start == 0)
            progress.update(len(frame))


def json_lists(lists: pl.Series) -> pl.Series:
    """Each list of numbers as JSON, such as "[3, 1, 2]"."""
    texts = pl.col(lists.name).cast(pl.List(pl.String)).list.join(", ")
    return lists.to_frame().select(pl.concat_str(pl.lit("["), texts, pl.lit("]")).alias(lists.name)).to_series()


def write_tsv(path: Path, rows: pl.DataFrame) -> None:
    """Writes a tab-separated file with header; quotation marks have no special meaning."""
    _write_tsv(path, rows)


def tsv_bytes(rows: pl.DataFrame) -> bytes:
    """The bytes that `write_tsv` writes."""
    content = io.BytesIO()
    _write_tsv(content, rows)
    return content.getvalue()


def _write_tsv(file: Path | IO[bytes], rows: pl.DataFrame, *, include_header: bool = True) -> None:
    rows.write_csv(file, separator="\t", quote_style="never", line_terminator="\n", include_header=include_header)


def refuse_foreign(folder: Path) -> None:
    """Rejects a folder that must not be replaced: it is not empty and has no MARKER.

    Raises:
      UserError: the folder must not be replaced, or is a file.
    """
    if folder.exists() and not (folder.is_dir() and (not any(folder.iterdir()) or (folder / MARKER).exists())):
        raise UserError("it exists and was not made by this program", file=folder, remedy="Choose another folder")


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder next to `folder`, renamed to it if the block succeeds and removed if it fails.

    The block writes the files, including MARKER.

    Raises:
      UserError: the folder exists and was not made by this program, or cannot be written.
    """
    folder = Path(folder).absolute()
    old = None
    refuse_foreign(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise UserError(f"the folder cannot be written ({error.strerror})", file=folder) from None
    try:
        temporary.chmod(0o755)  # mkdtemp gives access to the owner only
        yield temporary
        if folder.exists():  # a rename cannot replace a folder that is not empty
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
            folder.rename(old / folder.name)
        temporary.rename(folder)
    except OSError as error:
        raise UserError(f"the folder cannot be written ({error.strerror or error})", file=folder) from None
    finally:
        for leftover in (temporary, old):
            if leftover is not None:
                shutil.rmtree(leftover, ignore_errors=True)
