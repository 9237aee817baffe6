"""Caser: convolutions over the history as an image, one row per item."""

from __future__ import annotations

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from lrd_jax.config.schema import Config, Precision
from lrd_jax.data.batch import History
from lrd_jax.models.layers import NORMAL_INIT, dropped, largest, linear, uniform_init

_STARTS_PER_PRODUCT = 5


def convolve(x: jax.Array, kernels: list[jax.Array], precision: Precision) -> list[jax.Array]:
    """Filters of heights 1, 2, ... over successive rows.

    Each product is of a stretch of rows, as they lie in memory, with one matrix that holds every filter at each of a
    few places, and zeros. It multiplies more than a convolution does, and yet an epoch of filters of 20 heights takes a
    fifth of the time that it takes with copies of all windows on a CPU.

    Args:
      x: [B, H, D].
      kernels: of height n, [n · D, filters]; at most H of them.
      precision: of the products.

    Returns:
      For each height n, [B, H − n + 1, filters].
    """
    b, h, d = x.shape
    answers: list[list[jax.Array]] = [[] for _ in kernels]
    for first in range(0, h, _STARTS_PER_PRODUCT):
        rows = min(_STARTS_PER_PRODUCT + len(kernels) - 1, h - first)
        columns, widths = [], []
        for height, kernel in enumerate(kernels, start=1):
            starts = range(min(_STARTS_PER_PRODUCT, rows - height + 1))
            columns += [jnp.pad(kernel, ((start * d, (rows - start - height) * d), (0, 0))) for start in starts]
            widths.append(len(starts) * kernel.shape[1])
        stretch = x[:, first : first + rows].reshape(b, rows * d)
        found = linear(stretch, jnp.concatenate(columns, axis=1), precision)
        ends = np.cumsum([0, *widths])
        for index, kernel in enumerate(kernels):
            if widths[index]:
                answers[index].append(found[:, ends[index] : ends[index + 1]].reshape(b, -1, kernel.shape[1]))
    return [jnp.concatenate(of_height, axis=1) for of_height in answers]


class Caser(nn.Module):
    """W_out·[relu(W·[vertical ; horizontal] + b) ; user] + b_out.

    Horizontal filters see the whole embeddings of 1, 2, ... successive items and keep their largest answer; vertical
    filters are weighted sums over the places of the history. Padding takes part in both, as published: its embedding is
    row 0 of the item table, which takes no gradient.

    Attributes:
      history_length: H, places of the history.
      num_horizontal_filters, num_vertical_filters, max_filter_height, dropout, precision: see `ModelConfig`.

    Source: Tang and Wang, WSDM 2018, as ReChorus has it; convolutions start as PyTorch's.
    """

    history_length: int
    num_horizontal_filters: int
    num_vertical_filters: int
    max_filter_height: int
    dropout: float = 0.0
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
            model.dropout,
            model.precision,
        )

    @nn.compact
    def __call__(
        self, item_table: jax.Array, user_emb: jax.Array | None, history: History, *, deterministic: bool = True
    ) -> jax.Array:
        """[B, D]; see `SequenceSystem`."""
        assert user_emb is not None  # since `uses_users`
        item_emb = item_table[history.items]
        b, h, d = item_emb.shape
        x = jnp.where((history.items > 0)[..., None], item_emb, jax.lax.stop_gradient(item_emb))

        def filters(name: str, width: int, number: int) -> tuple[jax.Array, jax.Array]:
            init = uniform_init(width)
            return self.param(f"{name}_kernel", init, (width, number)), self.param(f"{name}_bias", init, (number,))

        kernel, bias = filters("vertical", self.history_length, self.num_vertical_filters)
        vertical = linear(x.swapaxes(1, 2), kernel, self.precision, bias)  # [B, D, filters]
        parts = [vertical.swapaxes(1, 2).reshape(b, -1)]
        heights = range(1, self.max_filter_height + 1)
        horizontal = [
            filters(f"horizontal_{height - 1}", height * d, self.num_horizontal_filters) for height in heights
        ]
        answers = convolve(x, [kernel for kernel, _ in horizontal], self.precision)
        for of_height, (_, bias) in zip(answers, horizontal, strict=True):
            parts.append(jax.nn.relu(largest(of_height, axis=1) + bias[None]))

        def dense(name: str, x: jax.Array) -> jax.Array:
            kernel = self.param(f"{name}_kernel", NORMAL_INIT, (x.shape[-1], d))
            return linear(x, kernel, self.precision, self.param(f"{name}_bias", NORMAL_INIT, (d,)))

        found = jnp.concatenate(parts, axis=-1)
        if self.dropout > 0 and not deterministic:
            found = dropped(found, self.dropout, self.make_rng("dropout"))
        hidden = jax.nn.relu(dense("hidden", found))
        return dense("out", jnp.concatenate([hidden, user_emb], axis=-1))
