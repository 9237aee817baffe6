"""A sequence model with its loss: encodes the history as one vector; its products with the items are the scores."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import ClassVar, Literal, Protocol, Self, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from lrd_jax.config.schema import Config, Precision
from lrd_jax.data.batch import Batch, History, Tables
from lrd_jax.models.layers import NORMAL_INIT
from lrd_jax.models.lazy_rows import Rows, compact_sequences
from lrd_jax.models.losses import gbce_loss, sequence_bpr_loss, softmax_loss
from lrd_jax.models.precision import matmul
from lrd_jax.models.system import Params, Terms, of_backend


class SequenceModel(Protocol):
    """Interface of a sequence model: a flax module that encodes histories as vectors.

    Attributes:
      uses_users: whether it reads user embeddings; if so, there is a table of them.
    """

    uses_users: ClassVar[bool]

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """Builds the model from the options.

        Raises:
          UserError: the options are invalid for the model.
        """

    def __call__(
        self, item_table: jax.Array, user_emb: jax.Array | None, history: History, *, deterministic: bool = True
    ) -> jax.Array:
        """Encodes the histories of B users as vectors, float32 [B, D].

        Args:
          item_table: float32 [I + 1, D], the item embeddings, where row 0 is padding; with optim.update = "lazy", only
            the rows that the batch looks up, and `history.items` contains row numbers of this table.
          user_emb: float32 [B, D]; None if `uses_users` is False.
          history: histories with data.history_length positions.
          deterministic: False in training, where dropout uses `self.make_rng("dropout")`.
        """


@dataclasses.dataclass(frozen=True)
class SequenceSystem:
    """A sequence model with its loss, scoring y(u, c) = encode(u's history) · item_c.

    Attributes:
      encoder: a `SequenceModel`.
      num_users, num_items: largest ids.
      embedding_dim, history_length, rec_objective, calibration, precision: see `Config`.
    """

    encoder: nn.Module
    num_users: int
    num_items: int
    embedding_dim: int
    history_length: int
    rec_objective: Literal["bpr", "cross_entropy", "sampled_softmax", "gbce"] = "bpr"
    calibration: float = 0.75
    precision: Precision = "float32"

    @property
    def loss_weights(self) -> dict[str, float]:
        """The recommendation loss is the only term."""
        return {"rec": 1.0}

    @property
    def users_at_once(self) -> Mapping[str, int]:
        """Number of histories that evaluation encodes at once."""
        return {"cpu": 256, "accelerator": 2048}

    @property
    def users_per_block(self) -> int:
        """See `users_at_once`."""
        return of_backend(self.users_at_once)

    @property
    def candidates_per_block(self) -> int:
        """Number of candidates that evaluation scores at once; enough for a hundred candidates in one block."""
        return 128

    @property
    def items_per_block(self) -> int:
        """Number of items that full ranking scores at once: a few megabytes of the table."""
        return 8192

    def init(self, key: jax.Array, tables: Tables) -> Params:
        """Draws the parameters: {"item_embeddings", "encoder"} and, if the encoder uses them, "user_embeddings"."""
        item_key, user_key, encoder_key = jax.random.split(key, 3)
        params = {"item_embeddings": NORMAL_INIT(item_key, (self.num_items + 1, self.embedding_dim))}
        if self.encoder.uses_users:
            params["user_embeddings"] = NORMAL_INIT(user_key, (self.num_users + 1, self.embedding_dim))
        ids = jnp.ones((1, self.history_length), jnp.int32)
        history = History(ids, ids.astype(jnp.float32), ids, ids[:, 0])
        inputs = self._inputs(params, ids[:, 0], history)
        return {**params, "encoder": self.encoder.init(encoder_key, *inputs)["params"]}

    def encode(
        self,
        params: Params,
        users: jax.Array,
        history: History,
        tables: Tables,
        dropout_key: jax.Array | None = None,
    ) -> jax.Array:
        """Encodes users [B] with their histories as vectors, float32 [B, D]; with dropout if `key` is given.

        Raises:
          ValueError: the history is longer than the model allows.
        """
        encoded = self.encoder.apply(
            {"params": params["encoder"]},
            *self._inputs(params, users, history),
            deterministic=dropout_key is None,
            rngs=None if dropout_key is None else {"dropout": dropout_key},
        )
        return cast(jax.Array, encoded)

    @jax.named_scope("score")
    def score(self, params: Params, encoded: jax.Array, candidates: jax.Array, tables: Tables) -> jax.Array:
        """Scores candidates [B, C] of the users of `encode`; float32 [B, C]."""
        return matmul(params["item_embeddings"][candidates], encoded[..., None], self.precision)[..., 0]

    @jax.named_scope("score")
    def score_items(self, params: Params, encoded: jax.Array, items: jax.Array, tables: Tables) -> jax.Array:
        """Scores items [C] for all users of `encode`, float32 [B, C]: one product."""
        return matmul(encoded, params["item_embeddings"][items].T, self.precision)

    def losses(self, params: Params, batch: Batch, tables: Tables, key: jax.Array) -> Terms:
        """The recommendation term of each example.

        Args:
          params: as from `init`; the tables may have fewer rows, see `compact`.
          batch: examples with negatives.
          tables: not used.
          key: random key for dropout.
        """
        encoded = self.encode(params, batch.users, batch.history, tables, key)
        if self.rec_objective == "cross_entropy":
            scores = matmul(encoded, params["item_embeddings"][1:].T, self.precision)  # [B, I]
            losses = jax.vmap(softmax_loss)(scores, batch.candidates[:, 0] - 1)
        else:
            losses = jax.vmap(self._sampled_loss(batch))(self.score(params, encoded, batch.candidates, tables))
        return {"rec": (losses, jnp.ones_like(batch.weights))}

    def compact(self, batch: Batch, tables: Tables) -> tuple[Batch, Tables, Rows]:
        """See `compact_sequences`."""
        batch, rows = compact_sequences(batch, num_users=self.num_users, num_items=self.num_items)
        return batch, tables, rows

    def _sampled_loss(self, batch: Batch) -> Callable[[jax.Array], jax.Array]:
        """The loss of one example's scores [1 + n]."""
        if self.rec_objective == "gbce":
            sampling_rate = min(1.0, (batch.candidates.shape[1] - 1) / (self.num_items - 1))
            return functools.partial(gbce_loss, sampling_rate=sampling_rate, calibration=self.calibration)
        return {"bpr": sequence_bpr_loss, "sampled_softmax": softmax_loss}[self.rec_objective]

    def _inputs(
        self, params: Params, users: jax.Array, history: History
    ) -> tuple[jax.Array, jax.Array | None, History]:
        """The encoder's arguments, histories padded to `history_length`."""
        missing = self.history_length - history.items.shape[1]
        if missing < 0:
            raise ValueError(f"the history has {history.items.shape[1]} positions, the model {self.history_length}")
        places = history.items, history.intervals, history.seconds
        items, intervals, seconds = (jnp.pad(x, ((0, 0), (0, missing))) for x in places)
        user_emb = params["user_embeddings"][users] if self.encoder.uses_users else None
        return params["item_embeddings"], user_emb, History(items, intervals, seconds, history.shortest)
