"""What a hyperparameter search chooses from: the paper's grid, or a TOML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lrd_jax.config.schema import Config
from lrd_jax.config.toml_file import read_toml, with_options
from lrd_jax.errors import UserError


class Range(NamedTuple):
    """Every number from `low` to `high`, integers where both are; `log`: each order of magnitude as likely."""

    low: float
    high: float
    log: bool = False


Space = Mapping[str, list[Any] | Range]
"""{"section.option": the values to choose from}."""


def paper_space(config: Config) -> Space:
    """The paper's grid (section 4.1.4): learning rate, L2, and, where the system has them, γ, λ and K."""
    space: dict[str, list[Any] | Range] = {
        "optim.learning_rate": [1e-2, 1e-3, 1e-4],
        "optim.l2": [1e-4, 1e-5, 1e-6, 0.0],
    }
    if config.model.is_relational:
        space["loss.kg_weight"] = [0.1, 1.0, 5.0, 10.0]
    if config.model.discovers_relations:
        space |= {"loss.lrd_weight": [0.1, 1.0, 5.0, 10.0], "model.num_latent_relations": [5, 6, 7, 8, 9, 10]}
    return space


def read_space(path: Path, config: Config) -> Space:
    """A space from a TOML file: a table [space], in it "section.option" = [choices] or {low, high, log}.

    Args:
      path: of the file.
      config: that the options are to change; every choice is tried on it.

    Raises:
      UserError: the file is no space, or a choice no value of its option.
    """
    values, text = read_toml(path)
    table = values.pop("space", None)
    if values or not isinstance(table, dict) or not table:
        remedy = 'Write [space] and below it, for example, "optim.learning_rate" = [1e-3, 1e-4]'
        raise UserError("expected one table [space] with options", file=path, remedy=remedy)
    space: dict[str, list[Any] | Range] = {}
    for key, value in _by_option(table).items():
        space[key] = value if isinstance(value, list) and value else _range(value, key, path)
        for choice in space[key][:2] if isinstance(space[key], Range) else space[key]:
            with_options(config, {key: choice}, file=path, text=text, table="space.")
    return space


def _range(value: Any, key: str, path: Path) -> Range:
    try:
        found = Range(**value)
        if found.low < found.high and isinstance(found.log, bool) and (found.low > 0 or not found.log):
            return found
    except TypeError:
        pass
    remedy = "Write [1, 2, 5], or {low = 1e-4, high = 1e-2, log = true} with low < high, and 0 < low for log"
    raise UserError(f"expected choices or a range, got {value!r}", file=path, field=f"space.{key}", remedy=remedy)


def _by_option(table: Mapping[str, Any]) -> dict[str, Any]:
    """{"section.option": value} of keys written so, and of tables [space.section]."""
    options: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict) and "." not in key:
            options |= {f"{key}.{option}": choices for option, choices in value.items()}
        else:
            options[key] = value
    return options
