"""Ctrl-C and SIGTERM at random moments of real processes."""

import os
import random
import shutil
import signal
import time

import pytest

from lrd_jax.data.synthetic import write_synthetic
from tests.processes import finish, run, small_training, start
from tests.test_train import assert_same_run

pytestmark = pytest.mark.process

EPOCHS = 60
LINES = {signal.SIGINT: "interrupted\n", signal.SIGTERM: "terminated\n"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """`data`, and a run `whole` that nothing interrupted."""
    place = tmp_path_factory.mktemp("interrupts")
    write_synthetic(place / "data", num_users=60, num_items=40)
    answer = run(place, "train", *small_training(place, "whole", epochs=EPOCHS))
    assert answer.returncode == 0, answer.stderr
    return place


def has_begun(process) -> bool:
    """Whether the process handles SIGTERM, which it does before it imports anything that takes time."""
    with open(f"/proc/{process.pid}/status") as status:
        caught = next(line for line in status if line.startswith("SigCgt")).split()[1]
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def interrupted(process, number, seconds=0.0):
    """Sends the signal so many seconds after the command has begun; returns whether it was still going on."""
    while process.poll() is None and not has_begun(process):
        time.sleep(0.001)
    time.sleep(seconds)
    process.send_signal(number)
    answer = finish(process)
    if answer.returncode == 0 or (answer.returncode == -number and "results in" in answer.stdout):
        return False  # finished: while Python shuts down, nobody handles signals
    assert (answer.returncode, answer.stderr) == (128 + number, LINES[number])
    return True


@pytest.mark.slow
@pytest.mark.nightly
def test_at_random_moments_and_resumed(place):
    """From the first imports to the end; what is left is resumed, and ends with the numbers of the whole run."""
    started = time.monotonic()
    shutil.copytree(place / "whole", place / "finished")
    assert run(place, "train", *small_training(place, "finished", "--resume", epochs=EPOCHS)).returncode == 0
    longest = 1.5 * (time.monotonic() - started)
    moments, folder, ended = random.Random(0), place / "stopped", 0
    for attempt in range(20):
        if (folder / "results.json").exists():
            shutil.rmtree(folder)
        resume = ["--resume"] if (folder / "config.toml").exists() else []
        process = start(place, "train", *small_training(place, "stopped", *resume, epochs=EPOCHS))
        number = (signal.SIGINT, signal.SIGTERM)[attempt % 2]
        ended += interrupted(process, number, moments.uniform(0, longest))
    assert ended >= 10
    resume = ["--resume"] if (folder / "config.toml").exists() else []
    answer = run(place, "train", *small_training(place, "stopped", *resume, epochs=EPOCHS))
    assert answer.returncode == 0, answer.stderr
    assert_same_run(folder, place / "whole")


@pytest.mark.parametrize("number", LINES, ids=lambda number: number.name)
@pytest.mark.parametrize("command", ["evaluate", "prepare", "embed", "serve", "study", "interop"])
def test_every_command(command, number, place, tmp_path):
    arguments = {
        "evaluate": [place / "whole", "--out", tmp_path / "ranks.parquet"],
        "prepare": ["rechorus", place / "data"],
        "embed": [place / "data"],
        "serve": [place / "whole", "--port", "0"],
        "study": [
            "table",
            "--systems",
            "kda",
            "--datasets",
            "ml-100k",
            "--workdir",
            tmp_path,
            "--data",
            "ml-100k=" + str(place / "data"),
        ],
        "interop": ["parity", "tests/golden/sasrec.npz"],
    }[command]
    assert interrupted(start(place, command, *arguments), number, 0.05)


def test_a_process_that_is_to_ignore_it_goes_on(place, tmp_path):
    held = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as nohup and a shell's & do
    try:
        process = start(place, "evaluate", place / "whole", "--out", tmp_path / "ranks.parquet")
    finally:
        signal.signal(signal.SIGINT, held)
    assert not interrupted(process, signal.SIGINT, 0.3)
    assert os.path.exists(tmp_path / "ranks.parquet")
