"""What the relation classifier reads, and its posterior as a prior of the scorer, on the shared corpus."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrd_jax.config.schema import Config
from lrd_jax.data.device import gather_history, put_corpus
from lrd_jax.data.synthetic import write_synthetic
from lrd_jax.models import build_system
from lrd_jax.training.epoch import draw_batch
from lrd_jax.training.setup import assemble
from tests import reference
from tests.test_engine import make_mesh, random_params, reference_params, step_options

HISTORY, ROWS = 5, np.array([3, 20, 50, 101], np.int32)
FAST = {"xla_backend_optimization_level": 0}


def build(corpus, text, **changes):
    options = {"name": "kda_lrd", "embedding_dim": 8, "num_heads": 2, "num_layers": 1, "num_latent_relations": 2}
    loss = {"num_negatives": 2} | changes.pop("loss", {})
    config = Config.model_validate({"model": options | changes, "loss": loss, "data": {"history_length": HISTORY}})
    system = build_system(config, corpus, has_triples=True)
    arrays = put_corpus(corpus, text if config.uses_text else None, make_mesh(1))
    params = random_params(jax.eval_shape(system.init, jax.random.key(0), arrays.tables))
    return system, arrays, params


def score(system, arrays, params, candidates):
    def both(params, arrays):
        history = gather_history(arrays, ROWS, HISTORY)
        encoded = system.encode(params, arrays.sequence_users[ROWS], history, arrays.tables)
        return system.score(params, encoded, candidates, arrays.tables)

    return jax.jit(both, compiler_options=FAST)(params, arrays)


@pytest.mark.parametrize("classifier_input", ["text", "id"])
def test_prior_against_reference(corpus, text, classifier_input):
    system, arrays, params = build(corpus, text, relation_prior="fixed", classifier_input=classifier_input)
    candidates = np.random.default_rng(0).integers(1, corpus.num_items + 1, (len(ROWS), 3)).astype(np.int32)
    history = jax.device_get(gather_history(arrays, ROWS, HISTORY))
    assert 0 < (history.items == 0).sum()
    slow = reference_params(params)
    settings = {
        "intervals": history.intervals.astype(np.float64),
        "first_attribute": 1 + len(corpus.item_relations),
        "num_heads": 2,
        "num_layers": 1,
    }
    inputs = corpus.sequence_users[ROWS], candidates, history.items, history.items > 0, corpus.item_values
    expected = reference.relational_scores(
        slow, *inputs, **settings, text=np.asarray(text, np.float64) if classifier_input == "text" else slow["entity"]
    )
    np.testing.assert_allclose(score(system, arrays, params, candidates), expected, rtol=1e-4, atol=1e-5)
    without = reference.relational_scores(slow, *inputs, **settings)
    assert np.abs(without - expected).max() > 1e-3


def gradients(system, corpus, arrays, params):
    def loss(params, batch, tables):
        terms = system.losses(params, batch, tables, jax.random.key(1))
        return jnp.sum(terms["rec"][0])

    def both(params):
        edges, weights = np.arange(len(ROWS), dtype=np.int32), np.ones(len(ROWS), np.float32)
        options = step_options(system, corpus)
        batch = draw_batch(arrays, ROWS, edges, weights, jax.random.key(0), **options)
        return jax.grad(loss)(params, batch, arrays.tables)

    return jax.jit(both, compiler_options=FAST)(params)


def largest(tree):
    return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))


def test_only_the_learned_prior_teaches_the_classifier(corpus, text):
    """The recommendation loss reaches the classifier through the learned prior alone."""
    moved = {}
    for prior in ("none", "fixed", "learned"):
        system, arrays, params = build(corpus, text, relation_prior=prior)
        moved[prior] = largest(gradients(system, corpus, arrays, params)["classifier"])
    assert moved["none"] == moved["fixed"] == 0 < moved["learned"]


def test_without_use_there_is_no_classifier(corpus, text):
    """λ = 0 and no prior: relations more, nothing discovered, no text read (the control of the paper's claim)."""
    system, arrays, params = build(corpus, text, loss={"lrd_weight": 0.0})
    assert set(params) == {"scorer"} and arrays.tables.text is None and "lrd" not in system.loss_weights
    assert system.scorer.num_latent_relations == 2
    system, _, params = build(corpus, text, loss={"lrd_weight": 0.0}, relation_prior="learned")
    assert set(params) == {"scorer", "classifier"} and "lrd" not in system.loss_weights


def test_ids_stand_for_texts(corpus, text):
    """w/o LLM: the latent-relation loss teaches the item embeddings through the classifier, and no text is read."""
    system, arrays, params = build(corpus, text, classifier_input="id")
    assert arrays.tables.text is None
    assert params["classifier"]["text_projection_kernel"].shape == (8, 8)
    with_text = build(corpus, text)[2]
    assert with_text["classifier"]["text_projection_kernel"].shape == (text.shape[1], 8)


def test_scale_of_the_texts(tmp_path):
    """text.scale multiplies what the classifier reads, and makes another run of it."""
    write_synthetic(tmp_path / "data", num_users=6, num_items=20, min_length=4, max_length=5, num_negatives=5)
    runs = [
        assemble(Config.model_validate({"data": {"path": tmp_path / "data"}, "text": {"scale": scale}}))
        for scale in (1.0, 3.0)
    ]
    one, three = (np.asarray(run.arrays.tables.text) for run in runs)
    np.testing.assert_allclose(three, 3 * one, rtol=1e-6)
    assert np.abs(one).max() > 0 and runs[0].fingerprint != runs[1].fingerprint
