"""What a configuration has to say of the sizes of published parameters, read off their shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from lrd_jax.config.schema import Config
from lrd_jax.config.toml_file import flatten, stated_options
from lrd_jax.errors import UserError
from lrd_jax.interop.parameter_names import TEXT

Shapes = Mapping[str, tuple[int, ...]]


class _Size(NamedTuple):
    """An option that equals factor · (size of an axis + shift).

    Attributes:
      option: "section.option".
      name: the published parameter.
      axis: the axis.
      shift, factor: see above.
    """

    option: str
    name: str
    axis: int
    shift: int = 0
    factor: int = 1


_RELATIONAL = (_Size("model.embedding_dim", "user_embeddings.weight", 1),)
_DECAY = (_Size("model.num_dft_points", "relational_dynamic_aggregation.freq_real.weight", 1, shift=-1, factor=2),)
_LRD = (_Size("text.dimensions", TEXT, 1),)
_SEQUENCE = (_Size("model.embedding_dim", "i_embeddings.weight", 1),)
_SIZES = {
    "rcf": _RELATIONAL,
    "kda": _RELATIONAL + _DECAY,
    "rcf_lrd": _RELATIONAL,
    "kda_lrd": _RELATIONAL + _DECAY,
    "caser": (
        *_SEQUENCE,
        _Size("model.num_horizontal_filters", "conv_h.0.weight", 0),
        _Size("model.num_vertical_filters", "conv_v.weight", 0),
        _Size("data.history_length", "conv_v.weight", 2),
    ),
    "gru4rec": (*_SEQUENCE, _Size("model.gru_hidden_dim", "rnn.weight_hh_l0", 1)),
    "sasrec": (*_SEQUENCE, _Size("data.history_length", "p_embeddings.weight", 0, shift=-1)),
    "tisasrec": (
        *_SEQUENCE,
        _Size("data.history_length", "p_k_embeddings.weight", 0, shift=-1),
        _Size("model.time_max", "t_k_embeddings.weight", 0, shift=-1),
    ),
}
_COUNTS = {
    "caser": ("model.max_filter_height", r"conv_h\.\d+\.weight"),
    "sasrec": ("model.num_layers", r"transformer_block\.\d+\.linear1\.weight"),
    "tisasrec": ("model.num_layers", r"transformer_block\.\d+\.linear1\.weight"),
}


def size(shapes: Shapes, name: str, axis: int) -> int:
    """The size of one axis of a published parameter.

    Raises:
      UserError: there is no such parameter, or it has too few axes.
    """
    if name not in shapes:
        raise UserError("the parameter is missing", field=name, remedy="Give all parameters of the model")
    if len(shapes[name]) <= axis:
        raise UserError(f"it has shape {shapes[name]}, without axis {axis}", field=name)
    return shapes[name][axis]


def options_of_sizes(model: str, shapes: Shapes) -> dict[str, Any]:
    """The options {"section.option": value} that the shapes of published parameters tell.

    What they do not tell is in `untold_options`.

    Args:
      model: `ModelConfig.name`, of a model that was published.
      shapes: by published name.

    Raises:
      UserError: a parameter that would tell is missing.
    """
    options: dict[str, Any] = {}
    known_sizes = _SIZES[model]
    if model.endswith("_lrd"):
        # The paper's code with --include_lrd 0 has neither texts nor classifier.
        if any(name == TEXT or name.startswith("project_layer_") for name in shapes):
            known_sizes += _LRD
        else:
            options["loss.lrd_weight"] = 0.0
    for known in known_sizes:
        options[known.option] = known.factor * (size(shapes, known.name, known.axis) + known.shift)
    if model == "gru4rec":
        options["model.gru_out_bias"] = "out.bias" in shapes
    if model in _COUNTS:
        option, pattern = _COUNTS[model]
        options[option] = sum(re.fullmatch(pattern, name) is not None for name in shapes)
    if model.startswith(("rcf", "kda")) and "A.weight" in shapes:
        options |= {"model.pooling": "attention", "model.attention_dim": size(shapes, "A.weight", 0)}
    return options


def untold_options(model: str, shapes: Shapes) -> dict[str, Any]:
    """The options that ranks depend on and no shape tells, with the values that the published experiments had.

    Those of RCF, KDA and the LRD models are in the README of the paper's code, those of the sequence models in
    ReChorus's scripts; the cap on TiSASRec's unit of time is the constant in the paper's code.

    Args:
      model, shapes: as for `options_of_sizes`.
    """
    if model.startswith(("rcf", "kda")):
        options = {"model.num_layers": 5, "model.num_heads": 4, "model.pooling": "mean", "model.include_value": True}
        if "A.weight" in shapes:  # only attention pooling has it
            del options["model.pooling"]
        return options | {"data.history_length": 20}
    return {
        "caser": {},
        "gru4rec": {"data.history_length": 20},
        "sasrec": {"model.num_heads": 1},
        "tisasrec": {"model.num_heads": 1, "model.longest_time_unit": 0xFFFF},
    }[model]


def as_words(options: Mapping[str, Any]) -> str:
    """Options as one writes them on the command line."""
    words = []
    for option, value in options.items():
        name = option.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{name}" if value else "--" + name.replace(".", ".no-"))
        else:
            words.append(f"--{name} {value}")
    return " ".join(words)


def contradictions(config: Config, options: Mapping[str, Any]) -> list[str]:
    """What a configuration states otherwise than the shapes do."""
    values = flatten(config)
    return [
        f"{option} is {values[option]}, the shapes say {value}"
        for option, value in options.items()
        if option in stated_options(config) and values[option] != value
    ]
