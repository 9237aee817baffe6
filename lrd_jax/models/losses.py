"""The losses as pure functions of one example; the caller vmaps and averages them.

Source, unless noted: the paper's Eq. 13 to 16, and the published code where it differs.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrd_jax.models.distmult import distmult


def bpr_loss(scores: jax.Array) -> jax.Array:
    """Bayesian personalised ranking, −log Σ_n softmax_n(neg) · σ(pos − neg_n); plain BPR with one negative (Eq. 13).

    Gradients flow through the softmax too, as in the published code.

    Args:
      scores: [1 + n], the positive first.

    Returns:
      [].
    """
    positive, negatives = scores[0], scores[1:]
    # log of a sum of products, so that very different scores neither overflow nor round to log 0.
    return -jax.nn.logsumexp(jax.nn.log_softmax(negatives) + jax.nn.log_sigmoid(positive - negatives))


def sequence_bpr_loss(scores: jax.Array) -> jax.Array:
    """BPR for sequence models, softplus(−(pos − Σ_n softmax_n(neg) · neg_n)).

    Gradients flow through the softmax too. With one negative it equals `bpr_loss`.

    Args:
      scores: [1 + n], the positive first.

    Returns:
      [].

    Source: ReChorus, after Hidasi and Karatzoglou, CIKM 2018.
    """
    positive, negatives = scores[0], scores[1:]
    return jax.nn.softplus(jnp.vdot(jax.nn.softmax(negatives), negatives) - positive)


def softmax_loss(scores: jax.Array, target: jax.Array | int = 0) -> jax.Array:
    """Cross entropy of one target among all scored items, log Σ_i exp(s_i) − s_target.

    Over the whole catalogue it is the full cross entropy. Over the target and uniformly drawn negatives it is the
    sampled softmax without the correction term, which would be the same for all negatives. It sums over fewer items, so
    it is smaller than the full loss.

    Args:
      scores: [I].
      target: int [], position of the target.

    Returns:
      [].
    """
    return jax.nn.logsumexp(scores) - scores[target]


def gbce_loss(scores: jax.Array, *, sampling_rate: float, calibration: float) -> jax.Array:
    """Generalised binary cross entropy, −[β · log σ(pos) + Σ_n log(1 − σ(neg_n))] / (1 + n).

    β = α · (t · (1 − 1/α) + 1/α): sampling few negatives makes a model overconfident, and the power β of the positive's
    probability corrects this. t = 0 is plain binary cross entropy, t = 1 is the full correction (β = α).

    Args:
      scores: [1 + n], the positive first.
      sampling_rate: α = n / (I − 1), the fraction of an example's negatives that are drawn.
      calibration: t in [0, 1].

    Returns:
      [].

    Source: gSASRec (Petrov and Macdonald, RecSys 2023), Eq. 7 to 9.
    """
    power = sampling_rate * calibration + (1 - calibration)
    positive, negatives = jax.nn.log_sigmoid(scores[0]), jax.nn.log_sigmoid(-scores[1:])
    return -(power * positive + jnp.sum(negatives)) / scores.shape[0]


def entropy(log_q: jax.Array) -> jax.Array:
    """H[q] = −Σ_r q_r · log q_r over the last axis, from log-probabilities; finite even if q is 0."""
    return -jnp.sum(jnp.exp(log_q) * jnp.maximum(log_q, jnp.finfo(log_q.dtype).min), axis=-1)


def lrd_paper_loss(
    log_q: jax.Array,
    history_emb: jax.Array,
    negative_emb: jax.Array,
    target_emb: jax.Array,
    relations: jax.Array,
    valid: jax.Array,
    *,
    entropy_weight: float,
) -> tuple[jax.Array, jax.Array]:
    """The ELBO as printed in the paper; it maximises the entropy (Eq. 14).

    −Σ_valid h { Σ_r q_r · [log σ(φ_r(hist, target)) + log σ(−φ_r(neg, target))] + α · H[q] }

    Args:
      log_q: [H, R], log-posterior of the relation of each (history item, target) pair.
      history_emb, negative_emb: [H, D], the items of the history and the unseen items that replace them.
      target_emb: [D].
      relations: [R, D].
      valid: [H] bool, False for padding.
      entropy_weight: α.

    Returns:
      The sum over valid pairs and their number, both []. The loss of a batch is Σ sums / Σ numbers.
    """
    positive = distmult(history_emb, relations, target_emb)  # [H, R]
    negative = distmult(negative_emb, relations, target_emb)  # [H, R]
    reconstruction = jax.nn.log_sigmoid(positive) + jax.nn.log_sigmoid(-negative)
    elbo = jnp.sum(jnp.exp(log_q) * reconstruction, axis=-1) + entropy_weight * entropy(log_q)  # [H]
    return -jnp.sum(jnp.where(valid, elbo, 0.0)), jnp.sum(valid.astype(elbo.dtype))


def lrd_released_loss(
    log_q: jax.Array,
    history_emb: jax.Array,
    negative_emb: jax.Array,
    target_emb: jax.Array,
    relations: jax.Array,
    valid: jax.Array,
    *,
    entropy_weight: float,
    drop_virtual: bool,
) -> tuple[jax.Array, jax.Array]:
    """The loss that the published code computes instead of Eq. 14.

    ψ_r(a, b) = Σ_d (a·b·rel_r + a·rel_r + b·rel_r),  z = q_r · (ψ_r(hist, target) − ψ_r(neg, target)),
    −mean_r log(Σ_valid h σ(z) / #valid) + α · mean_{h, r}(−q · log q): the last mean covers padded positions too, and
    its sign minimises the entropy.

    Args:
      log_q, history_emb, negative_emb, target_emb, relations, valid, entropy_weight: as in `lrd_paper_loss`.
      drop_virtual: leave relation 0 out of z (the published KDA_LRD does, the published RCF_LRD does not).

    Returns:
      The loss of the example and the number 1, both [], to average like `lrd_paper_loss`.
    """
    # b·rel_r cancels in the difference, the rest is a DistMult score with tail (target + 1).
    difference = distmult(history_emb - negative_emb, relations, target_emb + 1.0)  # [H, R]
    log_similar = jax.nn.log_sigmoid(jnp.exp(log_q) * difference)  # In logs: σ(z) may be 0 in float32.
    counted = valid | ~jnp.any(valid)  # Without history, count every position below, to avoid log 0.
    log_number = jnp.log(jnp.sum(counted, dtype=log_q.dtype))
    log_share = jax.nn.logsumexp(log_similar, axis=0, where=counted[:, None]) - log_number  # [R]
    log_share = jnp.where(jnp.any(valid), log_share, 0.0)
    mean_entropy = jnp.mean(entropy(log_q)) / log_q.shape[-1]
    loss = -jnp.mean(log_share[1:] if drop_virtual else log_share) + entropy_weight * mean_entropy
    return loss, jnp.ones_like(loss)
