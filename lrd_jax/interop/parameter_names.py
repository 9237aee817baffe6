"""Parameter names and layouts of the published PyTorch code (ReChorus), and ours for them.

Theirs are flat, with kernels [out, in]; ours are trees of dicts with kernels [in, out]. Used to bring weights in, to
give weights out, and to compare with what the published code computed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from lrd_jax.errors import UserError

TEXT = "item_embeddings.weight"
"""The frozen text embeddings of an LRD model: a parameter in the published code, an input here."""
BIAS = "item_bias.weight"
"""The biases of the items, a column; the paper's code has a row to spare, which no item reads."""
TIED = {"relational_dynamic_aggregation.relation_embeddings.weight": "relation_embeddings.weight"}
"""Second names of a parameter."""


class Place(NamedTuple):
    """Where a published parameter is in our tree.

    Attributes:
      path: keys joined by "/".
      transposed: whether theirs is [out, ...] and ours [..., out].
    """

    path: str
    transposed: bool = False


def _linear(theirs: str, ours: str, *, bias: bool = True) -> dict[str, Place]:
    weight = {f"{theirs}.weight": Place(f"{ours}_kernel", transposed=True)}
    return weight | ({f"{theirs}.bias": Place(f"{ours}_bias")} if bias else {})


def _layer_norm(theirs: str, ours: str) -> dict[str, Place]:
    return {f"{theirs}.weight": Place(f"{ours}_scale"), f"{theirs}.bias": Place(f"{ours}_bias")}


_RELATIONAL = {
    "user_embeddings.weight": Place("scorer/user_embeddings"),
    "entity_embeddings.weight": Place("scorer/entity_embeddings"),
    "relation_embeddings.weight": Place("scorer/relation_embeddings"),
    BIAS: Place("scorer/item_bias"),
    "relational_dynamic_aggregation.freq_real.weight": Place("scorer/decay_real"),
    "relational_dynamic_aggregation.freq_imag.weight": Place("scorer/decay_imag"),
    **_linear("attn_head.q_linear", "scorer/block/query", bias=False),
    **_linear("attn_head.k_linear", "scorer/block/key", bias=False),
    **_linear("attn_head.v_linear", "scorer/block/value", bias=False),
    **_linear("W1", "scorer/block/w1"),
    **_linear("W2", "scorer/block/w2"),
    **_layer_norm("layer_norm", "scorer/block/layer_norm"),
    **_linear("A", "scorer/pool/pool"),
    **_linear("A_out", "scorer/pool/pool_out", bias=False),
}
_CLASSIFIER = {
    **_linear("project_layer_1", "classifier/text_projection"),
    **_linear("project_layer_2", "classifier/classifier"),
}
_BLOCKS = {
    **_linear("transformer_block.*.masked_attn_head.q_linear", "encoder/block_*/query"),
    **_linear("transformer_block.*.masked_attn_head.k_linear", "encoder/block_*/key"),
    **_linear("transformer_block.*.masked_attn_head.v_linear", "encoder/block_*/value"),
    **_layer_norm("transformer_block.*.layer_norm1", "encoder/block_*/attention_norm"),
    **_linear("transformer_block.*.linear1", "encoder/block_*/w1"),
    **_linear("transformer_block.*.linear2", "encoder/block_*/w2"),
    **_layer_norm("transformer_block.*.layer_norm2", "encoder/block_*/output_norm"),
}
_ITEMS = {"i_embeddings.weight": Place("item_embeddings")}

PUBLISHED: dict[str, dict[str, Place]] = {
    "caser": {
        **_ITEMS,
        "u_embeddings.weight": Place("user_embeddings"),
        **_linear("conv_h.*", "encoder/horizontal_*"),
        **_linear("conv_v", "encoder/vertical"),
        **_linear("fc", "encoder/hidden"),
        **_linear("out", "encoder/out"),
    },
    "gru4rec": {
        **_ITEMS,
        "rnn.weight_ih_l0": Place("encoder/input_kernel", transposed=True),
        "rnn.weight_hh_l0": Place("encoder/recurrent_kernel", transposed=True),
        "rnn.bias_ih_l0": Place("encoder/input_bias"),
        "rnn.bias_hh_l0": Place("encoder/recurrent_bias"),
        **_linear("out", "encoder/out"),
    },
    "sasrec": {**_ITEMS, "p_embeddings.weight": Place("encoder/position_embeddings"), **_BLOCKS},
    "tisasrec": {
        **_ITEMS,
        "p_k_embeddings.weight": Place("encoder/position_key_embeddings"),
        "p_v_embeddings.weight": Place("encoder/position_value_embeddings"),
        "t_k_embeddings.weight": Place("encoder/interval_key_embeddings"),
        "t_v_embeddings.weight": Place("encoder/interval_value_embeddings"),
        **_BLOCKS,
    },
    "rcf": _RELATIONAL,
    "kda": _RELATIONAL,
    "rcf_lrd": _RELATIONAL | _CLASSIFIER,
    "kda_lrd": _RELATIONAL | _CLASSIFIER,
}
"""By `ModelConfig.name` and published name; * stands for the number of a layer or a convolution."""


def paths(tree: Any) -> dict[str, Any]:
    """A tree of dicts as {path: leaf}."""
    return {"/".join(entry.key for entry in path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def place(model: str, name: str) -> Place | None:
    """Where a published parameter of a model is in our tree; None for a name that the model does not have."""
    number = re.search(r"(?<=\.)\d+(?=\.)", name)
    if number is None:
        return PUBLISHED[model].get(name)
    found = PUBLISHED[model].get(f"{name[: number.start()]}*{name[number.end() :]}")
    return found and found._replace(path=found.path.replace("*", number[0]))


def _name(model: str, path: str) -> str:
    """The published name of one of our parameters."""
    number = re.search(r"(?<=_)\d+(?=[_/])", path)
    path = path if number is None else f"{path[: number.start()]}*{path[number.end() :]}"
    name = next(name for name, place in PUBLISHED[model].items() if place.path == path)
    return name if number is None else name.replace("*", number[0])


def from_published(model: str, theirs: Mapping[str, np.ndarray], shapes: Any) -> Any:
    """Published parameters as our tree.

    Args:
      model: `ModelConfig.name`.
      theirs: by published name, without `TEXT`.
      shapes: our tree with anything that has a shape as leaves, such as `jax.eval_shape(system.init, ...)`.

    Raises:
      UserError: a parameter that the model does not have, one that is missing, one of another size, or two names of
        one parameter with different values.
    """
    expected, values = paths(shapes), {}
    for name, value in theirs.items():
        if name in TIED:
            same = theirs.get(TIED[name])
            if same is None or not np.array_equal(value, same):
                raise UserError(f"{name} and {TIED[name]} are one parameter, but differ", field=name)
            continue
        where = place(model, name)
        if where is None or where.path not in expected:
            raise UserError(f"a {model} of this configuration has no such parameter", field=name)
        wanted = expected[where.path].shape
        turned = _flat(value).T if where.transposed else value
        if turned.size != np.prod(wanted) or (len(wanted) > 1 and turned.shape != wanted):
            raise UserError(f"it has shape {value.shape}, which does not fit into {wanted}", field=name)
        values[where.path] = turned.reshape(wanted)
    if missing := sorted(_name(model, path) for path in set(expected) - set(values)):
        others = f", and so are {', '.join(missing[1:])}" if missing[1:] else ""
        problem = f"the parameter is missing{others}"
        raise UserError(problem, field=missing[0], remedy=f"Give all parameters of a {model} of this configuration")
    return jax.tree_util.tree_map_with_path(lambda path, _: values["/".join(entry.key for entry in path)], shapes)


def to_published(model: str, ours: Any, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Our parameters, or gradients of them, under their published names.

    Args:
      model: `ModelConfig.name`.
      ours: the tree.
      shapes: the published shape of each parameter that is wanted.
    """
    values, result = paths(ours), {}
    for name, shape in shapes.items():
        where = place(model, TIED.get(name, name))
        assert where is not None
        value = np.asarray(values[where.path])
        result[name] = (value.reshape(-1, shape[0]).T if where.transposed else value).reshape(shape)
    return result


def state_of(model: str, ours: Any) -> dict[str, np.ndarray]:
    """All our parameters as the published code's state dict: its names, its layouts, its second names.

    The table of item biases has the row to spare that the paper's code gives it (ReChorus's has none); it is zero.

    Args:
      model: `ModelConfig.name`.
      ours: the tree.
    """
    shapes = {}
    for path, value in paths(ours).items():
        name = _name(model, path)
        where = place(model, name)
        assert where is not None
        shapes[name] = _their_shape(name, value.shape, transposed=where.transposed)
    shapes |= {second: shapes[first] for second, first in TIED.items() if first in shapes}
    state = to_published(model, ours, shapes)
    if BIAS in state:
        state[BIAS] = np.pad(state[BIAS], ((0, 1), (0, 0)))
    return {name: np.ascontiguousarray(value) for name, value in state.items()}


def _their_shape(name: str, ours: tuple[int, ...], *, transposed: bool) -> tuple[int, ...]:
    """The published shape of a parameter whose shape here is `ours`; item biases without their spare row."""
    if name == BIAS:
        return (*ours, 1)
    if name == "A_out.weight":
        return (1, *ours)
    if name == "conv_v.weight":
        return (ours[1], 1, ours[0], 1)
    if horizontal := re.fullmatch(r"conv_h\.(\d+)\.weight", name):
        height = int(horizontal[1]) + 1
        return (ours[1], 1, height, ours[0] // height)
    return ours[::-1] if transposed else ours


def _flat(value: np.ndarray) -> np.ndarray:
    """A kernel [out, ...] as [out, in]."""
    return value.reshape(len(value) if value.ndim else 1, -1)
