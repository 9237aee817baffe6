"""Two processes on one run folder."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lrd_jax.config.schema import Config, RunConfig
from lrd_jax.data.synthetic import write_synthetic
from lrd_jax.runs.locks import GoingOn, claimed, held, locked
from tests.processes import ROOT, finish, run, small_training, start

HOLD = "import sys, time; from pathlib import Path; from lrd_jax.runs.locks import held\nwith held(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"  # noqa: E501


@pytest.fixture
def holder(tmp_path):
    """Another process that holds tmp_path/run."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


@pytest.mark.process
def test_the_other_process_is_named_and_a_killed_one_holds_nothing(holder, tmp_path):
    with pytest.raises(GoingOn, match=f"{tmp_path}/run: the run is in progress in process {holder.pid}. Wait"):
        with held(tmp_path / "run"):
            pass
    runs = [Config(run=RunConfig(workdir=tmp_path / name)) for name in ("run", "other")]
    with claimed(runs) as mine:
        assert mine == runs[1:]
    holder.kill()
    holder.wait()
    assert (tmp_path / "run/.lock").exists()
    with held(tmp_path / "run"), claimed(runs) as mine:
        assert mine == runs[1:]  # a process has one lock
    assert not (tmp_path / "run/.lock").exists()


def test_a_folder_that_stays_empty_goes(tmp_path):
    with held(tmp_path / "runs/a"):
        assert (tmp_path / "runs/a").is_dir()
    assert not (tmp_path / "runs").exists()
    with held(tmp_path / "runs/a"):
        (tmp_path / "runs/a/config.toml").write_text("")
    assert [path.name for path in (tmp_path / "runs/a").iterdir()] == ["config.toml"]


@pytest.mark.process
def test_waiting(holder, tmp_path):
    killer = subprocess.Popen(["bash", "-c", f"sleep 0.5; kill -9 {holder.pid}"])
    with locked(tmp_path / "run/.lock"):
        assert holder.wait() == -signal.SIGKILL
    killer.wait()


@pytest.mark.process
def test_a_second_resume_is_refused_at_once(tmp_path):
    write_synthetic(tmp_path / "data", num_users=60, num_items=40)
    words = small_training(tmp_path, "run", epochs=5000)
    first = start(tmp_path, "train", *words)
    while first.poll() is None and not (tmp_path / "run/config.toml").exists():
        time.sleep(0.01)  # it has just started: there is no epoch yet
    again = run(tmp_path, "train", *words)
    while first.poll() is None and not Path(tmp_path / "run/metrics.jsonl").read_text():
        time.sleep(0.01)
    second = run(tmp_path, "train", *words, "--resume")
    for answer in (again, second):
        assert answer.returncode == 2, answer.stderr
        (line,) = answer.stderr.splitlines()
        assert "already holds a run" in line or f"run: the run is in progress in process {first.pid}. " in line
    assert "is in progress" in second.stderr
    assert first.poll() is None
    first.send_signal(signal.SIGKILL)
    assert finish(first).returncode == -signal.SIGKILL
    answer = run(tmp_path, "train", *words, "--resume", "--run.cpu-devices", "2")
    assert answer.returncode == 2 and "run.cpu_devices was 1, now 2" in answer.stderr  # held by nobody any more
