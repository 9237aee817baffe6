"""The command line: options from a TOML file, overridden one by one, mistakes told without a traceback."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import ValidationError
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructFieldSpec, StructTypeInfo

from lrd_jax.config import Config, Section
from lrd_jax.config_errors import explain
from lrd_jax.config_file import load_config
from lrd_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class TrainFlags:
    """What `train` is told besides the configuration of the run."""

    config: Path | None = None
    """TOML file of options that differ from the defaults; options on the command line override it."""
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Continue the run in the run folder from its last checkpoint."""


def run_command(main: Callable[[], None]) -> None:
    """Run a command's `main`; a `UserError` becomes its message on stderr and exit code 2, Ctrl-C exit code 130.

    Output that nobody reads any more, as in `--help | head`, ends it like SIGPIPE would, with 141.
    """
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes as it ends
        sys.exit(141)


def parse_config(argv: Sequence[str] | None = None) -> tuple[Config, TrainFlags]:
    """Read the command line of `train`: `--config FILE`, `--resume`, and any option as `--section.option VALUE`.

    Args:
      argv: arguments without the program's name; those of the process by default.

    Returns:
      The validated configuration (defaults, then the file, then the command line) and the other flags.

    Raises:
      UserError: a mistake in the file, or a value out of range on the command line.
      SystemExit: after --help (0), or after tyro has explained a misspelt or malformed argument on stderr (2).
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    program = "python -m lrd_jax.train"
    flags, _ = tyro.cli(TrainFlags, prog=program, args=argv, return_unknown_args=True, add_help=False)
    defaults = load_config(flags.config) if flags.config is not None else Config()
    values: Any = tyro.cli(
        Config, prog=program, description=Config.__doc__, args=argv, default=defaults, registry=_plain_sections()
    )
    options = {name: value for name, value in values.items() if name in Config.model_fields}
    try:
        return Config.model_validate(options), flags
    except ValidationError as error:
        key, problem, remedy = explain(error)
        option = "--" + key.replace("_", "-") if "." in key else key
        raise UserError(problem, field=option, remedy=remedy) from error


def _plain_sections() -> ConstructorRegistry:
    """Let tyro build plain dictionaries of the configuration, so that all validation, and its words, are ours.

    `TrainFlags` stand before the sections, so that --help shows them too.
    """
    registry = ConstructorRegistry()

    @registry.struct_rule
    def section_rule(info: StructTypeInfo) -> StructConstructorSpec | None:
        if not (isinstance(info.type, type) and issubclass(info.type, Section)):
            return None
        fields = [
            StructFieldSpec(
                name=name,
                type=field.annotation,
                default=getattr(info.default, name),
                helptext=field.description or field.annotation.__doc__,
            )
            for name, field in info.type.model_fields.items()
        ]
        if info.type is Config:
            flags = tyro.conf.OmitArgPrefixes[TrainFlags]
            fields.insert(0, StructFieldSpec(name="flags", type=flags, default=TrainFlags(), helptext=""))
        return StructConstructorSpec(instantiate=dict, fields=tuple(fields))

    return registry
