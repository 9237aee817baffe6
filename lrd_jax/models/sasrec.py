"""SASRec: self-attention over the history."""

from __future__ import annotations

from typing import ClassVar

import flax.linen as nn
import jax

from lrd_jax.config.schema import Config, Precision
from lrd_jax.data.batch import History
from lrd_jax.models.layers import NORMAL_INIT
from lrd_jax.models.transformer import TransformerBlock, causal, newest, positions


class SASRec(nn.Module):
    """The state of the newest item after causal attention blocks over item + position embedding.

    Positions count back from the newest item, which is 1.

    Attributes:
      history_length: the longest history.
      num_layers, num_heads, dropout, precision: see `ModelConfig`.

    Source: Kang and McAuley, ICDM 2018, as ReChorus has it.
    """

    history_length: int
    num_layers: int
    num_heads: int
    dropout: float = 0.0
    precision: Precision = "float32"

    uses_users: ClassVar[bool] = False

    @classmethod
    def from_config(cls, config: Config) -> SASRec:
        """The encoder that the options describe."""
        model = config.model
        return cls(config.data.history_length, model.num_layers, model.num_heads, model.dropout, model.precision)

    @nn.compact
    def __call__(
        self, item_table: jax.Array, user_emb: jax.Array | None, history: History, *, deterministic: bool = True
    ) -> jax.Array:
        """[B, D]; see `SequenceSystem`."""
        shape = (self.history_length + 1, item_table.shape[-1])
        table, valid = self.param("position_embeddings", NORMAL_INIT, shape), history.items > 0
        x = item_table[history.items] + table[positions(valid)]
        for layer in range(self.num_layers):
            # Of the last layer only the newest item's state is read, and it sees the whole history.
            is_last = layer == self.num_layers - 1
            queries, seen = (newest(x, valid), valid[:, None]) if is_last else (x, causal(valid))
            block = TransformerBlock(self.num_heads, self.dropout, self.precision, name=f"block_{layer}")
            x = block(queries, x, seen, deterministic=deterministic)
        return x[:, 0] if self.num_layers else newest(x, valid)[:, 0]
