"""Reads tests/golden/*.npz into the names and layouts of tests/reference.py (kernels [in, out])."""

from __future__ import annotations

import pathlib

import numpy as np

FOLDER = pathlib.Path(__file__).parent / "golden"

# our name: (name in the official code, transposed). Relations are one tied table under two names there.
NAMES = {
    "user": ("user_embeddings.weight", False),
    "entity": ("entity_embeddings.weight", False),
    "relation": ("relation_embeddings.weight", False),
    "item_bias": ("item_bias.weight", False),
    "query": ("attn_head.q_linear.weight", True),
    "key": ("attn_head.k_linear.weight", True),
    "value": ("attn_head.v_linear.weight", True),
    "w1": ("W1.weight", True),
    "b1": ("W1.bias", False),
    "w2": ("W2.weight", True),
    "b2": ("W2.bias", False),
    "norm_scale": ("layer_norm.weight", False),
    "norm_bias": ("layer_norm.bias", False),
    "pool_kernel": ("A.weight", True),
    "pool_bias": ("A.bias", False),
    "pool_out": ("A_out.weight", False),
    "decay_real": ("relational_dynamic_aggregation.freq_real.weight", False),
    "decay_imag": ("relational_dynamic_aggregation.freq_imag.weight", False),
    "text_kernel": ("project_layer_1.weight", True),
    "text_bias": ("project_layer_1.bias", False),
    "class_kernel": ("project_layer_2.weight", True),
    "class_bias": ("project_layer_2.bias", False),
}
NUM_ITEM_RELATIONS = 2
NUM_ATTRIBUTES = 2


def load(name):
    """Arrays of golden file `name` by section: {'param', 'batch', 'hyper', 'out', 'grad'} → {key: array or scalar}."""
    sections = {"param": {}, "batch": {}, "hyper": {}, "out": {}, "grad": {}}
    with np.load(FOLDER / f"{name}.npz") as file:
        for key in file.files:
            section, _, rest = key.partition("/")
            if rest:
                value = file[key]
                sections[section][rest] = value.item() if value.ndim == 0 else value
    return sections


def ours(arrays):
    """The official parameters or gradients under our names, float64, Linear weights turned to [in, out]."""
    result = {}
    for name, (theirs, transposed) in NAMES.items():
        if theirs in arrays:
            value = arrays[theirs].astype(np.float64)
            result[name] = value.T if transposed else value
    for name in ("item_bias", "pool_out"):
        if name in result:
            result[name] = result[name].ravel()
    return result


def item_values(batch):
    """item_values [I+1, A, 1] of the attribute relations from the golden [I+1, R]."""
    first = 1 + NUM_ITEM_RELATIONS
    return batch["item_values"][:, first : first + NUM_ATTRIBUTES, None]


def mask(batch):
    """Valid history positions, bool [B, H]."""
    return np.arange(batch["history_items"].shape[1]) < batch["lengths"][:, None]
