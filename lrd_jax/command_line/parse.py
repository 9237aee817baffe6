"""The command line: options from a TOML file and overrides; mistakes are reported in one line without a traceback."""

from __future__ import annotations

import dataclasses
import re
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import tyro
from pydantic import ValidationError
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from lrd_jax.command_line import interrupts, streams
from lrd_jax.config.messages import explain
from lrd_jax.config.schema import Config, Section
from lrd_jax.config.toml_file import load_config, stated_options
from lrd_jax.errors import UserError

MAX_SEED = 2**31 - 1

Flags = TypeVar("Flags")


def parse_seeds(text: str) -> tuple[int, ...]:
    """The seeds in "0,1,2".

    Raises:
      UserError: the text is not a comma-separated list of distinct integers from 0 to 2³¹ − 1.
    """
    seeds: list[int] = []
    for part in text.split(","):
        if not re.fullmatch(r"[0-9]{1,10}", part) or int(part) > MAX_SEED:
            remedy = f"Give integers from 0 to {MAX_SEED}, as in --seeds 0,1,2"
            raise UserError(f"{part!r} is not a seed" if part else "a seed is missing", field="--seeds", remedy=remedy)
        if int(part) in seeds:
            raise UserError(f"the seed {int(part)} is given twice", field="--seeds", remedy="Give each seed once")
        seeds.append(int(part))
    return tuple(seeds)


SEEDS = PrimitiveConstructorSpec(
    nargs=1,
    metavar="N,N,...",
    instance_from_str=lambda words: parse_seeds(words[0]),
    is_instance=lambda value: value is None or isinstance(value, tuple),
    str_from_instance=lambda seeds: [str(seeds) if seeds is None else ",".join(map(str, seeds))],
)


@dataclasses.dataclass(frozen=True)
class TrainFlags:
    """Options of `train` besides the configuration of the run."""

    config: Path | None = None
    """TOML file with options that differ from the defaults; options on the command line override it."""
    refit: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None
    """Train a finished run again on all interactions, dev and test too, with its options and for the number of epochs
    that dev chose, in the folder RUN-refit. For production: the result cannot be tested."""
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Continue the run in the run folder from its last checkpoint."""
    seeds: Annotated[tuple[int, ...] | None, SEEDS] = None
    """Train one run per seed, at the same time if memory allows, each in its own run folder (DIR/seedN with
    --run.workdir DIR). With --resume, seeds without a run start one."""


@dataclasses.dataclass(frozen=True)
class _ConfigFile:
    config: Path | None = None


@dataclasses.dataclass(frozen=True)
class _Refit:
    refit: Path | None = None


def run_command(main: Callable[[], None]) -> None:
    """Runs a command's `main`. A `UserError` prints its message on stderr and gives exit code 2; Ctrl-C gives 130.

    A closed output pipe, as in `--help | head`, ends the command with code 141, like SIGPIPE. Output that cannot be
    written for another reason is lost: `main` continues, and the exit code is 2.
    """
    try:
        with interrupts.cleaning_up():
            try:
                main()
            except SystemExit as end:
                if end.code:
                    raise
            problem = streams.lost()
        if problem is not None:
            raise UserError(
                f"some of the output could not be written ({problem.strerror}); the command itself has finished",
                remedy="Free disk space, or send the output elsewhere",
            )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        streams.discard()
        sys.exit(141)


def parse_config(argv: Sequence[str] | None = None) -> tuple[Config, TrainFlags]:
    """Reads the command line of `train`: the flags, and any option as `--section.option VALUE`.

    Args:
      argv: arguments without the program's name; by default, those of the process.

    Returns:
      The validated configuration (defaults, then the file, then the command line) and the other flags.

    Raises:
      UserError: the file has a mistake, or the command line has a value out of range or flags that exclude each other.
      SystemExit: after --help (0), or after tyro has explained a misspelt or malformed argument on stderr (2).
    """
    argv, program = sys.argv[1:] if argv is None else list(argv), "python -m lrd_jax.train"
    refit = tyro.cli(_Refit, prog=program, args=argv, return_unknown_args=True, add_help=False)[0].refit
    base = None if refit is None else _refitted(refit, argv)
    config, flags = parse_options(argv, TrainFlags(), program=program, description=Config.__doc__, base=base)
    if flags.seeds is not None and any(argument.partition("=")[0] == "--run.seed" for argument in argv):
        raise UserError("--seeds and --run.seed exclude each other", remedy="Give one of them")
    return config, flags


def _refitted(run: Path, argv: Sequence[str]) -> Config:
    """The configuration of --refit RUN, which takes no options but the run folder.

    Raises:
      UserError: there are others, or RUN cannot be refitted (`refit_config`).
    """
    from lrd_jax.runs.refit import refit_config  # --help needs no run folders

    given = {argument.partition("=")[0] for argument in argv} & {"--config", "--seeds"}
    given |= {f"--{option.replace('_', '-')}" for option in _named_options(argv, {}) - {"run.workdir"}}
    if given:
        remedy = "Leave it out: the options are those of the run; only --run.workdir and --resume can be given"
        raise UserError("excludes --refit", field=min(given), remedy=remedy)
    return refit_config(run)


def parse_options(
    argv: Sequence[str],
    flags: Flags,
    *,
    program: str,
    description: str | None,
    base: Config | None = None,
    aliases: Mapping[str, str] = types.MappingProxyType({}),
) -> tuple[Config, Flags]:
    """Reads the command line of a command that takes every option of a run and its own flags.

    The configuration records which options were given (`stated_options`), even if they equal their defaults.

    Args:
      argv: arguments without the program's name.
      flags: a dataclass with the default flags, including `config`: the TOML file that options override.
      program, description: for --help.
      base: what options override, in place of a file.
      aliases: short names of options, {"section.option": "--name"}.

    Raises:
      UserError: the file has a mistake, or the command line has a value out of range.
      SystemExit: as in `parse_config`.
    """
    # Read the file first, because its options are the defaults for the rest.
    known, _ = tyro.cli(_ConfigFile, prog=program, args=argv, return_unknown_args=True, add_help=False)
    if known.config is not None:
        base = load_config(known.config)
    values: Any = tyro.cli(
        Config,
        prog=program,
        description=description,
        args=argv,
        default=base or Config(),
        registry=plain_sections(flags, aliases),
    )
    # Keep only what the file or the command line sets, so that `stated_options` can distinguish it from defaults.
    stated = (stated_options(base) if base is not None else set()) | _named_options(argv, aliases)
    options = {
        section: {name: value for name, value in values[section].items() if f"{section}.{name}" in stated}
        for section in Config.model_fields
    }
    try:
        return Config.model_validate(options), values["flags"]
    except ValidationError as error:
        key, problem, remedy = explain(error)
        option = "--" + key.replace("_", "-") if "." in key else key
        raise UserError(problem, field=option, remedy=remedy) from error


def _named_options(argv: Sequence[str], aliases: Mapping[str, str]) -> set[str]:
    """The options ("section.option") that a command line names, in any spelling."""
    names = {argument.partition("=")[0].replace("_", "-") for argument in argv}
    spellings: dict[str, str] = {}
    for section, field in Config.model_fields.items():
        for option in cast(type[Section], field.annotation).model_fields:
            name = option.replace("_", "-")
            spellings |= dict.fromkeys((f"--{section}.{name}", f"--{section}.no-{name}"), f"{section}.{option}")
    spellings |= {alias: option for option, alias in aliases.items()}
    return {spellings[name] for name in names if name in spellings}


def seed_configs(config: Config, seeds: Sequence[int] | None) -> list[Config]:
    """The configuration of each seed; without seeds, the given configuration only.

    Raises:
      UserError: run.workdir, the parent of the seeds' folders, is itself a run folder.
    """
    if seeds is None:
        return [config]
    workdir = config.run.workdir
    if workdir is not None and (workdir / "checkpoints").exists() and (workdir / "config.toml").exists():
        raise UserError(
            "this is the folder of a single run, so it cannot contain the seeds' folders",
            file=workdir,
            field="run.workdir",
            remedy="Set --run.workdir to the folder that contains the seeds' folders",
        )
    return [config.for_seed(seed) for seed in seeds]


def plain_sections(flags: Any = None, aliases: Mapping[str, str] = types.MappingProxyType({})) -> ConstructorRegistry:
    """Lets tyro build plain dictionaries of the configuration, so that this package validates and words all messages.

    The flags, if any, come before the sections of a `Config`, so that --help shows them too.
    """
    registry = ConstructorRegistry()
    sections = {field.annotation: name for name, field in Config.model_fields.items()}

    @registry.struct_rule
    def section_rule(info: StructTypeInfo) -> StructConstructorSpec | None:
        if not (isinstance(info.type, type) and issubclass(info.type, Section)):
            return None
        fields = []
        for name, field in info.type.model_fields.items():
            alias = aliases.get(f"{sections.get(info.type)}.{name}")
            named: Any = Annotated[field.annotation, tyro.conf.arg(aliases=[alias])] if alias else field.annotation
            default, helptext = getattr(info.default, name), field.description or field.annotation.__doc__
            fields.append(StructFieldSpec(name=name, type=named, default=default, helptext=helptext))
        if info.type is Config:
            unprefixed: Any = tyro.conf.OmitArgPrefixes
            fields.insert(0, StructFieldSpec(name="flags", type=unprefixed[type(flags)], default=flags, helptext=""))
        return StructConstructorSpec(instantiate=dict, fields=tuple(fields))

    return registry
