"""What the README says is so: its commands, options and files."""

import functools
import re
import shlex
from pathlib import Path

import pytest
import tyro

from lrd_jax import embed
from lrd_jax.command_line.parse import parse_config
from lrd_jax.evaluate.flags import parse_flags
from lrd_jax.prepare import __main__ as prepare

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DOCUMENTS = {path: path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))}


def commands_in(text):
    """The lines of the blocks of shell commands, continued ones joined."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.S)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]


COMMANDS = commands_in(README)


def everywhere(program):
    """The arguments of each call of `python -m lrd_jax.PROGRAM` in any document."""
    found = (
        line.partition(f"python -m lrd_jax.{program} ") for text in DOCUMENTS.values() for line in commands_in(text)
    )
    return sorted({arguments for _, call, arguments in found if call})


def test_two_commands_come_first():
    install, tests = COMMANDS[:2]
    assert install.endswith("pip install -e . && python -m lrd_jax.train")
    assert "pytest" in tests


def test_ci_runs_the_readmes_test_command():
    assert (ROOT / ".ci/run").read_text().splitlines()[-1] == COMMANDS[1]


# A run folder, which --refit and a configuration in it need, is there only once something has been trained.
@pytest.mark.parametrize(
    "arguments",
    [line for line in everywhere("train") if not any(part in line for part in ("/config.toml", ";", "--refit"))],
)
def test_training_commands_parse(arguments, monkeypatch):
    monkeypatch.chdir(ROOT)
    config, _ = parse_config(shlex.split(arguments))
    assert config.run.workdir or config.run_folder.name.endswith(f"-{config.model.name}-seed0")


@pytest.mark.parametrize("arguments", [line for line in everywhere("evaluate") if "..." not in line])
def test_evaluation_commands_parse(arguments):
    flags, _ = parse_flags(shlex.split(arguments))
    assert flags.runs or flags.lists_from


@pytest.mark.parametrize("arguments", everywhere("prepare"))
def test_preparing_commands_parse(arguments):
    """The very commands of `prepare`, which do nothing."""

    def idle(command):
        return functools.wraps(command)(lambda *args, **kwargs: None)

    commands = {name: idle(command) for name, command in prepare.commands().items()}
    tyro.extras.subcommand_cli_from_dict(commands, args=shlex.split(arguments))


@pytest.mark.parametrize("arguments", everywhere("embed"))
def test_embedding_commands_parse(arguments):
    assert embed.parse_flags(shlex.split(arguments)).dataset


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_exist(document):
    named = re.findall(r"\b(?:lrd_jax|tests|configs|docs)/[\w./-]*\w", DOCUMENTS[document])
    for path in named:
        assert (ROOT / path).exists(), path


def test_nothing_is_left_to_fill_in():
    assert "@@" not in README and "<!--" not in README
