"""The temporary memory that XLA plans for the compiled epoch and evaluation, against formulas."""

import jax
import numpy as np
import pytest

from benchmarks.scale import generate_corpus, parse_scale
from lrd_jax.config.schema import Config
from lrd_jax.data.device import put_split
from lrd_jax.devices import data_mesh
from lrd_jax.training.setup import assemble_corpus, resolve

H, D, L, B, C = 60, 64, 5, 128, 2  # a long history, so that an array [B, H, R, D] would break the bounds
FLOAT = 4
PASSES_PER_LAYER, PASSES = 14, 6  # arrays [tokens, D] that the gradients keep of each pass, and beside them


@pytest.fixture(scope="module")
def run():
    corpus = generate_corpus(parse_scale("300x2000"))
    config = Config.model_validate(
        {
            "data": {"history_length": H},
            "model": {"name": "kda_lrd", "embedding_dim": D, "num_layers": L, "num_latent_relations": 8},
            "loss": {"num_negatives": C - 1},
            "optim": {"batch_size": B},
        }
    )
    return assemble_corpus(resolve(config), corpus, np.zeros((corpus.num_items + 1, 16), np.float32))


def temporary_bytes(jitted, *args):
    return jitted.lower(*args).compile().memory_analysis().temp_size_in_bytes


def test_epoch(run):
    state, corpus = run.init(), run.corpus
    num_relations, per_device = run.system.scorer.num_relations, B // jax.device_count()
    tokens = per_device * C * num_relations
    of_the_passes = (PASSES_PER_LAYER * L + PASSES) * tokens * D
    of_the_history = per_device * H * (8 * D + 10 * num_relations)  # rows of items, decay, posterior; never R times D
    of_the_tables = 3 * sum(leaf.size for leaf in jax.tree.leaves(state.params))  # gradients, their sum over devices
    of_the_epoch = 16 * (len(run.arrays.examples) + corpus.triples.shape[0])  # its order
    bound = FLOAT * (of_the_passes + of_the_history + of_the_tables + of_the_epoch)
    used = temporary_bytes(run.epoch_on_device, state, run.arrays, 0, 1)
    assert bound - FLOAT * per_device * H * num_relations * D < used < bound  # no room for an array [B, H, R, D]


def test_evaluation(run):
    params = run.init().params
    pairs = run.system.users_per_block * run.system.candidates_per_block  # of a block
    num_relations = run.system.scorer.num_relations
    tokens = pairs * num_relations
    for split in (run.corpus.dev, run.corpus.test):
        rows = FLOAT * split.negatives.size * 2  # padded to full blocks
        bound = FLOAT * (14 * tokens * D + 4 * pairs * H * num_relations) + 2 * rows
        used = temporary_bytes(run.evaluation_on_device, params, run.arrays, *put_split(split, data_mesh()))
        assert bound - FLOAT * pairs * H * num_relations * D < used < bound  # no room for an array [B, C, H, R, D]
