"""Trained runs read back from their folders."""

import json
import shutil

import jax
import numpy as np
import pytest

from lrd_jax.config.schema import Config, DataConfig, TextConfig
from lrd_jax.data.synthetic import write_synthetic
from lrd_jax.errors import UserError
from lrd_jax.runs.folder import read_results
from lrd_jax.training.load import load_trained, with_dataset
from tests import small_runs


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """`data` and two seeds of a small run, `seed0` and `seed1`."""
    place = tmp_path_factory.mktemp("trained")
    write_synthetic(place / "data", num_users=60, num_items=40)
    for seed in (0, 1):
        small_runs.train(place / f"seed{seed}", place / "data", seed=seed)
    return place


@pytest.fixture
def copy(place, tmp_path):
    """A copy of the run of seed 0 in another place."""
    return shutil.copytree(place / "seed0", tmp_path / "run")


def files(folder):
    return {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in folder.rglob("*")}


def test_a_run_ranks_as_when_it_was_trained_and_its_folder_stays_as_it_is(copy):
    shutil.rmtree(copy / "tensorboard")
    before = files(copy)
    trained = load_trained(copy)
    assert files(copy) == before
    assert (trained.epoch, trained.config.run.workdir) == (read_results(copy)["best_epoch"], copy.absolute())
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(trained.params))
    with np.load(copy / "ranks.npz") as ranks:
        for split in ("dev", "test"):
            np.testing.assert_array_equal(trained.run.rank_targets(trained.params, split), ranks[f"{split}_ranks"])


def test_the_assembled_run_is_shared_between_seeds_only(place, copy):
    first = load_trained(place / "seed0")
    second = load_trained(place / "seed1", assembled=first.run)
    assert second.run is first.run and second.config.run.seed == 1
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (first.params, second.params)), strict=True))
    held = copy / "config.toml"
    held.write_text(held.read_text().replace("history_length = 5", "history_length = 6"))
    other = load_trained(copy, assembled=first.run)
    assert other.run is not first.run and other.run.config.data.history_length == 6


def test_a_run_that_has_not_finished(copy):
    finished = load_trained(copy)
    (copy / "results.json").unlink()
    going = load_trained(copy, assembled=finished.run)
    epochs = [int(path.name) for path in (copy / "checkpoints/best").iterdir()]
    assert going.epoch == max(epochs)


def changed_data(place, copy):
    data = shutil.copytree(place / "data", copy.parent / "data")
    held = copy / "config.toml"
    held.write_text(held.read_text().replace(str(place / "data"), str(data)))
    other_time(data)


def other_time(data):
    lines = (data / "train.csv").read_text().splitlines()
    user, item, when = lines[1].split("\t")
    lines[1] = "\t".join([user, item, str(int(when) - 1)])
    (data / "train.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("told_by", ["results.json", "results.json of before", "checkpoint"])
def test_changed_data_are_refused(told_by, place, copy):
    results = read_results(copy)
    if told_by == "checkpoint":
        (copy / "results.json").unlink()
    elif told_by == "results.json of before":
        del results["dataset"]["fingerprint"]
        (copy / "results.json").write_text(json.dumps(results))
    load_trained(copy)  # it is the data that is refused
    changed_data(place, copy)
    with pytest.raises(UserError, match=f"{copy}: the dataset in .* or its text embeddings differ from those"):
        load_trained(copy)


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("model", "change"),
    [("rcf", "had no entity for items without an attribute value"), ("tisasrec", "65,535 seconds"), ("caser", None)],
)
def test_runs_of_an_earlier_version(model, change, finished, place, tmp_path, monkeypatch):
    """Refused with the reason where the version makes a difference to the model, else read as they are."""
    with monkeypatch.context() as patch:
        patch.setattr("lrd_jax.data.rechorus._FORMAT_VERSION", 1)
        patch.setattr("lrd_jax.data.rechorus.content_hash.__defaults__", (1,))
        folder = small_runs.train(tmp_path / "run", place / "data", model=model)
    if not finished:
        (folder / "results.json").unlink()
    if change is None:
        assert load_trained(folder).epoch > 0
        return
    with pytest.raises(UserError, match=f"earlier version of lrd_jax, which .*{change}.*Train it again with --config"):
        load_trained(folder)


def test_moved_data(place, copy, tmp_path):
    shutil.copytree(place / "data", tmp_path / "moved")
    held = copy / "config.toml"
    held.write_text(held.read_text().replace(str(place / "data"), str(tmp_path / "gone")))
    before = files(copy)
    with pytest.raises(UserError, match=f"{tmp_path}/gone: the run's dataset is missing. .*--data.path"):
        load_trained(copy)
    trained = load_trained(copy, data=tmp_path / "moved")
    assert trained.config.data.path == tmp_path / "moved" and trained.run.corpus.name == "moved"
    with np.load(copy / "ranks.npz") as ranks:
        np.testing.assert_array_equal(trained.run.rank_targets(trained.params, "test"), ranks["test_ranks"])
    other_time(tmp_path / "moved")
    with pytest.raises(
        UserError, match=f"{copy}: the dataset in {tmp_path}/moved or its text embeddings differ from those"
    ):
        load_trained(copy, data=tmp_path / "moved")
    assert files(copy) == before


def test_embeddings_of_a_file_move_with_the_dataset(tmp_path):
    data, text = DataConfig(path=tmp_path / "old"), TextConfig(encoder="file", file=tmp_path / "old/text/e.npy")
    moved = with_dataset(Config(data=data, text=text), tmp_path / "new")
    assert (moved.data.path, moved.text.file) == (tmp_path / "new", tmp_path / "new/text/e.npy")
    elsewhere = with_dataset(
        Config(data=data, text=TextConfig(encoder="file", file=tmp_path / "e.npy")), tmp_path / "new"
    )
    assert elsewhere.text.file == tmp_path / "e.npy"


def test_no_run(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path}: there is no run. Give a run folder"):
        load_trained(tmp_path)
    assert not list(tmp_path.iterdir())


def test_no_checkpoint(copy):
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(UserError, match="there is no best checkpoint of epoch"):
        load_trained(copy)
    (copy / "results.json").unlink()
    with pytest.raises(UserError, match=f"{copy}: the run has no checkpoint yet"):
        load_trained(copy)
    assert not (copy / "checkpoints").exists()
