"""RecTools' figures for some lists: writes golden/list_metrics_rectools.json, which test_list_metrics reads.

RecTools wants other versions of NumPy than our tests, so it runs in an environment of its own:

    python3 -m venv /tmp/rectools && /tmp/rectools/bin/pip install rectools
    /tmp/rectools/bin/python tests/rectools_figures.py

This file imports nothing of lrd_jax. Every row is a user of RecTools', and items and users have ids from 1.
"""

import importlib.metadata
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from rectools import Columns
from rectools.metrics import (
    MAP,
    AvgRecPopularity,
    CatalogCoverage,
    IntraListDiversity,
    MeanInvUserFreq,
    PairwiseHammingDistanceCalculator,
    Precision,
    Recall,
    calc_metrics,
)
from rectools.metrics.distances import PairwiseDistanceCalculator

FILE = Path(__file__).parent / "golden/list_metrics_rectools.json"
CUTOFFS = (1, 3, 6)


class CosineDistance(PairwiseDistanceCalculator):
    """1 - cosine of vectors [I + 1, T]; RecTools leaves distances of vectors to its users."""

    def __init__(self, vectors):
        self.units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-300)

    def _get_distances_for_item_pairs(self, items_0, items_1):
        return 1 - (self.units[list(items_0)] * self.units[list(items_1)]).sum(axis=1)


def figures(lists, targets, training, values, vectors, cutoffs=CUTOFFS):
    """RecTools' figures.

    Args:
      lists: a list of items for each row.
      targets: an item for each row.
      training: pairs (user, item).
      values: bool [I + 1, F], which values an item has.
      vectors: float [I + 1, T].
      cutoffs: the values of K.
    """
    columns = [Columns.User, Columns.Item]
    rows = [(row, item, rank) for row, items in enumerate(lists, 1) for rank, item in enumerate(items, 1)]
    reco = pd.DataFrame(rows, columns=[*columns, Columns.Rank])
    interactions = pd.DataFrame(list(enumerate(targets, 1)), columns=columns)
    before = pd.DataFrame(training, columns=columns)
    hamming = PairwiseHammingDistanceCalculator(pd.DataFrame(values.astype(float)))
    metrics = {}
    for k in cutoffs:
        metrics |= {
            f"Precision@{k}": Precision(k=k),
            f"Recall@{k}": Recall(k=k),
            f"MAP@{k}": MAP(k=k),
            f"Coverage@{k}": CatalogCoverage(k=k, normalize=True),
            f"Popularity@{k}": AvgRecPopularity(k=k),
            f"Novelty@{k}": MeanInvUserFreq(k=k),
            f"ILD attributes@{k}": IntraListDiversity(k=k, distance_calculator=hamming),
            f"ILD text@{k}": IntraListDiversity(k=k, distance_calculator=CosineDistance(vectors)),
        }
    catalog = range(1, len(vectors))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        found = calc_metrics(metrics, reco, interactions, before, catalog)
    return {name: float(value) for name, value in found.items()}


def example(num_rows=40, num_items=25, num_users=30):
    """Lists of up to 6 items: one of a single item, one that is empty; two items are cold."""
    rng = np.random.default_rng(14)
    lists = [rng.permutation(num_items)[:6] + 1 for _ in range(num_rows)]
    lists[3], lists[4], lists[5] = lists[3][:1], lists[4][:0], lists[5][:4]
    targets = [int(rng.choice(x)) if len(x) and rng.random() < 0.6 else int(rng.integers(1, 26)) for x in lists]
    training = sorted({(int(rng.integers(num_users)) + 1, 1 + int(num_items * rng.beta(1, 3))) for _ in range(200)})
    training = [(user, item) for user, item in training if item not in (2, 9)]
    values = rng.random((num_items + 1, 8)) < 0.3
    values[[0, 5]] = False
    vectors = rng.normal(size=(num_items + 1, 4)).round(3)
    return [x.tolist() for x in lists], targets, training, values, vectors


def main():
    lists, targets, training, values, vectors = example()
    golden = {
        "rectools": importlib.metadata.version("rectools"),
        "lists": lists,
        "targets": targets,
        "training": training,
        "values": values.astype(int).tolist(),
        "vectors": vectors.tolist(),
        "figures": figures(lists, targets, training, values, vectors),
    }
    rows = (f"{json.dumps(name)}: {json.dumps(value)}" for name, value in golden.items())
    FILE.write_text("{\n" + ",\n".join(rows) + "\n}\n")


if __name__ == "__main__":
    main()
