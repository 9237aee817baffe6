"""The Python API: from frames to scores, against what the commands and slow loops give."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import polars as pl
import pytest

import lrd_jax
from lrd_jax.training.load import load_trained
from tests import small_runs

ROOT = Path(__file__).parents[1]
MODELS = ("kda", "caser", "popularity")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """`data` and a small run of each of MODELS."""
    return small_runs.shared(tmp_path_factory, *MODELS)


@pytest.mark.process
def test_public_names_are_imported_when_first_used():
    program = (
        "import sys, lrd_jax\n"
        "assert 'jax' not in sys.modules and 'polars' not in sys.modules\n"
        "assert set(lrd_jax.__all__) <= set(dir(lrd_jax))\n"
        "for name in lrd_jax.__all__: getattr(lrd_jax, name)\n"
        "import jax\n"
        "assert jax.config.jax_compilation_cache_dir is None and jax.config.jax_num_cpu_devices < 1\n"
    )
    without_cache = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    subprocess.run([sys.executable, "-c", program], env=without_cache, check=True, timeout=120)
    with pytest.raises(AttributeError, match="'lrd_jax' has no attribute 'fitt'"):
        _ = lrd_jax.fitt


@pytest.mark.parametrize("model", MODELS)
def test_scores_are_those_of_the_evaluation(model, place):
    """The score of a user's own history, cut to before the test target, ranks the target as `evaluate` does."""
    run = lrd_jax.load_run(place / model)
    corpus = run.dataset.corpus
    rows, negatives = corpus.test.rows, corpus.test.negatives
    counts = jax.device_get(run.setup.evaluation_on_device(run.params, run.setup.arrays, rows, negatives))
    given = load_trained(place / model).run.rank_targets(run.params, "test")
    np.testing.assert_array_equal(1 + counts.greater + counts.equal / 2, given)
    if model != "popularity":
        return  # the moment of prediction and the user's vector differ from those of the evaluation
    everything = run.score(users=corpus.sequence_users[rows].tolist())
    for number, row in enumerate(rows):
        scores = everything[number] if len(everything) > number else everything[0]
        target = scores[corpus.sequence_items[row] - 1]
        assert counts.greater[number] == (scores[negatives[number] - 1] > target).sum()


def test_users_and_their_histories_score_alike(place):
    """What a user's interactions are, given by hand, scores as the user does, up to the user's own vector."""
    run = lrd_jax.load_run(place / "kda")
    corpus = run.dataset.corpus
    users = [3, 7, 11]
    parts = [slice(*corpus.sequence_offsets[user : user + 2]) for user in users]
    histories = [corpus.sequence_items[part].tolist() for part in parts]
    times = [corpus.sequence_times[part].tolist() for part in parts]
    of_users, of_histories = run.score(users), run.score(histories=histories, times=times)
    table = np.asarray(run.params["scorer"]["user_embeddings"])
    items = np.asarray(run.params["scorer"]["entity_embeddings"])[1 : corpus.num_items + 1]
    difference = (table[users] - table[1:].mean(axis=0)) @ items.T  # y = (u + pooled)·v + b
    np.testing.assert_allclose(of_users - of_histories, difference, atol=1e-5)
    chosen = run.score(users, items=[5, 9])
    np.testing.assert_array_equal(chosen, of_users[:, [4, 8]])
    alone = np.concatenate([run.score([user]) for user in users])
    np.testing.assert_allclose(alone, of_users, atol=1e-6)


def test_only_the_end_of_a_long_history_counts(place):
    run = lrd_jax.load_run(place / "kda")  # history_length 5
    long, short = [1, 2, 3, 4, 5, 6, 7, 8], [4, 5, 6, 7, 8]
    np.testing.assert_array_equal(run.score(histories=[long]), run.score(histories=[short]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "expected either users or histories"),
        ({"users": [1], "histories": [[1]]}, "expected either users or histories"),
        ({"users": [999]}, "there is no user 999. Use ids as they are in the source, such as 1, 2, 3"),
        ({"users": [1], "items": [0]}, "there is no item 0"),
        ({"histories": [[1], []]}, "history 1 is empty"),
        ({"histories": [[1, 2]], "times": [[5]]}, "the times are not as many as the items"),
        ({"histories": [[1, 2]], "times": [[5, 4]]}, "the times of history 0 do not ascend"),
        ({"histories": [[1, 2]], "times": [[5, float("nan")]]}, "the times of history 0 do not ascend"),
    ],
)
def test_what_cannot_be_scored(arguments, message, place):
    with pytest.raises(lrd_jax.UserError, match=message):
        lrd_jax.load_run(place / "kda").score(**arguments)


@pytest.mark.process
def test_evaluate_returns_what_the_command_writes(place, tmp_path):
    run = lrd_jax.load_run(place / "kda")
    found = run.evaluate("sampled", negatives=10, seed=3, split="dev", at=(1, 5))
    command = [sys.executable, "-m", "lrd_jax.evaluate", str(place / "kda"), "--protocol", "sampled", "--split", "dev"]
    command += ["--negatives", "10", "--seed", "3", "--at", "1,5", "--out", str(tmp_path / "rows.parquet")]
    subprocess.run([*command, "--json", str(tmp_path / "tables.json")], check=True, capture_output=True, timeout=300)
    written = pl.read_parquet(tmp_path / "rows.parquet")
    assert found.rows.drop("run").equals(written.drop("run"))
    (tables,) = json.loads((tmp_path / "tables.json").read_text())["runs"]
    assert found.metrics.row(0, named=True) == {"rows": tables["rows"], **tables["metrics"]}
    assert set(found.slices["slice"]) == set(tables["slices"])
    with pytest.raises(lrd_jax.UserError, match="there is no protocol 'ful'. Choose one of given, sampled, full"):
        run.evaluate("ful")
    with pytest.raises(lrd_jax.UserError, match="the protocol full has no option 'negatives'"):
        run.evaluate("full", negatives=3)


def test_a_custom_loop_trains_as_ours_does(place):
    """`Setup.train_epoch` by hand gives the parameters of the run's epochs, bit for bit, and `loss` has gradients."""
    run = lrd_jax.load_run(place / "kda")
    with small_runs.quickly_compiled():  # as the run was, since other programs round otherwise
        ours = lrd_jax.setup(run.config)
        state = ours.init()
        for epoch in range(1, run.epoch + 1):
            state, losses = ours.train_epoch(state, run.config.run.seed, epoch)
    for mine, theirs in zip(*map(jax.tree.leaves, (state.params, run.params)), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    batch = ours.batch(ours.arrays.examples[:8], jax.random.key(0))
    (loss, terms), gradients = jax.value_and_grad(ours.loss, has_aux=True)(state.params, batch, jax.random.key(1))
    weights = ours.system.loss_weights
    np.testing.assert_allclose(loss, sum(weights[name] * terms[name] for name in terms), rtol=1e-6)
    assert set(terms) == set(losses) and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
    scores = ours.score(state.params, batch.users, batch.history, batch.candidates)
    assert scores.shape == batch.candidates.shape


def frame():
    rng = np.random.default_rng(0)
    users = np.repeat([f"u{n}" for n in range(40)], 8)
    items = np.concatenate([rng.permutation(20)[:8] for _ in range(40)])
    columns = {"who": users, "what": [f"i{n}" for n in items], "when": np.arange(len(users)) + 10**9}
    about = {"what": [f"i{n}" for n in range(20)], "kind": ["a", "b"] * 10, "like": [["i0", "i1"]] * 20}
    return columns, about


def test_dataset_from_frames(tmp_path, monkeypatch):
    monkeypatch.setenv("LRD_JAX_CACHE", str(tmp_path / "cache"))
    columns, about = frame()
    options = {"user": "who", "item": "what", "time": "when", "attributes": ["kind"], "relations": ["like"]}
    options |= {"negatives": 5, "template": "{kind}"}
    dataset = lrd_jax.dataset_from_frame(pl.DataFrame(columns), items=pl.DataFrame(about), **options)
    corpus = dataset.corpus
    assert (corpus.num_users, corpus.num_items) == (40, 20)
    assert corpus.attributes == ("kind",) and corpus.item_relations == ("like",)
    assert dataset.ids_of("item", np.array([1])).to_list() == ["i0"]
    assert dataset.own_ids("user", ["u0", "u39"]).tolist() == [1, 34]  # ids in the order of text
    again = lrd_jax.dataset_from_frame(pl.DataFrame(columns), items=pl.DataFrame(about), **options)
    assert again.folder == dataset.folder and again.corpus.content_hash == corpus.content_hash
    here = lrd_jax.dataset_from_frame(
        pl.DataFrame(columns),
        folder=tmp_path / "here",
        **{**options, "attributes": (), "relations": (), "template": None},
    )
    assert here.folder == tmp_path / "here" and here.corpus.attributes == ()
    with pytest.raises(lrd_jax.UserError, match="interactions, field 'whom'"):
        lrd_jax.dataset_from_frame(pl.DataFrame(columns), user="whom", item="what")
    with pytest.raises(lrd_jax.UserError, match="interactions is a list. Give a frame of polars or pandas"):
        lrd_jax.dataset_from_frame([1, 2], user="who", item="what")
    pandas = pytest.importorskip("pandas")
    of_pandas = lrd_jax.dataset_from_frame(
        pandas.DataFrame(columns), items=pandas.DataFrame(about), folder=tmp_path / "pandas", **options
    )
    assert np.array_equal(of_pandas.corpus.sequence_items, corpus.sequence_items)
    assert np.array_equal(of_pandas.corpus.triples, corpus.triples)


@pytest.mark.process
@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_examples_run(example, tmp_path):
    done = subprocess.run(
        [sys.executable, str(example)], cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "HR@5" in done.stdout
