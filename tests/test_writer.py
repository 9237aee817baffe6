"""The run folder's files, and what a run shows on the terminal."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from rich.console import Console
from tensorboardX.proto.event_pb2 import Event

from lrd_jax.config.schema import Config, LossConfig, ModelConfig, OptimConfig, RunConfig
from lrd_jax.config.toml_file import load_config
from lrd_jax.errors import UserError
from lrd_jax.runs.folder import RunWriter, open_run_folder
from lrd_jax.terminal.lines import epoch_line, epoch_progress, losses_text, results_table

ROOT = Path(__file__).parents[1]
DEV = {"HR@5": 0.5, "NDCG@5": 0.375, "HR@10": 0.75, "NDCG@10": 0.4375}
TEST = {"HR@5": 0.25, "NDCG@5": 0.125, "HR@10": 0.5, "NDCG@10": 0.25}


def write_epochs(folder: Path, epochs: range, resume_after: int | None = None) -> None:
    writer = RunWriter(folder, resume_after=resume_after)
    for epoch in epochs:
        writer.write_epoch(epoch, {"rec": 1 / epoch, "total": jnp.float32(epoch)}, DEV, seconds=0.12345)
    writer.close()


def read_events(folder: Path) -> list[Event]:
    """Every TensorBoard event in writing order: per record a length, its checksum, the event, its checksum."""
    events = []
    for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns):
        data, at = path.read_bytes(), 0
        while at < len(data):
            size = int.from_bytes(data[at : at + 8], "little")
            events.append(Event.FromString(data[at + 12 : at + 12 + size]))
            at += 16 + size
    return events


def test_new_folder_holds_the_configuration(tmp_path):
    config = Config(optim=OptimConfig(l2=0.25))
    open_run_folder(tmp_path / "a/b", config, resume=False)
    assert load_config(tmp_path / "a/b/config.toml") == config
    assert os.listdir(tmp_path / "a/b") == ["config.toml"]


def test_a_run_is_neither_overwritten_nor_resumed_by_mistake(tmp_path):
    with pytest.raises(UserError, match="no run to resume.*--run.workdir"):
        open_run_folder(tmp_path / "run", Config(), resume=True)
    assert not (tmp_path / "run").exists()
    open_run_folder(tmp_path / "run", Config(), resume=False)
    write_epochs(tmp_path / "run", range(1, 2))
    with pytest.raises(UserError, match="already holds a run.*--resume.*--run.workdir"):
        open_run_folder(tmp_path / "run", Config(), resume=False)
    open_run_folder(tmp_path / "run", Config(run=RunConfig(workdir=tmp_path / "run")), resume=True)


@pytest.mark.parametrize("left", ["nothing", "half a checkpoint", "a checkpoint", "an epoch", "results"])
def test_what_ended_before_its_first_epoch_blocks_nothing(left, tmp_path):
    open_run_folder(tmp_path, Config(), resume=False)
    (tmp_path / "checkpoints/latest").mkdir(parents=True)
    (tmp_path / "metrics.jsonl").write_text("")
    if "checkpoint" in left:
        (tmp_path / "checkpoints/latest" / ("1" if left == "a checkpoint" else "1.new")).mkdir()
    elif left == "an epoch":
        write_epochs(tmp_path, range(1, 2))
    elif left == "results":
        (tmp_path / "results.json").write_text("{}")
    other = Config(optim=OptimConfig(l2=0.25))
    if left in ("nothing", "half a checkpoint"):
        open_run_folder(tmp_path, other, resume=False)
        assert load_config(tmp_path / "config.toml") == other
        assert not (tmp_path / "checkpoints").exists()  # nor could it be taken for one of the new run
    else:
        with pytest.raises(UserError, match="already holds a run"):
            open_run_folder(tmp_path, other, resume=False)
        assert load_config(tmp_path / "config.toml") == Config()


def test_changed_configuration_is_refused_with_the_difference(tmp_path):
    open_run_folder(tmp_path, Config(), resume=False)
    changed = Config(optim=OptimConfig(l2=0.25), run=RunConfig(epochs=100, patience=4))
    with pytest.raises(UserError) as error:
        open_run_folder(tmp_path, changed, resume=True)
    expected = "optim.l2 was 1e-06, now 0.25; run.epochs was 200, now 100; run.patience was 5, now 4"
    assert expected in str(error.value)
    assert load_config(tmp_path / "config.toml") == Config()
    longer = Config(run=RunConfig(epochs=201, patience=6))
    open_run_folder(tmp_path, longer, resume=True)
    assert load_config(tmp_path / "config.toml") == longer


def test_only_what_has_an_effect_may_not_change(tmp_path):
    light = LossConfig(lrd_weight=0.5, lrd_objective="released", entropy_weight=1.0)
    for name in ("kda", "kda_lrd"):
        folder = tmp_path / name
        open_run_folder(folder, Config(model=ModelConfig(name=name)), resume=False)
        changed = Config(model=ModelConfig(name=name), loss=light)
        if name == "kda":
            open_run_folder(folder, changed, resume=True)
        else:
            with pytest.raises(UserError, match="lrd_weight was 1.0, now 0.5; loss.lrd_objective was paper, now rel"):
                open_run_folder(folder, changed, resume=True)


def test_unwritable_folder_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file/run"):
        with pytest.raises(UserError, match="cannot be written.*--run.workdir"):
            open_run_folder(folder, Config(), resume=False)
    if os.geteuid():  # the superuser writes anywhere
        (tmp_path / "locked").mkdir(mode=0o500)
        with pytest.raises(UserError, match="cannot be written"):
            open_run_folder(tmp_path / "locked/run", Config(), resume=False)


def test_a_line_per_epoch(tmp_path):
    writer = RunWriter(tmp_path)
    writer.write_epoch(1, {"rec": np.float32(0.5), "total": jnp.float32(0.75)}, DEV, seconds=1.23456)
    expected = {"epoch": 1, "losses": {"rec": 0.5, "total": 0.75}, "dev": DEV, "seconds": 1.235}
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == expected  # before the writer is closed
    writer.write_epoch(2, {"rec": 0.5}, None, seconds=1)
    assert "dev" not in json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[1])
    with pytest.raises(ValueError):
        writer.write_epoch(3, {"rec": float("nan")}, None, seconds=1)
    writer.close()
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_resumed_file_equals_an_uninterrupted_one(tmp_path):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    write_epochs(tmp_path / "whole", range(1, 7))
    write_epochs(tmp_path / "killed", range(1, 5))
    with open(tmp_path / "killed/metrics.jsonl", "a") as file:
        file.write('{"epoch": 5, "los')  # killed while it wrote
    write_epochs(tmp_path / "killed", range(4, 7), resume_after=3)
    whole = (tmp_path / "whole/metrics.jsonl").read_bytes()
    assert (tmp_path / "killed/metrics.jsonl").read_bytes() == whole
    write_epochs(tmp_path / "killed", range(0), resume_after=2)
    assert (tmp_path / "killed/metrics.jsonl").read_bytes() == b"".join(whole.splitlines(keepends=True)[:2])
    write_epochs(tmp_path / "killed", range(0))
    assert (tmp_path / "killed/metrics.jsonl").read_bytes() == b""


def test_mangled_metrics_are_reported(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1}\nnonsense\n')
    with pytest.raises(UserError, match="metrics.jsonl, line 2"):
        RunWriter(tmp_path, resume_after=2)


def test_tensorboard_events(tmp_path):
    write_epochs(tmp_path, range(1, 4))
    events = read_events(tmp_path / "tensorboard")
    found = {
        (value.tag, event.step): value.simple_value
        for event in events
        for value in event.summary.value
        if value.HasField("simple_value")
    }
    assert found[("loss/total", 3)] == 3.0
    assert found[("dev/NDCG_5", 1)] == 0.375
    assert {step for tag, step in found if tag == "loss/rec"} == {1, 2, 3}


def test_tensorboard_forgets_what_the_resumed_run_repeats(tmp_path):
    write_epochs(tmp_path, range(1, 4))
    write_epochs(tmp_path, range(3, 5), resume_after=2)
    starts = [event.step for event in read_events(tmp_path / "tensorboard") if event.session_log.status == 1]
    assert starts == [3]


def test_results(tmp_path):
    writer = RunWriter(tmp_path)
    path = writer.write_results(
        dev=DEV,
        test={name: jnp.float32(value) for name, value in TEST.items()},
        best_epoch=np.int64(7),
        epochs=17,
        seconds=12.3456,
        device="cpu",
        config=Config(),
        dataset_hash="abc",
        fingerprint="def",
    )
    writer.close()
    results = json.loads(path.read_text())
    assert path.name == "results.json"
    assert results["dev"] == DEV and results["test"] == TEST
    assert list(results["test"]) == ["HR@5", "NDCG@5", "HR@10", "NDCG@10"]
    assert (results["best_epoch"], results["epochs"], results["seconds"]) == (7, 17, 12.346)
    assert results["dataset"] == {"name": "ml-100k", "hash": "abc", "fingerprint": "def"}
    assert (results["model"], results["seed"], results["device"]) == ("kda_lrd", 0, "cpu")
    assert set(results["versions"]) == {"jax", "jaxlib", "flax", "optax", "numpy", "orbax", "python", "lrd_jax"}
    assert not list(tmp_path.glob("*.partial"))


def test_ranks(tmp_path):
    writer = RunWriter(tmp_path)
    path = writer.write_ranks(
        dev=(np.arange(1, 4), pl.Series(["ä", None, "B01"]), jnp.asarray([5, 1.5, 2])),
        test=(np.arange(1, 3), pl.Series([None, None], dtype=pl.String), np.array([9, 100])),
    )
    with np.load(path, allow_pickle=False) as ranks:
        assert {name: ranks[name].tolist() for name in ranks} == {
            "dev_users": [1, 2, 3],
            "dev_raw_users": ["ä", "", "B01"],
            "dev_ranks": [5, 1.5, 2],
            "test_users": [1, 2],
            "test_ranks": [9, 100],
        }
        assert (ranks["dev_users"].dtype, ranks["dev_ranks"].dtype) == (np.int32, np.float32)
    with pytest.raises(ValueError, match="3 users but 2 ranks"):
        writer.write_ranks(dev=(np.arange(3), pl.Series(list("abc")), np.arange(2)))
    writer.close()


def test_lines_and_table():
    losses = {"rec": 0.41234, "kg": 0.66, "lrd": jnp.float32(0.5), "total": 1.5}
    assert losses_text(losses) == "rec 0.4123  kg 0.6600  lrd 0.5000  total 1.5000"
    line = epoch_line(12, losses, {"HR@5": 0.25, "NDCG@5": 0.125}, best_epoch=11, best_score=0.3, seconds=3.14)
    assert line == (
        "epoch  12  rec 0.4123  kg 0.6600  lrd 0.5000  total 1.5000  "
        "dev HR@5 0.2500  NDCG@5 0.1250 (best 0.3000, epoch 11)  3.1 s"
    )
    assert "(best)  3.1 s" in epoch_line(11, losses, DEV, best_epoch=11, best_score=0.375, seconds=3.14)
    screen = io.StringIO()
    Console(file=screen, width=80).print(results_table(DEV, TEST, "KDA_LRD on ml-100k"))
    rows = [line.strip("│ ").split("│") for line in screen.getvalue().splitlines() if "0." in line]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["dev", "0.5000", "0.3750", "0.7500", "0.4375"],
        ["test", "0.2500", "0.1250", "0.5000", "0.2500"],
    ]


@pytest.mark.process
def test_without_a_terminal_there_are_lines_and_no_bar():
    code = """
from lrd_jax.terminal.lines import epoch_progress, say
with epoch_progress(3, done=1) as bar:
    for epoch in (2, 3):
        bar.set_postfix_str("rec 0.5")
        bar.update()
        say(f"epoch {epoch}")
"""
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "epoch 2\nepoch 3\n", "")


def test_bar_counts_from_where_the_run_resumed(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with epoch_progress(5, done=2) as bar:
        bar.set_postfix_str("rec 0.5", refresh=False)
        bar.update()
        bar.refresh()
    assert "epochs" in screen.getvalue() and "3/5" in screen.getvalue() and "rec 0.5" in screen.getvalue()


def test_square_brackets_in_the_path_are_refused(tmp_path):
    with pytest.raises(UserError, match="square bracket"):
        open_run_folder(tmp_path / "v[2]", Config(), resume=False)
    assert not (tmp_path / "v[2]").exists()


def test_a_path_that_is_too_long_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be used"):
        open_run_folder(tmp_path / ("x" * 300), Config(), resume=False)
