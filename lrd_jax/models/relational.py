"""RCF and KDA, each without and with latent relation discovery."""

from __future__ import annotations

import functools
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from lrd_jax.config.schema import Precision
from lrd_jax.data.batch import History, Triples
from lrd_jax.models.distmult import distmult, triple_score
from lrd_jax.models.layers import NORMAL_INIT, RelationBlock, RelationPooling
from lrd_jax.models.lrd import RelationLogits
from lrd_jax.models.precision import matmul


def masked_softmax(logits: jax.Array, valid: jax.Array) -> jax.Array:
    """Softmax over axis 0 of [H, R] where valid [H]; all zeros when nothing is valid."""
    logits = jnp.where(valid[:, None], logits, jnp.finfo(logits.dtype).min)
    highest = jax.lax.stop_gradient(jnp.max(logits, axis=0, keepdims=True))
    unnormalised = jnp.where(valid[:, None], jnp.exp(logits - highest), 0.0)
    return unnormalised / jnp.maximum(jnp.sum(unnormalised, axis=0, keepdims=True), jnp.finfo(logits.dtype).tiny)


def aggregate_history(
    history_emb: jax.Array,
    valid: jax.Array,
    decay: jax.Array | None,
    relations: jax.Array,
    candidate_emb: jax.Array,
    logits: RelationLogits | None = None,
    precision: Precision = "float32",
) -> jax.Array:
    """One history seen through each relation to one candidate: s_r = Σ_i ω(i, c, r) · decay_r(Δt_i) · v_i.

    ω is the softmax over the history of φ(i, c, r), or of φ(i, c, r) + log q_r(i, c) with the classifier's logits.

    Args:
      history_emb: [H, D].
      valid: [H] bool.
      decay: [H, R] in [0, 1], or None for RCF.
      relations: [R, D], with the candidate's attribute values added.
      candidate_emb: [D].
      logits: of the relations of this pair, [H, R] and [R]; None for Eq. 12 as it is.
      precision: of the products.

    Returns:
      [R, D].

    Source: Eq. 11 and 12; the decay is KDA's.
    """
    scores = distmult(history_emb, relations, candidate_emb, precision)  # [H, R]
    if logits is not None:
        scores += jax.nn.log_softmax(logits.history + logits.target[None], axis=-1)
    weights = masked_softmax(scores, valid)  # [H, R]
    if decay is not None:
        weights = weights * decay
    return matmul(weights.T, history_emb, precision)


def temporal_decay(intervals: jax.Array, decay_real: jax.Array, decay_imag: jax.Array) -> jax.Array:
    """clip(½ · mean_k [re_rk · cos(2π f_k Δt) − im_rk · sin(2π f_k Δt)], 0, 1) with f = linspace(0, ½, F).

    Args:
      intervals: [...], Δt.
      decay_real, decay_imag: [R, F].

    Returns:
      [..., R]. The clip passes no gradient outside [0, 1].

    Source: KDA (Wang et al., TOIS 2020), section 4.3.
    """
    frequencies = np.linspace(0.0, 0.5, decay_real.shape[1], dtype=np.float32)
    angles = jnp.multiply.outer(2 * np.pi * intervals, frequencies)  # [..., F]
    waves = jnp.cos(angles) @ decay_real.T - jnp.sin(angles) @ decay_imag.T
    return jnp.clip(waves / (2 * decay_real.shape[1]), 0.0, 1.0)


class RelationalModel(nn.Module):
    """Relation-aware sequential recommender (section 3.3): RCF, KDA, RCF_LRD and KDA_LRD.

    Attributes:
      num_users, num_items, num_entities: table sizes (see `Corpus`).
      num_item_relations: item-item relations; they follow the virtual relation 0.
      num_attributes: attribute relations; they follow the item-item ones.
      num_latent_relations: latent relations, last; 0 without LRD.
      temporal: KDA's decay over time.
      num_frequencies: F of the decay.
      embedding_dim, num_layers, num_heads, dropout, pooling, attention_dim, include_value: see `ModelConfig`.
      precision: see `RelationBlock`.
    """

    num_users: int
    num_items: int
    num_entities: int
    num_item_relations: int
    num_attributes: int
    num_latent_relations: int
    temporal: bool
    num_frequencies: int
    embedding_dim: int
    num_layers: int
    num_heads: int
    dropout: float
    pooling: Literal["mean", "max", "attention"]
    attention_dim: int
    include_value: bool
    precision: Precision = "float32"

    @property
    def num_relations(self) -> int:
        """R."""
        return 1 + self.num_item_relations + self.num_attributes + self.num_latent_relations

    def setup(self) -> None:
        """Declares the parameters; all start from N(0, 0.01) but the layer normalisation."""
        d = self.embedding_dim
        self.user_embeddings = self.param("user_embeddings", NORMAL_INIT, (self.num_users + 1, d))
        self.entity_embeddings = self.param("entity_embeddings", NORMAL_INIT, (self.num_entities, d))
        self.relation_embeddings = self.param("relation_embeddings", NORMAL_INIT, (self.num_relations, d))
        self.item_bias = self.param("item_bias", NORMAL_INIT, (self.num_items + 1,))
        if self.temporal:
            shape = (self.num_relations, self.num_frequencies)
            self.decay_real = self.param("decay_real", NORMAL_INIT, shape)
            self.decay_imag = self.param("decay_imag", NORMAL_INIT, shape)
        self.block = RelationBlock(self.num_heads, self.num_layers, self.dropout, self.precision)
        self.pool = RelationPooling(self.pooling, self.attention_dim)

    def __call__(
        self,
        users: jax.Array,
        candidates: jax.Array,
        history: History,
        item_values: jax.Array,
        logits: RelationLogits | None = None,
        *,
        deterministic: bool = True,
    ) -> jax.Array:
        """Scores candidates: y(u, c) = (u + pooled)·v_c + bias_c (Eq. 9).

        Args:
          users: int32 [B].
          candidates: int32 [B, C].
          history: of the users.
          item_values: int32 [I + 1, A, V], entities of each item's attribute values.
          logits: of the relation classifier, for these histories and candidates; see `aggregate_history`.
          deterministic: False draws dropout from the stream "dropout".

        Returns:
          float32 [B, C].
        """
        candidate_emb = self.entity_embeddings[candidates]  # [B, C, D]
        user_emb = self.user_embeddings[users]  # [B, D]
        tokens = self.relation_tokens(candidates, candidate_emb, history, item_values, logits)
        b, c, r, d = tokens.shape
        tokens = self.block(tokens.reshape(b * c, r, d), deterministic=deterministic).reshape(b, c, r, d)
        pooled = self.pool(tokens, user_emb)  # [B, C, D]
        return jnp.sum((user_emb[:, None] + pooled) * candidate_emb, axis=-1) + self.item_bias[candidates]

    def relation_tokens(
        self,
        candidates: jax.Array,
        candidate_emb: jax.Array,
        history: History,
        item_values: jax.Array,
        logits: RelationLogits | None,
    ) -> jax.Array:
        """The history through each relation to each candidate, [B, C, R, D] (Eq. 11)."""
        history_emb = self.entity_embeddings[history.items]  # [B, H, D]
        valid = history.items > 0
        relations = self.candidate_relations(candidates, item_values)  # [B, C, R, D]
        # The decay depends on user and history only: once per user, not once per candidate.
        decay = temporal_decay(history.intervals, self.decay_real, self.decay_imag) if self.temporal else None
        one = functools.partial(aggregate_history, precision=self.precision)
        axes: Any = None, 0  # of the logits' history and target
        over_candidates = jax.vmap(one, in_axes=(None, None, None, 0, 0, logits and RelationLogits(*axes)))
        return jax.vmap(over_candidates)(history_emb, valid, decay, relations, candidate_emb, logits)

    def candidate_relations(self, candidates: jax.Array, item_values: jax.Array) -> jax.Array:
        """ρ(c, r) = rel_r + ent[val(c, r)], [B, C, R, D].

        The mean over the values where the item holds several. Entity 0, a learned row like the others, stands for the
        value of a relation that is not an attribute; an item without a value has its attribute's "none" in item_values.
        Both as in the published code.
        """
        relations = jnp.broadcast_to(self.relation_embeddings, (*candidates.shape, *self.relation_embeddings.shape))
        if not self.include_value:
            return relations
        missing = self.entity_embeddings[0][None, None, None]  # [1, 1, 1, D]
        values = item_values[candidates]  # [B, C, A, V]
        held = (values > 0)[..., None]
        count = jnp.sum(held, axis=3, dtype=jnp.int32)  # [B, C, A, 1]
        total = jnp.sum(jnp.where(held, self.entity_embeddings[values], 0.0), axis=3)  # [B, C, A, D]
        value_emb = jnp.where(count > 0, total / jnp.maximum(count, 1).astype(total.dtype), missing)
        first = 1 + self.num_item_relations
        parts = [
            relations[:, :, :first] + missing,
            relations[:, :, first : first + self.num_attributes] + value_emb,
            relations[:, :, first + self.num_attributes :] + missing,
        ]
        return jnp.concatenate(parts, axis=2)

    def triple_scores(self, triples: Triples) -> jax.Array:
        """head · (rel_r + ent[value]) · tail for the stored triple and its corruptions, [B, 1 + n] (Eq. 15)."""
        # One-hot, not indexing: on GPU the gradient of indexing a tiny table is a slow loop over colliding rows.
        one_hot = jax.nn.one_hot(triples.relations, self.num_relations, dtype=jnp.float32)  # [B, R]
        relations = one_hot @ self.relation_embeddings  # [B, D]
        if self.include_value:
            relations = relations + self.entity_embeddings[triples.values]
        heads, tails = self.entity_embeddings[triples.heads], self.entity_embeddings[triples.tails]  # [B, 1 + n, D]
        over_corruptions = jax.vmap(triple_score, in_axes=(0, None, 0))
        return jax.vmap(over_corruptions)(heads, relations, tails)
