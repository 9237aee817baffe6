"""Registry of models, encoders, sources and protocols by name: the built-in ones and those that other packages add.

Other packages register theirs as entry points, under the group of the kind: see docs/extending.md. Nothing is imported
before it is chosen. So --help is fast, and a broken plug-in affects only runs that use it.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Collection, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from lrd_jax.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class Kind:
    """One kind of thing that a package can add.

    Attributes:
      word: what messages call it.
      group: the group of its entry points.
      option: the option that chooses one, for messages.
      needs: the attributes that each must have.
      ours: the built-in ones, {name: "module:attribute"}, in the order of --help.
    """

    word: str
    group: str
    option: str
    needs: tuple[str, ...]
    ours: Mapping[str, str]


MODELS = Kind(
    "model",
    "lrd_jax.models",
    "model.name",
    ("from_config", "uses_users"),
    {
        "caser": "lrd_jax.models.caser:Caser",
        "gru4rec": "lrd_jax.models.gru4rec:GRU4Rec",
        "sasrec": "lrd_jax.models.sasrec:SASRec",
        "tisasrec": "lrd_jax.models.tisasrec:TiSASRec",
    },
)
"""Sequence models: classes of modules, see `lrd_jax.models.sequence_system.SequenceModel`."""

ENCODERS = Kind(
    "encoder",
    "lrd_jax.encoders",
    "text.encoder",
    ("__call__",),
    {
        "wordllama": "lrd_jax.text.wordllama:WordLlamaEncoder",
        "openai": "lrd_jax.text.openai.embeddings:OpenAIEncoder",
        "openai-batch": "lrd_jax.text.openai.batch:OpenAIBatchEncoder",
        "sentence-transformers": "lrd_jax.text.sentence_transformers:SentenceTransformersEncoder",
        "model2vec": "lrd_jax.text.model2vec:Model2VecEncoder",
        "file": "lrd_jax.text.file:embeds_no_texts",
    },
)
"""Text encoders: functions of an `EncoderConfig` that make a `lrd_jax.text.base.Encoder`."""

SOURCES = Kind(
    "source",
    "lrd_jax.sources",
    "prepare",
    ("__call__",),
    {
        "ml-100k": "lrd_jax.prepare.movielens:ml_100k",
        "movielens": "lrd_jax.prepare.movielens:movielens",
        "amazon-2014": "lrd_jax.prepare.amazon:amazon_2014",
        "amazon-2023": "lrd_jax.prepare.amazon:amazon_2023",
        "recbole": "lrd_jax.prepare.recbole:recbole",
        "table": "lrd_jax.prepare.table:table",
        "rechorus": "lrd_jax.prepare.rechorus:rechorus",
    },
)
"""Sources of raw data: functions whose arguments are the command line of `python -m lrd_jax.prepare NAME`."""

PROTOCOLS = Kind(
    "protocol",
    "lrd_jax.protocols",
    "--protocol",
    ("model_fields", "num_candidates", "candidates"),
    {
        "given": "lrd_jax.ranking.protocols.given:Given",
        "sampled": "lrd_jax.ranking.protocols.sampled:Sampled",
        "full": "lrd_jax.ranking.protocols.full:Full",
    },
)
"""Evaluation protocols: subclasses of `lrd_jax.ranking.protocols.Protocol`."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def names(kind: Kind) -> tuple[str, ...]:
    """Every name that can be chosen, the built-in ones first."""
    return tuple(kind.ours) + tuple(sorted(set(_theirs(kind)) - set(kind.ours)))


def load(kind: Kind, name: str) -> Any:
    """Imports what a name stands for.

    Args:
      kind: the kind of thing.
      name: one of `names`.

    Raises:
      UserError: two packages use the name, or the plug-in cannot be imported or lacks an attribute that its kind needs.
    """
    check_name(kind, name)
    if name in kind.ours:
        return _load_ours(kind, name)
    (entry,) = _theirs(kind)[name]
    try:
        found = entry.load()
    except Exception as error:  # importing a plug-in may raise anything
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise _broken(kind, entry, f"cannot be loaded ({reason})") from error
    for attribute in kind.needs:
        if not hasattr(found, attribute):
            problem = "is not a function or class" if attribute == "__call__" else f"has no attribute {attribute!r}"
            raise _broken(kind, entry, problem)
    return found


def load_ours(kind: Kind) -> dict[str, Any]:
    """Imports all built-in ones, by name; used where --help shows them all."""
    return {name: _load_ours(kind, name) for name in kind.ours}


def check_name(kind: Kind, name: str, reserved: Collection[str] = ()) -> None:
    """Rejects an ambiguous name, without importing anything.

    Args:
      kind: the kind of thing.
      name: the chosen name.
      reserved: names of lrd_jax that are not in `kind.ours`.

    Raises:
      UserError: two packages (lrd_jax counts as one) use the name, or it cannot be part of a file name.
    """
    theirs = _theirs(kind).get(name, [])
    owners = ["lrd_jax"] if name in kind.ours or name in reserved else []
    owners += [_package(entry) for entry in theirs]
    if len(owners) > 1:
        listed = " and ".join(owners)
        remedy = f"Rename it in one of them, or uninstall {_package(theirs[-1])}"
        raise UserError(f"{listed} both have the {kind.word} {name!r}", field=kind.option, remedy=remedy)
    if theirs and not _NAME.fullmatch(name):
        remedy = "Use only letters, digits, '.', '_' and '-' in the name of the entry point"
        raise _broken(kind, theirs[0], "has a name that cannot be part of a file name", remedy)


def package_of(kind: Kind, name: str) -> str:
    """The package that adds a name, with its version, such as "my_models 1.0"; "lrd_jax" for built-in ones."""
    return "lrd_jax" if name in kind.ours else " and ".join(map(_package, _theirs(kind)[name]))


def _load_ours(kind: Kind, name: str) -> Any:
    return EntryPoint(name, kind.ours[name], kind.group).load()


@functools.cache
def _theirs(kind: Kind) -> dict[str, list[EntryPoint]]:
    """The entry points of the kind by name; several packages may use the same name."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=kind.group):
        found.setdefault(entry.name, []).append(entry)
    return found


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else entry.module


def _broken(kind: Kind, entry: EntryPoint, problem: str, remedy: str | None = None) -> UserError:
    what = f"the {kind.word} {entry.name!r} of the package {_package(entry)} ({entry.value}) {problem}"
    return UserError(what, field=kind.option, remedy=remedy or f"Repair the package, or choose another {kind.word}")
