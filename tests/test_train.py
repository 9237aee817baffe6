"""`python -m lrd_jax.train` as real processes: what a run leaves behind, kills and resumption, bad input."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from lrd_jax.config.schema import Config, TextConfig
from lrd_jax.config.toml_file import load_config
from lrd_jax.data.rechorus import read_corpus
from lrd_jax.data.synthetic import write_synthetic
from lrd_jax.errors import UserError
from lrd_jax.models.system import Params
from lrd_jax.ranking.metrics import ranking_metrics
from lrd_jax.runs.checkpoint import Checkpoints
from lrd_jax.text.store import load_or_embed
from lrd_jax.training.loop import train_and_evaluate
from lrd_jax.training.seed_run import Progress, SeedRun
from lrd_jax.training.setup import Setup, assemble
from tests.processes import finish, start

EPOCHS = 7
SMALL = ["--model.embedding-dim", "8", "--model.num-heads", "2", "--model.num-latent-relations", "3"]
SMALL += ["--optim.batch-size", "64", "--optim.learning-rate", "0.01", "--run.epochs", str(EPOCHS)]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with `data` (texts already embedded) and, under `cache`, what the processes share."""
    place = tmp_path_factory.mktemp("train")
    write_synthetic(place / "data", num_users=300)
    load_or_embed(place / "data", read_corpus(place / "data").num_items, TextConfig())
    return place


@pytest.fixture(scope="module")
def uninterrupted(workplace):
    """A whole run of KDA_LRD, and what it printed; other tests only read it."""
    answer = train(workplace, "whole")
    assert answer.returncode == 0, answer.stderr
    return workplace / "whole", answer.stdout


def start_training(place: Path, workdir: str, *arguments: str, data: str = "data") -> subprocess.Popen:
    folders = ["--data.path", str(place / data), "--run.workdir", str(place / workdir)]
    return start(place, "train", *folders, *SMALL, *arguments)


def train(place: Path, workdir: str, *arguments: str, data: str = "data") -> subprocess.CompletedProcess:
    return finish(start_training(place, workdir, *arguments, data=data))


def epoch_records(folder: Path) -> list[dict]:
    """metrics.jsonl without the seconds, which no two runs share."""
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert all(record.pop("seconds") >= 0 for record in records)
    return records


def outcome(folder: Path) -> dict:
    """results.json without the seconds."""
    results = json.loads((folder / "results.json").read_text())
    assert results.pop("seconds") >= 0
    return results


def assert_same_run(folder: Path, other: Path) -> None:
    """Every number of two runs is equal bit for bit."""
    assert epoch_records(folder) == epoch_records(other)
    assert outcome(folder) == outcome(other)
    with np.load(folder / "ranks.npz") as ranks, np.load(other / "ranks.npz") as expected:
        assert ranks.files == expected.files
        for name in expected.files:
            np.testing.assert_array_equal(ranks[name], expected[name])


def assert_refused(answer: subprocess.CompletedProcess, *expected: str) -> None:
    """Exit code 2 and one message without a traceback, which holds the expected parts."""
    assert answer.returncode == 2, answer.stderr
    assert "Traceback" not in answer.stderr + answer.stdout
    lines = answer.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ")
    for part in expected:
        assert part in lines[0]


# What a run leaves behind


def test_run_folder(uninterrupted):
    folder, _ = uninterrupted
    assert {path.name for path in folder.iterdir()} == {
        "config.toml", "metrics.jsonl", "tensorboard", "checkpoints", "results.json", "ranks.npz"
    }  # fmt: skip
    assert list((folder / "tensorboard").glob("events.out.tfevents.*"))
    records = epoch_records(folder)
    assert [record["epoch"] for record in records] == list(range(1, EPOCHS + 1))
    for record in records:
        assert set(record["losses"]) == {"rec", "kg", "lrd", "total"}
        assert set(record["dev"]) == {"HR@5", "NDCG@5", "HR@10", "NDCG@10"}
    assert records[-1]["losses"]["rec"] < records[0]["losses"]["rec"]

    results = outcome(folder)
    assert set(results) == {
        "dev", "test", "best_epoch", "epochs", "model", "dataset", "seed", "device", "versions", "warnings"
    }  # fmt: skip
    assert (results["model"], results["seed"], results["epochs"]) == ("kda_lrd", 0, EPOCHS)
    assert results["dataset"]["name"] == "data" and len(results["dataset"]["hash"]) == 64
    assert {"jax", "python", "lrd_jax"} <= set(results["versions"])
    best = max(records, key=lambda record: record["dev"]["NDCG@5"])
    assert (results["best_epoch"], results["dev"]) == (best["epoch"], best["dev"])
    assert [path.name for path in (folder / "checkpoints/latest").iterdir()] == [str(EPOCHS)]
    assert str(results["best_epoch"]) in {path.name for path in (folder / "checkpoints/best").iterdir()}


def test_ranks_give_the_metrics(uninterrupted):
    folder, _ = uninterrupted
    with np.load(folder / "ranks.npz", allow_pickle=False) as ranks:
        assert set(ranks.files) == {"dev_users", "dev_ranks", "test_users", "test_ranks"}
        for split in ("dev", "test"):
            np.testing.assert_array_equal(np.sort(ranks[f"{split}_users"]), np.arange(1, 301))
            assert (ranks[f"{split}_ranks"] >= 1).all() and (ranks[f"{split}_ranks"] <= 21).all()
            assert ranking_metrics(ranks[f"{split}_ranks"]) == outcome(folder)[split]


def test_terminal(uninterrupted):
    folder, printed = uninterrupted
    results = outcome(folder)
    assert [int(number) for number in re.findall(r"^epoch +(\d+) .* s$", printed, re.M)] == list(range(1, EPOCHS + 1))
    assert "kda_lrd on data: 300 users, 80 items" in printed
    table = printed[printed.index(f"kda_lrd on data, best epoch {results['best_epoch']}") :]
    for split in ("dev", "test"):
        row = re.search(rf"│ {split} .*", table)[0]
        names = ("HR@5", "NDCG@5", "HR@10", "NDCG@10")
        assert re.findall(r"0\.\d{4}", row) == [f"{results[split][name]:.4f}" for name in names]


def test_saved_configuration_repeats_the_run(workplace, uninterrupted):
    folder, _ = uninterrupted
    held = folder / "config.toml"
    config = load_config(held)
    assert config.run.cpu_devices is not None and config.optim.learning_rate == 0.01
    again = start(workplace, "train", "--config", str(held), "--run.workdir", str(workplace / "again"))
    clash = start(workplace, "train", "--config", str(held))
    assert finish(again).returncode == 0
    assert_same_run(workplace / "again", folder)
    repeated = load_config(workplace / "again/config.toml")
    assert repeated.model_copy(update={"run": config.run}) == config
    assert_refused(finish(clash), str(folder), "already holds a run", "--resume", "--run.workdir")


def test_nobody_reads_the_output(workplace):
    process = start(workplace, "train", "--help")
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == 141


# Kills


def numbers(folder: Path) -> list[int]:
    """Epochs of the complete checkpoints."""
    return sorted(int(name) for name in names(folder) if name.isdecimal())


def names(folder: Path) -> list[str]:
    return os.listdir(folder) if folder.is_dir() else []


def is_writing(folder: Path) -> bool:
    """Whether something there has a name that is not a complete checkpoint's."""
    return any(not name.isdecimal() for name in names(folder))


def num_lines(folder: Path) -> int:
    path = folder / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def in_first_epoch(folder: Path) -> bool:
    return (folder / "metrics.jsonl").exists() and "best" in names(folder / "checkpoints") and num_lines(folder) == 0


def in_later_epoch(folder: Path) -> bool:
    latest, best = folder / "checkpoints/latest", folder / "checkpoints/best"
    at_rest = numbers(latest) == [num_lines(folder)] and not is_writing(latest) and not is_writing(best)
    return at_rest and 3 <= num_lines(folder) < EPOCHS


def writing_best(folder: Path) -> bool:
    return is_writing(folder / "checkpoints/best")


def between_best_and_latest(folder: Path) -> bool:
    best, latest = (numbers(folder / "checkpoints" / name) for name in ("best", "latest"))
    return bool(best and latest) and best[-1] > latest[-1] and not is_writing(folder / "checkpoints/latest")


def writing_latest(folder: Path) -> bool:
    return is_writing(folder / "checkpoints/latest")


def line_before_checkpoint(folder: Path) -> bool:
    latest = numbers(folder / "checkpoints/latest")
    return bool(latest) and num_lines(folder) > latest[-1]


def after_training(folder: Path) -> bool:
    return numbers(folder / "checkpoints/latest") == [EPOCHS] and not (folder / "results.json").exists()


MOMENTS = [in_first_epoch, writing_best, between_best_and_latest, writing_latest, line_before_checkpoint]
MOMENTS += [in_later_epoch, after_training]


def kill_when(process: subprocess.Popen, moment: Callable[[Path], bool], folder: Path) -> None:
    """SIGKILL the process at a moment that is told by its run folder.

    The process is halted before the moment is looked at a second time, so that it cannot have passed.
    """
    while process.poll() is None:
        if moment(folder):
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.002)  # until every thread stands
            if moment(folder):
                break
            process.send_signal(signal.SIGCONT)
        time.sleep(0.0005)
    process.kill()
    answer = finish(process)
    assert answer.returncode == -signal.SIGKILL, f"ended before {moment.__name__}: {answer.stderr}"


def test_killed_at_every_stage_and_resumed(workplace, uninterrupted):
    """One run, killed at one stage after the other, ends as the uninterrupted one."""
    folder = workplace / "killed"
    for number, moment in enumerate(MOMENTS):
        kill_when(start_training(workplace, "killed", *(["--resume"] if number else [])), moment, folder)
        assert not (folder / "results.json").exists()
    answer = train(workplace, "killed", "--resume")
    assert answer.returncode == 0, answer.stderr
    assert_same_run(folder, uninterrupted[0])
    assert not is_writing(folder / "checkpoints/best") and not is_writing(folder / "checkpoints/latest")


def test_killed_at_random_moments_and_resumed(workplace, uninterrupted):
    folder, moments = workplace / "random", random.Random(0)
    for number in range(2):
        process = start_training(workplace, "random", *(["--resume"] if number else []))
        before = num_lines(folder)
        while process.poll() is None and num_lines(folder) <= before:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.15))  # anywhere in the next epoch or two
        process.kill()
        assert finish(process).returncode == -signal.SIGKILL
    assert train(workplace, "random", "--resume").returncode == 0
    assert_same_run(folder, uninterrupted[0])


def test_resuming_a_finished_run_changes_nothing(workplace, uninterrupted):
    shutil.copytree(uninterrupted[0], workplace / "finished")
    answer = train(workplace, "finished", "--resume")
    assert answer.returncode == 0, answer.stderr
    assert "epoch   1" not in answer.stdout and "best epoch" in answer.stdout
    assert_same_run(workplace / "finished", uninterrupted[0])


def test_resuming_with_another_configuration_is_refused(workplace, uninterrupted):
    folder, _ = uninterrupted
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    changed = start_training(workplace, "whole", "--resume", "--optim.l2", "0.5", "--model.pooling", "max")
    nothing = start_training(workplace, "nothing", "--resume")
    expected = ["config.toml", "optim.l2 was 1e-06, now 0.5", "model.pooling was mean, now max", "--config"]
    assert_refused(finish(changed), *expected)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert_refused(finish(nothing), "there is no run to resume")
    assert not (workplace / "nothing").exists()


# Longer training


def longer(config: Config, **run) -> Config:
    return config.model_copy(update={"run": config.run.model_copy(update=run)})


@pytest.mark.parametrize("patience", [1, 50])
def test_more_epochs_and_patience(patience, small_run, tmp_path):
    """A finished run, out of epochs or of patience, that is given more ends as one that had them from the start."""
    options = {"model": PLAIN, "optim": {"learning_rate": 0.05, "batch_size": 256}}
    whole = small_run(**options, run={"epochs": 9, "patience": 50, "workdir": tmp_path / "whole"})
    expected = train_and_evaluate(whole)
    first = longer(whole, epochs=9 if patience == 1 else 3, patience=patience, workdir=tmp_path / "run")
    train_and_evaluate(first)
    assert len(epoch_records(tmp_path / "run")) < 9
    again = longer(whole, workdir=tmp_path / "run")
    assert train_and_evaluate(again, resume=True) == expected
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    assert load_config(tmp_path / "run/config.toml") == load_config(tmp_path / "whole/config.toml").model_copy(
        update={"run": load_config(tmp_path / "run/config.toml").run}
    )
    assert train_and_evaluate(again, resume=True) == expected  # finished
    with pytest.raises(UserError, match="run.epochs was 9, now 8"):
        train_and_evaluate(longer(again, epochs=8), resume=True)


def test_more_epochs_without_patience_for_them(small_run, tmp_path, capsys):
    config = small_run(
        model=PLAIN, optim={"learning_rate": 1e-12, "batch_size": 1024}, run={"epochs": 5, "patience": 2}
    )
    first = train_and_evaluate(config)
    assert train_and_evaluate(longer(config, epochs=9), resume=True) == first
    said = "the run does not train on: dev NDCG@5 has not improved for 2 epochs. Give a larger --run.patience too."
    assert said in capsys.readouterr().out
    assert len(epoch_records(tmp_path / "run")) == 3
    shutil.rmtree(tmp_path / "run/checkpoints")
    with pytest.raises(UserError, match="no checkpoint left to train on from"):
        train_and_evaluate(longer(config, epochs=9, patience=9), resume=True)
    assert outcome(tmp_path / "run")["epochs"] == 3


def test_finished_seeds_are_closed(small_run, tmp_path):
    """Also those that were finished before, which have no writer."""
    config = small_run(model=PLAIN)
    train_and_evaluate(config)
    threads = threading.active_count()
    for _ in range(3):
        train_and_evaluate(config, resume=True)
    assert threading.active_count() <= threads
    assembled = assemble(config)
    seed = SeedRun(assembled.config, assembled, resume=True)
    assert seed.results is not None
    seed.close()


def test_what_ended_before_its_first_epoch_blocks_nothing(workplace):
    folder = workplace / "early"
    kill_when(start_training(workplace, "early"), in_first_epoch, folder)
    assert (folder / "config.toml").exists()
    answer = train(workplace, "early", "--run.seed", "5", "--model.name", "popularity")
    assert answer.returncode == 0, answer.stderr
    assert (outcome(folder)["seed"], outcome(folder)["model"]) == (5, "popularity")


# Bad input


def without_train(data: Path) -> None:
    (data / "train.csv").unlink()


def target_among_negatives(data: Path) -> None:
    lines = (data / "dev.csv").read_text().splitlines()
    user, item, when, negatives = lines[3].split("\t")
    lines[3] = "\t".join([user, item, when, json.dumps([int(item), *json.loads(negatives)[1:]])])
    (data / "dev.csv").write_text("\n".join(lines) + "\n")


def without_a_text(data: Path) -> None:
    lines = (data / "item_text.tsv").read_text().splitlines()
    (data / "item_text.tsv").write_text("\n".join(line for line in lines if not line.startswith("7\t")) + "\n")


def not_a_number(data: Path) -> None:
    embeddings = np.load(data / "text_wordllama.npy")
    embeddings[4, 2] = np.nan
    np.save(data / "text_wordllama.npy", embeddings)


def changed_text(data: Path) -> None:
    path = data / "item_text.tsv"
    path.write_text(path.read_text().rstrip("\n") + " rewritten\n")


BAD_DATA = [
    (without_train, ["train.csv", "the file is missing", "Add it"]),
    (target_among_negatives, ["dev.csv, line 4, field 'neg_items'", "the target and a negative at once", "Replace it"]),
    (without_a_text, ["item_text.tsv, field 'text'", "item 7 has no text", "Add a line"]),
    (not_a_number, ["text_wordllama.npy", "item 5 holds NaN or infinity", "python -m lrd_jax.embed"]),
    (changed_text, ["text_wordllama.json, field 'text_hash'", "texts have changed", "python -m lrd_jax.embed"]),
]


@pytest.mark.parametrize(("damage", "expected"), BAD_DATA, ids=lambda value: getattr(value, "__name__", ""))
def test_bad_data(damage, expected, workplace):
    name = damage.__name__
    shutil.copytree(workplace / "data", workplace / name)
    damage(workplace / name)
    before = sorted((workplace / name).iterdir())
    assert_refused(train(workplace, f"run-{name}", data=name), str(workplace / name), *expected)
    assert not (workplace / f"run-{name}").exists()
    assert sorted((workplace / name).iterdir()) == before


def test_run_folder_that_cannot_be_written(workplace):
    (workplace / "file").write_text("kept")
    processes = [start_training(workplace, workdir) for workdir in ("file", "file/below")]
    for process in processes:
        assert_refused(finish(process), str(workplace / "file"), "cannot be written", "--run.workdir")
    assert (workplace / "file").read_text() == "kept"


def test_loss_that_is_not_finite(workplace):
    answer = train(
        workplace, "diverged", "--model.name", "rcf", "--model.num-layers", "0", "--optim.learning-rate", "1e30"
    )
    assert_refused(answer, "the loss of epoch 1 is not finite", "kg ", "rec ", "nan", "--optim.learning-rate")
    assert not (workplace / "diverged/results.json").exists()


def test_sequence_model_from_its_configuration_file(workplace):
    answer = train(workplace, "sasrec", "--config", "configs/ml-100k/sasrec.toml", "--run.epochs", "1")
    assert answer.returncode == 0, answer.stderr
    assert "sasrec on data" in answer.stdout
    assert re.search(r"epoch   1  rec 0\.\d+  total 0\.\d+  dev HR@5", answer.stdout)  # and no other term
    assert outcome(workplace / "sasrec")["test"].keys() >= {"HR@5", "NDCG@5"}


# In this process


@pytest.fixture
def small_run(workplace, tmp_path, monkeypatch):
    """(section={option: value}, ...) -> the configuration of a small run in tmp_path/run, to be run in this process."""
    monkeypatch.setenv("LRD_JAX_CACHE", str(tmp_path / "cache"))
    # Whether or not jax has devices already: with this flag set train leaves their number as it is.
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2 --xla_cpu_multi_thread_eigen=false")
    # These runs spend their time in the compiler, and no number of theirs is looked at closely.
    jax.config.update("jax_disable_most_optimizations", True)

    def make(**sections) -> Config:
        options = {
            "data": {"path": workplace / "data", "history_length": 8},
            "model": {"embedding_dim": 8, "num_heads": 2, "num_latent_relations": 3},
            "optim": {"batch_size": 64, "learning_rate": 0.01},
            "run": {"workdir": tmp_path / "run", "epochs": 1, "cpu_devices": 2},
        }
        return Config.model_validate(
            {name: {**options.get(name, {}), **sections.get(name, {})} for name in {*options, *sections}}
        )

    yield make
    jax.config.update("jax_disable_most_optimizations", False)


VARIANTS = {
    "rcf": {"model": {"name": "rcf", "pooling": "attention"}},
    "kda": {"model": {"name": "kda", "pooling": "max", "decay_init": "dft", "include_value": False}},
    "rcf_lrd": {"model": {"name": "rcf_lrd"}, "loss": {"lrd_objective": "paper"}},
    "kda_lrd": {
        "model": {"name": "kda_lrd", "decay_init": "random", "dropout": 0.1},
        "loss": {"num_negatives": 3, "lrd_objective": "released"},
    },
    "caser": {"model": {"name": "caser"}, "loss": {"rec_objective": "sampled_softmax"}},
    "gru4rec": {"model": {"name": "gru4rec", "gru_hidden_dim": 12}, "loss": {"rec_objective": "cross_entropy"}},
    "sasrec": {"model": {"name": "sasrec", "num_layers": 2, "dropout": 0.1}, "optim": {"update": "lazy"}},
    "tisasrec": {"model": {"name": "tisasrec", "precision": "bfloat16"}, "loss": {"rec_objective": "gbce"}},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_model_trains_an_epoch(name, small_run):
    metrics = train_and_evaluate(small_run(**VARIANTS[name]))
    assert set(metrics) == {"dev", "test"}
    for values in metrics.values():
        assert 0 < values["NDCG@5"] <= values["HR@5"] <= values["HR@10"] <= 1


PLAIN = {"name": "rcf", "num_layers": 0, "embedding_dim": 4}


def restore_both(config: Config) -> tuple[Setup, tuple[int, Params], tuple[int, Params]]:
    """The run and, of its last "best" and its "latest" checkpoint, the epoch and the parameters."""
    assembled = assemble(config)
    like = Progress(assembled.init(), np.int32(0), np.float32(0), np.float32(0), np.zeros(32, np.uint8))
    checkpoints = Checkpoints(config.run_folder / "checkpoints")
    best, (epoch, latest) = checkpoints.restore("best", like.train.params), checkpoints.restore("latest", like)
    checkpoints.close()
    return assembled, best, (epoch, latest.train.params)


def test_early_stopping(small_run, tmp_path):
    """Steps too small to change a rank: equal to the best is no improvement."""
    optim = {"learning_rate": 1e-12, "batch_size": 1024}
    train_and_evaluate(small_run(model=PLAIN, optim=optim, run={"epochs": 50, "patience": 2}))
    records, results = epoch_records(tmp_path / "run"), outcome(tmp_path / "run")
    assert [record["epoch"] for record in records] == [1, 2, 3]
    assert records[0]["dev"] == records[1]["dev"] == records[2]["dev"] == results["dev"]
    assert (results["best_epoch"], results["epochs"]) == (1, 3)
    checkpoints = tmp_path / "run/checkpoints"
    assert (numbers(checkpoints / "best"), numbers(checkpoints / "latest")) == ([1], [3])


def test_the_published_rule_and_leak(small_run, tmp_path, capsys, monkeypatch):
    """At least 21 epochs, also where the run was killed in between; the leak is in everything that shows the run."""
    optim, loss = {"learning_rate": 1e-12, "batch_size": 1024}, {"negatives": "published"}
    run = {"epochs": 50, "patience": 1, "early_stopping": "published"}
    config = small_run(model=PLAIN, optim=optim, loss=loss, run=run)
    with monkeypatch.context() as patch:
        patch.setattr("lrd_jax.training.seed_run.epoch_line", lambda epoch, *_, **__: str(1 / (epoch - 7)))
        with pytest.raises(ZeroDivisionError):
            train_and_evaluate(config)
    train_and_evaluate(config, resume=True)
    results = outcome(tmp_path / "run")
    assert (results["best_epoch"], results["epochs"]) == (1, 21)
    assert results["leak"] == "leak in recommendation negatives"
    said = capsys.readouterr().out
    assert said.count("rcf (leak in recommendation negatives) on") == 3  # the log of both, and the table's title


def test_the_best_epoch_is_tested(small_run, tmp_path):
    """Training that improves and then overshoots: its last parameters rank otherwise than those of its best epoch."""
    folder, patience = tmp_path / "run", 3
    config = small_run(
        model=PLAIN, optim={"learning_rate": 0.05, "batch_size": 256}, run={"epochs": 50, "patience": patience}
    )
    train_and_evaluate(config)
    scores = [record["dev"]["NDCG@5"] for record in epoch_records(folder)]
    results = outcome(folder)
    best = scores.index(max(scores)) + 1  # the first of equal ones
    assert 1 < best < len(scores) < 50
    assert (results["best_epoch"], results["epochs"]) == (best, len(scores))
    # No earlier epoch was the place to stop.
    waits = [n - scores.index(max(scores[:n])) - 1 for n in range(1, len(scores) + 1)]
    assert waits[-1] == patience and max(waits[:-1]) < patience

    assembled, (best_epoch, params), (last_epoch, last_params) = restore_both(config)
    assert (best_epoch, last_epoch) == (best, len(scores))
    with np.load(folder / "ranks.npz") as ranks:
        for split, rows in (("dev", assembled.corpus.dev.rows), ("test", assembled.corpus.test.rows)):
            np.testing.assert_array_equal(ranks[f"{split}_users"], assembled.corpus.sequence_users[rows])
            np.testing.assert_array_equal(ranks[f"{split}_ranks"], assembled.rank_targets(params, split))
            assert (ranks[f"{split}_ranks"] != assembled.rank_targets(last_params, split)).any()


def test_late_loss_that_is_not_finite_keeps_the_checkpoints_before(small_run, tmp_path):
    """One step of 1e12 an epoch: after it scores are finite, but not the sum of triple scores, 1e36 each."""
    folder = tmp_path / "run"
    config = small_run(model=PLAIN, optim={"learning_rate": 1e12, "batch_size": 4096}, run={"epochs": 5})
    message = r"the loss of epoch 2 is not finite \(rec \d+\.\d+  kg inf  total inf\).*--optim.learning-rate"
    for resume in (False, True):  # the second time from the checkpoint that was kept
        with pytest.raises(UserError, match=message):
            train_and_evaluate(config, resume=resume)
        assert [record["epoch"] for record in epoch_records(folder)] == [1]
        assert not (folder / "results.json").exists()
    assembled, (best_epoch, best), (epoch, latest) = restore_both(config)
    assert (best_epoch, epoch) == (1, 1)
    (record,) = epoch_records(folder)
    for params in (best, latest):
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
        assert ranking_metrics(assembled.rank_targets(params, "dev")) == record["dev"]


def other_embedding(data: Path) -> None:
    embeddings = np.load(data / "text_wordllama.npy")
    embeddings[4, 2] += 0.5
    np.save(data / "text_wordllama.npy", embeddings)


def other_time(data: Path) -> None:
    lines = (data / "train.csv").read_text().splitlines()
    user, item, when = lines[1].split("\t")
    lines[1] = "\t".join([user, item, str(int(when) - 1)])
    (data / "train.csv").write_text("\n".join(lines) + "\n")


def test_resuming_with_other_data_is_refused(workplace, small_run, tmp_path):
    data, folder = tmp_path / "data", tmp_path / "run"
    shutil.copytree(workplace / "data", data)
    config = small_run(data={"path": data}, model={**PLAIN, "name": "rcf_lrd"})
    first = train_and_evaluate(config)
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for change in (other_embedding, other_time):
        change(data)
        with pytest.raises(UserError, match=f"{folder}.*the dataset in .* or its text embeddings are not"):
            train_and_evaluate(config, resume=True)
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == files
        moved = config.model_copy(
            update={"data": config.data.model_copy(update={"path": shutil.move(data, tmp_path / "m")})}
        )
        with pytest.raises(UserError, match=f"{folder}.*are not those.*name where they are now with --data.path"):
            train_and_evaluate(moved, resume=True)
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == files
        with pytest.raises(UserError, match=f"{data}: the run's dataset is not there. .*--data.path"):
            train_and_evaluate(config, resume=True)
        shutil.rmtree(tmp_path / "m")
        shutil.copytree(workplace / "data", data, dirs_exist_ok=True)
    assert train_and_evaluate(config, resume=True) == first  # it is the data that was refused
    data.rename(tmp_path / "renamed")
    moved = config.model_copy(update={"data": config.data.model_copy(update={"path": tmp_path / "renamed"})})
    assert train_and_evaluate(moved, resume=True) == first
    assert load_config(folder / "config.toml").data.path == tmp_path / "renamed"
