"""Dataset folders from Python: read one, or make one of frames."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from lrd_jax.data.cache import cache_dir
from lrd_jax.data.corpus import Corpus
from lrd_jax.data.id_maps import raw_ids
from lrd_jax.data.item_facts import read_item_facts
from lrd_jax.data.options import PrepareOptions
from lrd_jax.data.pipeline import prepare_folder
from lrd_jax.data.rechorus import read_corpus
from lrd_jax.data.sources.interaction_table import InteractionColumns, ItemColumns, read_interaction_table
from lrd_jax.errors import UserError
from lrd_jax.recommend.find_items import ItemFinder


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

    @functools.cached_property
    def facts(self) -> pl.DataFrame:
        """One row per item, in the order of the own ids: title and fields, as `read_item_facts` gives."""
        return read_item_facts(self.folder, self.corpus.num_items)

    @functools.cached_property
    def item_ids(self) -> pl.Series:
        """The source's ids of the items 1..I, String [I]."""
        return self.ids_of("item", np.arange(1, self.corpus.num_items + 1, dtype=np.int32))

    @functools.cached_property
    def user_ids(self) -> pl.Series:
        """The source's ids of the users 1..U, String [U]."""
        return self.ids_of("user", np.arange(1, self.corpus.num_users + 1, dtype=np.int32))

    @functools.cached_property
    def finder(self) -> ItemFinder:
        """Finds items by id or title."""
        return ItemFinder(self.item_ids, self.facts["title"])

    def ids_of(self, kind: Literal["user", "item"], ids: np.ndarray) -> pl.Series:
        """The source's ids, String [N], of the folder's own ids [N] of users or items; the own ones where there is no
        map."""
        raw = raw_ids(self.folder, kind, ids)
        return raw if raw.null_count() < len(raw) or not len(raw) else pl.Series(ids).cast(pl.String)

    def own_ids(self, kind: Literal["user", "item"], raw: Sequence[Any] | pl.Series) -> np.ndarray:
        """The folder's own ids, int32 [N], of the source's ids of users or items.

        Raises:
          UserError: an id is unknown.
        """
        known = self.user_ids if kind == "user" else self.item_ids
        wanted = as_ids(raw).alias("id")
        table = pl.DataFrame({"id": known, "own": pl.int_range(1, len(known) + 1, dtype=pl.Int32, eager=True)})
        own = pl.DataFrame({"id": wanted}).join(table, on="id", how="left", maintain_order="left")["own"]
        if own.null_count():
            unknown = wanted.filter(own.is_null())[0]
            remedy = f"Give ids as the source has them, such as {', '.join(known.head(3))}"
            raise UserError(f"there is no {kind} {unknown}", file=self.folder, remedy=remedy)
        return own.to_numpy()


def as_ids(raw: Sequence[Any] | pl.Series) -> pl.Series:
    """Ids as strings, String [N], from a series, an array or a list that may mix types."""
    return raw.cast(pl.String) if isinstance(raw, pl.Series) else pl.Series([str(one) for one in raw], dtype=pl.String)


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
        try:
            raw, _ = read_interaction_table(files["interactions"], InteractionColumns(user, item, time), about)
        except UserError as error:  # the files are gone when the message is read: name the frames
            frame = Path(error.file).stem if error.file is not None else None
            raise UserError(error.problem, file=frame, field=error.field, remedy=error.remedy) from error
        prepare_folder(raw, Path(folder), options)
    return load_dataset(folder)


def _parquet(frame: Any, folder: Path, name: str) -> Path:
    """A frame of polars or pandas as a file."""
    path = folder / f"{name}.parquet"
    as_frame(frame, name).write_parquet(path)
    return path


def as_frame(frame: Any, name: str) -> pl.DataFrame:
    """A frame of polars or pandas as one of polars; `name` is for the message.

    Raises:
      UserError: it is neither.
    """
    if isinstance(frame, pl.DataFrame):
        return frame
    if not (hasattr(frame, "columns") and hasattr(frame, "to_numpy")):
        raise UserError(f"{name} is a {type(frame).__name__}", remedy="Give a frame of polars or pandas")
    columns = {}
    for column in frame.columns:
        values = frame[column].to_numpy()
        columns[str(column)] = values.tolist() if values.dtype == object else values
    return pl.DataFrame(columns, strict=False, nan_to_null=True)
