"""Refits: what trains, how long, resumed bit for bit, used but never evaluated."""

import csv
import json
import shutil

import jax
import numpy as np
import pytest

import lrd_jax
from lrd_jax.command_line.parse import parse_config
from lrd_jax.data.rechorus import read_corpus
from lrd_jax.data.splits import with_all_interactions
from lrd_jax.data.synthetic import write_synthetic
from lrd_jax.errors import UserError
from lrd_jax.evaluate.__main__ import evaluate
from lrd_jax.evaluate.flags import EvaluateFlags
from lrd_jax.ranking.protocols.given import Given
from lrd_jax.training.loop import train_and_evaluate
from lrd_jax.training.seed_run import SeedRun
from tests import small_runs

EPOCHS = 3


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """`data`, a run `kda` of which dev chose 3 epochs, and its refit."""
    place = tmp_path_factory.mktemp("refit")
    write_synthetic(place / "data", num_users=60, num_items=40)
    small_runs.train(place / "kda", place / "data", model="kda")
    results = json.loads((place / "kda" / "results.json").read_text())
    (place / "kda" / "results.json").write_text(json.dumps(results | {"best_epoch": EPOCHS}))
    with small_runs.quickly_compiled():
        lrd_jax.refit(place / "kda")
    return place


def interactions(folder, *names):
    """(user, item, time) of some files of a dataset, sorted."""
    found = []
    for name in names:
        with open(folder / name, newline="") as file:
            rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            found += [(int(row["user_id"]), int(row["item_id"]), int(row["time"])) for row in rows]
    return sorted(found)


def test_all_interactions_train_and_none_is_a_negative(place):
    run = lrd_jax.load_run(place / "kda-refit")
    corpus, arrays = run.setup.corpus, run.setup.arrays
    everything = interactions(place / "data", "train.csv", "dev.csv", "test.csv")
    rows = corpus.train_rows
    columns = corpus.sequence_users, corpus.sequence_items, corpus.sequence_times
    assert sorted(zip(*(column[rows].tolist() for column in columns), strict=True)) == everything
    assert len(everything) > len(interactions(place / "data", "train.csv"))
    assert not len(corpus.dev.rows) and not len(corpus.test.rows)
    # An example for every interaction but each user's first, in time.
    firsts = {user: min(time for of, _, time in everything if of == user) for user in {u for u, _, _ in everything}}
    later = sorted(line for line in everything if line[2] > firsts[line[0]])
    examples = np.asarray(arrays.examples)
    assert set(later) <= set(zip(*(column[examples].tolist() for column in columns), strict=True))
    assert len(examples) == len(everything) - len(firsts)
    had = {user: {item for of, item, _ in everything if of == user} for user in firsts}
    for epoch in range(5):
        batch = run.setup.batch(arrays.examples, jax.random.key(epoch))
        for user, candidates in zip(np.asarray(batch.users), np.asarray(batch.candidates), strict=True):
            assert candidates[0] in had[user] and not had[user] & set(candidates[1:].tolist())


def test_history_rows_train_too(tmp_path):
    write_synthetic(tmp_path / "data", num_users=30, num_items=40)
    (tmp_path / "data" / "history.csv").write_text("user_id\titem_id\ttime\n1\t3\t2000000000\n2\t4\t2000000000\n")
    corpus = read_corpus(tmp_path / "data", use_cache=False)
    everything = with_all_interactions(corpus)
    np.testing.assert_array_equal(everything.train_rows, np.arange(len(corpus.sequence_items)))
    assert everything.train_rows.dtype == np.int32
    assert everything.dev.negatives.shape == (0, corpus.dev.negatives.shape[1])


def test_equals_a_loop_by_hand_for_as_many_epochs(place):
    run = lrd_jax.load_run(place / "kda-refit")
    assert run.epoch == EPOCHS and run.config.run.epochs == EPOCHS
    with small_runs.quickly_compiled():
        setup = lrd_jax.setup(run.config)
        state = setup.init()
        for epoch in range(1, EPOCHS + 1):
            state, _ = setup.train_epoch(state, 0, epoch)
    assert_same_bits(run.params, state.params)


def assert_same_bits(left, right):
    for one, other in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def test_killed_and_resumed_bit_for_bit(place, monkeypatch):
    record = SeedRun.record

    def killed(self, *outcome):
        if self.epoch == 1:
            raise KeyboardInterrupt
        return record(self, *outcome)

    monkeypatch.setattr(SeedRun, "record", killed)
    with small_runs.quickly_compiled():
        with pytest.raises(KeyboardInterrupt):
            lrd_jax.refit(place / "kda", workdir=place / "killed")
        monkeypatch.undo()
        resumed = lrd_jax.refit(place / "kda", workdir=place / "killed", resume=True)
    whole = lrd_jax.load_run(place / "kda-refit")
    assert resumed.epoch == whole.epoch
    assert_same_bits(resumed.params, whole.params)
    lines = [
        [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
        for run in (resumed, whole)
    ]
    for one, other in zip(*lines, strict=True):
        assert one["losses"] == other["losses"] and "dev" not in one


def test_says_what_it_is(place, capsys):
    with small_runs.quickly_compiled():
        lrd_jax.refit(place / "kda", workdir=place / "said")
    said = f"refit of {place / 'kda'}: trained on test too, cannot be tested"
    out, err = capsys.readouterr()
    assert f"kda on data, {said}" in out and f"warning: {said}" in err
    assert "HR@5" not in out and "epoch   3  rec" in out
    results = lrd_jax.load_run(place / "said").results
    assert "dev" not in results and "test" not in results
    assert results["refit_of"] == str(place / "kda") and results["best_epoch"] == results["epochs"] == EPOCHS
    assert {"kind": "untestable", "text": said} in results["warnings"]
    assert f'refit_of = "{place / "kda"}"' in (place / "said" / "config.toml").read_text()
    assert not (place / "said" / "ranks.npz").exists()


def test_cannot_be_evaluated_or_started_from(place):
    why = f"refit of {place / 'kda'}: trained on test too, cannot be tested"
    with pytest.raises(UserError, match=why):
        evaluate(EvaluateFlags((place / "kda", place / "kda-refit")), Given())
    run = lrd_jax.load_run(place / "kda-refit")
    for split in ("dev", "test"):
        with pytest.raises(UserError, match=f"{why}.*Evaluate {place / 'kda'}"):
            run.evaluate(split=split)
    tainted = run.config.run.model_copy(
        update={"init_from": run.folder, "refit_of": None, "workdir": place / "tainted"}
    )
    with pytest.raises(UserError, match=f"'run.init_from'.*{why}, nor can what starts from it"):
        train_and_evaluate(run.config.model_copy(update={"run": tainted}))


def test_recommends(place):
    run = lrd_jax.load_run(place / "kda-refit")
    top = run.recommend(["3", "7"], k=5)
    assert top.shape == (10, 5) and np.isfinite(top["score"].to_numpy()).all()
    seen = {item for user, item, _ in interactions(place / "data", "train.csv", "dev.csv", "test.csv") if user == 3}
    assert not seen & set(map(int, top.filter(user="3")["item"]))


def test_command_line(place):
    folder = str(place / "kda")
    config, flags = parse_config(["--refit", folder])
    assert not flags.resume and config.run_folder == place / "kda-refit"
    assert config.run.refit_of == place / "kda" and config.run.epochs == EPOCHS and config.model.name == "kda"
    config, flags = parse_config([f"--refit={folder}", "--resume", "--run.workdir", "else"])
    assert flags.resume and str(config.run_folder) == "else"
    for words in (["--model.name", "rcf"], ["--config", "x.toml"], ["--seeds", "0,1"], ["--run.epochs=9"]):
        with pytest.raises(UserError, match=f"'{words[0].partition('=')[0]}': excludes --refit"):
            parse_config(["--refit", folder, *words])


def test_refused(place, tmp_path):
    for folder, problem in (
        (place / "data", "there is no run"),
        (place / "kda-refit", f"the run is itself a refit.*Name {place / 'kda'}"),
    ):
        with pytest.raises(UserError, match=problem):
            lrd_jax.refit(folder)
    shutil.copytree(place / "kda", tmp_path / "unfinished")
    (tmp_path / "unfinished" / "results.json").unlink()
    with pytest.raises(UserError, match="has not finished.*--resume"):
        lrd_jax.refit(tmp_path / "unfinished")


def test_models_that_count_count_everything(place):
    small_runs.train(place / "popularity", place / "data", model="popularity")
    run = lrd_jax.refit(place / "popularity")
    everything = interactions(place / "data", "train.csv", "dev.csv", "test.csv")
    counts = np.asarray(run.params["counts"])
    assert all(counts[item] == sum(one == item for _, one, _ in everything) for item in range(1, len(counts)))
