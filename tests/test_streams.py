"""Output that cannot be written as it is: other encodings, full disks, closed streams, no colours."""

import subprocess
import sys

import pytest

from lrd_jax.data.synthetic import write_synthetic
from tests.processes import environment, run, shell, small_training

pytestmark = pytest.mark.process

HELP = ["train", "evaluate", "prepare", "prepare table", "embed", "study", "study table", "interop", "interop import"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """`data`, a table `log.csv`, and a run."""
    place = tmp_path_factory.mktemp("streams")
    write_synthetic(place / "data", num_users=40, num_items=40)
    rows = [f"u{user},i{(user * 3 + n * 7) % 20},{1600000000 + n}" for user in range(20) for n in range(6)]
    (place / "log.csv").write_text("\n".join(["user_id,item_id,time", *rows, ""]))
    assert run(place, "train", *small_training(place, "run", model="popularity")).returncode == 0
    return place


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("command", HELP)
def test_help_in_every_encoding(command, encoding, place):
    name, *rest = command.split()
    answer = run(place, name, *rest, "--help", PYTHONIOENCODING=encoding)
    assert answer.returncode == 0, answer.stderr
    assert "usage: python -m lrd_jax" in answer.stdout and answer.stderr == ""


def test_tables_in_ascii(place):
    answer = run(place, "evaluate", place / "run", PYTHONIOENCODING="ascii")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.isascii() and "popularity" in answer.stdout and "NDCG@10" in answer.stdout


def test_characters_that_an_encoding_lacks(place):
    code = r"from lrd_jax.command_line.begin import begin; begin(); print('a\u00b7b \u2192 \u00e9\u00e5 \u65e5 \udcff')"
    answer = shell(place, f'PYTHONIOENCODING=ascii "$python" -c "{code}"')
    assert (answer.returncode, answer.stdout) == (0, "a*b -> ea \\u65e5 \\udcff\n"), answer.stderr


@pytest.mark.parametrize("streams", [">/dev/full", ">/dev/full 2>&1", ">&-", "2>&-", ">&- 2>&- <&-", "2>/dev/full"])
@pytest.mark.parametrize("command", ["train", "prepare", "evaluate"])
def test_lost_output_ends_nothing(command, streams, place, tmp_path):
    """What a command makes is made; where output was lost, the exit code says so."""
    train = small_training(place, "run", "--run.workdir", tmp_path / "run", model="popularity")
    prepare = ["table", place / "log.csv", "--time", "time", "--core", 1, "--negatives", 3, "--out", tmp_path / "d"]
    evaluate = [place / "run", "--out", tmp_path / "ranks.parquet"]
    made = {"train": "run/results.json", "prepare": "d/dev.csv", "evaluate": "ranks.parquet"}[command]
    words = {"train": train, "prepare": prepare, "evaluate": evaluate}[command]
    answer = shell(place, f"$command.{command} {' '.join(map(str, words))} {streams}")
    lost = streams.startswith(">/dev/full")
    assert answer.returncode == (2 if lost else 0), answer.stderr
    assert (tmp_path / made).exists()
    assert "Traceback" not in answer.stderr
    if streams == ">/dev/full":
        (line,) = answer.stderr.splitlines()
        assert line.startswith("error: some of the output could not be written (No space left on device)")
    if streams == "2>&-":
        assert str(tmp_path) in answer.stdout


def test_help_that_cannot_be_written(place):
    answer = shell(place, "$command.train --help >/dev/full")
    assert answer.returncode == 2 and answer.stderr.startswith("error: some of the output")


@pytest.mark.parametrize(("no_color", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_help_on_a_terminal(no_color, coloured, place):
    environ = environment(place, TERM="xterm", **no_color)
    line = f"{sys.executable} -m lrd_jax.train --help"
    answer = subprocess.run(["script", "-qec", line, "/dev/null"], env=environ, capture_output=True, timeout=60)
    assert answer.returncode == 0 and (b"\x1b[" in answer.stdout) == coloured


def test_names_with_control_characters_are_quoted(place):
    answer = run(place, "evaluate", place / "a\x1b[31mb")
    assert answer.returncode == 2 and f"error: '{place}/a\\x1b[31mb': there is no run" in answer.stderr
    out = place / "red\x1bn"
    options = ["--time", "time", "--core", 1, "--negatives", 3, "--out", out]
    answer = run(place, "prepare", "table", place / "log.csv", *options)
    assert answer.returncode == 0 and f"folder: '{place}/red\\x1bn'" in answer.stdout
    answer = run(place, "train", *small_training(place, "r", "--data.path", out, model="popularity"))
    assert answer.returncode == 0 and "\x1b" not in answer.stdout and "red\\x1bn: 20 users" in answer.stdout
