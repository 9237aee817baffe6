"""The arrays of a golden file as our system, parameters and batch.

Every size is read from the arrays, and so is which relations are attributes: those of which an item of the file has a
value.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np

from lrd_jax.config.schema import Config
from lrd_jax.config.toml_file import config_of
from lrd_jax.data.batch import Batch, History, Tables, Triples, from_host
from lrd_jax.data.corpus import Corpus, Split
from lrd_jax.errors import UserError, told_of
from lrd_jax.interop.golden import Golden, read_inputs
from lrd_jax.interop.infer_sizes import Shapes, options_of_sizes, size
from lrd_jax.interop.parameter_names import TEXT, TIED, from_published
from lrd_jax.models import build_system
from lrd_jax.models.system import Params, RelationalSystem, System

_INT32_MAX = np.iinfo(np.int32).max
# Axes of each input, and what its numbers are ids of.
_INPUTS = {
    "user_id": ("B", "users"),
    "item_id": ("BC", "items"),
    "history_items": ("BH", "items"),
    "history_times": ("BH", None),
    "history_delta_t": ("BH", None),
    "lengths": ("B", None),
    "user_min_intervals": ("B", None),
}
_RELATIONAL_INPUTS = _INPUTS | {
    "head_id": ("BN", "entities"),
    "tail_id": ("BN", "entities"),
    "relation_id": ("B", "relations"),
    "value_id": ("B", "entities"),
    "item_values": ("IR", "entities"),
    "item_val": ("BCR", "entities"),
}
_LRD_INPUTS = _RELATIONAL_INPUTS | {"neg_his_items": ("BH", "items"), "text_embeddings": ("IT", None)}


class Case(NamedTuple):
    """A golden file's system with its inputs.

    Attributes:
      system: built by `build_system` with the file's sizes, and with its weights of the losses.
      params: the file's parameters as ours.
      batch, tables: the inputs; tables.text is a parameter in the file.
    """

    system: System
    params: Params
    batch: Batch
    tables: Tables


def build_case(golden: Golden) -> Case:
    """The system, parameters and inputs of a golden file of a published model.

    Raises:
      UserError: an array is missing, of a wrong shape or out of range, or a parameter that nothing consumes.
    """
    relational, uses_text = golden.model.startswith(("rcf", "kda")), golden.model.endswith("_lrd")
    theirs = {name: value.astype(np.float32) for name, value in golden.param.items()}
    with told_of(golden.path, "param/"):
        shapes = {name: value.shape for name, value in theirs.items()}
        sizes = options_of_sizes(golden.model, shapes)
        if uses_text:
            size(shapes, TEXT, 0)  # there
        rows = _relational_rows(shapes) if relational else _sequence_rows(shapes)
    for name in TIED if relational else ():
        golden.get("param", name)  # equal to what it is tied to, which `from_published` sees to
    text = theirs.pop(TEXT) if uses_text else None
    inputs = read_inputs(golden, _LRD_INPUTS if uses_text else _RELATIONAL_INPUTS if relational else _INPUTS, rows)
    _check_agreement(golden, inputs, rows, text)
    values = inputs.get("item_values", np.zeros((rows["items"], 1), np.int32))
    corpus, num_latent = _corpus(rows, values, has_latent=uses_text)
    history_length = inputs["history_items"].shape[1]
    sizes = {"data.history_length": history_length} | sizes
    if history_length > sizes["data.history_length"]:
        raise golden.refuse(f"longer than the model's {sizes['data.history_length']} places", "batch/history_items")
    config = _config(golden, sizes, relational=relational, num_latent=num_latent)
    system = build_system(config, corpus, has_triples=True)
    if isinstance(system, RelationalSystem):
        system = _with_weights(golden, system)
    tables = Tables(from_host(corpus.item_values), None if text is None else from_host(text))
    with told_of(golden.path, "param/"):
        params = from_published(golden.model, theirs, jax.eval_shape(system.init, jax.random.key(0), tables))
    return Case(system, params, _batch(golden, inputs), tables)


def _relational_rows(shapes: Shapes) -> dict[str, int]:
    tables = {"users": "user_embeddings", "entities": "entity_embeddings", "relations": "relation_embeddings"}
    tables["items"] = "item_bias"  # which has a row to spare
    return {kind: size(shapes, f"{table}.weight", 0) for kind, table in tables.items()}


def _sequence_rows(shapes: Shapes) -> dict[str, int]:
    items = size(shapes, "i_embeddings.weight", 0)
    users = size(shapes, "u_embeddings.weight", 0) if "u_embeddings.weight" in shapes else _INT32_MAX
    return {"users": users, "items": items, "entities": items}


def _check_agreement(
    golden: Golden, inputs: dict[str, np.ndarray], rows: dict[str, int], text: np.ndarray | None
) -> None:
    """What the file states twice must agree, lest one of the two be passed over."""
    items = inputs["history_items"]
    if not np.array_equal(items > 0, np.arange(items.shape[1]) < inputs["lengths"][:, None]):
        raise golden.refuse("a history is not as long as batch/lengths says, padded at its end", "batch/history_items")
    if "item_values" in inputs:
        values = inputs["item_values"]
        last = max(inputs[name].max() for name in ("item_id", "history_items", "neg_his_items") if name in inputs)
        if last >= min(len(values), rows["entities"]):
            problem = f"there is an item {last}, but this has {len(values)} rows and the entities {rows['entities']}"
            raise golden.refuse(problem, "batch/item_values")
        if values[:, 0].any():
            raise golden.refuse("relation 0 is the virtual one, but has attribute values", "batch/item_values")
        if values.shape[1] != rows["relations"] or not np.array_equal(values[inputs["item_id"]], inputs["item_val"]):
            raise golden.refuse("it differs from batch/item_values of batch/item_id", "batch/item_val")
    if text is not None and not np.array_equal(text, inputs["text_embeddings"]):
        raise golden.refuse("they differ from batch/text_embeddings", f"param/{TEXT}")


def _corpus(rows: dict[str, int], values: np.ndarray, *, has_latent: bool) -> tuple[Corpus, int]:
    """A dataset of these sizes without interactions, and how many relations are latent.

    A relation of which no item has a value counts the same whether it is called an item-item, an attribute or a latent
    one. So attributes are those from the first to the last with a value, or to the very last where none is latent.
    """
    num_relations, held = values.shape[1], np.flatnonzero(values.any(axis=0))
    end = num_relations
    if has_latent:
        end = int(held[-1]) + 1 if len(held) else num_relations - 1
    first = int(held[0]) if len(held) else end
    none = np.zeros(0, np.int32)
    split = Split(rows=none, negatives=none[:, None])
    corpus = Corpus(
        name="golden",
        content_hash="",
        num_users=rows["users"] - 1,
        num_items=rows["items"] - 1,
        num_entities=rows["entities"],
        item_relations=tuple(map(str, range(1, first))),
        attributes=tuple(map(str, range(first, end))),
        sequence_items=none,
        sequence_times=none,
        sequence_users=none,
        sequence_offsets=none,
        train_rows=none,
        dev=split,
        test=split,
        triples=np.zeros((0, 3), np.int32),
        item_values=values[:, first:end, None],
        none_entities=np.zeros(end - first, np.int32),  # the file does not say; nothing is sampled of this corpus
    )
    return corpus, num_relations - end


def _config(golden: Golden, sizes: dict[str, Any], *, relational: bool, num_latent: int) -> Config:
    """Every option that matters, stated: our defaults are not the published settings."""
    options = {"model.name": golden.model, "model.dropout": 0.0, "model.precision": "float32", **sizes}
    named = {}
    if golden.model in ("sasrec", "tisasrec"):
        named = {"num_heads": "model.num_heads"}
        if golden.get("hyper", "num_layers") != sizes["model.num_layers"]:
            raise golden.refuse(f"there are {sizes['model.num_layers']} transformer blocks", "hyper/num_layers")
    if relational:
        named = {name: f"model.{name}" for name in ("num_layers", "num_heads", "pooling", "include_value")}
        options |= {"model.decay_init": "random", "model.relation_prior": "none"}
    if golden.model.endswith("_lrd"):
        named |= {"objective": "loss.lrd_objective", "alpha": "loss.entropy_weight"}
        options |= {"model.num_latent_relations": num_latent, "model.classifier_input": "text", "loss.lrd_weight": 1.0}
    options |= {option: golden.get("hyper", name) for name, option in named.items()}
    fields: dict[str | None, str] = {option: f"hyper/{name}" for name, option in named.items()}
    try:
        return config_of(options)
    except UserError as error:
        raise UserError(error.problem, file=golden.path, field=fields.get(error.field, error.field)) from error


def _with_weights(golden: Golden, system: RelationalSystem) -> RelationalSystem:
    """The system with the weights of the losses in the file, which may be 0 and yet have their terms compared."""
    weights = {"rec": 1.0, "kg": golden.get("hyper", "gamma")}
    if system.classifier is None:
        return dataclasses.replace(system, loss_weights=weights)
    weights["lrd"] = golden.get("hyper", "lambda")
    return dataclasses.replace(system, loss_weights=weights, drop_virtual=bool(golden.get("hyper", "drop_virtual")))


def _batch(golden: Golden, inputs: dict[str, np.ndarray]) -> Batch:
    items, times = inputs["history_items"], inputs["history_times"].astype(np.int64)
    seconds = np.where(items > 0, times.max(axis=1, keepdims=True) - times, 0)  # to the newest: only differences count
    if seconds.max() > _INT32_MAX:
        raise golden.refuse("seconds of one history that do not fit into 32 bits", "batch/history_times")
    shortest = np.clip(inputs["user_min_intervals"], 0, _INT32_MAX)
    arrays = {name: from_host(value) for name, value in inputs.items()}
    triples = None
    if "head_id" in arrays:
        triples = Triples(arrays["head_id"], arrays["tail_id"], arrays["relation_id"], arrays["value_id"])
    return Batch(
        users=arrays["user_id"],
        candidates=arrays["item_id"],
        history=History(
            arrays["history_items"],
            from_host(inputs["history_delta_t"].astype(np.float32)),
            from_host(seconds.astype(np.int32)),
            from_host(shortest.astype(np.int32)),
        ),
        triples=triples,
        negative_history=arrays.get("neg_his_items"),
        weights=from_host(np.ones(len(items), np.float32)),
    )
