"""Hyperparameter search: resumed, pruned, without the test split."""

import json

import jax
import pytest

from lrd_jax.config.toml_file import load_config
from lrd_jax.errors import UserError
from lrd_jax.study import sweep
from lrd_jax.training.seed_run import SeedRun
from tests.study.conftest import finish

SPACE = {"optim.learning_rate": [0.1, 1e-7], "optim.l2": [0.0, 1e-6, 1e-4]}


@pytest.fixture(autouse=True)
def quickly_compiled(place, monkeypatch):
    monkeypatch.setenv("LRD_JAX_CACHE", str(place.folder / "cache"))
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")  # the devices stay as they are
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def config(place, **run):
    loaded = load_config(place.configs / "tiny/rcf.toml")
    data = loaded.data.model_copy(update={"path": place.folder / "data"})
    return loaded.model_copy(update={"data": data, "run": loaded.run.model_copy(update={"cpu_devices": 2, **run})})


def best_dev(folder, row):
    lines = (folder / f"trial{row['trial']}/metrics.jsonl").read_text().splitlines()
    return max(json.loads(line)["dev"]["NDCG@5"] for line in lines)


@pytest.mark.process
def test_three_trials_then_four(place):
    """Through the command."""
    (place.folder / "space.toml").write_text("[space.model]\nnum_neighbours = {low = 1, high = 80}\n")
    arguments = ["--dataset", "tiny", "--system", "item_knn", "--space", str(place.folder / "space.toml"), "--trials"]
    printed = finish(place.start("sweep", *arguments, "3", workdir="search"))
    folder = place.folder / "search/sweep-tiny-item_knn"
    first = json.loads((folder / "trials.json").read_text())["trials"]
    assert sorted(row["trial"] for row in first) == [0, 1, 2]
    assert "│ test" not in printed and not list(folder.glob("*/results.json"))

    printed = finish(place.start("sweep", *arguments, "4", workdir="search"))
    assert printed.count("interactions;") == 1  # one run only
    rows = json.loads((folder / "trials.json").read_text())["trials"]
    assert sorted(row["trial"] for row in rows) == [0, 1, 2, 3]
    assert [row for row in rows if row["trial"] < 3] == first
    for row in rows:
        assert row["dev_ndcg_at_5"] == pytest.approx(best_dev(folder, row))
        held = load_config(folder / f"trial{row['trial']}/config.toml")
        assert held.model.num_neighbours == row["options"]["model.num_neighbours"]
    assert rows[0]["dev_ndcg_at_5"] == max(row["dev_ndcg_at_5"] for row in rows)
    best = load_config(folder / "best.toml")
    assert best.model.num_neighbours == rows[0]["options"]["model.num_neighbours"] and best.run.workdir is None


def test_killed_trial_is_resumed(place, monkeypatch):
    folder, record = place.folder / "interrupted", SeedRun.record

    def killed(self, *outcome):
        if self.epoch == 2:
            raise KeyboardInterrupt
        return record(self, *outcome)

    monkeypatch.setattr(SeedRun, "record", killed)
    with pytest.raises(KeyboardInterrupt):
        sweep.run_sweep(config(place), SPACE, folder, num_trials=1, seed=0)
    monkeypatch.setattr(SeedRun, "record", record)
    epochs = []
    monkeypatch.setattr(SeedRun, "record", lambda self, *o: epochs.append(self.epoch + 1) or record(self, *o))
    (row,) = sweep.run_sweep(config(place), SPACE, folder, num_trials=1, seed=0)
    assert epochs == [3, 4] and [path.name for path in folder.glob("trial?")] == ["trial0"]
    assert (row["state"], row["epochs"]) == ("complete", 4)
    assert row["options"]["optim.learning_rate"] == load_config(folder / "trial0/config.toml").optim.learning_rate

    with pytest.raises(UserError, match="another space"):
        sweep.run_sweep(config(place), {"optim.l2": [0.0]}, folder, num_trials=1, seed=0)
    with pytest.raises(UserError, match="another configuration: run.epochs was 4, now 9"):
        sweep.run_sweep(config(place, epochs=9), SPACE, folder, num_trials=1, seed=0)


def test_pruned_by_the_median(place, monkeypatch):
    monkeypatch.setattr(sweep, "STARTUP_TRIALS", 1)
    monkeypatch.setattr(sweep, "WARMUP_EPOCHS", 0)
    folder = place.folder / "pruned"
    space = {"optim.learning_rate": [0.1, 1e-7]}
    rows = sweep.run_sweep(config(place), space, folder, num_trials=2, seed=2)  # which proposes them in this order
    assert [(row["options"]["optim.learning_rate"], row["state"], row["epochs"]) for row in rows] == [
        (0.1, "complete", 4),
        (1e-7, "pruned", 1),
    ]
    assert not list(folder.glob("*/results.json"))


def test_failed_trials_are_reported_and_counted(place):
    folder, space = place.folder / "diverged", {"optim.learning_rate": [1e30]}
    with pytest.raises(UserError, match="no trial has finished"):
        sweep.run_sweep(config(place), space, folder, num_trials=1, seed=0)
    with pytest.raises(UserError, match="no trial has finished"):
        sweep.run_sweep(config(place), space, folder, num_trials=1, seed=0)
    assert [path.name for path in folder.glob("trial?")] == ["trial0"]
