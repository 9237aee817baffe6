"""Every command under one name: `lrd-jax COMMAND ...` is `python -m lrd_jax.COMMAND ...`."""

from __future__ import annotations

import difflib
import runpy
import sys

from lrd_jax.version import __version__

COMMANDS = {
    "train": "Train a model on a dataset folder and test its best epoch.",
    "prepare": "Make a dataset folder from raw data.",
    "embed": "Embed the item texts of a dataset folder with a language model.",
    "evaluate": "Rank the targets of dev or test with trained runs.",
    "recommend": "Recommend items to users or for histories, with reasons.",
    "similar": "List the items most similar to an item.",
    "serve": "Answer requests with a trained run over HTTP, and show a page to try it.",
    "study": "Train many runs and compare them: tables, ablation, sensitivity, search.",
    "export": "Write a run as a folder that scores without this package.",
    "interop": "Exchange weights with the published code and compare results with it.",
}
"""What each command does, in the order of --help. Each command is the module of the same name."""


def main() -> None:
    """Run the command named by the first argument, with the other arguments.

    Raises:
      SystemExit: the command's exit code; 2, after a message on stderr, if the command is unknown or missing.
    """
    command, arguments = sys.argv[1] if len(sys.argv) > 1 else "", sys.argv[2:]
    if command in COMMANDS:
        sys.argv = [f"lrd-jax {command}", *arguments]
        # Imported only here, because --help needs neither jax nor the options of a run.
        runpy.run_module(f"lrd_jax.{command}", run_name="__main__", alter_sys=True)
    elif command in ("--help", "-h"):
        print(_usage())
    elif command == "--version":
        print(f"lrd-jax {__version__}")
    elif command:
        print(f"error: {_unknown(command)}", file=sys.stderr)
        sys.exit(2)
    else:
        print(_usage(), file=sys.stderr)
        sys.exit(2)


def _usage() -> str:
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:{width}}  {what}" for name, what in COMMANDS.items())
    return (
        "usage: lrd-jax COMMAND ...\n\nSequential recommendation with latent relations from language models.\n\n"
        f"commands:\n{listed}\n\n"
        "`lrd-jax COMMAND --help` shows the options of a command, `lrd-jax --version` the version."
    )


def _unknown(command: str) -> str:
    nearest = difflib.get_close_matches(command, COMMANDS, n=1)
    remedy = f"Perhaps you mean {nearest[0]}" if nearest else f"The commands are {', '.join(COMMANDS)}"
    return f"there is no command {command!r}. {remedy}."


if __name__ == "__main__":
    main()
