"""A run's scores as programs for CPU, CUDA and TPU that take any number of users and candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from lrd_jax.data.batch import History
from lrd_jax.errors import UserError
from lrd_jax.models.precision import in_float32
from lrd_jax.models.sequence_system import SequenceSystem
from lrd_jax.models.system import System
from lrd_jax.ranking.ranker import Ranker

PLATFORMS = ("cpu", "cuda", "tpu")

Weights = dict[str, jax.Array]
"""Parameters and item facts by flat names, "params/scorer/item_bias"."""


class Argument(NamedTuple):
    """An argument of a program after the first, which is the weights.

    Attributes:
      name: as in the programs' signatures.
      dtype: of NumPy.
      shape: sizes, and letters where any size goes: b users, c candidates of each, n·m items.
      meaning: for the manifest.
    """

    name: str
    dtype: str
    shape: tuple[str | int, ...]
    meaning: str


def flat_weights(ranker: Ranker) -> Weights:
    """Parameters and item facts of a ranker by flat names; row 0 of the users' vectors is the mean of all."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(_tree(ranker))
    return {_name(path): jnp.asarray(value) for path, value in leaves}


def history_arguments(length: int) -> list[Argument]:
    """What every program reads of the users; `length` is H."""
    past = ("b", length)
    return [
        Argument("users", "int32", ("b",), "place in users.json + 1; 0 for an unknown user, with the mean vector"),
        Argument("history", "int32", past, "the last H items, oldest first: place in items.json + 1; 0 pads the end"),
        Argument("intervals", "float32", past, "max(log2(seconds / 60 + 1e-6), 0) in float32; 0 for padding"),
        Argument("seconds", "int32", past, "from the item to the newest one; 0 for padding"),
        Argument(
            "shortest", "int32", ("b",), "seconds, the least between two items of the whole history at different times;"
            " 2147483647 where there are none",
        ),
    ]  # fmt: skip


_LAST = {
    "score": [Argument("candidates", "int32", ("b", "c"), "items of each user: place in items.json + 1")],
    "score_items": [Argument("items", "int32", ("n", "m"), "n blocks of m items, the same for all users; 0 pads")],
    "encode": [],
}
RESULTS = {
    "score": "float32 [b, c], scores of the candidates",
    "score_items": "float32 [b, n * m], scores of the items, block after block",
    "encode": "float32 [b, D], the users' vectors; their products with rows of item_vectors.npy are the scores",
}
"""What each program returns."""


def arguments_of(name: str, length: int) -> list[Argument]:
    """The arguments of a program after the weights."""
    return [*history_arguments(length), *_LAST[name]]


def export_programs(ranker: Ranker) -> tuple[dict[str, jax.export.Exported], Weights]:
    """The programs of a run, and the weights that they need.

    The programs are "score", "score_items" and, of a sequence model, "encode". Each is a function of the weights and
    then of `arguments_of`, for all PLATFORMS. Texts and classifier are left out where scores do not depend on them.

    Raises:
      UserError: the model, which may be another package's, cannot do with any number of users.
    """
    weights, functions = flat_weights(ranker), _functions(ranker)

    def export(name: str, sizes: Sequence[Any], *, keep_unused: bool) -> jax.export.Exported:
        shapes = {key: jax.ShapeDtypeStruct(x.shape, x.dtype) for key, x in weights.items()}
        chosen: dict[str | int, Any] = dict(zip("bcnm", sizes, strict=True))
        inputs = [
            jax.ShapeDtypeStruct([chosen.get(size, size) for size in each.shape], np.dtype(each.dtype))
            for each in arguments_of(name, ranker.history_length)
        ]
        program = jax.jit(in_float32(functions[name]), keep_unused=keep_unused)
        try:
            return jax.export.export(program, platforms=PLATFORMS)(shapes, *inputs)
        except (TypeError, ValueError, NotImplementedError) as error:
            problem = f"the model cannot be exported for any number of users: {str(error).splitlines()[0]}"
            remedy = "Use x.shape[0] in place of len(x) in the model, and no comparison with the number of users"
            raise UserError(problem, remedy=remedy) from error

    # Of one size, jax leaves out what is not read; dictionaries go by name.
    kept = export("score", (2, 2, 2, 2), keep_unused=False).module_kept_var_idx
    weights = {key: weights[key] for place, key in enumerate(sorted(weights)) if place in kept}
    any_size = jax.export.symbolic_shape("b, c, n, m")
    return {name: export(name, any_size, keep_unused=True) for name in functions}, weights


def _functions(ranker: Ranker) -> dict[str, Callable[..., jax.Array]]:
    system: System = ranker.system
    whole = _tree(ranker)

    def encoded(weights: Weights, users: jax.Array, *history: jax.Array) -> tuple[Any, Any, Any]:
        def find(path: tuple[Any, ...], x: jax.Array) -> jax.Array:
            return weights[_name(path)] if _name(path) in weights else jnp.zeros_like(x)  # which nothing reads

        params, tables = jax.tree_util.tree_map_with_path(find, whole).values()
        return params, tables, system.encode(params, users, History(*history), tables)

    def score(weights: Weights, users: jax.Array, *rest: jax.Array) -> jax.Array:
        params, tables, found = encoded(weights, users, *rest[:-1])
        return system.score(params, found, rest[-1], tables)

    def score_items(weights: Weights, users: jax.Array, *rest: jax.Array) -> jax.Array:
        params, tables, found = encoded(weights, users, *rest[:-1])
        shape = (users.shape[0], rest[-1].shape[1])
        scores: jax.Array = jax.lax.map(
            lambda items: jnp.broadcast_to(system.score_items(params, found, items, tables), shape), rest[-1]
        )
        return scores.swapaxes(0, 1).reshape(shape[0], -1)

    def encode(weights: Weights, users: jax.Array, *rest: jax.Array) -> jax.Array:
        vectors: jax.Array = encoded(weights, users, *rest)[2]
        return vectors

    functions: dict[str, Callable[..., jax.Array]] = {"score": score, "score_items": score_items}
    return functions | ({"encode": encode} if isinstance(system, SequenceSystem) else {})


def _tree(ranker: Ranker) -> dict[str, Any]:
    return {"params": ranker.params, "tables": ranker.tables}


def _name(path: tuple[Any, ...]) -> str:
    return "/".join(str(getattr(entry, "key", getattr(entry, "name", entry))) for entry in path)
