"""The numerics of the paper as slow float64 loops, written from the equations and independent of JAX.

Everything here handles one user, one candidate or one pair at a time, so that each line can be held against its
equation. Letters as in `lrd_jax`. Kernels are [in, out]. Parameters come as one flat dict of arrays:

  user [U+1, D], entity [E, D], relation [R, D], item_bias [I+1]
  query, key, value [D, D]; w1, w2 [D, D]; b1, b2, norm_scale, norm_bias [D]
  pool_kernel [D, P], pool_bias [P], pool_out [P]            attention pooling only
  decay_real, decay_imag [R, F]                              KDA only
  text_kernel [T, D], text_bias [D], class_kernel [2D, R], class_bias [R]   LRD only

`item_values` [I+1, A, V] holds entity ids padded with 0; attribute a is relation `first_attribute` + a.
"""

from __future__ import annotations

import math

import numpy as np


def sigmoid(x):
    """1 / (1 + e^-x) without overflow."""
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


def log_sigmoid(x):
    """log σ(x) = min(x, 0) − log(1 + e^-|x|)."""
    return min(x, 0.0) - math.log1p(math.exp(-abs(x)))


def softmax(x):
    """Softmax of a vector."""
    weights = np.exp(np.asarray(x, np.float64) - np.max(x))
    return weights / weights.sum()


# DistMult


def distmult(head, relation, tail):
    """φ = Σ_d head_d·relation_d·tail_d (Eq. 6), three vectors [D]."""
    total = 0.0
    for h, r, t in zip(head, relation, tail, strict=True):
        total += float(h) * float(r) * float(t)
    return total


def mean_value(entity, value_ids):
    """Mean embedding [D] of the values that are there (id not 0), entity[0] where none is."""
    present = [v for v in value_ids if v != 0]
    return entity[0] if not present else sum(entity[v] for v in present) / len(present)


def candidate_relations(params, item, item_values, first_attribute, include_value):
    """ρ(c, r) = rel[r] + mean of ent over c's values of r, [R, D]; ent[0] where r is no attribute or c has no value."""
    rho = np.array(params["relation"], np.float64)
    if not include_value:
        return rho
    num_attributes = item_values.shape[1]
    for r in range(len(rho)):
        a = r - first_attribute
        values = item_values[item, a] if 0 <= a < num_attributes else []
        rho[r] += mean_value(params["entity"], values)
    return rho


def triple_score(params, head, relation, value, tail, include_value):
    """head·(rel[r] + ent[value])·tail of one triple; value 0 where the relation is not an attribute."""
    rho = np.array(params["relation"][relation], np.float64)
    if include_value:
        rho = rho + params["entity"][value]
    return distmult(params["entity"][head], rho, params["entity"][tail])


# Relational scorer (RCF, KDA)


def log_interval(seconds):
    """Δt = max(log2(seconds / 60 + 1e-6), 0)."""
    return max(math.log2(seconds / 60.0 + 1e-6), 0.0)


def decay(real, imag, interval):
    """½·mean_k [re_k·cos(2π f_k Δt) − im_k·sin(2π f_k Δt)], f = linspace(0, ½, F); before the clip to [0, 1]."""
    num_frequencies = len(real)
    total = 0.0
    for k in range(num_frequencies):
        angle = 2.0 * math.pi * (0.5 * k / (num_frequencies - 1)) * interval
        total += real[k] * math.cos(angle) - imag[k] * math.sin(angle)
    return 0.5 * total / num_frequencies


def clipped_decay(real, imag, interval):
    """The decay clipped to [0, 1], as it multiplies the relation intensities."""
    return min(max(decay(real, imag, interval), 0.0), 1.0)


def relation_intensities(params, rho, candidate, history, mask, intervals=None, text=None):
    """ω [R, H] (Eq. 12): softmax of φ over the valid history items, times the decay where `intervals` are given.

    With `text` [I+1, T], log q of the relation classifier is added to φ (ours, not the paper's).
    Zero at invalid positions, and everywhere when no position is valid.
    """
    num_relations, length = len(rho), len(history)
    omega = np.zeros((num_relations, length))
    valid = [h for h in range(length) if mask[h]]
    if not valid:
        return omega
    for r in range(num_relations):
        scores = [distmult(params["entity"][history[h]], rho[r], params["entity"][candidate]) for h in valid]
        if text is not None:
            scores = [
                s + math.log(posterior(params, text, history[h], candidate)[r])
                for s, h in zip(scores, valid, strict=True)
            ]
        omega[r, valid] = softmax(scores)
        if intervals is not None:
            for h in valid:
                omega[r, h] *= clipped_decay(params["decay_real"][r], params["decay_imag"][r], intervals[h])
    return omega


def layer_norm(x, scale, bias):
    """LayerNorm of a vector, eps 1e-5."""
    mean = x.mean()
    variance = ((x - mean) ** 2).mean()
    return (x - mean) / math.sqrt(variance + 1e-5) * scale + bias


def self_attention(x, query, key, value, num_heads):
    """Multi-head self-attention over the R rows of x [R, D], no biases, no output projection."""
    num_tokens, width = x.shape
    size = width // num_heads
    q, k, v = x @ query, x @ key, x @ value
    out = np.zeros_like(x)
    for head in range(num_heads):
        part = slice(head * size, (head + 1) * size)
        for i in range(num_tokens):
            scores = [q[i, part] @ k[j, part] / math.sqrt(size) for j in range(num_tokens)]
            weights = softmax(scores)
            out[i, part] = sum(weights[j] * v[j, part] for j in range(num_tokens))
    return out


def attention_pass(params, x, num_heads):
    """x ← LayerNorm(x + W2·relu(W1·A(x) + b1) + b2) on R tokens [R, D]."""
    a = self_attention(x, params["query"], params["key"], params["value"], num_heads)
    y = np.maximum(a @ params["w1"] + params["b1"], 0.0) @ params["w2"] + params["b2"]
    return np.stack([layer_norm(row, params["norm_scale"], params["norm_bias"]) for row in x + y])


def pool(params, x, user_emb, pooling):
    """Pool the relation tokens [R, D] into [D] (Eq. 10): mean, max or attention."""
    if pooling == "mean":
        return x.mean(axis=0)
    if pooling == "max":
        return x.max(axis=0)
    scores = []
    for row in x:
        hidden = np.tanh((row * user_emb) @ params["pool_kernel"] + params["pool_bias"])
        scores.append(float(hidden @ params["pool_out"]))
    weights = softmax(scores)
    return sum(weights[r] * x[r] for r in range(len(x)))


def relational_score(
    params,
    user,
    candidate,
    history,
    mask,
    item_values,
    *,
    first_attribute,
    num_heads,
    num_layers,
    pooling="mean",
    include_value=True,
    intervals=None,
    text=None,
):
    """y(u, c) = (u + pooled)·ent[c] + bias[c] (Eq. 9) for one candidate.

    `intervals` [H] are the Δt of the history items; None scores without decay (RCF).
    """
    entity = params["entity"]
    rho = candidate_relations(params, candidate, item_values, first_attribute, include_value)
    omega = relation_intensities(params, rho, candidate, history, mask, intervals, text)
    x = np.zeros((len(rho), entity.shape[1]))
    for r in range(len(rho)):
        for h in range(len(history)):
            x[r] += omega[r, h] * entity[history[h]]
    for _ in range(num_layers):
        x = attention_pass(params, x, num_heads)
    user_emb = params["user"][user]
    pooled = pool(params, x, user_emb, pooling)
    return float((user_emb + pooled) @ entity[candidate] + params["item_bias"][candidate])


def relational_scores(params, users, candidates, history, mask, item_values, *, intervals=None, **settings):
    """`relational_score` of users [B] for candidates [B, C], history and mask [B, H] → [B, C]."""
    scores = np.zeros(np.shape(candidates))
    for b, row in enumerate(candidates):
        for c, candidate in enumerate(row):
            dt = None if intervals is None else intervals[b]
            scores[b, c] = relational_score(
                params, users[b], candidate, history[b], mask[b], item_values, intervals=dt, **settings
            )
    return scores


# Sequence models: one user's vector [D], from the embeddings [n, D] of the items that there are, oldest first.
# Parameters by the names within "encoder" of `lrd_jax`, "/" between module and parameter.


def transformer_state(params, items, *, num_layers, num_heads, units=None):
    """SASRec's state of the newest item; TiSASRec's where `units` [n, n] are the intervals between items."""
    length, width = items.shape
    size = width // num_heads
    x = np.array(items, np.float64)
    if units is None:
        for i in range(length):
            x[i] += params["position_embeddings"][length - i]
    for layer in range(num_layers):
        p = {name.split("/")[1]: value for name, value in params.items() if name.startswith(f"block_{layer}/")}
        after = np.zeros_like(x)
        for i in range(length):
            query = x[i] @ p["query_kernel"] + p["query_bias"]
            keys, values = [], []
            for j in range(i + 1):
                key, value = x[j] @ p["key_kernel"] + p["key_bias"], x[j] @ p["value_kernel"] + p["value_bias"]
                if units is not None:
                    key = key + params["position_key_embeddings"][length - j]
                    key = key + params["interval_key_embeddings"][units[i][j]]
                    value = value + params["position_value_embeddings"][length - j]
                    value = value + params["interval_value_embeddings"][units[i][j]]
                keys.append(key)
                values.append(value)
            attended = np.zeros(width)
            for head in range(num_heads):
                part = slice(head * size, (head + 1) * size)
                weights = softmax([query[part] @ key[part] / math.sqrt(size) for key in keys])
                attended[part] = sum(weight * value[part] for weight, value in zip(weights, values, strict=True))
            y = layer_norm(x[i] + attended, p["attention_norm_scale"], p["attention_norm_bias"])
            hidden = np.maximum(y @ p["w1_kernel"] + p["w1_bias"], 0.0) @ p["w2_kernel"] + p["w2_bias"]
            after[i] = layer_norm(y + hidden, p["output_norm_scale"], p["output_norm_bias"])
        x = after
    return x[-1]


def interval_units(seconds, shortest, time_max):
    """⌊|t_i − t_j| / shortest⌋ up to time_max, in exact integers."""
    return [[min(abs(int(a) - int(b)) // int(shortest), time_max) for b in seconds] for a in seconds]


def gru_state(params, items):
    """GRU4Rec: the last state of PyTorch's GRU, through the output kernel."""
    width = params["recurrent_kernel"].shape[0]
    state = np.zeros(width)
    for item in items:
        x = item @ params["input_kernel"] + params["input_bias"]
        h = state @ params["recurrent_kernel"] + params["recurrent_bias"]
        after = np.zeros(width)
        for n in range(width):
            reset, keep = sigmoid(x[n] + h[n]), sigmoid(x[width + n] + h[width + n])
            proposal = math.tanh(x[2 * width + n] + reset * h[2 * width + n])
            after[n] = (1 - keep) * proposal + keep * state[n]
        state = after
    return state @ params["out_kernel"]


def caser_vector(params, items, padding, user, history_length):
    """Caser: filters over the items, padded at the end with the embedding `padding` [D], then with the user's."""
    image = [*items, *[padding] * (history_length - len(items))]
    features = []
    for filter_, bias in zip(params["vertical_kernel"].T, params["vertical_bias"], strict=True):
        features.extend(sum(filter_[h] * image[h] for h in range(history_length)) + bias)
    for index in range(sum(name.startswith("horizontal") and name.endswith("kernel") for name in params)):
        height = index + 1
        kernel, biases = params[f"horizontal_{index}_kernel"], params[f"horizontal_{index}_bias"]
        for filter_, bias in zip(kernel.T, biases, strict=True):
            windows = [np.concatenate(image[h : h + height]) for h in range(history_length - height + 1)]
            features.append(max(max(window @ filter_ + bias, 0.0) for window in windows))
    hidden = np.maximum(np.array(features) @ params["hidden_kernel"] + params["hidden_bias"], 0.0)
    return np.concatenate([hidden, user]) @ params["out_kernel"] + params["out_bias"]


# Losses


def bpr_loss(positive, negatives):
    """Mean over rows of −log Σ_n softmax_n(neg)·σ(pos − neg_n); with one negative −log σ(pos − neg) (Eq. 13).

    Shapes: positive [N], negatives [N, n].
    """
    losses = []
    for pos, row in zip(positive, negatives, strict=True):
        weights = softmax(row)
        # logsumexp of log weight + log σ, so that very large score differences stay finite
        terms = [math.log(w) + log_sigmoid(pos - neg) for w, neg in zip(weights, row, strict=True) if w > 0]
        top = max(terms)
        losses.append(-(top + math.log(sum(math.exp(t - top) for t in terms))))
    return sum(losses) / len(losses)


def sequence_loss(positive, negatives):
    """Mean of softplus(−(pos − Σ_n softmax_n(neg)·neg_n)), the loss of the sequence baselines."""
    losses = []
    for pos, row in zip(positive, negatives, strict=True):
        losses.append(-log_sigmoid(pos - float(softmax(row) @ row)))
    return sum(losses) / len(losses)


def softmax_loss(scores, target=0):
    """−log softmax(scores)[target] of one example."""
    return -math.log(softmax(scores)[target])


def gbce_loss(scores, sampling_rate, calibration):
    """gBCE of one example, positive first: BCE with σ(pos) to the power β, averaged over the 1 + n scores."""
    a, t = sampling_rate, calibration
    beta = a * (t * (1 - 1 / a) + 1 / a)
    total = math.log(sigmoid(scores[0]) ** beta)
    for negative in scores[1:]:
        total += math.log(1 - sigmoid(negative))
    return -total / len(scores)


def joint_loss(rec, kg, lrd, kg_weight, lrd_weight):
    """rec + γ·kge + λ·lrd (Eq. 16)."""
    return rec + kg_weight * kg + lrd_weight * lrd


# LRD


def posterior(params, text, history_item, target_item):
    """q [R] = softmax(W2·[e_hist ; e_target] + b2), e = W1·text + b1 (Eq. 3, 4); text [I+1, T]."""
    e_history = text[history_item] @ params["text_kernel"] + params["text_bias"]
    e_target = text[target_item] @ params["text_kernel"] + params["text_bias"]
    return softmax(np.concatenate([e_history, e_target]) @ params["class_kernel"] + params["class_bias"])


def entropy(q):
    """H[q] = −Σ q·log q, with 0·log 0 = 0."""
    return -sum(p * math.log(p) for p in q if p > 0)


def lrd_paper_loss(params, text, history, mask, targets, negative_history, entropy_weight):
    """Eq. 14 per pair, entropy maximised: −mean over valid pairs of Σ_r q_r·[log σ(φ) + log σ(−φ_neg)] + α·H[q]."""
    entity, relation = params["entity"], params["relation"]
    objectives = []
    for b, target in enumerate(targets):
        for h, item in enumerate(history[b]):
            if not mask[b][h]:
                continue
            q = posterior(params, text, item, target)
            objective = entropy_weight * entropy(q)
            for r in range(len(relation)):
                positive = distmult(entity[item], relation[r], entity[target])
                negative = distmult(entity[negative_history[b][h]], relation[r], entity[target])
                objective += q[r] * (log_sigmoid(positive) + log_sigmoid(-negative))
            objectives.append(objective)
    return -sum(objectives) / len(objectives)


def released_triple_score(a, relation, b):
    """ψ_r(a, b) = Σ_d (a·b·rel + a·rel + b·rel), what the published code reconstructs with."""
    return float(sum(x * y * r + x * r + y * r for x, y, r in zip(a, b, relation, strict=True)))


def lrd_released_loss(params, text, history, mask, targets, negative_history, entropy_weight, drop_virtual):
    """−mean_{b,r} log(Σ_valid h σ(z) / #valid) + α·mean(−q·log q), z = q_r·(ψ_r(hist, t) − ψ_r(neg, t)).

    The last mean runs over every position, padding too; `drop_virtual` leaves relation 0 out of the first.
    """
    entity, relation = params["entity"], params["relation"]
    reconstruction, spread = [], []
    for b, target in enumerate(targets):
        q = np.stack([posterior(params, text, item, target) for item in history[b]])
        spread.extend(-p * math.log(p) if p > 0 else 0.0 for p in q.ravel())
        valid = [h for h in range(len(history[b])) if mask[b][h]]
        for r in range(1 if drop_virtual else 0, len(relation)):
            total = 0.0
            for h in valid:
                positive = released_triple_score(entity[history[b][h]], relation[r], entity[target])
                negative = released_triple_score(entity[negative_history[b][h]], relation[r], entity[target])
                total += sigmoid(q[h, r] * (positive - negative))
            reconstruction.append(math.log(total / len(valid)))
    return -sum(reconstruction) / len(reconstruction) + entropy_weight * sum(spread) / len(spread)


# Ranking metrics


def rank_of_first(scores):
    """1-based rank of scores[0] among a row of scores; among equals it takes the average of their ranks."""
    target = scores[0]
    higher = sum(1 for s in scores[1:] if s > target)
    equal = sum(1 for s in scores[1:] if s == target)
    return 1 + higher + equal / 2


def hit_rate(ranks, k):
    """HR@k = share of ranks ≤ k."""
    return sum(1.0 for rank in ranks if rank <= k) / len(ranks)


def ndcg(ranks, k):
    """NDCG@k with one relevant item = mean of 1 / log2(rank + 1) where rank ≤ k, else 0."""
    return sum(1.0 / math.log2(rank + 1) for rank in ranks if rank <= k) / len(ranks)


# Optimiser and initialisation


def adam(params, gradients, *, learning_rate, l2, no_decay, b1=0.9, b2=0.999, eps=1e-8):
    """Adam with coupled L2 over a sequence of gradients, as torch.optim.Adam does it; returns the final parameters.

    Args:
      params: dict of arrays.
      gradients: one dict of arrays per step.
      learning_rate, l2: step size and L2 coefficient, the latter added to the gradient before the moments.
      no_decay: names exempt from L2 (biases).
      b1, b2, eps: Adam's own.
    """
    params = {name: np.array(value, np.float64) for name, value in params.items()}
    first = {name: np.zeros_like(value) for name, value in params.items()}
    second = {name: np.zeros_like(value) for name, value in params.items()}
    for step, gradient in enumerate(gradients, start=1):
        for name in params:
            g = np.asarray(gradient[name], np.float64)
            if name not in no_decay:
                g = g + l2 * params[name]
            first[name] = b1 * first[name] + (1 - b1) * g
            second[name] = b2 * second[name] + (1 - b2) * g * g
            corrected = first[name] / (1 - b1**step)
            scale = np.sqrt(second[name] / (1 - b2**step)) + eps
            params[name] = params[name] - learning_rate * corrected / scale
    return params


def dft_decay(histograms, num_relations):
    """Decay parameters (re, im), each [R, F], with which each decay starts as its histogram over its maximum.

    The real inverse DFT is h[n] = 1/N·Σ_k w_k·[Re X_k·cos(2πkn/N) − Im X_k·sin(2πkn/N)], k = 0..N/2, with w = 2 inside
    (each stands for its mirror image too) and 1 at both ends. The decay has ½·1/F in place of w_k/N, hence the factor.
    Latent relations, those beyond the histograms, and relations never observed take the virtual relation's (row 0).

    Args:
      histograms: [R_defined, N], counts of observed intervals Δt = 0, 1, ..., N − 1.
      num_relations: R.
    """
    num_points = histograms.shape[1]
    num_frequencies = num_points // 2 + 1
    real, imag = np.zeros((2, num_relations, num_frequencies))
    for r in range(num_relations):
        counts = histograms[r if r < len(histograms) and histograms[r].max() > 0 else 0]
        for k in range(num_frequencies):
            fold = 1.0 if k in (0, num_points / 2) else 2.0
            factor = 2.0 * num_frequencies * fold / (num_points * counts.max())
            for n in range(num_points):
                angle = 2.0 * math.pi * k * n / num_points
                real[r, k] += factor * counts[n] * math.cos(angle)
                imag[r, k] -= factor * counts[n] * math.sin(angle)
    return real, imag
