"""How KDA's temporal decay starts."""

from __future__ import annotations

import numpy as np

from lrd_jax.data.corpus import Corpus


def normalise_intervals(seconds: np.ndarray) -> np.ndarray:
    """Δt = max(log2(seconds / 60 + 1e-6), 0), KDA's scale of time. `arrays.gather_history` does the same on device."""
    return np.maximum(np.log2(seconds / 60 + 1e-6), 0.0)


def interval_histograms(corpus: Corpus, history_length: int, num_points: int) -> np.ndarray:
    """How often each defined relation spans each interval between a history item and the next item in training.

    The virtual relation holds between all such pairs.

    Args:
      corpus: the dataset; only training interactions are counted.
      history_length: H, how far back pairs reach.
      num_points: intervals are floored to 0..num_points - 1 (larger ones count as the last).

    Returns:
      float64 [R without latent relations, num_points], counts.
    """
    rows = corpus.train_rows
    items, times, users = corpus.sequence_items[rows], corpus.sequence_times[rows], corpus.sequence_users[rows]
    width = np.int64(corpus.num_items + 1)
    known = np.unique((corpus.triples[:, 1] * width + corpus.triples[:, 0]) * width + corpus.triples[:, 2])
    values = np.where(corpus.holds_value, corpus.item_values, 0)
    counts = np.zeros((corpus.num_defined_relations, num_points))
    for lag in range(1, min(history_length, len(rows) - 1) + 1):
        same = users[lag:] == users[:-lag]
        heads, tails = items[:-lag][same].astype(np.int64), items[lag:][same].astype(np.int64)
        seconds = times[lag:][same].astype(np.int64) - times[:-lag][same]
        bins = np.minimum(normalise_intervals(seconds).astype(np.int64), num_points - 1)
        counts[0] += np.bincount(bins, minlength=num_points)
        for relation in range(1, 1 + len(corpus.item_relations)):
            related = _is_among((relation * width + heads) * width + tails, known)
            counts[relation] += np.bincount(bins[related], minlength=num_points)
        for attribute in range(len(corpus.attributes)):
            ours, theirs = values[heads, attribute], values[tails, attribute]  # [N, V]
            related = np.any((ours[:, :, None] == theirs[:, None, :]) & (ours[:, :, None] > 0), axis=(1, 2))
            relation = 1 + len(corpus.item_relations) + attribute
            counts[relation] += np.bincount(bins[related], minlength=num_points)
    return counts


def _is_among(keys: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which keys (≥ 0) are in `known`, ascending; np.isin would sort `known` again at every call."""
    place = np.searchsorted(known, keys)
    found: np.ndarray = np.append(known, -1)[place] == keys
    return found


def dft_decay(histograms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Decay coefficients with which the decay starts as each histogram over its maximum.

    The inverse transform of a real signal needs half the frequencies, each but the first and last counted twice
    ("folded"); the decay divides by 2F where the transform divides by the number of points ("scaled").

    Args:
      histograms: [R, P], P even; a row without counts starts as the virtual relation's.

    Returns:
      decay_real and decay_imag, float32 [R, P / 2 + 1].
    """
    histograms = np.where(histograms.any(axis=1, keepdims=True), histograms, histograms[:1])
    shape = histograms / np.maximum(histograms.max(axis=1, keepdims=True), 1e-12)
    num_points = histograms.shape[1]
    spectrum = np.fft.rfft(shape, axis=1)
    num_frequencies = spectrum.shape[1]
    folded = spectrum * (2 * num_frequencies / num_points) * 2
    folded[:, [0, -1]] /= 2
    return folded.real.astype(np.float32), folded.imag.astype(np.float32)


def flat_decay(num_relations: int, num_frequencies: int, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
    """Decay coefficients with which the decay starts at `level` for every relation and interval."""
    real = np.zeros((num_relations, num_frequencies), np.float32)
    real[:, 0] = level * 2 * num_frequencies
    return real, np.zeros_like(real)
