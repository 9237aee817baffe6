"""From a frame of interactions to scores, as in a notebook: python examples/frame_to_scores.py"""

import tempfile

import numpy as np
import polars as pl

import lrd_jax

# 300 users who each walk through one of three rooms of a museum; the rooms are in nobody's data.
rng = np.random.default_rng(0)
rooms = rng.integers(3, size=300)
visits = pl.DataFrame(
    [
        {"visitor": f"visitor-{user}", "painting": f"painting-{10 * room + step}", "when": 60 * place}
        for user, room in enumerate(rooms)
        for place, step in enumerate(rng.permutation(10)[:7])
    ]
)
with tempfile.TemporaryDirectory() as folder:
    dataset = lrd_jax.dataset_from_frame(visits, user="visitor", item="painting", time="when", negatives=20)
    config = lrd_jax.Config.model_validate(
        {"model": {"name": "sasrec", "embedding_dim": 16}, "run": {"workdir": folder + "/run", "epochs": 15}}
    )
    run = lrd_jax.fit(config, dataset)
    print(run.evaluate("full").metrics)
    paintings = ["painting-3", "painting-13", "painting-23"]  # one of each room
    print(run.score(histories=[["painting-1", "painting-5"]], items=paintings).round(2))
