"""The console command `lrd-jax`, as a process: what it dispatches to, what it says of a typo."""

import subprocess
import sys
from pathlib import Path

import pytest

import lrd_jax
from lrd_jax.__main__ import COMMANDS

pytestmark = pytest.mark.process


def lrd_jax_command(*arguments: str) -> subprocess.CompletedProcess:
    command = [str(Path(sys.executable).with_name("lrd-jax")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


HEAVY = {"jax", "flax", "optax", "orbax", "polars", "scipy", "tensorboardX"}
HEAVY |= {"wordllama", "openai", "tiktoken", "optuna", "matplotlib", "fastapi", "uvicorn", "prometheus_client"}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_by_name_and_by_module_imports_nothing_that_takes_long(command):
    """Which keeps it below a second; the seconds themselves would be those of whatever else the machine does."""
    by_name = lrd_jax_command(command, "--help")
    by_module = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", f"lrd_jax.{command}", "--help"], capture_output=True, text=True
    )
    assert (by_name.returncode, by_module.returncode) == (0, 0)
    assert by_name.stdout == by_module.stdout
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in by_module.stderr.splitlines()}
    assert "tyro" in imported and not imported & HEAVY


def test_exit_code_and_message_of_a_command_come_through():
    answer = lrd_jax_command("train", "--config", "missing.toml")
    assert answer.returncode == 2
    assert answer.stderr.startswith("error: missing.toml")


def test_help_names_every_command_and_imports_nothing_of_them():
    code = """
import sys
from lrd_jax.__main__ import main
sys.argv = ["lrd-jax", "--help"]
main()
print(sorted({"jax", "numpy", "tyro", "pydantic", "rich"} & set(sys.modules)), file=sys.stderr)
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0
    assert answer.stderr.strip() == "[]"
    for command, what in COMMANDS.items():
        assert f"  {command} " in answer.stdout and what in answer.stdout


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("trian", "there is no command 'trian'. Perhaps you mean train."),
        ("evalute", "there is no command 'evalute'. Perhaps you mean evaluate."),
        ("x", "there is no command 'x'. The commands are {}.".format(", ".join(COMMANDS))),
        (
            "--foo",
            "there is no command '--foo'. The commands are {}.".format(", ".join(COMMANDS)),
        ),
    ],
)
def test_typo(word, told):
    answer = lrd_jax_command(word, "--help")
    assert (answer.returncode, answer.stdout, answer.stderr) == (2, "", f"error: {told}\n")


def test_no_command_shows_what_there_is():
    answer = lrd_jax_command()
    assert answer.returncode == 2
    assert answer.stderr.startswith("usage: lrd-jax COMMAND")


def test_version_is_the_package_s():
    assert lrd_jax_command("--version").stdout == f"lrd-jax {lrd_jax.__version__}\n"
