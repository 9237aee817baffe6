"""Negatives and triples, drawn on the device: exact, uniform, without rejection loops."""

from __future__ import annotations

from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from lrd_jax.config.schema import Negatives
from lrd_jax.data.batch import Triples, from_host
from lrd_jax.data.corpus import Corpus
from lrd_jax.errors import UserError


class ItemSets(flax.struct.PyTreeNode):
    """Many sorted sets of item ids in two flat arrays (CSR).

    Attributes:
      items: int32 [S], ascending and distinct within a set.
      offsets: int32 [N + 1]; set n is items[offsets[n]:offsets[n + 1]].
      search_steps: halvings that find a place in the largest set; static.
    """

    items: jax.Array
    offsets: jax.Array
    search_steps: int = flax.struct.field(pytree_node=False)


class StoredTriples(NamedTuple):
    """Every edge that the knowledge-graph loss can draw, item-item and item-attribute.

    Attributes:
      heads, relations: int32 [E].
      tails: int32 [E], the tail item, 0 for an attribute edge, whose tail is drawn among the value's other items.
      values: int32 [E], the attribute value's entity, 0 for an item-item edge.
      places: int32 [E], where the head stands in its value's item set; 0 for an item-item edge.
      known_tails, known_heads: int32 [E], which set of `known` lists the items that make (head, relation, ·) and
        (·, relation, tail) true.
    """

    heads: jax.Array
    relations: jax.Array
    tails: jax.Array
    values: jax.Array
    places: jax.Array
    known_tails: jax.Array
    known_heads: jax.Array


class Sampler(NamedTuple):
    """What negatives and triples are drawn from.

    Attributes:
      seen: per user (row 0 empty), the items that are never negatives of the recommendation loss: those of the user's
        training interactions. Dev and test items are not among them: never to draw them as negatives would tell the
        model what they are. (The published code does that: `LossConfig.negatives`.)
      history_seen: the same for the items that replace the history in the latent-relation loss.
      known: item sets of `StoredTriples`.
      triples: the edges, or None when the dataset has none.
    """

    seen: ItemSets
    history_seen: ItemSets
    known: ItemSets | None
    triples: StoredTriples | None


def build_item_sets(rows: np.ndarray, items: np.ndarray, num_rows: int) -> ItemSets:
    """Groups items [S] by row [S] (0 ≤ row < num_rows) into sorted sets without duplicates."""
    width = int(items.max(initial=0)) + 1
    keys = np.unique(rows.astype(np.int64) * width + items)
    sizes = np.bincount(keys // width, minlength=num_rows)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    members = (keys % width).astype(np.int32)
    return ItemSets(from_host(members), from_host(offsets), int(sizes.max(initial=0)).bit_length())


def build_sampler(
    corpus: Corpus, negatives: Negatives = "unseen-in-training", history_negatives: Negatives = "unseen-in-training"
) -> Sampler:
    """Prepares sampling on the host; for `negatives` and `history_negatives` see `LossConfig`.

    Edges that allow no draw are left out: a value that one item alone holds has no partner, and where every item is
    known nothing can corrupt.

    Raises:
      UserError: a user's interactions cover every item, so that no negative exists.
    """
    seen = _seen_items(corpus, negatives)
    history_seen = seen if history_negatives == negatives else _seen_items(corpus, history_negatives)
    return Sampler(seen, history_seen, *_build_triples(corpus))


def _seen_items(corpus: Corpus, negatives: Negatives) -> ItemSets:
    """Per user, the items that are never negatives."""
    rows = corpus.train_rows if negatives == "unseen-in-training" else slice(None)
    seen = build_item_sets(corpus.sequence_users[rows], corpus.sequence_items[rows], corpus.num_users + 1)
    full = np.flatnonzero(np.diff(seen.offsets) >= corpus.num_items)
    if full.size:
        raise UserError(
            f"user {full[0]} has interacted with all {corpus.num_items} items, so there is no negative item",
            file="train.csv",
            field="user_id",
            remedy="Remove the user or add items",
        )
    return seen


def _build_triples(corpus: Corpus) -> tuple[ItemSets | None, StoredTriples | None]:
    width = np.int64(corpus.num_entities)
    heads, relations, tails = (column.astype(np.int64) for column in corpus.triples.T)
    items, attributes, slots = np.nonzero(corpus.holds_value)
    values = corpus.item_values[items, attributes, slots].astype(np.int64)
    # A set per value, then per (relation, head), then per (tail, relation).
    _, by_value = np.unique(values, return_inverse=True)
    head_keys, by_head = np.unique(relations * width + heads, return_inverse=True)
    tail_keys, by_tail = np.unique(relations * width + tails, return_inverse=True)
    num_values = int(by_value.max(initial=-1)) + 1
    by_head = by_head + num_values
    by_tail = by_tail + num_values + len(head_keys)
    known = build_item_sets(
        np.concatenate([by_value, by_head, by_tail]),
        np.concatenate([items, tails, heads]),
        num_values + len(head_keys) + len(tail_keys),
    )
    sizes = np.diff(known.offsets)
    # Keys ascend from set to set and within a set, so one search over all finds each head's place in its value's set.
    keys = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes) * width + known.items
    places = np.searchsorted(keys, by_value.astype(np.int64) * width + items) - known.offsets[by_value]
    none_of = np.zeros_like
    triples = StoredTriples(
        heads=from_host(np.concatenate([heads, items])),
        relations=from_host(np.concatenate([relations, 1 + len(corpus.item_relations) + attributes])),
        tails=from_host(np.concatenate([tails, none_of(items)])),
        values=from_host(np.concatenate([none_of(heads), values])),
        places=from_host(np.concatenate([none_of(heads), places])),
        known_tails=from_host(np.concatenate([by_head, by_value])),
        known_heads=from_host(np.concatenate([by_tail, by_value])),
    )
    drawable = (sizes[triples.known_tails] < corpus.num_items) & (sizes[triples.known_heads] < corpus.num_items)
    drawable &= (triples.values == 0) | (sizes[triples.known_tails] > 1)
    if not drawable.any():
        return None, None
    return known, StoredTriples(*(column[drawable].astype(np.int32) for column in triples))


def draw_excluding(key: jax.Array, sets: ItemSets, rows: jax.Array, num_items: int) -> jax.Array:
    """Draws for each row an item of 1..num_items that its set does not hold, uniformly.

    The draw is a rank among the allowed ids; the id follows from how many members precede it, found by halving:
    the j-th member m_j has m_j − 1 − j allowed ids below it.

    Args:
      key: random key.
      sets: the sets.
      rows: int32 [...], which set each draw must avoid; it may not hold all items.
      num_items: I.

    Returns:
      int32 [...].
    """
    start, end = sets.offsets[rows], sets.offsets[rows + 1]
    rank = jax.random.randint(key, rows.shape, 0, num_items - (end - start), jnp.int32)
    low, high = start, end  # The answer, the first member with more than `rank` allowed ids below, is in [low, high].
    for _ in range(sets.search_steps):
        middle = (low + high) // 2
        before = sets.items[jnp.minimum(middle, sets.items.size - 1)] - 1 - (middle - start) <= rank
        low, high = jnp.where(before & (low < high), middle + 1, low), jnp.where(before, high, middle)
    return 1 + rank + (low - start)


def draw_triples(key: jax.Array, sampler: Sampler, edges: jax.Array, num_negatives: int, num_items: int) -> Triples:
    """Completes stored edges into triples with corruptions.

    An attribute edge (item, relation, value) becomes (item, relation, another item with that value). Each corruption
    replaces the head or the tail, with probability one half each, by an item that makes the triple unknown (Eq. 15).

    Args:
      key: random key.
      sampler: with triples.
      edges: int32 [B], indices of stored edges.
      num_negatives: n.
      num_items: I.
    """
    known = sampler.known
    assert known is not None  # since there are triples
    partner_key, side_key, item_key = jax.random.split(key, 3)
    stored = jax.tree.map(lambda column: column[edges], sampler.triples)
    start, end = (known.offsets[stored.known_tails + side] for side in (0, 1))
    partner = jax.random.randint(partner_key, edges.shape, 0, jnp.maximum(end - start - 1, 1), jnp.int32)
    partner = known.items[start + partner + (partner >= stored.places).astype(jnp.int32)]
    heads, tails = stored.heads, jnp.where(stored.values > 0, partner, stored.tails)

    shape = (*edges.shape, num_negatives)
    corrupt_head = jax.random.bernoulli(side_key, np.float32(0.5), shape)
    avoid = jnp.where(corrupt_head, stored.known_heads[:, None], stored.known_tails[:, None])
    items = draw_excluding(item_key, known, avoid, num_items)
    corrupted_heads = jnp.where(corrupt_head, items, heads[:, None])
    corrupted_tails = jnp.where(corrupt_head, tails[:, None], items)
    return Triples(
        heads=jnp.concatenate([heads[:, None], corrupted_heads], axis=1),
        tails=jnp.concatenate([tails[:, None], corrupted_tails], axis=1),
        relations=stored.relations,
        values=stored.values,
    )
