"""What the documentation site takes from the code when it is built: options, help texts; and equations as MathML.

A page asks for it with a line of its own: `[[options]]`, or `[[help prepare table]]` for `python -m lrd_jax.prepare
table --help`.
"""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
import types
import typing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from annotated_types import Ge, Gt, Le, Lt, MultipleOf
from latex2mathml.converter import convert
from pydantic.fields import FieldInfo

from lrd_jax.config.schema import Config, Section

HELP_COLUMNS = "100"


def on_page_markdown(markdown: str, **_: object) -> str:
    """Replaces the lines that ask for something of the code."""
    asked = re.findall(r"^\[\[help (.+)\]\]$", markdown, flags=re.M)
    with ThreadPoolExecutor() as pool:  # a process each
        blocks = dict(zip(asked, pool.map(help_block, asked), strict=True))
    markdown = re.sub(r"^\[\[help (.+)\]\]$", lambda found: blocks[found[1]], markdown, flags=re.M)
    markdown = re.sub(r"^\[\[options\]\]$", lambda _: options(), markdown, flags=re.M)
    return markdown.replace("](../benchmarks/README.md", "](benchmarks.md")  # the page that includes it


def on_page_content(content: str, **_: object) -> str:
    """LaTeX, as pymdownx.arithmatex marks it, becomes MathML, which every browser draws by itself."""
    inline, block = (r'<span class="arithmatex">\\\((.+?)\\\)</span>', r'<div class="arithmatex">\\\[(.+?)\\\]</div>')
    content = re.sub(inline, lambda found: convert(html.unescape(found[1])), content, flags=re.S)
    return re.sub(block, lambda found: _block(html.unescape(found[1])), content, flags=re.S)


def _block(latex: str) -> str:
    return f'<div class="equation">{convert(latex.strip(), display="block")}</div>'


def help_block(words: str) -> str:
    """What a command prints for --help, as a block without frames. The options of a run have a page of their own."""
    lines = [re.sub(r"^[│╭]─?|[│╮]$|[╰╯]", "", line).strip("─").rstrip() for line in help_text(words).splitlines()]
    if " data options" in lines:
        lines[lines.index(" data options") :] = ["... and every option of a run: --data.path to --run.cpu-devices"]
    return "\n".join(["```text", *lines, "```"])


def help_text(words: str) -> str:
    """What `python -m lrd_jax.WORDS --help` prints."""
    module, *arguments = words.split()
    environment = os.environ | {"COLUMNS": HELP_COLUMNS, "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", f"lrd_jax.{module}", *arguments, "--help"]
    return subprocess.run(command, env=environment, check=True, capture_output=True, encoding="utf-8").stdout


def options() -> str:
    """Every option of a run, section by section, as the configuration states it."""
    return "\n\n".join(_section(name, field.annotation) for name, field in Config.model_fields.items())


def _section(name: str, section: type[Section]) -> str:
    parts = [f"## {name}", section.__doc__ or ""]
    for option, field in section.model_fields.items():
        key = f"{name}.{option}"
        parts.append(f"### `{key}` {{ #{key} }}")
        parts.append(f"`--{key.replace('_', '-')}` · {_values(field)} · default: {_shown(field.default)}")
        parts.append(field.description or field.annotation.__doc__ or "")
    return "\n\n".join(parts)


def _values(field: FieldInfo) -> str:
    """What an option takes, in words."""
    return " or ".join(_kinds(field.annotation, field.metadata))


def _kinds(kind: object, metadata: list) -> list[str]:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        inner = [item for found in arguments[1:] for item in getattr(found, "metadata", [found])]
        return _kinds(arguments[0], inner)
    if origin is typing.Literal:
        return (
            ["one of " + ", ".join(f"`{value}`" for value in arguments)]
            if len(arguments) > 1
            else [_shown(arguments[0])]
        )
    if origin in (typing.Union, types.UnionType):
        return [words for argument in arguments for words in _kinds(argument, metadata)]
    if kind is type(None):
        return ["none"]
    names = {int: "integer", float: "number", str: "text", bool: "true or false", Path: "path"}
    return [" ".join([names[kind], *_bounds(metadata if kind in (int, float) else [])])]


def _bounds(metadata: list) -> list[str]:
    """The limits of a number."""
    signs = {
        Ge: ("ge", "≥"),
        Gt: ("gt", ">"),
        Le: ("le", "≤"),
        Lt: ("lt", "<"),
        MultipleOf: ("multiple_of", "a multiple of"),
    }
    found = []
    for limit in metadata:
        if type(limit) in signs:
            attribute, sign = signs[type(limit)]
            found.append(f"{sign} {getattr(limit, attribute):,}")
    return [", ".join(found)] if found else []


def _shown(value: object) -> str:
    return "none" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`"
