"""GRU4Rec: a gated recurrent unit over the history."""

from __future__ import annotations

from typing import ClassVar, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp

from lrd_jax.config.schema import Config, Precision
from lrd_jax.data.batch import History
from lrd_jax.models.layers import NORMAL_INIT, dropped, linear, of_rows, uniform_init

Gates: TypeAlias = tuple[jax.Array, jax.Array, jax.Array]
"""One array for each of the gates r, z and c."""
_Saved: TypeAlias = tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]
"""r, z, c, what the state adds to c, and the state: what the gradient needs."""


@jax.custom_vjp
def next_state(from_item: Gates, exists: jax.Array, from_state: jax.Array, state: jax.Array) -> jax.Array:
    """The state [B, W] after one more item.

    Has a custom gradient: automatic differentiation would store nine arrays per step of the scan, this stores five, and
    on a CPU a step is bound by memory.

    Args:
      from_item: the item's part of each gate, [B, W] each.
      exists: bool [B]; where False, the state stays unchanged.
      from_state: the state's part of the gates, [B, 3 W].
      state: [B, W].
    """
    return _next_state_forward(from_item, exists, from_state, state)[0]


def _next_state_forward(
    from_item: Gates, exists: jax.Array, from_state: jax.Array, state: jax.Array
) -> tuple[jax.Array, _Saved]:
    item_reset, item_keep, item_proposal = from_item
    state_reset, state_keep, state_proposal = jnp.split(from_state, 3, axis=1)
    reset = jax.nn.sigmoid(item_reset + state_reset)
    keep = jnp.where(exists[:, None], jax.nn.sigmoid(item_keep + state_keep), 1.0)
    proposal = jnp.tanh(item_proposal + reset * state_proposal)
    return (1 - keep) * proposal + keep * state, (reset, keep, proposal, state_proposal, state)


def _next_state_backward(saved: _Saved, gradient: jax.Array) -> tuple[Gates, None, jax.Array, jax.Array]:
    reset, keep, proposal, state_proposal, state = saved
    to_proposal = gradient * (1 - keep) * (1 - jnp.square(proposal))
    to_keep = gradient * (state - proposal) * keep * (1 - keep)
    to_reset = to_proposal * state_proposal * reset * (1 - reset)
    to_state = jnp.concatenate([to_reset, to_keep, to_proposal * reset], axis=1)
    return (to_reset, to_keep, to_proposal), None, to_state, gradient * keep


next_state.defvjp(_next_state_forward, _next_state_backward)


class GRU4Rec(nn.Module):
    """The last state of a GRU over the items, through a linear layer.

    r = σ(x W_r + h V_r), z = σ(x W_z + h V_z), c = tanh(x W_c + r ⊙ (h V_c)), h ← (1 − z) ⊙ c + z ⊙ h, each product
    with a bias; the kernels of r, z and c are concatenated.

    Attributes:
      hidden_dim: width of the state.
      dropout: dropout rate on the item embeddings.
      precision, out_bias: see `ModelConfig`.

    Source: Hidasi et al., ICLR 2016, as in ReChorus; the GRU and its initialisation are as in PyTorch.
    """

    hidden_dim: int
    dropout: float = 0.0
    precision: Precision = "float32"
    out_bias: bool = False

    uses_users: ClassVar[bool] = False

    @classmethod
    def from_config(cls, config: Config) -> GRU4Rec:
        """Builds the encoder from the options."""
        model = config.model
        return cls(model.gru_hidden_dim, model.dropout, model.precision, model.gru_out_bias)

    @nn.compact
    def __call__(
        self, item_table: jax.Array, user_emb: jax.Array | None, history: History, *, deterministic: bool = True
    ) -> jax.Array:
        """[B, D]; see `SequenceSystem`."""
        d = item_table.shape[-1]
        width, init = self.hidden_dim, uniform_init(self.hidden_dim)
        input_kernel = self.param("input_kernel", init, (d, 3 * width))
        input_bias = self.param("input_bias", init, (3 * width,))
        recurrent_kernel = self.param("recurrent_kernel", init, (width, 3 * width))
        recurrent_bias = self.param("recurrent_bias", init, (3 * width,))
        out_kernel = self.param("out_kernel", NORMAL_INIT, (width, d))

        items, drops = history.items.T, self.dropout > 0 and not deterministic
        item_emb = dropped(item_table[items], self.dropout, self.make_rng("dropout")) if drops else None

        # One array per gate, because XLA's CPU code is slow if each step slices the gates out of one array.
        def through(kernel: jax.Array, bias: jax.Array) -> jax.Array:
            def product(rows: jax.Array) -> jax.Array:
                return linear(rows, kernel, self.precision, bias)

            return product(item_emb) if item_emb is not None else of_rows(product, item_table, items)

        gates = tuple(map(through, jnp.split(input_kernel, 3, axis=1), jnp.split(input_bias, 3)))  # [H, B, width] each

        def step(state: jax.Array, inputs: tuple[tuple[jax.Array, ...], jax.Array]) -> tuple[jax.Array, None]:
            from_state = linear(state, recurrent_kernel, self.precision, recurrent_bias)
            return next_state(*inputs, from_state, state), None

        start = jnp.zeros((history.items.shape[0], width), item_table.dtype)
        state, _ = jax.lax.scan(step, start, (gates, items > 0))
        out_bias = self.param("out_bias", NORMAL_INIT, (d,)) if self.out_bias else None
        return linear(state, out_kernel, self.precision, out_bias)
