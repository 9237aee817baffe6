"""Caser: convolutions over the history as an image, one row per item."""

from __future__ import annotations

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from lrd_jax.batch import History
from lrd_jax.config import Config, Precision
from lrd_jax.models.layers import NORMAL_INIT, largest, linear, uniform_init


class Caser(nn.Module):
    """W_out·[relu(W·[vertical ; horizontal] + b) ; user] + b_out.

    Horizontal filters see the whole embeddings of 1, 2, ... successive items and keep their largest answer; vertical
    filters are weighted sums over the places of the history. Padding takes part in both, as published: its embedding is
    row 0 of the item table, which takes no gradient.

    Attributes:
      history_length: H, places of the history.
      num_horizontal_filters, num_vertical_filters, max_filter_height, precision: see `ModelConfig`.

    Source: Tang and Wang, WSDM 2018, as ReChorus has it; convolutions start as PyTorch's.
    """

    history_length: int
    num_horizontal_filters: int
    num_vertical_filters: int
    max_filter_height: int
    precision: Precision = "float32"

    uses_users: ClassVar[bool] = True

    @classmethod
    def from_config(cls, config: Config) -> Caser:
        """The encoder that the options describe."""
        model = config.model
        return cls(
            config.data.history_length,
            model.num_horizontal_filters,
            model.num_vertical_filters,
            model.max_filter_height,
            model.precision,
        )

    @nn.compact
    def __call__(
        self, item_emb: jax.Array, user_emb: jax.Array | None, history: History, *, deterministic: bool = True
    ) -> jax.Array:
        """[B, D]; see `SequenceSystem`."""
        b, h, d = item_emb.shape
        x = jnp.where((history.items > 0)[..., None], item_emb, jax.lax.stop_gradient(item_emb))
        length = self.history_length

        def convolved(name: str, x: jax.Array, num_filters: int) -> jax.Array:
            init = uniform_init(x.shape[-1])
            kernel = self.param(f"{name}_kernel", init, (x.shape[-1], num_filters))
            return linear(x, kernel, self.precision) + self.param(f"{name}_bias", init, (num_filters,))

        vertical = convolved("vertical", x.swapaxes(1, 2), self.num_vertical_filters)  # [B, D, filters]
        parts = [vertical.swapaxes(1, 2).reshape(b, -1)]
        for index in range(self.max_filter_height):
            num_windows = length - index
            windows = jnp.concatenate([x[:, row : row + num_windows] for row in range(index + 1)], axis=-1)
            answers = convolved(f"horizontal_{index}", windows, self.num_horizontal_filters)  # [B, windows, filters]
            parts.append(jax.nn.relu(largest(answers, axis=1)))

        def dense(name: str, x: jax.Array) -> jax.Array:
            kernel = self.param(f"{name}_kernel", NORMAL_INIT, (x.shape[-1], d))
            return linear(x, kernel, self.precision) + self.param(f"{name}_bias", NORMAL_INIT, (d,))

        hidden = jax.nn.relu(dense("hidden", jnp.concatenate(parts, axis=-1)))
        return dense("out", jnp.concatenate([hidden, user_emb], axis=-1))
