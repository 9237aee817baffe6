"""What the tests share: two CPU devices, a cache of their own, no implicit promotion, one synthetic corpus."""

import os

import jax
import numpy as np
import pytest

from lrd_jax.data.rechorus import read_corpus
from lrd_jax.data.synthetic import write_synthetic
from lrd_jax.devices import set_up_devices

_environment = dict(os.environ)
if "JAX_PLATFORMS" not in os.environ:
    jax.config.update("jax_platforms", "cpu")
set_up_devices(2)
jax.devices()  # before anything else starts them
# Programs that the tests start set up their own devices.
os.environ.clear()
os.environ.update(_environment)


@pytest.fixture(scope="session", autouse=True)
def _session(tmp_path_factory):
    """Here and in the programs that tests start: a cache of their own, one store of compiled programs, no promotion.

    Broadcasting between ranks and conversion between dtypes must be written out: both hide mistakes in silence.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # of all workers
    options = {
        "jax_numpy_rank_promotion": "raise",
        "jax_numpy_dtype_promotion": "strict",
        "jax_compilation_cache_dir": str(shared / "compiled"),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRD_JAX_CACHE", str(tmp_path_factory.mktemp("cache")))
        for name, value in options.items():
            jax.config.update(name, value)
            patch.setenv(name.upper(), str(value))
        yield


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """37 users, 40 items, 2 item-item and 2 attribute relations; 31 candidates fill no chunk, 37 rows no block."""
    folder = tmp_path_factory.mktemp("data") / "synthetic"
    write_synthetic(folder, num_users=37, num_items=40, min_length=5, max_length=9, num_negatives=30)
    return read_corpus(folder, use_cache=False)


@pytest.fixture(scope="session")
def text(corpus):
    """Text embeddings [I + 1, 6], row 0 is padding."""
    text = np.random.default_rng(0).normal(size=(corpus.num_items + 1, 6)).astype(np.float32)
    text[0] = 0
    return text


def equations(jaxpr):
    """Every equation of a jaxpr, those of inner programs too."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.tree.leaves(equation.params, is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")):
            if hasattr(inner, "eqns"):
                yield from equations(inner)
            elif hasattr(inner, "jaxpr"):
                yield from equations(inner.jaxpr)


def arrays(jaxpr):
    """The abstract value of everything that a jaxpr reads or computes, inner programs included."""
    for variable in (*jaxpr.invars, *jaxpr.constvars):
        yield variable.aval
    for equation in equations(jaxpr):
        for variable in (*equation.invars, *equation.outvars):
            yield variable.aval
