"""The sequence models against what the published code computed, against loops, and at their edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrd_jax.batch import Batch, Tables
from lrd_jax.config import Config, DataConfig, ModelConfig
from lrd_jax.models import SEQUENCE_ENCODERS
from lrd_jax.models.sequence_system import SequenceSystem
from lrd_jax.published import from_published, to_published
from tests import golden_files
from tests.test_golden import golden_history

NAMES = tuple(SEQUENCE_ENCODERS)


def golden_config(name, golden):
    """The configuration of a golden file, every size read from its parameters."""
    shapes = {key: value.shape for key, value in golden["param"].items()}
    sizes = {"embedding_dim": shapes["i_embeddings.weight"][1]}
    if name in ("sasrec", "tisasrec"):
        sizes |= {"num_layers": golden["hyper"]["num_layers"], "num_heads": golden["hyper"]["num_heads"]}
    if name == "tisasrec":
        sizes["time_max"] = shapes["t_k_embeddings.weight"][0] - 1
    if name == "gru4rec":
        sizes["gru_hidden_dim"] = shapes["rnn.weight_hh_l0"][1]
    if name == "caser":
        sizes["num_horizontal_filters"] = shapes["conv_h.0.weight"][0]
        sizes["num_vertical_filters"], _, length, _ = shapes["conv_v.weight"]
        sizes["max_filter_height"] = sum(key.startswith("conv_h") and key.endswith("weight") for key in shapes)
    else:
        length = golden["batch"]["history_items"].shape[1]
    return Config(data=DataConfig(history_length=length), model=ModelConfig(name=name, **sizes))


@pytest.fixture(scope="module", params=NAMES)
def case(request):
    """Name, golden file, system, parameters and batch."""
    name = request.param
    golden = golden_files.load(name)
    config = golden_config(name, golden)
    num_items = len(golden["param"]["i_embeddings.weight"]) - 1
    system = SequenceSystem(
        encoder=SEQUENCE_ENCODERS[name].from_config(config),
        num_users=12,
        num_items=num_items,
        embedding_dim=config.model.embedding_dim,
        history_length=config.data.history_length,
    )
    shapes = jax.eval_shape(system.init, jax.random.key(0), None)
    params = from_published(name, golden["param"], shapes)
    values = {key: v.astype(np.int32) if v.dtype == np.int64 else v for key, v in golden["batch"].items()}
    batch = Batch(
        users=values["user_id"],
        candidates=values["item_id"],
        history=golden_history(values),
        triples=None,
        negative_history=None,
        weights=np.ones(len(values["user_id"]), np.float32),
    )
    return name, golden, system, params, batch


def test_golden(case):
    name, golden, system, params, batch = case

    def loss(params):
        sums, counts = system.losses(params, batch, None, jax.random.key(0))["rec"]
        scores = system.score(params, system.encode(params, batch.users, batch.history, None), batch.candidates, None)
        return jnp.sum(sums) / jnp.sum(counts), scores

    (value, scores), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    np.testing.assert_allclose(scores, golden["out"]["prediction"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(value, golden["out"]["loss"], rtol=0, atol=1e-5)
    ours = to_published(name, gradients, {key: x.shape for key, x in golden["grad"].items()})
    for key, expected in golden["grad"].items():
        # A bias of the keys changes no attention: its gradient is rounding in both.
        atol = 1e-4 * np.abs(expected).max() + 1e-7
        np.testing.assert_allclose(ours[key], expected, rtol=0, atol=atol, err_msg=key)
