"""The corpus on the device."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from lrd_jax.config.schema import LossConfig
from lrd_jax.data.batch import History, Tables, from_host
from lrd_jax.data.corpus import Corpus, Split
from lrd_jax.data.sampling import Sampler, build_sampler
from lrd_jax.errors import UserError


class Arrays(NamedTuple):
    """A corpus on the device.

    Attributes:
      sequence_items, sequence_times, sequence_users, sequence_offsets: see `Corpus`.
      shortest_intervals: int32 [U + 1], see `History.shortest`; over all of a user's interactions, as published.
      examples: int32 [N], the training rows that have a history, each an example.
      sampler: what negatives and triples are drawn from.
      tables: item facts.
    """

    sequence_items: jax.Array
    sequence_times: jax.Array
    sequence_users: jax.Array
    sequence_offsets: jax.Array
    shortest_intervals: jax.Array
    examples: jax.Array
    sampler: Sampler
    tables: Tables


def put_corpus(corpus: Corpus, text: np.ndarray | None, mesh: Mesh, loss: LossConfig | None = None) -> Arrays:
    """Moves the corpus and the text embeddings [I + 1, T] to the devices, once.

    Args:
      corpus: the dataset.
      text: float32 [I + 1, T]; None without LRD.
      mesh: the devices.
      loss: says which items can be negatives. None: the default.

    Raises:
      UserError: no training interaction has another of its user's before it.
    """
    loss, rows = loss or LossConfig(), corpus.train_rows
    has_history = rows > corpus.sequence_offsets[corpus.sequence_users[rows]]
    if not has_history.any():
        raise UserError(
            "no user has two training interactions, so there is nothing to learn from",
            file="train.csv",
            remedy="Add interactions",
        )
    arrays = Arrays(
        sequence_items=from_host(corpus.sequence_items),
        sequence_times=from_host(corpus.sequence_times),
        sequence_users=from_host(corpus.sequence_users),
        sequence_offsets=from_host(corpus.sequence_offsets),
        shortest_intervals=from_host(shortest_intervals(corpus)),
        examples=from_host(rows[has_history]),
        sampler=build_sampler(corpus, loss.negatives, loss.history_negatives),
        tables=Tables(from_host(corpus.item_values), None if text is None else from_host(text)),
    )
    on_devices: Arrays = jax.device_put(arrays, NamedSharding(mesh, P()))
    return on_devices


def shortest_intervals(corpus: Corpus) -> np.ndarray:
    """The shortest time between two interactions of a user at different moments, seconds, int32 [U + 1].

    2³¹ − 1 where there are none. Dev and test times count too. Source: ReChorus's TiSASRec.
    """
    shortest = np.full(corpus.num_users + 1, 2**31 - 1, np.int32)
    users, gaps = corpus.sequence_users, np.diff(corpus.sequence_times)  # times ascend within a user
    counts = (users[1:] == users[:-1]) & (gaps > 0)
    np.minimum.at(shortest, users[1:][counts], gaps[counts])
    return shortest


def put_split(split: Split, mesh: Mesh) -> tuple[jax.Array, jax.Array]:
    """Moves a split's rows and negatives to the devices, once."""
    rows, negatives = jax.device_put((split.rows, split.negatives), NamedSharding(mesh, P()))
    return rows, negatives


def gather_history(arrays: Arrays, rows: jax.Array, history_length: int) -> History:
    """The last `history_length` interactions of each row's user before that row; rows int32 [B]."""
    users = arrays.sequence_users[rows]
    start = arrays.sequence_offsets[users]
    length = jnp.minimum(rows - start, history_length)  # [B]
    place = jnp.arange(history_length, dtype=jnp.int32)[None]
    valid = place < length[:, None]  # [B, H]
    where = jnp.where(valid, rows[:, None] - length[:, None] + place, 0)
    items = jnp.where(valid, arrays.sequence_items[where], 0)
    # Whole seconds are subtracted as integers: float32 cannot tell seconds apart in a Unix time.
    seconds = jnp.where(valid, arrays.sequence_times[rows][:, None] - arrays.sequence_times[where], 0)
    intervals = jnp.maximum(jnp.log2(seconds.astype(jnp.float32) / 60 + 1e-6), 0.0)
    return History(items, intervals, seconds, arrays.shortest_intervals[users])
