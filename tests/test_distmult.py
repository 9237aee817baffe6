"""The one triple score against its definition."""

import jax
import numpy as np
from jax.test_util import check_grads

from lrd_jax.models import distmult as module
from tests import reference

distmult, triple_score = jax.jit(module.distmult), jax.jit(module.triple_score)


def arrays(seed=0, h=5, r=3, d=7):
    rng = np.random.default_rng(seed)
    return tuple(rng.normal(size=shape).astype(np.float32) for shape in ((h, d), (r, d), (d,)))


def test_distmult_is_the_sum_of_products():
    heads, relations, tail = arrays()
    expected = [[reference.distmult(head, relation, tail) for relation in relations] for head in heads]
    np.testing.assert_allclose(distmult(heads, relations, tail), expected, rtol=1e-5, atol=1e-6)


def test_triple_score_by_hand():
    # 1·2·3 + (-1)·4·0.5 = 4
    assert float(triple_score(np.float32([1.0, -1.0]), np.float32([2.0, 4.0]), np.float32([3.0, 0.5]))) == 4.0


def test_head_and_tail_may_be_exchanged():
    (head, *_), (relation, *_), tail = arrays(1)
    np.testing.assert_allclose(triple_score(head, relation, tail), triple_score(tail, relation, head), rtol=1e-5)


def test_gradients():
    check_grads(distmult, arrays(2), order=2, modes=("rev",), rtol=1e-2, atol=1e-2)


def test_never_stores_heads_times_relations_times_width():
    heads, relations, tail = arrays(h=11, r=5, d=13)
    targets = np.stack([tail] * 3)
    batched = jax.make_jaxpr(jax.vmap(distmult, in_axes=(None, None, 0)))(heads, relations, targets)
    assert "11,5,13]" not in str(batched) and "5,11,13]" not in str(batched)
