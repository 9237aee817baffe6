"""New items: their neighbours and vectors against slow loops, and runs that are extended by them."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

import lrd_jax
from lrd_jax.data.batch import Tables
from lrd_jax.errors import UserError
from lrd_jax.models.sequence_system import SequenceSystem
from lrd_jax.ranking.new_items import (
    attribute_overlap,
    extended_values,
    neighbours,
    text_similarity,
    weighted_means,
    with_new_items,
)
from lrd_jax.ranking.ranker import Ranker
from tests import small_runs

NEW = pl.DataFrame(
    {
        "item": ["a", "b", "c"],
        "text": ["a warm cotton blanket", "sharp steel knife", "nothing known"],
        "category": ["2", None, "77"],
        "tag": ["1|3", "2", ""],
    }
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """`data` and a small run of several models."""
    return small_runs.shared(tmp_path_factory, "kda_lrd", "sasrec", "popularity", "item_knn")


def test_overlap_against_sets():
    rng = np.random.default_rng(0)
    none_entities = np.array([11, 15], np.int32)
    drawn = rng.integers([[11], [15]], [[15], [20]], (9, 2, 3))
    values = np.where(rng.random((9, 2, 3)) < 0.6, drawn, 0).astype(np.int32)
    for of_item in values.reshape(-1, 3):  # each value once
        for place in range(3):
            if of_item[place] in of_item[:place]:
                of_item[place] = 0
    new, items = values[:3], values[2:]
    found = attribute_overlap(new, items, none_entities)
    assert found.shape == (3, 6) and found.dtype == np.float32
    for n in range(3):
        for i in range(1, 7):
            ours, theirs = (
                {(a, v) for a in range(2) for v in one[a].tolist() if v and v != none_entities[a]}
                for one in (new[n], items[i])
            )
            expected = len(ours & theirs) / len(ours | theirs) if ours | theirs else 0.0
            np.testing.assert_allclose(found[n, i - 1], expected, rtol=1e-6)


def test_text_similarity_is_clipped():
    items = np.array([[0, 0], [2, 0], [0, 3], [-1, 0]], np.float32)
    np.testing.assert_allclose(text_similarity(np.array([[5, 0], [0, 0]], np.float32), items), [[1, 0, 0], [0, 0, 0]])


def test_neighbours_by_hand():
    text = np.array([[0.2, 0.8, 0.8, 0.0], [0.0, 0.0, 0.0, 0.0]], np.float32)
    overlap = np.array([[0.6, 0.4, 0.4, 0.2], [0.0, 0.0, 0.0, 0.0]], np.float32)
    ids, weights = neighbours(text, overlap, 3)
    assert ids.tolist() == [[2, 3, 1], [1, 2, 3]] and ids.dtype == np.int32
    np.testing.assert_allclose(weights[0], [0.6 / 1.6, 0.6 / 1.6, 0.4 / 1.6], rtol=1e-6)
    assert not weights[1].any()
    ids, weights = neighbours(text, None, 2)
    assert ids[0].tolist() == [2, 3] and weights[0].tolist() == [0.5, 0.5]
    assert neighbours(text, overlap, 9)[0].shape == (2, 4)


def test_means_against_a_loop():
    rng = np.random.default_rng(1)
    for shape in ((8, 4), (8,)):
        table = rng.normal(size=shape).astype(np.float32)
        ids = rng.integers(1, 8, (3, 5))
        weights = rng.random((3, 5)).astype(np.float32)
        weights[1] = 0
        found = weighted_means(table, ids, weights)
        for n in (0, 2):
            expected = sum(weights[n, k] * table[ids[n, k]] for k in range(5))
            np.testing.assert_allclose(found[n], expected, rtol=1e-5)
        np.testing.assert_allclose(found[1], table[1:].mean(axis=0), rtol=1e-5)


@pytest.mark.parametrize("model", ["kda_lrd", "sasrec"])
def test_old_scores_stay_and_new_ones_follow_from_the_vectors(model, place):
    """An item whose only neighbour is another one, with its values and text, scores as that one does."""
    run = lrd_jax.load_run(place / model)
    corpus, tables = run.dataset.corpus, run.setup.arrays.tables
    ids, weights = np.array([[7], [3]], np.int32), np.ones((2, 1), np.float32)
    text = None if tables.text is None else np.asarray(tables.text)[[7, 3]]
    values = corpus.item_values[[7, 3]]
    system, params, extended = with_new_items(
        run.model, run.params, tables, ids, weights, item_values=values, text=text
    )

    def scores(system, params, tables, number):
        ranker = Ranker(system, params, tables, history_length=5, num_items=number)
        return ranker.score(run.histories(users=[1, 2, 3, 4]), np.arange(1, number + 1, dtype=np.int32))

    before = scores(run.model, run.params, tables, corpus.num_items)
    after = scores(system, params, extended, corpus.num_items + 2)
    np.testing.assert_allclose(after[:, :-2], before, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after[:, -2:], before[:, [6, 2]], rtol=1e-5, atol=1e-6)
    # What the system declares is what its own parameters are.
    declared = jax.eval_shape(system.init, jax.random.key(0), extended)
    assert jax.tree.map(jnp.shape, declared) == jax.tree.map(jnp.shape, params)


def test_values_move_up():
    old = np.array([[[0, 0]], [[4, 5]], [[3, 0]]], np.int32)  # I = 2, entities from 3
    new = np.array([[[4, 5, 6]]], np.int32)
    assert extended_values(old, new).tolist() == [[[0, 0, 0]], [[5, 6, 0]], [[4, 0, 0]], [[5, 6, 7]]]


@pytest.mark.parametrize("model", ["kda_lrd", "sasrec"])
def test_an_extended_run(model, place):
    old = lrd_jax.load_run(place / model)
    run = old.with_new_items(NEW)
    corpus = run.dataset.corpus
    assert corpus.num_items == old.dataset.corpus.num_items + 3
    assert run.dataset.own_ids("item", ["a", "c"]).tolist() == [corpus.num_items - 2, corpus.num_items]
    assert run.dataset.facts["title"].to_list()[-3:] == NEW["text"].to_list()
    # Values: 2 of category, 1 and 3 of tag; none where null, empty or unknown.
    nones, values = corpus.none_entities, corpus.item_values
    assert values[-3, 0].tolist()[:2] == [nones[0] + 2, 0] and values[-3, 1].tolist()[:3] == [
        nones[1] + 1,
        nones[1] + 3,
        0,
    ]
    assert values[-1, 0, 0] == nones[0] and values[-1, 1, 0] == nones[1] and values[-2, 0, 0] == nones[0]
    assert (corpus.holds_value[:-3] == old.dataset.corpus.holds_value).all()
    np.testing.assert_allclose(run.score([1, 2])[:, :-3], old.score([1, 2]), rtol=1e-5, atol=1e-6)
    top = run.recommend([1, 2], candidates=["a", "b", "c", "5"], k=3, exclude_seen=False)
    assert len(top) == 6 and set(top["item"]) <= {"a", "b", "c", "5"}
    assert len(run.recommend(histories=[["a", "5"]], k=40)) == 40
    assert len(run.similar(["a"], by="text", k=42)) == 42
    assert set(run.similar(["3"], by="vectors", k=42)["similar"]) >= {"a", "b", "c"}
    reasons = run.explain([1], items=[["b"]])
    assert reasons["candidate_title"].unique().to_list() == ["sharp steel knife"]
    found = run.recommend([1], retrieve=20, by="text", k=5)
    assert len(found) == 5 and len(run.recommend([1], retrieve=20, k=5)) == 5
    assert run.evaluate("full").rows["candidates"].max() > old.evaluate("full").rows["candidates"].max()
    with pytest.raises(UserError, match="has another dataset"):
        run.recommend([1], retrieve=5, by=old)
    again = run.with_new_items(pl.DataFrame({"item_id": [900], "title": ["steel knife"]}))
    assert again.dataset.corpus.num_items == corpus.num_items + 1
    np.testing.assert_allclose(again.score([1])[:, :-1], run.score([1]), rtol=1e-5, atol=1e-6)


def test_the_vector_is_that_of_its_neighbours(place):
    run = lrd_jax.load_run(place / "sasrec").with_new_items(NEW)
    assert isinstance(run.model, SequenceSystem)
    table, number = np.asarray(run.params["item_embeddings"]), 40
    texts, values = run.text, run.dataset.corpus.item_values
    cosine = texts[1 : number + 1] @ texts[number + 1] / np.linalg.norm(texts[1 : number + 1], axis=1)
    nones = set(run.dataset.corpus.none_entities.tolist()) | {0}
    ours = set(values[number + 1].ravel().tolist()) - nones
    similarity = []
    for item in range(1, number + 1):
        theirs = set(values[item].ravel().tolist()) - nones
        similarity.append((max(cosine[item - 1], 0) + len(ours & theirs) / max(1, len(ours | theirs))) / 2)
    best = np.argsort(-np.array(similarity), kind="stable")[:10]
    weights = np.array(similarity)[best]
    expected = (table[best + 1] * weights[:, None]).sum(axis=0) / weights.sum()
    np.testing.assert_allclose(table[number + 1], expected, rtol=1e-4, atol=1e-6)


def test_models_that_count_are_refused(place):
    for model in ("popularity", "item_knn"):
        with pytest.raises(UserError, match="new items have none.*such as kda or sasrec"):
            lrd_jax.load_run(place / model).with_new_items(NEW)


def test_texts_of_a_file_are_refused(place, tmp_path):
    shutil.copytree(place / "kda_lrd", tmp_path / "run")
    np.save(tmp_path / "text.npy", np.asarray(lrd_jax.load_run(place / "kda_lrd").text)[1:])
    config = (tmp_path / "run" / "config.toml").read_text()
    config = config.replace('encoder = "wordllama"', f'encoder = "file"\nfile = "{tmp_path / "text.npy"}"')
    (tmp_path / "run" / "config.toml").write_text(config)
    with pytest.raises(UserError, match="came from a file, so those of new items cannot be made"):
        lrd_jax.load_run(tmp_path / "run").with_new_items(NEW)


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        ({"item": ["1"], "text": ["x"]}, "'item': the dataset has the item 1 already"),
        ({"item": ["a", "a"], "text": ["x", "y"]}, "the item a is there twice"),
        ({"item": ["a", None], "text": ["x", "y"]}, "row 2 has no id"),
        ({"item": ["a", "b"], "text": ["x", " "]}, "'text': the item b has no text"),
        ({"item": ["a"]}, "'text': the column is missing. Name a column text or title"),
        ({"text": ["a"]}, "'item': the column is missing. Name a column item or item_id"),
        ({"item": ["a"], "text": ["x"], "colour": [1]}, "'colour': the dataset has no such attribute.*category, tag"),
        ({"item": [], "text": []}, "there are no new items"),
    ],
)
def test_bad_frames(frame, problem, place):
    run = lrd_jax.load_run(place / "sasrec")
    frame = pl.DataFrame(
        frame, schema_overrides={"item": pl.String, "text": pl.String} if frame.get("text") == [] else {}
    )
    with pytest.raises(UserError, match=problem):
        run.with_new_items(frame)


def test_files_of_every_kind(place, tmp_path, capsys):
    NEW.write_csv(tmp_path / "new.csv")
    NEW.with_columns(pl.col("tag").str.split("|")).write_parquet(tmp_path / "new.parquet")
    NEW.with_columns(pl.col("tag").str.split("|")).write_ndjson(tmp_path / "new.jsonl")
    run = lrd_jax.load_run(place / "sasrec")
    found = [
        run.with_new_items(lrd_jax.read_new_items(tmp_path / f"new.{kind}")) for kind in ("csv", "parquet", "jsonl")
    ]
    assert "no item of the dataset has the category 77: taken for none" in capsys.readouterr().err
    for other in found[1:]:
        np.testing.assert_array_equal(found[0].dataset.corpus.item_values, other.dataset.corpus.item_values)
        np.testing.assert_array_equal(found[0].params["item_embeddings"], other.params["item_embeddings"])
    (tmp_path / "bad.csv").write_text("item,brand\nx,y\n")
    with pytest.raises(UserError, match=r"bad.csv.*'text': the column is missing"):
        lrd_jax.read_new_items(tmp_path / "bad.csv")


def test_tables_without_text():
    tables = Tables(jnp.zeros((3, 0, 0), jnp.int32), None)
    system = SequenceSystem(encoder=None, num_users=2, num_items=2, embedding_dim=2, history_length=3)
    params = {"item_embeddings": jnp.array([[0.0, 0.0], [1.0, 2.0], [3.0, 4.0]])}
    ids, weights = np.array([[1, 2]], np.int32), np.array([[0.25, 0.75]], np.float32)
    found, params, tables = with_new_items(
        system, params, tables, ids, weights, item_values=np.zeros((1, 0, 1), np.int32)
    )
    assert found.num_items == 3 and params["item_embeddings"][3].tolist() == [2.5, 3.5]
    assert tables.item_values.shape == (4, 0, 1) and tables.text is None
