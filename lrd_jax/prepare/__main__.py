"""Make a dataset folder from raw data: `python -m lrd_jax.prepare movielens 1m --source ml-1m.zip --out DIR`."""

from __future__ import annotations

if __name__ == "__main__":
    from lrd_jax.command_line.begin import begin

    begin()

import sys
from collections.abc import Callable

import tyro

from lrd_jax import plugins
from lrd_jax.command_line.parse import run_command


def commands(word: str | None = None) -> dict[str, Callable[..., None]]:
    """The sub-commands by name. Of those from other packages, only the chosen one is imported.

    Args:
      word: the first argument on the command line.

    Raises:
      UserError: the chosen one cannot be loaded, or two sources have its name.
    """
    sources = plugins.SOURCES
    found = {name: _not_loaded(name) for name in plugins.names(sources)} | plugins.load_ours(sources)
    chosen = [name for name in found if word is not None and name in (word, word.replace("_", "-"))]
    return found | {name: plugins.load(sources, name) for name in chosen}


def _not_loaded(name: str) -> Callable[[], None]:
    """The --help entry of a source from another package."""

    def source() -> None:
        pass

    source.__doc__ = f"A source of the package {plugins.package_of(plugins.SOURCES, name)}."
    return source


def main() -> None:
    """Parses the command line and prepares the dataset."""
    sources = commands(next(iter(sys.argv[1:]), None))
    tyro.extras.subcommand_cli_from_dict(
        sources, prog="python -m lrd_jax.prepare", description="Make a dataset folder from raw data."
    )


if __name__ == "__main__":
    run_command(main)
