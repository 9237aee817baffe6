"""Latent relation discovery: the classifier q(r | history item, target) on language-model embeddings."""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax

from lrd_jax.models.layers import NORMAL_INIT, is_less


class RelationLogits(NamedTuple):
    """The classifier's logits in two parts that add up for a pair: log q(r | i, j) = log_softmax_r(history + target).

    Attributes:
      history: float32 [B, H, R], part of the history items.
      target: float32 [B, C, R], part of the targets, including the bias.
    """

    history: jax.Array
    target: jax.Array


class RelationClassifier(nn.Module):
    """q = softmax(W2·[e_hist ; e_target] + b2) with e = W1·text + b1 (Eq. 3 and 4).

    Text embeddings are an argument, never a parameter. W2 acts on the two halves separately. The halves are computed
    once per item, so a pair costs only the addition of two rows of R numbers.

    Attributes:
      num_relations: R.
      embedding_dim: D, the width of e.
    """

    num_relations: int
    embedding_dim: int

    @nn.compact
    def __call__(self, history: jax.Array, targets: jax.Array, text: jax.Array) -> RelationLogits:
        """The logits of the relation between each history item and each target.

        Args:
          history: int32 [B, H].
          targets: int32 [B, C].
          text: float32 [I + 1, T], frozen text embeddings; row 0 is padding.
        """
        d = self.embedding_dim
        projection = self.param("text_projection_kernel", NORMAL_INIT, (text.shape[1], d))
        projection_bias = self.param("text_projection_bias", NORMAL_INIT, (d,))
        kernel = self.param("classifier_kernel", NORMAL_INIT, (2 * d, self.num_relations))
        bias = self.param("classifier_bias", NORMAL_INIT, (self.num_relations,))
        if is_less(text.shape[0] - 1, history.size + targets.size):
            # Fewer items than positions: project every item once, then gather R numbers per position.
            projected = text @ projection + projection_bias[None]  # [I + 1, D]
            return RelationLogits((projected @ kernel[:d])[history], (projected @ kernel[d:] + bias[None])[targets])
        return RelationLogits(
            (text[history] @ projection + projection_bias[None, None]) @ kernel[:d],
            (text[targets] @ projection + projection_bias[None, None]) @ kernel[d:] + bias[None, None],
        )


def log_posterior(logits: RelationLogits) -> jax.Array:
    """log q of every history item with the first target, float32 [B, H, R]."""
    return jax.nn.log_softmax(logits.history + logits.target[:, :1], axis=-1)
