"""The options that every benchmark takes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TypeVar

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from lrd_jax.config.schema import ModelConfig, OptimConfig, Precision
from lrd_jax.errors import UserError

ModelName = ModelConfig.model_fields["name"].annotation
Update = OptimConfig.model_fields["update"].annotation


@dataclasses.dataclass(frozen=True)
class Options:
    """What is measured and where the record goes."""

    model: ModelName = "kda_lrd"
    """Which recommender, with its published settings (configs/)."""
    scale: str | None = None
    """tiny, ml-100k, office, electronics or USERSxITEMS: how large a dataset is made for it. None: office."""
    data: Path | None = None
    """Dataset folder to use instead of a made one."""
    dtype: Precision = "float32"
    """Number format of the operands in the scorer's matrix products, and of the product that is the machine's peak."""
    repeat: int = 10
    """How often it is timed, after one run to warm up."""
    json: str | None = None
    """File that a line of JSON is added to for each measurement; - writes them to stdout, the table to stderr."""
    cpu_devices: int | None = None
    """Without an accelerator, single-threaded CPU devices that share the work. None: one per core."""


@dataclasses.dataclass(frozen=True)
class BatchOptions(Options):
    """What is measured and where the record goes."""

    batch_size: int = 256
    """Training examples per step."""


@dataclasses.dataclass(frozen=True)
class TrainingOptions(BatchOptions):
    """What is measured and where the record goes."""

    update: Update = "dense"
    """Which rows of the embedding tables a step updates: all, or those that its batch looks up."""


AnyOptions = TypeVar("AnyOptions")


def parse_options(kind: type[AnyOptions], name: str, about: str, argv: Sequence[str] | None = None) -> AnyOptions:
    """The command line of `python -m benchmarks.NAME`.

    Raises:
      UserError: a value out of range, or a file that cannot be written.
      SystemExit: after --help (0), or after tyro has explained a misspelt argument on stderr (2).
    """
    options = tyro.cli(kind, prog=f"python -m benchmarks.{name}", description=about, args=argv)
    for field in ("repeat", "cpu_devices", "batch_size", "seeds", "epochs", "patience"):
        value = getattr(options, field, None)
        if value is not None and value < 1:
            raise UserError(f"must be 1 or more, not {value}", field="--" + field.replace("_", "-"))
    if getattr(options, "data", None) is not None and getattr(options, "scale", None) is not None:
        raise UserError("--data and --scale exclude each other", remedy="Give one of them")
    write_lines([], options.json)  # fails before the long measurement if it cannot be written
    return options


def names_with_commas(option: str, known: Collection[str]) -> PrimitiveConstructorSpec:
    """How tyro reads an option such as "sasrec,caser" into a tuple of known names, each once."""

    def parse(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        for name in names:
            if name not in known or names.count(name) > 1:
                problem = f"{name!r} is {'there twice' if name in known else 'none of them'}"
                raise UserError(problem, field=option, remedy=f"Choose among {', '.join(known)}, commas between them")
        return names

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="NAME,NAME,...",
        instance_from_str=lambda words: parse(words[0]),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda names: [",".join(names)],
    )


def write_lines(records: Sequence[dict], place: str | None) -> None:
    """Adds records to the file that --json names, or to stdout.

    Raises:
      UserError: the file cannot be written.
    """
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    if place == "-":
        print(lines, end="", flush=True)
    elif place is not None:
        try:
            with open(place, "a", encoding="utf-8") as file:
                file.write(lines)
        except OSError as error:
            raise UserError(f"cannot be written ({error.strerror})", file=place, field="--json") from None
