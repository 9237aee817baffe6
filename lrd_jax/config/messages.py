"""What is wrong with a configuration, in plain words: the key, what was expected, the nearest right name."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from lrd_jax import plugins
from lrd_jax.config.schema import Config, Section


def explain(error: ValidationError, sections: type[Section] = Config) -> tuple[str, str, str | None]:
    """The first mistake that pydantic found, in our words; unknown options come before wrong values.

    Args:
      error: of validating `sections`.
      sections: the sections that hold the options.

    Returns:
      (key, problem, remedy): the dotted key, what is wrong with it, what to do about it (the parts of `UserError`).
    """
    details = error.errors(include_url=False)
    first = next((detail for detail in details if detail["type"] == "extra_forbidden"), details[0])
    path = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        return ".".join(path), "there is no such option", _right_name(path)
    key = ".".join(path[:2])  # what follows names the branch of a union
    if first["type"] == "sections_disagree":
        return first["ctx"]["key"], first["ctx"]["error"], first["ctx"]["remedy"]
    if "error" in first.get("ctx", {}):  # a rule between several options of a section
        return key, str(first["ctx"]["error"]), "Change one of them"
    if len(path) < 2:
        return key, f"expected a table of options, got {first['input']!r}", f"Write [{key}] and the options below it"
    field = _fields(sections)[key]
    close = _nearest(str(first["input"]), _choices(field.annotation))
    problem = f"expected {expectation(field)}, got {first['input']!r}"
    return key, problem, f"Perhaps you mean {close!r}" if close else _remedy_without_a_guess(key)


def _remedy_without_a_guess(key: str) -> str | None:
    """For a name that nothing is near to, which another package may have added when the file was written."""
    words = [kind.word for kind in (plugins.MODELS, plugins.ENCODERS) if kind.option == key]
    return f"If it is a {words[0]} of another package, install that package" if words else None


def expectation(field: FieldInfo) -> str:
    """What an option takes, such as "an integer >= 1" or "one of 'rcf', 'kda'"."""
    return _describe(field.annotation, field.metadata)


def _describe(annotation: Any, rules: Iterable[Any]) -> str:
    if get_origin(annotation) is Annotated:
        inner, *extra = get_args(annotation)
        return _describe(inner, [rule for item in extra for rule in getattr(item, "metadata", [item])])
    if get_origin(annotation) is Literal:
        choices = ", ".join(map(repr, get_args(annotation)))
        return choices if len(get_args(annotation)) == 1 else f"one of {choices}"
    if get_origin(annotation) in (Union, types.UnionType):
        branches = [branch for branch in get_args(annotation) if branch is not type(None)]
        return " or ".join(_describe(branch, rules) for branch in branches)
    noun = {int: "an integer", float: "a number", bool: "true or false", Path: "a path", str: "a text"}[annotation]
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "multiple_of": "a multiple of"}
    signs["min_length"] = "of length >="
    bounds = [f"{sign} {getattr(rule, name)}" for rule in rules for name, sign in signs.items() if hasattr(rule, name)]
    return f"{noun} {' and '.join(bounds)}" if bounds else noun


def _choices(annotation: Any) -> list[str]:
    """The words that an option takes; none for a number or a path."""
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)]
    return [choice for branch in get_args(annotation) for choice in _choices(branch)]


def _fields(sections: type[Section] = Config) -> dict[str, FieldInfo]:
    """Every option's declaration by its dotted key."""
    return {
        f"{section}.{option}": field
        for section, declared in sections.model_fields.items()
        for option, field in cast(type[Section], declared.annotation).model_fields.items()
    }


def _right_name(path: list[str]) -> str:
    """Where an unknown key comes nearest: a section, an option of its own section, or one of another section."""
    sections, options = list(Config.model_fields), list(_fields())
    if len(path) == 1 and (section := _nearest(path[0], sections)):
        return f"Perhaps you mean [{section}]"
    if len(path) > 1 and path[0] in sections:
        own = [option.split(".")[1] for option in options if option.startswith(path[0] + ".")]
        if close := _nearest(path[1], own):
            return f"Perhaps you mean {path[0]}.{close}"
    for option in options:  # right name, wrong section
        if option.split(".")[1] == path[-1]:
            return f"Perhaps you mean {option}"
    if len(path) > 1 and path[0] in sections:
        return f"The options of [{path[0]}] are {', '.join(own)}"
    if close := _nearest(".".join(path), options):
        return f"Perhaps you mean {close}"
    return f"The sections are {', '.join(sections)}; --help lists every option"


def _nearest(word: str, words: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(word, list(words), n=1, cutoff=0.6)), None)
