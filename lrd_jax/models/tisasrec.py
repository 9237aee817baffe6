"""TiSASRec: self-attention over the history that knows the time between two items."""

from __future__ import annotations

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from lrd_jax.config.schema import Config, Precision
from lrd_jax.data.batch import History
from lrd_jax.models.layers import NORMAL_INIT
from lrd_jax.models.transformer import Offsets, TransformerBlock, causal, newest, positions


def relative_intervals(from_seconds: jax.Array, to_seconds: jax.Array, shortest: jax.Array, time_max: int) -> jax.Array:
    """⌊|t_i − t_j| / shortest⌋, at most time_max: the time between two items in units of the user's shortest.

    PyTorch divides in float32 and truncates, which comes to the same below 2²⁴ seconds; whole numbers do not depend on
    how a device rounds a quotient.

    Args:
      from_seconds: int32 [B, Q].
      to_seconds: int32 [B, H].
      shortest: int32 [B].
      time_max: the largest interval.

    Returns:
      int32 [B, Q, H].
    """
    seconds = jnp.abs(from_seconds[:, :, None] - to_seconds[:, None])
    return jnp.minimum(seconds // jnp.maximum(shortest, 1)[:, None, None], time_max)


class TiSASRec(nn.Module):
    """As `SASRec`, with embeddings of positions and of pairwise intervals added to keys and values, not to items.

    Attributes:
      time_max: the longest interval, in units of the user's shortest.
      longest_unit: the longest unit, in seconds; None: no limit.
      history_length, num_layers, num_heads, dropout, precision: see `SASRec`.

    Source: Li et al., WSDM 2020, as ReChorus has it.
    """

    history_length: int
    time_max: int
    num_layers: int
    num_heads: int
    longest_unit: int | None = None
    dropout: float = 0.0
    precision: Precision = "float32"

    uses_users: ClassVar[bool] = False

    @classmethod
    def from_config(cls, config: Config) -> TiSASRec:
        """The encoder that the options describe."""
        model = config.model
        return cls(
            config.data.history_length,
            model.time_max,
            model.num_layers,
            model.num_heads,
            model.longest_time_unit,
            model.dropout,
            model.precision,
        )

    @nn.compact
    def __call__(
        self, item_table: jax.Array, user_emb: jax.Array | None, history: History, *, deterministic: bool = True
    ) -> jax.Array:
        """[B, D]; see `SequenceSystem`."""
        d, valid = item_table.shape[-1], history.items > 0

        def table(name: str, rows: int) -> jax.Array:
            return self.param(f"{name}_embeddings", NORMAL_INIT, (rows + 1, d))

        interval_keys = table("interval_key", self.time_max)
        interval_values = table("interval_value", self.time_max)
        places = positions(valid)
        position_keys = table("position_key", self.history_length)[places]
        position_values = table("position_value", self.history_length)[places]

        unit = history.shortest if self.longest_unit is None else jnp.minimum(history.shortest, self.longest_unit)
        x, seconds, seen = item_table[history.items], history.seconds, causal(valid)
        for layer in range(self.num_layers):
            queries = x
            if layer == self.num_layers - 1:  # as in SASRec
                queries, seconds, seen = newest(x, valid), newest(history.seconds, valid), valid[:, None]
            intervals = relative_intervals(seconds, history.seconds, unit, self.time_max)
            offsets = Offsets(position_keys, position_values, interval_keys[intervals], interval_values[intervals])
            block = TransformerBlock(self.num_heads, self.dropout, self.precision, name=f"block_{layer}")
            x = block(queries, x, seen, offsets, deterministic=deterministic)
        return x[:, 0] if self.num_layers else newest(x, valid)[:, 0]
