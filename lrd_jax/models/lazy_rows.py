"""Steps that cost as much as a batch, not as much as the catalogue: only the table rows that it looks up change.

An update of small tables, gathered from the large ones and put back, is lazy Adam: the moments of all other rows stand
still, they get no L2, and the bias correction counts steps, not a row's updates.

Source: LazyAdam of TensorFlow Addons.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

# By path ("scorer/user_embeddings"), the ids int32 [n] of the rows of a table parameter, each at most once. Ids beyond
# the table's end are nothing to read or write.
Rows = dict[str, jax.Array]


@jax.named_scope("touched_rows")
def take_rows(state: Any, rows: Rows) -> Any:
    """The state with each table and its moments [N, ...] replaced by their rows [n, ...]; 0 beyond the end."""

    def take(path: tuple, x: jax.Array) -> jax.Array:
        ids = rows.get(_parameter(path))
        return x if ids is None else x.at[ids].get(mode="fill", fill_value=0)

    return jax.tree_util.tree_map_with_path(take, state)


@jax.named_scope("touched_rows")
def put_rows(state: Any, small: Any, rows: Rows) -> Any:
    """The state with the rows of `take_rows` put back and all that is no table taken from `small`."""

    def put(path: tuple, x: jax.Array, y: jax.Array) -> jax.Array:
        ids = rows.get(_parameter(path))
        return y if ids is None else x.at[ids].set(y, mode="drop")

    return jax.tree_util.tree_map_with_path(put, state, small)


def update_touched_rows(update: Callable, compact: Callable) -> Callable:
    """Makes an update of whole tables one of the rows that the batch looks up.

    Args:
      update: (state, batch, tables, key) → (state, ...), for tables of any number of rows; the state holds parameters
        and what the optimizer keeps in trees of the same paths.
      compact: see `System.compact`.

    Returns:
      A function of the same arguments and results.
    """

    def update_rows(state: Any, batch: Any, tables: Any, key: jax.Array) -> tuple:
        batch, tables, rows = compact(batch, tables)
        small, *rest = update(take_rows(state, rows), batch, tables, key)
        return put_rows(state, small, rows), *rest

    return update_rows


def _parameter(path: tuple) -> str:
    """The path of a parameter, also where it leads to one of its moments within an optimizer's state."""
    return "/".join(entry.key for entry in path if isinstance(entry, jax.tree_util.DictKey))
