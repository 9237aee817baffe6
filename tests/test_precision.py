"""Lower precisions: what the products see is rounded, and nothing else is."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from lrd_jax.models.precision import in_float32, matmul, rounded
from tests.conftest import equations
from tests.test_scorer import build, inputs, random_params

LOWER = ("tf32", "bfloat16")
UNIT_ROUNDOFF = {"float32": 2.0**-24, "tf32": 2.0**-11, "bfloat16": 2.0**-8}


def slowly_rounded(x: np.ndarray, precision: str) -> np.ndarray:
    """To the nearest number of the format, ties to even, in float64."""
    if precision == "bfloat16":
        return x.astype(ml_dtypes.bfloat16).astype(np.float64)
    bits = {"float32": 23, "tf32": 10}[precision]
    fraction, exponent = np.frexp(x.astype(np.float64))
    return np.ldexp(np.rint(fraction * 2.0 ** (bits + 1)) / 2.0 ** (bits + 1), exponent)


@pytest.mark.parametrize("precision", UNIT_ROUNDOFF)
@pytest.mark.parametrize("shapes", [((4, 64), (64, 8)), ((7, 5, 16), (7, 16, 5))], ids=["one product", "a stack"])
def test_operands_are_rounded_and_sums_are_not(precision, shapes):
    a, b = (np.random.default_rng(0).normal(size=shape).astype(np.float32) for shape in shapes)
    product = jax.jit(matmul, static_argnums=2)(a, b, precision)
    assert product.dtype == jnp.float32
    expected = slowly_rounded(a, precision) @ slowly_rounded(b, precision)
    np.testing.assert_allclose(product, expected, atol=2e-5)
    if precision != "float32":
        assert np.abs(product - a.astype(np.float64) @ b).max() > 100 * np.abs(product - expected).max()


def test_ties_and_extremes():
    x = np.array([0, -0.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-11, 3e38, -3e38, 1e-38], np.float32)
    for precision in LOWER:
        np.testing.assert_array_equal(np.asarray(rounded(x, precision), np.float64), slowly_rounded(x, precision))
    assert rounded(jnp.asarray(x), "float32") is not None
    assert np.isnan(rounded(jnp.float32(np.nan), "bfloat16")) and np.isinf(rounded(jnp.float32(np.inf), "tf32"))


@pytest.fixture(scope="module")
def scores_and_gradients():
    """{precision: (scores, gradients)} of the same parameters and users."""
    users, candidates, history, values = inputs()
    params = random_params(build())

    def of(precision):
        model = build(precision=precision)

        def loss(params):
            scores = model.apply(params, users, candidates, history, values)
            return jnp.sum(jnp.sin(scores)), scores

        (_, scores), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
        return np.asarray(scores), np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradients)])

    return {precision: of(precision) for precision in UNIT_ROUNDOFF}


@pytest.mark.slow
@pytest.mark.parametrize("precision", LOWER)
def test_scores_and_gradients_are_near_and_not_equal(scores_and_gradients, precision):
    for lower, full in zip(scores_and_gradients[precision], scores_and_gradients["float32"], strict=True):
        assert lower.dtype == np.float32
        error = np.abs(lower - full).max() / np.abs(full).max()
        assert UNIT_ROUNDOFF[precision] / 50 < error < 50 * UNIT_ROUNDOFF[precision]


@pytest.mark.parametrize("precision", UNIT_ROUNDOFF)
def test_bfloat16_lives_from_rounding_to_product_only(precision):
    model = build(precision=precision)
    params = random_params(model)
    loss = lambda params: jnp.sum(model.apply(params, *inputs()))  # noqa: E731
    jaxpr = jax.make_jaxpr(jax.grad(loss))(params).jaxpr
    low = jnp.dtype(jnp.bfloat16)
    products = set()
    for equation in equations(jaxpr):
        name = equation.primitive.name
        kinds_in = {v.aval.dtype for v in equation.invars if hasattr(v.aval, "dtype")}
        kinds_out = {v.aval.dtype for v in equation.outvars if hasattr(v.aval, "dtype")}
        if name == "dot_general":
            products |= kinds_in
            assert kinds_out == {jnp.dtype(jnp.float32)}
        elif low in kinds_in:  # moved about, never computed with
            assert name in {"reshape", "transpose", "broadcast_in_dim", "jit", "pjit", "optimization_barrier"}, name
        elif low in kinds_out:
            assert name in {"convert_element_type", "custom_vjp_call", "jit", "pjit"}, name
    assert (low in products) == (precision == "bfloat16")


@pytest.mark.parametrize(("precision", "asked"), [("float32", "HIGHEST"), ("tf32", "HIGH"), ("bfloat16", "DEFAULT")])
def test_precision_requested_from_accelerators(precision, asked):
    model = build(precision=precision)
    score = in_float32(lambda params: model.apply(params, *inputs()))
    products = [
        equation.params["precision"]
        for equation in equations(jax.make_jaxpr(score)(random_params(model)).jaxpr)
        if equation.primitive.name == "dot_general"
    ]
    expected = {(jax.lax.Precision.HIGHEST,) * 2, (jax.lax.Precision[asked],) * 2}  # layer norm and decay: the highest
    assert set(products) == expected and len(products) > 5
