"""A recommender with its losses, the unit of training and evaluation."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, TypeAlias, cast

import jax
import jax.numpy as jnp

from lrd_jax.data.batch import Batch, History, Tables
from lrd_jax.models.attribution import Explanation, attribute
from lrd_jax.models.lazy_rows import Rows, compact_batch
from lrd_jax.models.losses import bpr_loss, lrd_paper_loss, lrd_released_loss
from lrd_jax.models.lrd import RelationClassifier, RelationLogits, log_posterior
from lrd_jax.models.relational import RelationalModel

Params: TypeAlias = dict[str, Any]
# Per example: a sum and a count, both [B]. The loss of a batch is Σ sums / Σ counts.
Terms: TypeAlias = dict[str, tuple[jax.Array, jax.Array]]


class System(Protocol):
    """The interface between models and the training and evaluation code.

    Attributes:
      loss_weights: the weight of each term that `losses` returns.
      users_at_once: number of users that are scored at once on a "cpu" and on an "accelerator".
      users_per_block, candidates_per_block: numbers of users and candidates that evaluation scores at once here.
      items_per_block: number of items that full ranking scores at once for these users.
    """

    @property
    def loss_weights(self) -> dict[str, float]:
        """See above."""

    @property
    def users_at_once(self) -> Mapping[str, int]:
        """See above."""

    @property
    def users_per_block(self) -> int:
        """See above."""

    @property
    def candidates_per_block(self) -> int:
        """See above."""

    @property
    def items_per_block(self) -> int:
        """See above."""

    def init(self, key: jax.Array, tables: Tables) -> Params:
        """Draws the parameters."""

    def encode(self, params: Params, users: jax.Array, history: History, tables: Tables) -> Any:
        """Encodes users int32 [B] and their histories for `score`, once for all candidates."""

    def score(self, params: Params, encoded: Any, candidates: jax.Array, tables: Tables) -> jax.Array:
        """Scores candidates int32 [B, C] of the encoded users, without dropout; float32 [B, C]."""

    def score_items(self, params: Params, encoded: Any, items: jax.Array, tables: Tables) -> jax.Array:
        """Scores the same items int32 [C] for every encoded user, without dropout; float32 [B, C]."""

    def losses(self, params: Params, batch: Batch, tables: Tables, key: jax.Array) -> Terms:
        """The terms of the joint objective, per example."""

    def compact(self, batch: Batch, tables: Tables) -> tuple[Batch, Tables, Rows]:
        """Renumbers batch and item data to the table rows that the batch looks up, and returns those rows.

        `losses` of the result, with each table parameter reduced to these rows, equal those of the batch.
        """


def of_backend(numbers: Mapping[str, int]) -> int:
    """That of "cpu" or "accelerator" which is jax's default device."""
    return numbers["cpu" if jax.default_backend() == "cpu" else "accelerator"]


@dataclasses.dataclass(frozen=True)
class RelationalSystem:
    """RCF or KDA with the joint objective L = L_rec + γ·L_kge + λ·L_lrd (Eq. 16).

    Attributes:
      scorer: the recommender.
      classifier: latent relation discovery; None without LRD.
      classifier_input, relation_prior: see `ModelConfig`.
      loss_weights: {"rec": 1, "kg": γ, "lrd": λ}, without the terms that the system does not have.
      lrd_objective, entropy_weight, drop_virtual: see `LossConfig` and `losses`.
      decay: initial decay_real and decay_imag; None for random values.
    """

    scorer: RelationalModel
    classifier: RelationClassifier | None
    loss_weights: dict[str, float]
    lrd_objective: str = "paper"
    entropy_weight: float = 0.1
    drop_virtual: bool = False
    decay: tuple[jax.Array, jax.Array] | None = None
    classifier_input: Literal["text", "id"] = "text"
    relation_prior: Literal["none", "fixed", "learned"] = "none"

    def init(self, key: jax.Array, tables: Tables) -> Params:
        """Draws the parameters: {"scorer": ...} and, with LRD, {"classifier": ...}."""
        scorer_key, classifier_key = jax.random.split(key)
        ids = jnp.ones((1, 1), jnp.int32)
        history = History(ids, jnp.ones((1, 1), jnp.float32), ids, ids[0])
        scorer = self.scorer.init(scorer_key, ids[0], ids, history, tables.item_values)["params"]
        if self.decay is not None:
            scorer = {**scorer, "decay_real": jnp.array(self.decay[0]), "decay_imag": jnp.array(self.decay[1])}
        params = {"scorer": scorer}
        if self.classifier is not None:
            params["classifier"] = self.classifier.init(classifier_key, ids, ids, self._texts(params, tables))["params"]
        return params

    @property
    def users_at_once(self) -> Mapping[str, int]:
        """On a CPU 8 users x 25 candidates, which stay in a core's cache in all passes; more on an accelerator."""
        return {"cpu": 8, "accelerator": 256}

    @property
    def users_per_block(self) -> int:
        """See `users_at_once`."""
        return of_backend(self.users_at_once)

    @property
    def candidates_per_block(self) -> int:
        """See `users_per_block`."""
        return 25

    @property
    def items_per_block(self) -> int:
        """See `users_per_block`."""
        return self.candidates_per_block

    def encode(self, params: Params, users: jax.Array, history: History, tables: Tables) -> tuple[jax.Array, History]:
        """Returns users [B] and histories unchanged, because the aggregated history depends on the candidate."""
        return users, history

    def score(
        self, params: Params, encoded: tuple[jax.Array, History], candidates: jax.Array, tables: Tables
    ) -> jax.Array:
        """Scores candidates [B, C] of the users of `encode`; float32 [B, C]."""
        users, history = encoded
        logits = self._logits(params, history, candidates, tables) if self.relation_prior != "none" else None
        variables = {"params": params["scorer"]}
        return cast(jax.Array, self.scorer.apply(variables, users, candidates, history, tables.item_values, logits))

    def score_items(
        self, params: Params, encoded: tuple[jax.Array, History], items: jax.Array, tables: Tables
    ) -> jax.Array:
        """Scores items [C] for all users of `encode`; float32 [B, C]. Users share no computation."""
        candidates = jnp.broadcast_to(items, (encoded[0].shape[0], items.shape[0]))
        return self.score(params, encoded, candidates, tables)

    def explain(
        self, params: Params, encoded: tuple[jax.Array, History], candidates: jax.Array, tables: Tables
    ) -> Explanation:
        """What each history item adds to the score of candidates [B, C] through each relation; see `attribute`."""
        users, history = encoded
        variables = {"params": params["scorer"]}
        logits = self._logits(params, history, candidates, tables) if self.relation_prior != "none" else None
        weights = self.scorer.apply(
            variables, candidates, history, tables.item_values, logits, method="history_weights"
        )
        history_emb = params["scorer"]["entity_embeddings"][history.items]  # [B, H, D]

        def score(tokens: jax.Array) -> jax.Array:
            return cast(jax.Array, self.scorer.apply(variables, users, candidates, tokens, method="score_tokens"))

        return attribute(score, cast(jax.Array, weights), history_emb)

    def _texts(self, params: Params, tables: Tables) -> jax.Array | None:
        """The classifier's input for every item, [I + 1, T]."""
        return tables.text if self.classifier_input == "text" else params["scorer"]["entity_embeddings"]

    @jax.named_scope("classifier")
    def _logits(self, params: Params, history: History, targets: jax.Array, tables: Tables) -> RelationLogits:
        """The classifier's logits for the items of the histories and targets [B, C]."""
        assert self.classifier is not None
        variables = {"params": params["classifier"]}
        logits = self.classifier.apply(variables, history.items, targets, self._texts(params, tables))
        return cast(RelationLogits, logits)

    def losses(self, params: Params, batch: Batch, tables: Tables, key: jax.Array) -> Terms:
        """The recommendation, knowledge-graph and latent-relation terms of each example.

        Args:
          params: as from `init`; the tables may have fewer rows, see `compact`.
          batch: examples with negatives, triples and, with LRD, negative histories.
          tables: item data.
          key: random key for dropout.
        """
        variables = {"params": params["scorer"]}
        users, entities, items = (
            len(params["scorer"][name]) for name in ("user_embeddings", "entity_embeddings", "item_bias")
        )
        scorer = self.scorer.clone(num_users=users - 1, num_items=items - 1, num_entities=entities)
        targets = batch.candidates[:, :1] if self.relation_prior == "none" else batch.candidates
        logits = self._logits(params, batch.history, targets, tables) if self.classifier is not None else None
        prior = {"none": None, "fixed": jax.lax.stop_gradient(logits), "learned": logits}[self.relation_prior]
        scores = scorer.apply(
            variables,
            batch.users,
            batch.candidates,
            batch.history,
            tables.item_values,
            prior,
            deterministic=False,
            rngs={"dropout": key},
        )
        ones = jnp.ones_like(batch.weights)
        terms = {"rec": (jax.vmap(bpr_loss)(cast(jax.Array, scores)), ones)}
        if batch.triples is not None:
            triple_scores = scorer.apply(variables, batch.triples, method="triple_scores")
            terms["kg"] = (jax.vmap(bpr_loss)(cast(jax.Array, triple_scores)), ones)
        if "lrd" in self.loss_weights:
            assert logits is not None
            terms["lrd"] = self._lrd_terms(params, batch, logits)
        return terms

    def compact(self, batch: Batch, tables: Tables) -> tuple[Batch, Tables, Rows]:
        """See `compact_batch`."""
        return compact_batch(
            batch,
            tables,
            num_users=self.scorer.num_users,
            num_items=self.scorer.num_items,
            num_entities=self.scorer.num_entities,
            include_value=self.scorer.include_value,
        )

    @jax.named_scope("lrd_loss")
    def _lrd_terms(self, params: Params, batch: Batch, logits: RelationLogits) -> tuple[jax.Array, jax.Array]:
        entities, relations = params["scorer"]["entity_embeddings"], params["scorer"]["relation_embeddings"]
        targets = batch.candidates[:, 0]
        objective: Callable[..., tuple[jax.Array, jax.Array]]
        if self.lrd_objective == "released":
            objective = functools.partial(lrd_released_loss, drop_virtual=self.drop_virtual)
        else:
            objective = lrd_paper_loss

        def of_example(
            log_q: jax.Array, history: jax.Array, negatives: jax.Array, target: jax.Array, valid: jax.Array
        ) -> tuple[jax.Array, jax.Array]:
            weight = self.entropy_weight
            return objective(log_q, history, negatives, target, relations, valid, entropy_weight=weight)

        return jax.vmap(of_example)(
            log_posterior(logits),
            entities[batch.history.items],
            entities[batch.negative_history],
            entities[targets],
            batch.history.items > 0,
        )
