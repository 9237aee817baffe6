"""Scores and recommends with an exported model: `Exported.load(DIR)`. Needs jax, numpy and flatbuffers, no more."""

from __future__ import annotations

import collections
import hashlib
import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

FORMAT = 1
"""Of the folder; another version of this file reads another one."""
_LONGEST = 2**31 - 1
_SCORES_AT_ONCE = 1 << 26
_CALLS_AT_ONCE = 4  # that are under way before the first is waited for


class _Histories(NamedTuple):
    """B users, laid end to end: user b has the places offsets[b] to offsets[b + 1] of items and times."""

    users: np.ndarray  # int32 [B]; 0 for an unknown user
    items: np.ndarray  # int32 [N], oldest first
    times: np.ndarray  # int64 [N], seconds
    offsets: np.ndarray  # int64 [B + 1]


class Exported:
    """An exported model, by the ids of the source.

    Attributes:
      manifest: what manifest.json holds.
      item_ids: ids of the I items, in the order of `score` and of the rows of item_vectors.npy.
      user_ids: ids of the U users that were trained on.
    """

    def __init__(self, folder: Path) -> None:
        """See `load`."""
        self._folder = folder
        try:
            self.manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{folder} holds no export: manifest.json cannot be read ({error})") from error
        if self.manifest.get("format") != FORMAT:
            found = self.manifest.get("format")
            raise ValueError(f"{folder} has format {found}, this loader reads {FORMAT}: use the load.py beside it")
        if (platform := jax.default_backend().replace("gpu", "cuda")) not in self.manifest["platforms"]:
            raise ValueError(f"the export is for {', '.join(self.manifest['platforms'])}, and jax runs on {platform}")
        self.item_ids: list[str] = json.loads(self._read("items.json"))
        self.user_ids: list[str] = json.loads(self._read("users.json"))
        self._items = {name: own for own, name in enumerate(self.item_ids, start=1)}
        self._users = {name: own for own, name in enumerate(self.user_ids, start=1)}
        self._weights = {name: jnp.asarray(x) for name, x in _arrays(self._read("params.safetensors")).items()}
        held = "histories.safetensors" in self.manifest["files"]
        self._past = _arrays(self._read("histories.safetensors")) if held else None
        self._programs = {name: self._program(about["file"]) for name, about in self.manifest["programs"].items()}
        self._best = jax.jit(self._best_items, static_argnames="k")

    @classmethod
    def load(cls, folder: str | Path) -> Exported:
        """Reads and checks a folder that `lrd-jax export` wrote.

        Raises:
          ValueError: a file is missing or was changed, or jax runs on a device that was not exported for.
        """
        return cls(Path(folder))

    def score(
        self,
        users: Sequence[Any] | None = None,
        items: Sequence[Any] | None = None,
        *,
        histories: Sequence[Sequence[Any]] | None = None,
        times: Sequence[Sequence[float]] | None = None,
    ) -> np.ndarray:
        """Scores items for users.

        Args:
          users: B ids, None in place of an unknown user, whose own vector is the mean of all. None: all are unknown.
          items: C ids for all users, or B lists of C ids. None: all items, in the order of `item_ids`.
          histories: B lists of item ids, oldest first. None: those in the export, if it was made with them.
          times: of the histories, in seconds, ascending. None: all interactions at one moment.

        Returns:
          float32 [B, C]; higher is better, and only scores of one row compare.

        Raises:
          ValueError: an unknown id, an empty history, times or lists that do not fit.
        """
        given = self._given(users, histories, times)
        if items is not None and len(items) and not isinstance(items[0], str) and np.ndim(items[0]):
            return self._score_lists(given, items)
        wanted = np.arange(1, len(self.item_ids) + 1) if items is None else _own(self._items, items, "item")
        blocks, run = self._blocks(wanted), self._programs["score_items"]
        found = self._by_rows(given, lambda _, *past: run(self._weights, *past, blocks))
        return np.concatenate([np.zeros((0, blocks.size), np.float32), *found])[:, : len(wanted)]

    def recommend(
        self,
        users: Sequence[Any] | None = None,
        *,
        histories: Sequence[Sequence[Any]] | None = None,
        times: Sequence[Sequence[float]] | None = None,
        k: int = 10,
        exclude_seen: bool = True,
    ) -> list[list[tuple[str, float]]]:
        """The K best of all items for each user, best first: B lists of (item id, score).

        Arguments are as of `score`; `exclude_seen` leaves out the items of the history. Of equal scores the item that
        comes first in `item_ids` leads. A list is shorter where fewer items are left.

        Raises:
          ValueError: as `score`, K below 1, or a score that is not finite.
        """
        if k < 1:
            raise ValueError(f"k is {k}: set it to 1 or more")
        given, number = self._given(users, histories, times), len(self.item_ids)
        seen = _seen(given) if exclude_seen else np.zeros((len(given.users), 1), np.int32)
        blocks = self._blocks(np.arange(1, number + 1))
        width = min(_power_of_two(k), number)
        found = self._by_rows(
            given, lambda rows, *past: self._best(self._weights, past, blocks, seen[rows], k=width), width=number
        )
        lists = []
        for items, scores, finite in found:
            if not finite.all():
                raise ValueError("a score is not finite: train with a smaller learning rate")
            for row, of_row in zip(items.tolist(), scores.tolist(), strict=True):
                kept = [(item, score) for item, score in zip(row[:k], of_row[:k], strict=True) if score > -np.inf]
                lists.append([(self.item_ids[item], score) for item, score in kept])
        return lists

    def vectors(
        self,
        users: Sequence[Any] | None = None,
        *,
        histories: Sequence[Sequence[Any]] | None = None,
        times: Sequence[Sequence[float]] | None = None,
    ) -> np.ndarray:
        """Users' vectors float32 [B, D], of a sequence model; products with rows of item_vectors.npy are the scores.

        Raises:
          ValueError: as `score`, or the model has no such vectors.
        """
        if "encode" not in self._programs:
            raise ValueError(f"{self.manifest['model']} has no vectors of users: its scores are no products")
        run = self._programs["encode"]
        found = self._by_rows(self._given(users, histories, times), lambda _, *past: run(self._weights, *past))
        return np.concatenate(list(found) or [np.zeros((0, self.manifest["sizes"]["D"]), np.float32)])

    def _read(self, name: str) -> bytes:
        """A file's bytes, as they were when exported."""
        try:
            content = (self._folder / name).read_bytes()
        except OSError as error:
            raise ValueError(f"{self._folder / name} cannot be read ({error.strerror}): export again") from error
        if hashlib.sha256(content).hexdigest() != self.manifest["files"][name]["sha256"]:
            raise ValueError(f"{self._folder / name} was changed after the export: export again")
        return content

    def _program(self, name: str) -> Callable[..., jax.Array]:
        if importlib.util.find_spec("flatbuffers") is None:  # jax does not install it
            raise ValueError("jax reads exported programs with flatbuffers: pip install flatbuffers")
        return jax.jit(jax.export.deserialize(bytearray(self._read(name))).call)

    def _given(self, users: Any, histories: Any, times: Any) -> _Histories:
        if users is None and histories is None:
            raise ValueError("give users, histories or both")
        number = len(histories if users is None else users)
        own = np.zeros(number, np.int32)
        for row, user in enumerate(users if users is not None else ()):
            own[row] = 0 if user is None else _own(self._users, [user], "user")[0]
        if histories is not None:
            if len(histories) != number:
                raise ValueError(f"{len(histories)} histories for {number} users: give one for each")
            return _histories(own, [_own(self._items, history, "item") for history in histories], times)
        if self._past is None or not own.all():
            what = "an unknown user" if self._past is not None else "an export made without --with-histories"
            raise ValueError(f"there are no histories of {what}: give histories")
        if times is not None:
            raise ValueError("times are given without histories: give both or neither")
        starts, ends = self._past["offsets"][own - 1], self._past["offsets"][own]
        offsets = np.concatenate([[0], np.cumsum(ends - starts)])
        places = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], ends - starts)
        return _Histories(own, self._past["items"][places], self._past["times"][places], offsets)

    def _score_lists(self, given: _Histories, items: Any) -> np.ndarray:
        if len(items) != len(given.users) or len({len(each) for each in items}) != 1:
            raise ValueError(f"{len(items)} lists of items for {len(given.users)} users: give each one, of one length")
        wanted, run = np.array([_own(self._items, each, "item") for each in items]), self._programs["score"]
        step = min(_power_of_two(wanted.shape[1]), self.manifest["at_once"]["candidates"])
        padded = np.pad(wanted, ((0, 0), (0, -wanted.shape[1] % step)))
        parts = []
        for part in np.split(padded, padded.shape[1] // step, axis=1):
            found = self._by_rows(given, lambda rows, *past, part=part: run(self._weights, *past, part[rows]))
            parts.append(np.concatenate(list(found)))
        return np.concatenate(parts, axis=1)[:, : wanted.shape[1]]

    def _blocks(self, items: np.ndarray) -> np.ndarray:
        """Items [C] in blocks [n, m] of equal size, padded with 0; few shapes, since each is compiled."""
        size = len(items) if len(items) == len(self.item_ids) else _power_of_two(len(items))
        number = max(1, -(-size // self.manifest["at_once"]["items"]))
        block = -(-size // number)
        return np.pad(items, (0, number * block - len(items))).astype(np.int32).reshape(number, block)

    def _by_rows(self, given: _Histories, call: Callable[..., Any], width: int = 1) -> Iterator[Any]:
        """What call(rows, users, history, ...) returns for blocks of rows of one size, on the host, padding cut off."""
        past, number = (given.users, *_padded(given, self.manifest["sizes"]["H"])), len(given.users)
        at_once = self.manifest["at_once"]["users"]["cpu" if jax.default_backend() == "cpu" else "accelerator"]
        block = max(1, min(at_once, _power_of_two(number), _SCORES_AT_ONCE // width))
        under_way: collections.deque[tuple[int, Any]] = collections.deque()
        for start in range(0, number, block):
            rows = np.minimum(np.arange(start, start + block), number - 1)
            under_way.append((number - start, call(rows, *(x[rows] for x in past))))
            if len(under_way) == _CALLS_AT_ONCE:
                yield _first_rows(*under_way.popleft())
        while under_way:
            yield _first_rows(*under_way.popleft())

    def _best_items(self, weights: Any, past: Any, blocks: jax.Array, seen: jax.Array, *, k: int) -> Any:
        number = len(self.item_ids)
        scores = self._programs["score_items"](weights, *past, blocks)[:, :number]
        rows = jnp.arange(len(seen), dtype=jnp.int32)[:, None]
        out = jnp.zeros((len(seen), number + 1), bool).at[rows, seen].set(True)[:, 1:]
        best, places = jax.lax.top_k(jnp.where(out, -jnp.inf, scores), k)
        return places, best, jnp.all(out | jnp.isfinite(scores), axis=1)


def _first_rows(number: int, found: Any) -> Any:
    return jax.tree.map(lambda x: np.asarray(x)[:number], found)


def _own(known: Mapping[str, int], ids: Sequence[Any], kind: str) -> np.ndarray:
    """Places, from 1, of ids of the source, int32 [N]."""
    try:
        return np.array([known[str(one)] for one in ids], np.int32)
    except KeyError as error:
        raise ValueError(f"there is no {kind} {error.args[0]}: give ids as the source has them") from None


def _histories(users: np.ndarray, items: list[np.ndarray], times: Any) -> _Histories:
    lengths = np.array([len(history) for history in items], np.int64)
    if not lengths.all():
        raise ValueError(f"history {int(np.argmin(lengths))} is empty: give at least one item")
    if times is not None and [len(each) for each in times] != lengths.tolist():
        raise ValueError("the times are not as many as the items: give a time for each item")
    for row, seconds in enumerate(times if times is not None else ()):
        if not np.isfinite(seconds).all() or (np.diff(seconds) < 0).any():
            raise ValueError(f"the times of history {row} do not ascend: give seconds, oldest first")
    flat = np.concatenate([np.zeros(0, np.int32), *items])
    seconds = np.zeros(len(flat)) if times is None else np.concatenate([np.zeros(0), *map(np.asarray, times)])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return _Histories(users, flat, np.floor(seconds).astype(np.int64), offsets)


def _padded(given: _Histories, length: int) -> tuple[np.ndarray, ...]:
    """History, intervals, seconds [B, H] and shortest [B], as manifest.json describes them."""
    ends = given.offsets[1:]
    starts = np.maximum(given.offsets[:-1], ends - length)
    valid = np.arange(length)[None] < (ends - starts)[:, None]
    where = np.where(valid, starts[:, None] + np.arange(length)[None], 0)
    items, times = np.append(given.items, 0), np.append(given.times, 0)  # so that place 0 exists
    seconds = np.where(valid, np.minimum(times[np.maximum(ends - 1, 0)][:, None] - times[where], _LONGEST), 0)
    seconds = seconds.astype(np.int32)
    intervals = np.maximum(np.log2(seconds.astype(np.float32) / np.float32(60) + np.float32(1e-6)), np.float32(0))
    shortest = np.full(len(ends), _LONGEST, np.int64)
    owner, gaps = np.repeat(np.arange(len(ends)), np.diff(given.offsets)), np.diff(given.times)
    counts = (owner[1:] == owner[:-1]) & (gaps > 0)
    np.minimum.at(shortest, owner[1:][counts], gaps[counts])
    history = np.where(valid, items[where], 0).astype(np.int32)
    return history, np.where(valid, intervals, np.float32(0)), seconds, shortest.astype(np.int32)


def _seen(given: _Histories) -> np.ndarray:
    """All items of each history, int32 [B, E], 0 for padding."""
    lengths = np.diff(given.offsets)
    seen = np.zeros((len(lengths), max(8, _power_of_two(int(lengths.max(initial=1))))), np.int32)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    seen[rows, np.arange(len(given.items)) - np.repeat(given.offsets[:-1], lengths)] = given.items
    return seen


def _power_of_two(number: int) -> int:
    return 1 << max(0, number - 1).bit_length()


def _arrays(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file: 8 bytes of the header's length, the header as JSON, the numbers."""
    start = 8 + int.from_bytes(content[:8], "little")
    types = {"F32": np.float32, "I32": np.int32, "I64": np.int64}
    found = {}
    for name, about in json.loads(content[8:start]).items():
        if name != "__metadata__":
            first, last = (start + offset for offset in about["data_offsets"])
            found[name] = np.frombuffer(content[first:last], types[about["dtype"]]).reshape(about["shape"])
    return found
