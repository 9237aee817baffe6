"""What the README says is so: its commands, options and files."""

import re
import shlex
from pathlib import Path

import pytest
import tyro

from lrd_jax.cli import parse_config
from lrd_jax.evaluate import EvaluateFlags

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", README, re.S) for line in block.splitlines()]


def test_two_commands_come_first():
    install, tests = COMMANDS[:2]
    assert install.endswith("pip install -e . && python -m lrd_jax.train")
    assert "pytest" in tests


def test_ci_runs_the_readmes_test_command():
    assert (ROOT / ".ci/run").read_text().splitlines()[-1] == COMMANDS[1]


# The configuration in RUN is there only once something has been imported.
@pytest.mark.parametrize(
    "command", [line for line in COMMANDS if line.startswith("python -m lrd_jax.train") and "RUN/" not in line]
)
def test_training_commands_parse(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    config, _ = parse_config(shlex.split(command)[3:])
    assert config.run.workdir or config.run_folder.name.endswith(f"-{config.model.name}-seed0")


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("python -m lrd_jax.evaluate")])
def test_evaluation_commands_parse(command):
    assert tyro.cli(EvaluateFlags, args=shlex.split(command)[3:]).runs


def test_files_exist():
    named = re.findall(r"\b(?:lrd_jax|tests|configs)/[\w./-]*\w", README)
    assert named
    for path in named:
        assert (ROOT / path).exists(), path


def test_nothing_is_left_to_fill_in():
    assert "@@" not in README and "<!--" not in README
