"""Configurations as TOML files: read with every mistake explained, written complete, compared."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from lrd_jax.config.messages import explain
from lrd_jax.config.schema import Config
from lrd_jax.errors import UserError
from lrd_jax.files import refuse_irregular

_PLACES = ("run.workdir", "run.init_from", "data.path", "text.file")


def load_config(path: str | os.PathLike[str]) -> Config:
    """Read a TOML file that holds differences from the defaults.

    Paths in it are relative to the current directory.

    Raises:
      UserError: the file is missing or no TOML, an option is unknown, of the wrong type or out of range.
    """
    values, text = read_toml(path)
    return _validate(values, file=path, text=text)


def read_toml(path: str | os.PathLike[str]) -> tuple[dict[str, Any], str]:
    """What a TOML file holds, and its text.

    Raises:
      UserError: the file is missing, no regular file or no TOML.
    """
    refuse_irregular(Path(path))
    try:
        text = Path(path).read_bytes().decode("utf-8")
        return tomllib.loads(text), text
    except OSError as error:
        raise UserError(
            f"cannot read the configuration ({error.strerror})", file=path, remedy="Give --config a TOML file"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError("the configuration is not UTF-8 text", file=path, remedy="Save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        place = re.search(r" \(at line (\d+), column \d+\)", str(error))
        raise UserError(
            "not valid TOML: " + str(error).replace(place[0] if place else "", "").rstrip("."),
            file=path,
            line=int(place[1]) if place else None,
            remedy="Write options as [section] and below it name = value, with texts in quotes",
        ) from error


def with_options(
    config: Config,
    options: Mapping[str, Any],
    *,
    file: str | os.PathLike[str] | None = None,
    text: str = "",
    table: str = "",
) -> Config:
    """The configuration with some options changed.

    Args:
      config: complete.
      options: {"section.option": value}.
      file, text: where the options come from, for the message.
      table: within the file, such as "variants.mine.".

    Raises:
      UserError: an option is unknown, of the wrong type or out of range.
    """
    values = config.model_dump(mode="json")
    for key, value in options.items():
        section, dot, option = key.partition(".")
        if dot:
            values.setdefault(section, {})[option] = value
        else:
            values[section] = value
    return _validate(values, file=file, text=text, table=table)


def _validate(values: Mapping[str, Any], *, file: str | os.PathLike[str] | None, text: str, table: str = "") -> Config:
    try:
        # JSON mode is strict about types ("5" is no integer, true no number) and yet reads a path from a string.
        return Config.model_validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        key, problem, remedy = explain(error)
        key_in_file = table + key
        raise UserError(
            problem, file=file, line=find_line(text, key_in_file), field=key_in_file, remedy=remedy
        ) from error


def config_of(options: Mapping[str, Any], base: Config | None = None) -> Config:
    """A configuration with these options changed.

    Args:
      options: {"section.option": value}.
      base: what holds otherwise; the defaults where there is none.

    Raises:
      UserError: an option is unknown, of the wrong type or out of range; its field is the option.
    """
    values = {} if base is None else base.model_dump(exclude_unset=True)
    for key, value in options.items():
        section, _, option = key.partition(".")
        values.setdefault(section, {})[option] = value
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        key, problem, remedy = explain(error)
        raise UserError(problem, field=key, remedy=remedy) from error


def config_to_toml(config: Config) -> str:
    """The complete configuration as TOML; `load_config` reads it back equal. Options that are None are left out."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def config_difference(old: Config, new: Config) -> list[tuple[str, Any, Any]]:
    """Options that differ, as (key, old value, new value). Where run folder and dataset lie does not count, nor does
    the recorded width of text embeddings where the new configuration leaves it to the encoder, nor the latent-relation
    loss of a model that has none.

    (Whether the dataset is still the same is told by its content, `Setup.fingerprint`.)
    """
    before, after = flatten(old), flatten(new)
    unasked = _PLACES + (("text.dimensions",) if new.text.dimensions is None else ())
    if not new.model.discovers_relations:
        unasked += "loss.lrd_weight", "loss.lrd_objective", "loss.entropy_weight", "loss.history_negatives"
    return [(key, before[key], after[key]) for key in before if key not in unasked and before[key] != after[key]]


def flatten(config: Config) -> dict[str, Any]:
    """All options as {"section.option": value}, in the order in which config.py states them."""
    return {
        f"{section}.{option}": value
        for section, options in config.model_dump().items()
        for option, value in options.items()
    }


def stated_options(config: Config) -> set[str]:
    """The options ("section.option") that were given a value, be it their default; the others are at theirs."""
    return {
        f"{section}.{option}" for section in Config.model_fields for option in getattr(config, section).model_fields_set
    }


def find_line(text: str, key: str) -> int | None:
    """1-based line of a TOML text that sets `key` ("section.option") or opens the table of that name."""
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\s*([\w.\-]+)\s*\]", line):
            table = header[1] + "."
            if header[1] == key:
                return number
        elif assignment := re.match(r"\s*([\w.\-]+)\s*=", line):
            if table + assignment[1] == key:
                return number
    return None
