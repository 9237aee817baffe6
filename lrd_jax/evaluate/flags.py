"""The command line of `python -m lrd_jax.evaluate`: its own flags, and the options of the protocols."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import tyro
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from tyro.constructors import PrimitiveConstructorSpec

from lrd_jax import plugins
from lrd_jax.config.messages import expectation
from lrd_jax.config.schema import CUTOFFS
from lrd_jax.errors import UserError
from lrd_jax.ranking.protocols import Protocol, SplitName, TieRule

DEFAULT = "given"

if TYPE_CHECKING:  # which names there are depends on the packages that are installed
    ProtocolName = str
else:
    ProtocolName = Literal[*plugins.names(plugins.PROTOCOLS)]


def parse_cutoffs(text: str) -> tuple[int, ...]:
    """The cutoffs in "5,10,20", ascending.

    Raises:
      UserError: not integers from 1 with commas between them.
    """
    for part in text.split(","):
        if not re.fullmatch(r"[0-9]{1,9}", part) or int(part) < 1:
            problem = f"{part!r} is no cutoff" if part else "a cutoff is missing"
            raise UserError(problem, field="--at", remedy="Give integers from 1, as in --at 5,10,20")
    return tuple(sorted({int(part) for part in text.split(",")}))


_CUTOFFS = PrimitiveConstructorSpec(
    nargs=1,
    metavar="K,K,...",
    instance_from_str=lambda words: parse_cutoffs(words[0]),
    is_instance=lambda value: isinstance(value, tuple),
    str_from_instance=lambda cutoffs: [",".join(map(str, cutoffs))],
)


@dataclasses.dataclass(frozen=True)
class EvaluateFlags:
    """Rank the target of every row among candidates, with the best epoch of each run: HR, NDCG and MRR, in all and by
    the target's popularity in training, the length of the history, and whether the user had the target before; and the
    rank of every target as Parquet. With --lists or --lists-from also coverage, popularity, novelty and diversity of
    top-K lists. Several runs are compared user by user."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN ...]")]
    """Run folders of `train`. May be left out with --lists-from and --data.path."""
    data: Annotated[Path | None, tyro.conf.arg(name="data.path", metavar="FOLDER")] = None
    """Where the dataset of the runs is now, for one that was moved or renamed. None: where it was in training."""
    split: SplitName = "test"
    """Which rows."""
    at: Annotated[tuple[int, ...], _CUTOFFS] = CUTOFFS
    """The cutoffs K of HR@K, NDCG@K and MRR@K, and of the metrics of lists."""
    ties: TieRule = "average"
    """Rank of a target among candidates of its score: their middle, or the last."""
    out: Path | None = None
    """Parquet file for the ranks of all runs. None: evaluation-SPLIT-PROTOCOL.parquet in each run folder."""
    json: Path | None = None
    """File for the tables as JSON."""
    lists: Path | None = None
    """Parquet file for the top-K list of every row, K being the largest of --at."""
    lists_from: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="FILE")] = ()
    """Lists of any other system, evaluated beside the runs: CSV, TSV, Parquet or JSON lines with the columns user,
    item, and rank or score, ids as in the source. May be given several times."""

    @property
    def wants_lists(self) -> bool:
        """Whether top-K lists are made and described."""
        return self.lists is not None or bool(self.lists_from)

    def check(self) -> None:
        """Refuses, before the long work, runs given twice or none, and places that cannot be written.

        Raises:
          UserError: of the first of them.
        """
        if not self.runs and not self.lists_from:
            raise UserError("there is no run to evaluate", field="RUN", remedy="Name the run folder of a training")
        if not self.runs and self.data is None:
            remedy = "Name a run, or the dataset folder with --data.path"
            raise UserError("there is no dataset to evaluate the lists on", field="--lists-from", remedy=remedy)
        for what, option in (("run", self.runs), ("file", self.lists_from)):
            for number, path in enumerate(option):
                if path.resolve() in [earlier.resolve() for earlier in option[:number]]:
                    raise UserError(f"the {what} is there twice", file=path, remedy="Name it once")
        for name, place in (("--out", self.out), ("--json", self.json), ("--lists", self.lists)):
            if place is not None and (place.is_dir() or not os.access(place.absolute().parent, os.W_OK)):
                raise UserError("cannot be written", file=place, field=name, remedy="Name a file in a folder that can")


@dataclasses.dataclass(frozen=True)
class _Chosen:
    protocol: ProtocolName = DEFAULT


def parse_flags(argv: Sequence[str] | None = None) -> tuple[EvaluateFlags, Protocol]:
    """Read the command line of `evaluate`; that of the process by default.

    Raises:
      UserError: a value out of range, an option of another protocol, or a protocol that cannot be loaded.
      SystemExit: after --help (0), or after tyro has explained a misspelt or malformed argument on stderr (2).
    """
    argv, program = sys.argv[1:] if argv is None else list(argv), "python -m lrd_jax.evaluate"
    # A protocol of another package is imported only if it is chosen, so that one is read first.
    chosen = tyro.cli(_Chosen, prog=program, args=argv, return_unknown_args=True, add_help=False)[0].protocol
    protocols = {chosen: plugins.load(plugins.PROTOCOLS, chosen)} | plugins.load_ours(plugins.PROTOCOLS)
    options = _options(protocols)
    given: Any = tyro.cli(
        _all_flags(protocols, options), prog=program, args=argv, description=inspect.getdoc(EvaluateFlags)
    )
    own = protocols[chosen].model_fields
    for name, option in options.items():
        if name not in own and getattr(given, name) != option.field.default:
            raise UserError(f"means nothing with --protocol {chosen}", field=_flag(name), remedy="Leave it out")
    protocol = make_protocol(protocols[chosen], {name: getattr(given, name) for name in own})
    flags = EvaluateFlags(**{field.name: getattr(given, field.name) for field in dataclasses.fields(EvaluateFlags)})
    flags.check()
    return flags, protocol


def make_protocol(protocol: type[Protocol], options: Mapping[str, Any]) -> Protocol:
    """A protocol with these options.

    Raises:
      UserError: one of them is out of range.
    """
    try:
        return protocol.model_validate(dict(options))
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        if not detail["loc"]:  # a rule between several options
            raise UserError(str(detail["ctx"]["error"]), field="--protocol") from error
        option = str(detail["loc"][0])
        problem = f"expected {expectation(protocol.model_fields[option])}, got {detail['input']!r}"
        raise UserError(problem, field=_flag(option)) from error


class _Option(NamedTuple):
    """An option of one protocol, or of several that declare it alike."""

    field: FieldInfo
    protocols: tuple[str, ...]


def _options(protocols: Mapping[str, type[Protocol]]) -> dict[str, _Option]:
    """The options of all protocols by name; where two declare one differently, the first counts.

    Raises:
      UserError: an option has the name of a flag, or no default.
    """
    found: dict[str, _Option] = {}
    taken = {field.name for field in dataclasses.fields(EvaluateFlags)} | {"protocol"}
    for protocol, declared in protocols.items():
        for name, field in declared.model_fields.items():
            if name in taken:
                problem = f"the protocol {protocol!r} has an option of this name, which is a flag of every protocol"
                raise UserError(problem, field=_flag(name), remedy="Rename the option in the protocol's class")
            if field.is_required():
                problem = f"the option of the protocol {protocol!r} has no default"
                raise UserError(problem, field=_flag(name), remedy="Give it one in the protocol's class")
            first = found.setdefault(name, _Option(field, ()))
            if (first.field.annotation, first.field.default) == (field.annotation, field.default):
                found[name] = _Option(first.field, (*first.protocols, protocol))
    return found


def _all_flags(protocols: Mapping[str, type[Protocol]], options: Mapping[str, _Option]) -> type:
    """`EvaluateFlags` with --protocol and every option, for tyro to read."""
    others = [name for name in plugins.names(plugins.PROTOCOLS) if name not in protocols]
    about = [f"{name}: {_first_line(declared)}" for name, declared in protocols.items()]
    about += [f"{name}: of the package {plugins.package_of(plugins.PROTOCOLS, name)}." for name in others]
    fields: list[tuple[str, Any, Any]] = [
        ("protocol", _flag_type(ProtocolName, f"What a target is ranked against. {' '.join(about)}"), DEFAULT)
    ]
    for name, (field, owners) in options.items():
        help_text = f"{', '.join(owners)}: {field.description or 'see its documentation.'}"
        fields.append((name, _flag_type(field.annotation, help_text), field.default))
    bases = (EvaluateFlags,)
    return dataclasses.make_dataclass("AllFlags", fields, bases=bases, frozen=True)


def _flag_type(annotation: Any, help_text: str) -> Any:
    return Annotated[annotation, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help=help_text)]


def _first_line(documented: type) -> str:
    return (documented.__doc__ or "").partition("\n")[0]


def _flag(option: str) -> str:
    return "--" + option.replace("_", "-")
