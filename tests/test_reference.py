"""The reference itself against what the official code computed."""

import numpy as np
import pytest

from tests import golden_files, reference

RELATIONAL = [
    "rcf",
    "rcf_attention_pooling",
    "kda",
    "kda_max_pooling",
    "kda_no_value",
    "rcf_lrd_released",
    "kda_lrd_released",
]


def forward(golden, params):
    """Every output of a golden file from `params`."""
    batch, hyper = golden["batch"], golden["hyper"]
    mask = golden_files.mask(batch)
    prediction = reference.relational_scores(
        params,
        batch["user_id"],
        batch["item_id"],
        batch["history_items"],
        mask,
        golden_files.item_values(batch),
        first_attribute=1 + golden_files.NUM_ITEM_RELATIONS,
        num_heads=hyper["num_heads"],
        num_layers=hyper["num_layers"],
        pooling=hyper["pooling"],
        include_value=hyper["include_value"],
        intervals=batch["history_delta_t"].astype(np.float64) if hyper["model"].startswith("kda") else None,
    )
    kg_prediction = np.zeros(batch["head_id"].shape)
    for n, c in np.ndindex(kg_prediction.shape):
        kg_prediction[n, c] = reference.triple_score(
            params,
            batch["head_id"][n, c],
            batch["relation_id"][n],
            batch["value_id"][n],
            batch["tail_id"][n, c],
            hyper["include_value"],
        )
    out = {
        "prediction": prediction,
        "kg_prediction": kg_prediction,
        "rec_loss": reference.bpr_loss(prediction[:, 0], prediction[:, 1:]),
        "kg_loss": reference.bpr_loss(kg_prediction[:, 0], kg_prediction[:, 1:]),
    }
    lrd, weight = 0.0, 0.0
    if "objective" in hyper:
        lrd = out["lrd_loss"] = reference.lrd_released_loss(
            params,
            batch["text_embeddings"].astype(np.float64),
            batch["history_items"],
            mask,
            batch["item_id"][:, 0],
            batch["neg_his_items"],
            hyper["alpha"],
            hyper["drop_virtual"],
        )
        weight = hyper["lambda"]
    out["loss"] = reference.joint_loss(out["rec_loss"], out["kg_loss"], lrd, hyper["gamma"], weight)
    return out


@pytest.mark.parametrize("name", RELATIONAL)
def test_values(name):
    golden = golden_files.load(name)
    out = forward(golden, golden_files.ours(golden["param"]))
    assert set(out) == set(golden["out"])
    for key, expected in golden["out"].items():
        np.testing.assert_allclose(out[key], expected, rtol=1e-5, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("name", RELATIONAL)
def test_gradients_by_central_differences(name):
    golden = golden_files.load(name)
    params, grads = golden_files.ours(golden["param"]), golden_files.ours(golden["grad"])
    for key, grad in grads.items():
        # The largest entry has the best ratio of gradient to rounding error.
        at = np.unravel_index(np.argmax(np.abs(grad)), grad.shape)
        ends = []
        for step in (1e-5, -1e-5):
            moved = params | {key: params[key].copy()}
            moved[key][at] += step
            ends.append(forward(golden, moved)["loss"])
        np.testing.assert_allclose((ends[0] - ends[1]) / 2e-5, grad[at], rtol=1e-3, atol=1e-6, err_msg=f"{key}{at}")


def test_padding_entity_is_a_real_row():
    """ent[0] is added to every relation that is not an attribute, so it takes gradient."""
    golden = golden_files.load("kda")
    assert np.abs(golden["grad"]["entity_embeddings.weight"][0]).max() > 1e-4


def test_paper_objective():
    golden = golden_files.load("lrd_paper")
    batch, param, mask = golden["batch"], golden["param"], golden_files.mask(golden["batch"])
    params = {
        "entity": param["entity_embeddings"],
        "relation": param["relation_embeddings"],
        "text_kernel": param["text_projection_kernel"],
        "text_bias": param["text_projection_bias"],
        "class_kernel": param["classifier_kernel"],
        "class_bias": param["classifier_bias"],
    }
    entropies = []
    for b, h in zip(*np.nonzero(mask), strict=True):
        item, target = batch["history_items"][b, h], batch["target_items"][b]
        q = reference.posterior(params, batch["text_embeddings"], item, target)
        np.testing.assert_allclose(q, golden["out"]["posterior"][b, h], rtol=1e-9)
        entropies.append(reference.entropy(q))
    np.testing.assert_allclose(np.mean(entropies), golden["out"]["mean_entropy"], rtol=1e-9)
    loss = reference.lrd_paper_loss(
        params,
        batch["text_embeddings"],
        batch["history_items"],
        mask,
        batch["target_items"],
        batch["negative_history_items"],
        golden["hyper"]["alpha"],
    )
    np.testing.assert_allclose(loss, golden["out"]["loss_mean_over_valid_pairs"], rtol=1e-9)


def test_ranking_metrics():
    with np.load(golden_files.FOLDER / "ranking_metrics.npz") as file:
        golden = {key: file[key] for key in file.files}
    ranks = [reference.rank_of_first(row) for row in golden["scores"]]
    for k in (1, 5, 10, 20):
        np.testing.assert_allclose(reference.hit_rate(ranks, k), golden[f"out/HR@{k}"], rtol=1e-9)
        np.testing.assert_allclose(reference.ndcg(ranks, k), golden[f"out/NDCG@{k}"], rtol=1e-9)


def test_ties_take_the_average_rank():
    assert reference.rank_of_first([1.0, 1.0, 1.0]) == 2  # the mean of ranks 1, 2, 3
    assert reference.rank_of_first([1.0, 2.0, 1.0]) == 2.5  # the mean of ranks 2, 3


def test_decay_started_by_dft_is_the_histogram():
    histograms = np.random.default_rng(0).integers(0, 50, (3, 16)).astype(float)
    histograms[2] = 0  # never observed
    real, imag = reference.dft_decay(histograms, num_relations=5)
    for r, source in enumerate([0, 1, 0, 0, 0]):
        expected = histograms[source] / histograms[source].max()
        started = [reference.decay(real[r], imag[r], n) for n in range(16)]
        np.testing.assert_allclose(started, expected, atol=1e-9)


def test_several_values_are_their_mean():
    params = {"entity": np.arange(10.0)[:, None] * np.ones(2), "relation": np.zeros((3, 2))}
    values = np.array([[[0, 0]], [[7, 9]], [[7, 0]], [[0, 0]]])
    rho = [reference.candidate_relations(params, item, values, 1, True)[:, 0].tolist() for item in (1, 2, 3)]
    assert rho == [[0.0, 8.0, 0.0], [0.0, 7.0, 0.0], [0.0, 0.0, 0.0]]


def test_adam_first_step_is_the_learning_rate():
    """At step 1 Adam moves by learning_rate·sign(g); L2 alone moves a kernel and leaves a bias where it is."""
    params = {"kernel": np.array([2.0, -3.0]), "bias": np.array([2.0])}
    zero = {"kernel": np.zeros(2), "bias": np.zeros(1)}
    moved = reference.adam(params, [zero], learning_rate=0.1, l2=0.5, no_decay={"bias"})
    np.testing.assert_allclose(moved["kernel"], [1.9, -2.9])
    np.testing.assert_allclose(moved["bias"], [2.0])
