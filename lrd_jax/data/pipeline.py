"""Turns a `RawDataset` into a dataset folder; the same for every source.

The steps: drop duplicates (same user, item and time, at the source's resolution), k-core filter, ids from 1 in the
order of the source's ids, stable sort by time, round to whole seconds, split, negatives, item_meta.csv, texts, data
card. The same data and options give the same bytes: no file records when or where it was made.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lrd_jax.data import item_tables
from lrd_jax.data.cache import cache_dir
from lrd_jax.data.card import card_files, data_card
from lrd_jax.data.dates import date_text, parse_date
from lrd_jax.data.folder import MARKER, new_folder, write_interactions, write_tsv
from lrd_jax.data.negatives import notebook_items, short_of_items
from lrd_jax.data.notices import Notice, dropped_users, name_some
from lrd_jax.data.options import PrepareOptions
from lrd_jax.data.raw import RawDataset
from lrd_jax.data.sources.columns import first_row
from lrd_jax.data.splits import Dates, complete_dates, filter_core, leave_one_out, temporal_split
from lrd_jax.data.tables import INT32_MAX
from lrd_jax.data.templates import ItemTexts, fill_template
from lrd_jax.data.texts import ITEM_TEXT
from lrd_jax.errors import UserError
from lrd_jax.terminal.lines import warn

_MONTH = 31 * 86400
_YEAR_2100 = 4_102_444_800  # 2100-01-01 in seconds


@dataclasses.dataclass(frozen=True)
class Prepared:
    """The result of `prepare_folder`.

    Attributes:
      folder: the dataset folder.
      sizes: numbers of users, items and interactions.
      split: how it was split, in words.
      rows: number of interactions in each split.
      texts: the item texts; None if the source has no item data.
      card: the data card.
    """

    folder: Path
    sizes: dict[str, int]
    split: str
    rows: dict[str, int]
    texts: ItemTexts | None
    card: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class _Coded:
    """Interactions with users and items as codes from 0, int32 [N] each, and the raw ids of the codes."""

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray
    raw_users: pl.Series
    raw_items: pl.Series

    def keep(self, kept: np.ndarray) -> _Coded:
        """Only the kept interactions, renumbered so that the codes have no gaps."""
        (users, raw_users), (items, raw_items) = (
            _renumber(codes[kept], raw) for codes, raw in ((self.users, self.raw_users), (self.items, self.raw_items))
        )
        return _Coded(users, items, self.times[kept], raw_users, raw_items)


def dataset_folder(path: Path | None) -> Path:
    """The folder that `DataConfig.path` stands for, existing or not; without a path, that of MovieLens-100k."""
    return Path(path) if path is not None else default_folder("ml-100k")


def default_folder(name: str, options: PrepareOptions | None = None) -> Path:
    """The cache folder of a dataset; each set of options has its own folder.

    Raises:
      UserError: an option is not a date.
    """
    options = PrepareOptions() if options is None else options
    temporal = parse_dates(options)
    if temporal is not None:
        given = ((field, date) for field, date in temporal._asdict().items() if date is not None)
        name += "-temporal" + "".join(f"-{field}-{date_text(date)}" for field, date in given)
        name = name.replace("_", "-").replace(":", "")
    if (options.seed, options.negatives) != (PrepareOptions.seed, PrepareOptions.negatives):
        name += f"-seed{options.seed}-negatives{options.negatives}"
    name += f"-core{options.core}" if options.core != PrepareOptions.core else ""
    name += f"-like-{options.like}" if options.like is not None else ""
    name += "-enough-negatives" if options.drop_users_with_too_few_negatives else ""
    return cache_dir() / "datasets" / name


def parse_dates(options: PrepareOptions) -> Dates | None:
    """The given dates of a temporal split; None for leave-one-out.

    Raises:
      UserError: an option is not a date.
    """
    if options.split != "temporal":
        return None
    given = {"--dev-from": options.dev_from, "--test-from": options.test_from}
    return Dates(*(None if text is None else parse_date(text, field) for field, text in given.items()))


def prepare_folder(raw: RawDataset, folder: Path, options: PrepareOptions) -> Prepared:
    """Writes the dataset folder of raw data.

    Args:
      raw: the data from a source.
      folder: where to write; an earlier prepared dataset there is replaced.
      options: how to prepare it; `out` and `show` are for the command only.

    Raises:
      UserError: the options or the template are invalid, nothing is left after the filter or in a split, there are too
        many negatives, times are out of range, or the folder cannot be written.
    """
    options.check()
    dates = parse_dates(options)
    template = raw.template if options.template is None else options.template
    _check_ids(raw.interactions)
    _check_times(raw.interactions["time"], dated="times" not in raw.origin)
    coded, dropped = _filtered(raw.interactions, options.core)
    for name, left in (("users", coded.raw_users), ("items", coded.raw_items)):
        given = raw.interactions[name.removesuffix("s")].n_unique()
        dropped |= {f"given_{name}": given, name: given - len(left)}
    coded, splits, cut, short = _with_enough_negatives(coded, dates, options)
    users, items, times = coded.users + 1, coded.items + 1, coded.times
    sizes = {"users": len(coded.raw_users), "items": len(coded.raw_items), "interactions": len(times)}

    ids = {
        name: pl.DataFrame({"raw_id": raw_ids, f"{name}_id": pl.int_range(1, len(raw_ids) + 1, eager=True)})
        for name, raw_ids in (("user", coded.raw_users), ("item", coded.raw_items))
    }
    fields = item_tables.item_fields(ids["item"], raw.items)
    columns = fields.drop("item_id", "raw_id")
    texts = fill_template(template, columns) if template or options.template is not None else None
    if texts is not None and texts.empty == len(texts.texts):
        texts = None  # then write no item_text.tsv, because readers would use it
    attributes, value_names = item_tables.attribute_values(ids["item"], raw.attributes)
    pairs = item_tables.related_items(ids["item"], raw.relations)
    by_attribute = {name: attributes.filter(pl.col("attribute") == name) for name in raw.attributes}
    by_relation = {name: pairs.filter(pl.col("relation") == name) for name in raw.relations}

    marker = {"name": raw.name, **raw.origin, "seed": options.seed, "negatives": options.negatives, **sizes}
    marker |= {"core": options.core, "split": options.split, **cut}
    marker |= {"drop_users_with_too_few_negatives": True} if options.drop_users_with_too_few_negatives else {}
    marker |= {"like": options.like} if options.like is not None else {}
    marker |= {"template": template} if texts is not None else {}
    card = data_card(marker, dropped, splits, users, items, times, by_attribute, by_relation, texts, short)
    with new_folder(folder) as building:
        like_notebooks = options.like is not None
        write_interactions(
            building, splits, users, items, times, options.negatives, options.seed, like_notebooks=like_notebooks
        )
        if by_attribute or by_relation:
            metadata = item_tables.item_metadata(sizes["items"], by_attribute, by_relation)
            write_tsv(building / "item_meta.csv", metadata)
        if by_attribute:
            write_tsv(building / item_tables.VALUES, value_names)
        if texts is not None:
            write_tsv(building / ITEM_TEXT, ids["item"].select("item_id", texts.texts))
        if columns.width:
            fields.write_ndjson(building / item_tables.FIELDS)
        for name, frame in ids.items():
            write_tsv(building / f"{name}s.tsv", frame)
        for name, content in card_files(card).items():
            (building / name).write_bytes(content)
        (building / MARKER).write_text(json.dumps(marker, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    words = ", ".join(f"{name.replace('_', ' ')} {date} UTC" for name, date in cut.items())
    rows = {name: len(chosen) for name, chosen in splits.items()}
    return Prepared(Path(folder), sizes, f"temporal, {words}" if cut else "leave-one-out", rows, texts, card)


def _filtered(interactions: pl.DataFrame, core: int) -> tuple[_Coded, dict[str, int]]:
    """The remaining interactions, and how many were dropped for each reason."""
    given = len(interactions)
    users, raw_users = _codes(interactions["user"])
    items, raw_items = _codes(interactions["item"])
    ticks, per_second = _ticks(interactions["time"])
    once = _first_of_each(users, items, ticks)
    kept = once.copy()
    kept[once] = filter_core(users[once], items[once], core)
    if not kept.any():
        remedy = "Lower --core, or get more data"
        raise UserError(f"no users and items with at least {core} interactions are left", field="--core", remedy=remedy)
    dropped = {"duplicates": given - int(once.sum()), "by_the_core_filter": int(once.sum() - kept.sum())}
    rows = np.flatnonzero(kept)
    if per_second > 1:  # sort within a second; the splits sort by whole seconds
        rows = rows[np.argsort(ticks[rows], kind="stable")]
    seconds = (ticks if per_second == 1 else ticks // per_second).astype(np.int32)
    return _Coded(users, items, seconds, raw_users, raw_items).keep(rows), {"given": given, **dropped}


def _ticks(times: pl.Series) -> tuple[np.ndarray, int]:
    """Times in the unit of their column, int64 [N], and the number of units per second."""
    unit = times.dtype.time_unit if isinstance(times.dtype, pl.Datetime) else "s"
    return times.to_physical().to_numpy(), {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]


def _first_of_each(users: np.ndarray, items: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Which interactions appear for the first time, bool [N]; the others are duplicates."""
    pairs = users.astype(np.int64) * (int(items.max()) + 1) + items
    ordered = np.sort(pairs)
    repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    first = np.ones(len(users), bool)
    if len(repeated):  # only repeated pairs can be duplicates
        place = np.minimum(np.searchsorted(repeated, pairs), len(repeated) - 1)
        again = np.flatnonzero(repeated[place] == pairs)
        rows = pl.DataFrame({"user": users[again], "item": items[again], "time": times[again]})
        first[again] = rows.select(pl.struct(pl.all()).is_first_distinct()).to_series().to_numpy()
    return first


def _check_ids(interactions: pl.DataFrame) -> None:
    """Rejects empty input, missing cells, and ids with tabs or line breaks."""
    if not len(interactions):
        raise UserError("there are no interactions", remedy="Check the path of the file and its columns")
    for name in ("user", "item", "time"):
        missing = interactions[name].null_count()
        if missing:
            row = first_row(interactions[name].is_null()) + 1
            problem = f"{missing} interactions have no {name}; the first is number {row}"
            raise UserError(problem, field=name, remedy="Fill in the missing cells, or remove these interactions")
    for name in ("user", "item"):
        if interactions.schema[name] == pl.String:
            broken = interactions[name].filter(interactions[name].str.contains(r"[\t\n\r]"))
            if len(broken):
                remedy = "Fix the ids, or the separator that is used to read the file"
                problem = f"the {name} id {broken[0]!r} contains a tab or a line break"
                raise UserError(problem, field=name, remedy=remedy)


def _check_times(times: pl.Series, *, dated: bool) -> None:
    """Rejects times that do not fit in 32 bits of seconds, and warns about implausible dates.

    Args:
      times: as in `RawDataset`.
      dated: whether the source has times.
    """
    ticks, per_second = _ticks(times)
    low, high = int(ticks.min()) // per_second, int(ticks.max()) // per_second
    if dated and (-_MONTH <= low and high < _MONTH or low >= _YEAR_2100):
        warn(f"all times are from {date_text(low)} to {date_text(high)} (UTC); check the time column and its unit")
    if low < 0 or high > INT32_MAX:
        wrong = low if low < 0 else high
        remedy = (
            f"Give seconds since 1970, from 0 to {INT32_MAX}; `prepare table` reads other units, see its --time-unit"
        )
        raise UserError(f"the time {wrong} is out of range ({date_text(wrong)} UTC)", field="time", remedy=remedy)


def _codes(ids: pl.Series) -> tuple[np.ndarray, pl.Series]:
    """The position of each id among the sorted distinct ids, int32 [N], and the sorted ids."""
    distinct = ids.unique().sort()
    if ids.dtype == pl.String:
        return ids.cast(pl.Enum(distinct)).to_physical().to_numpy().astype(np.int32), distinct
    return np.searchsorted(distinct.to_numpy(), ids.to_numpy()).astype(np.int32), distinct


def _renumber(codes: np.ndarray, raw: pl.Series) -> tuple[np.ndarray, pl.Series]:
    present = np.bincount(codes, minlength=len(raw)) > 0
    return (np.cumsum(present, dtype=np.int32) - 1)[codes], raw.filter(pl.Series(present))


def _with_enough_negatives(
    coded: _Coded, dates: Dates | None, options: PrepareOptions
) -> tuple[_Coded, dict[str, np.ndarray], Mapping[str, str], list[Notice]]:
    """The interactions, their split and its dates, and a notice of users that were dropped for lack of negatives.

    Dropping a user may remove items too, so that other users have too few left; so this repeats until all have enough.
    """
    gone: list[str] = []
    notebooks = options.like == "rechorus"  # the notebooks draw with replacement, so one item is enough
    needed = 1 if notebooks else options.negatives
    while True:
        splits, cut = _split(coded.users, coded.times, dates)
        num_items = len(coded.raw_items)
        if notebooks:
            num_items = notebook_items(splits, coded.users, coded.items, coded.times)
        evaluated = coded.users[np.concatenate([splits["dev"], splits["test"]])]
        short, left = short_of_items(coded.users, coded.items, evaluated, num_items, needed)
        if not len(short):
            return coded, splits, cut, dropped_users(gone, needed)
        names = [str(name) for name in coded.raw_users.gather(short)]
        if not options.drop_users_with_too_few_negatives:
            raise _too_many_negatives(names, left, needed)
        gone += names
        kept = ~np.isin(coded.users, short)
        kept[kept] = filter_core(coded.users[kept], coded.items[kept], options.core)
        if not kept.any():
            problem = f"no user has {needed} items left to draw negatives from"
            raise UserError(problem, field="--negatives", remedy="Lower --negatives, or get more data")
        coded = coded.keep(kept)


def _too_many_negatives(names: list[str], left: np.ndarray, needed: int) -> UserError:
    """Lists the users with fewer items left than negatives are needed, and how many are left."""
    who = "1 user has" if len(names) == 1 else f"{len(names):,} users have"
    each = name_some([f"{name!r} has {max(number, 0)}" for name, number in zip(names, left.tolist(), strict=True)])
    least = int(left.min())
    return UserError(
        f"{needed} negatives per user are too many: {who} fewer items without an interaction: {each}",
        field="--negatives",
        remedy=(f"Choose at most {least}, or drop" if least > 0 else "Drop")
        + " these users with --drop-users-with-too-few-negatives",
    )


def _split(
    users: np.ndarray, times: np.ndarray, temporal: Dates | None
) -> tuple[dict[str, np.ndarray], Mapping[str, str]]:
    """The rows of each split, and the dates in UTC for a temporal split."""
    if temporal is None:
        return leave_one_out(users, times), {}
    dates = complete_dates(times, temporal)
    assert dates.dev_from is not None and dates.test_from is not None
    splits = temporal_split(users, times, dates.dev_from, dates.test_from)
    return splits, {name: date_text(date) for name, date in dates._asdict().items()}
