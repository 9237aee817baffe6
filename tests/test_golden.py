"""The system's values and gradients against what the official PyTorch code computed for the same weights and inputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrd_jax.data.batch import Batch, History, Tables, Triples
from lrd_jax.interop.parameter_names import TEXT, TIED, from_published, to_published
from lrd_jax.models.losses import lrd_paper_loss
from lrd_jax.models.lrd import RelationClassifier, log_posterior
from lrd_jax.models.relational import RelationalModel
from lrd_jax.models.system import RelationalSystem
from lrd_jax.ranking.metrics import ranking_metrics, target_counts, target_ranks
from tests import golden_files

RELATIONAL = [
    "rcf",
    "rcf_attention_pooling",
    "kda",
    "kda_max_pooling",
    "kda_no_value",
    "rcf_lrd_released",
    "kda_lrd_released",
]


def build(golden, shapes):
    """The system of a golden file, every size read from its parameters."""
    hyper = golden["hyper"]
    first_latent = 1 + golden_files.NUM_ITEM_RELATIONS + golden_files.NUM_ATTRIBUTES
    num_relations, embedding_dim = shapes["relation_embeddings.weight"]
    temporal = hyper["model"].startswith("kda")
    scorer = RelationalModel(
        num_users=shapes["user_embeddings.weight"][0] - 1,
        num_items=shapes["item_bias.weight"][0] - 1,  # the official table has a row to spare
        num_entities=shapes["entity_embeddings.weight"][0],
        num_item_relations=golden_files.NUM_ITEM_RELATIONS,
        num_attributes=golden_files.NUM_ATTRIBUTES,
        num_latent_relations=num_relations - first_latent,
        temporal=temporal,
        num_frequencies=shapes["relational_dynamic_aggregation.freq_real.weight"][1] if temporal else 0,
        embedding_dim=embedding_dim,
        num_layers=hyper["num_layers"],
        num_heads=hyper["num_heads"],
        dropout=0.0,
        pooling=hyper["pooling"],
        attention_dim=shapes["A.weight"][0] if "A.weight" in shapes else 1,
        include_value=hyper["include_value"],
    )
    has_lrd = "objective" in hyper
    return RelationalSystem(
        scorer=scorer,
        classifier=RelationClassifier(num_relations, embedding_dim) if has_lrd else None,
        loss_weights={"rec": 1.0, "kg": hyper["gamma"]} | ({"lrd": hyper["lambda"]} if has_lrd else {}),
        lrd_objective=hyper.get("objective", "released"),
        entropy_weight=hyper.get("alpha", 0.0),
        drop_virtual=hyper.get("drop_virtual", False),
    )


def golden_history(batch):
    """The history with what TiSASRec needs: seconds before the newest interaction."""
    times = batch["history_times"]
    seconds = np.where(batch["history_items"] > 0, times.max(axis=1, keepdims=True) - times, 0)
    return History(batch["history_items"], batch["history_delta_t"], seconds, batch["user_min_intervals"])


def inputs(golden):
    batch = {k: v.astype(np.int32) if v.dtype == np.int64 else v for k, v in golden["batch"].items()}
    return Batch(
        users=batch["user_id"],
        candidates=batch["item_id"],
        history=golden_history(batch),
        triples=Triples(batch["head_id"], batch["tail_id"], batch["relation_id"], batch["value_id"]),
        negative_history=batch["neg_his_items"],
        weights=np.ones(len(batch["user_id"]), np.float32),
    ), golden_files.item_values(batch)


@pytest.fixture(scope="module", params=RELATIONAL)
def case(request):
    """A golden file with our outputs {name: array} and gradients {official name: array}."""
    golden = golden_files.load(request.param)
    theirs = dict(golden["param"])
    system = build(golden, {name: value.shape for name, value in theirs.items()})
    batch, item_values = inputs(golden)
    text = theirs.pop(TEXT, None)
    key = jax.random.key(0)
    shapes = jax.eval_shape(system.init, key, Tables(item_values, text))

    model = golden["hyper"]["model"]
    params = from_published(model, theirs, shapes)

    def loss(params, text, batch, item_values):
        tables = Tables(item_values, text)
        terms = system.losses(params, batch, tables, key)
        out = {f"{name}_loss": jnp.sum(sums) / jnp.sum(counts) for name, (sums, counts) in terms.items()}
        out["loss"] = sum(weight * out[f"{name}_loss"] for name, weight in system.loss_weights.items())
        out["prediction"] = system.score(
            params, system.encode(params, batch.users, batch.history, tables), batch.candidates, tables
        )
        variables = {"params": params["scorer"]}
        out["kg_prediction"] = system.scorer.apply(variables, batch.triples, method="triple_scores")
        return out["loss"], out

    argnums = (0, 1) if text is not None else 0
    # Compiled without optimisation, which halves the time and must not matter.
    both = jax.jit(
        jax.grad(loss, argnums=argnums, has_aux=True), compiler_options={"xla_backend_optimization_level": 0}
    )
    gradients, out = both(params, text, batch, item_values)
    names = {name: value.shape for name, value in theirs.items() if name not in TIED}
    by_name = to_published(model, gradients[0] if text is not None else gradients, names)
    if text is not None:
        by_name[TEXT] = gradients[1]
    return golden, out, by_name


def test_values(case):
    golden, out, _ = case
    assert set(out) == set(golden["out"])
    for name, expected in golden["out"].items():
        np.testing.assert_allclose(out[name], expected, rtol=0, atol=1e-5, err_msg=name)


def test_gradients(case):
    golden, _, gradients = case
    assert set(gradients) == set(golden["grad"])
    for name, expected in golden["grad"].items():
        actual, largest = np.asarray(gradients[name]).reshape(expected.shape), np.abs(expected).max()
        assert largest > 0, name
        if name == TEXT:  # row 0 is torch's padding_idx, which takes no gradient there
            assert not expected[0].any()
            actual, expected = actual[1:], expected[1:]
        # The files are float32 themselves: where gradients are tiny, ours in float64 differ from them by up to 7e-8,
        # which is 3e-4 of the largest.
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * largest + 1e-7, err_msg=name)


def test_paper_objective():
    golden = golden_files.load("lrd_paper")
    batch, param, out = golden["batch"], golden["param"], golden["out"]
    params = {name: value.astype(np.float32) for name, value in param.items()}
    entities, relations = params.pop("entity_embeddings"), params.pop("relation_embeddings")
    history, targets = batch["history_items"].astype(np.int32), batch["target_items"].astype(np.int32)
    classifier = RelationClassifier(*relations.shape)
    log_q = log_posterior(classifier.apply({"params": params}, history, targets[:, None], batch["text_embeddings"]))
    mask = golden_files.mask(batch)
    np.testing.assert_allclose(jnp.exp(log_q)[mask], out["posterior"][mask], rtol=0, atol=1e-5)
    entropy_weight = golden["hyper"]["alpha"]
    sums, counts = jax.vmap(lambda *pair: lrd_paper_loss(*pair[:4], relations, pair[4], entropy_weight=entropy_weight))(
        log_q,
        entities[history],
        entities[batch["negative_history_items"]],
        entities[targets],
        mask,
    )
    np.testing.assert_array_equal(counts, batch["lengths"])
    np.testing.assert_allclose(sums.sum() / counts.sum(), out["loss_mean_over_valid_pairs"], rtol=0, atol=1e-5)


def test_ranking_metrics():
    with np.load(golden_files.FOLDER / "ranking_metrics.npz") as file:
        golden = {key: file[key] for key in file.files}
    scores = golden["scores"].astype(np.float32)
    counts = jax.jit(jax.vmap(target_counts))(scores[:, 0], scores[:, 1:], np.ones_like(scores[:, 1:], bool))
    expected = {key.removeprefix("out/"): float(value) for key, value in golden.items() if key.startswith("out/")}
    ranks = target_ranks(counts.greater, counts.equal)
    assert ranking_metrics(ranks, cutoffs=(1, 5, 10, 20)) == pytest.approx(expected, abs=1e-9)
