"""Recommendations, reasons and similar items, against slow loops and through the commands."""

import jax
import numpy as np
import polars as pl
import pytest

import lrd_jax
from lrd_jax.data.find_items import ItemFinder
from lrd_jax.data.requests import read_requests, write_parts
from lrd_jax.errors import UserError
from lrd_jax.models.attribution import attribute
from lrd_jax.models.simple import CountedSystem
from lrd_jax.ranking.histories import Histories
from lrd_jax.recommend import __main__ as command
from lrd_jax.recommend.flags import RecommendFlags
from lrd_jax.similar import SimilarFlags, similar
from tests import small_runs

MODELS = ("kda_lrd", "rcf", "tisasrec", "caser", "item_knn", "popularity")
NUM_ITEMS = 40


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """`data` and a small run of each of MODELS."""
    return small_runs.shared(tmp_path_factory, *MODELS)


@pytest.fixture(params=MODELS)
def run(request, place):
    return lrd_jax.load_run(place / request.param)


def slow_lists(run, users, k, *, allowed=None, keep_seen=False):
    """Rows (user, item) by a sort of all scores, the item's number breaking ties."""
    scores, corpus = run.score(users=users), run.dataset.corpus
    for row, user in enumerate(users):
        part = slice(*corpus.sequence_offsets[user : user + 2])
        seen = set() if keep_seen else set(corpus.sequence_items[part].tolist())
        items = [i for i in range(1, corpus.num_items + 1) if i not in seen and (allowed is None or i in allowed)]
        yield from ((str(user), str(i)) for i in sorted(items, key=lambda i: (-scores[row, i - 1], i))[:k])


def pairs(frame):
    return list(frame.select(frame.columns[0], "item").iter_rows())


def test_lists_are_those_of_a_sort(run):
    users = [1, 7, 7, 23, 60]
    found = run.recommend(users=users, k=6)
    assert pairs(found) == list(slow_lists(run, users, 6))
    assert found["rank"].to_list() == [1, 2, 3, 4, 5, 6] * len(users)
    np.testing.assert_array_equal(found.filter(pl.col("user") == "23")["score"], np.sort(found["score"][18:24])[::-1])
    allowed = [3, 9, 31, 40]
    assert pairs(run.recommend(users=users, k=3, candidates=allowed, exclude_seen=False)) == list(
        slow_lists(run, users, 3, allowed=allowed, keep_seen=True)
    )


def test_a_list_ends_where_the_candidates_end(run):
    corpus = run.dataset.corpus
    for k in (NUM_ITEMS, 1000):
        lengths = run.recommend(users=[5], k=k)
        seen = len(set(corpus.sequence_items[slice(*corpus.sequence_offsets[5:7])].tolist()))
        assert len(lengths) == NUM_ITEMS - seen
        assert len(run.recommend(users=[5], k=k, exclude_seen=False)) == NUM_ITEMS
    seen_item = int(corpus.sequence_items[corpus.sequence_offsets[5]])
    assert len(run.recommend(users=[5], candidates=[seen_item])) == 0


def test_equal_scores_keep_the_order_of_the_items(place):
    run = lrd_jax.load_run(place / "popularity")
    found = run.recommend(users=[1], k=NUM_ITEMS)
    scores, items = found["score"].to_list(), [int(item) for item in found["item"]]
    assert [(-s, i) for s, i in zip(scores, items, strict=True)] == sorted(
        (-s, i) for s, i in zip(scores, items, strict=True)
    )
    assert len(set(scores)) < len(scores)


def test_retrieval_of_everything_changes_nothing(place):
    run = lrd_jax.load_run(place / "kda_lrd")
    users = [1, 2, 3]
    whole = run.recommend(users=users, k=5)
    for by in ("text", place / "caser", run):
        assert run.recommend(users=users, k=5, retrieve=NUM_ITEMS, by=by).equals(whole)
    few = run.recommend(users=users, k=5, retrieve=8, by=place / "caser")
    chosen = lrd_jax.load_run(place / "caser").recommend(users=users, k=8)
    assert set(pairs(few)) <= set(pairs(chosen))
    scores = run.score(users=[2], items=[int(item) for item in chosen.filter(pl.col("user") == "2")["item"]])[0]
    np.testing.assert_allclose(few.filter(pl.col("user") == "2")["score"], np.sort(scores)[::-1][:5], rtol=1e-6)
    by_knn = run.recommend(users=users, k=5, retrieve=20)
    assert len(by_knn) == 15


@pytest.mark.parametrize("times", [None, [[10.0, 20.0, 500.0], [3.0]]])
def test_histories_alone_and_together(times, run):
    histories = [["3", "9", "4"], ["11"]]
    both = run.recommend(histories=histories, times=times, k=4)
    for row, history in enumerate(histories):
        alone = run.recommend(histories=[history], times=times and [times[row]], k=4)
        assert alone["item"].to_list() == both.filter(pl.col("row") == row)["item"].to_list()
    longer = [[*history] * 3 for history in histories]
    assert len(run.recommend(histories=longer, k=4)) == 8


def test_what_if(run):
    base = run.recommend(histories=[["3", "9"]], k=5)
    assert run.recommend(histories=[["3", "9", "4"]], remove=["4"], k=5).equals(base)
    assert run.recommend(histories=[["3"]], add=["9"], k=5).equals(base)
    with pytest.raises(UserError, match="nothing is left"):
        run.recommend(histories=[["3"]], remove=["3"])


def test_edited_histories_of_several_users():
    histories = Histories.of_items([np.array([1, 2, 3]), np.array([2, 2, 5])], [[1, 2, 9], [4, 5, 6]])
    edited = histories.edited(remove=np.array([2]), add=np.array([7, 8]))
    assert edited.items.tolist() == [1, 3, 7, 8, 5, 7, 8]
    assert edited.times.tolist() == [1, 9, 9, 9, 6, 6, 6] and edited.offsets.tolist() == [0, 4, 7]


def test_reasons_add_up(place):
    for model, tolerance in (("kda_lrd", 1e-3), ("rcf", 1e-3)):
        run = lrd_jax.load_run(place / model)
        found = run.explain(users=[4, 9], items=[["2", "30", "8"], ["5"]])
        sums = found.group_by("user", "candidate", maintain_order=True).agg(
            pl.col("score", "baseline").first(), pl.col("contribution").sum()
        )
        total = sums["baseline"] + sums["contribution"]
        np.testing.assert_allclose(total, sums["score"], atol=tolerance * sums["score"].abs().max())
        direct = [run.score(users=[u], items=[c])[0, 0] for u, c in sums.select("user", "candidate").iter_rows()]
        np.testing.assert_allclose(sums["score"], direct, rtol=1e-5)
        assert set(found["relation"]) == set(run.relations)


def test_reasons_of_lists(run, place):
    """With the lists' items and ranks; a user who is asked for twice has the reasons of both lists."""
    users = [9, 4, 9]
    lists, found = run.recommend(users=users, k=3), run.recommend(users=users, k=3, explain=True)
    ranks = found.unique(["user", "rank"], maintain_order=True).sort("user", "rank")
    assert ranks.select("user", "rank", item="candidate").equals(
        lists.unique(["user", "rank"], maintain_order=True).sort("user", "rank").select("user", "rank", "item")
    )
    alone = run.explain(users=[9], items=[lists["item"][:3].to_list()])
    assert len(found.filter(pl.col("user") == "9")) == 2 * len(alone)
    np.testing.assert_allclose(found["contribution"][: len(alone)], alone["contribution"], atol=1e-5)
    assert len(run.recommend(users=[], k=3)) == len(run.recommend(users=[], k=3, explain=True)) == 0


@pytest.mark.parametrize("segments", [64, 7])
def test_contributions_of_a_linear_score_are_exact(segments):
    rng = np.random.default_rng(0)
    weights, history = rng.random((2, 3, 5, 4), np.float32), rng.normal(size=(2, 5, 6)).astype(np.float32)
    slope = rng.normal(size=(4, 6)).astype(np.float32)
    found = attribute(lambda s: (s * slope[None, None]).sum((2, 3)) + 1.5, weights, history, segments)
    expected = weights * np.einsum("bhd,rd->bhr", history, slope)[:, None]
    np.testing.assert_allclose(found.contributions, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.baselines, np.full((2, 3), 1.5))


def test_reasons_of_other_models_leave_items_out(place):
    for model in ("tisasrec", "caser", "item_knn"):
        run = lrd_jax.load_run(place / model)
        history, times = ["3", "9", "4"], [5.0, 70.0, 90.0]
        found = run.explain(histories=[history], times=[times], items=[["2", "30"]])
        assert found["relation"].null_count() == len(found) == 6
        for item, place_, candidate, score, contribution in found.select(
            "item", "place", "candidate", "score", "contribution"
        ).iter_rows():
            left = [i for i in history if i != item]
            assert history[-place_] == item
            kept = [t for t, i in zip(times, history, strict=True) if i != item]
            without = run.score(histories=[left], times=[kept], items=[candidate])[0, 0]
            np.testing.assert_allclose(score - without, contribution, atol=1e-6)
    knn = lrd_jax.load_run(place / "item_knn").explain(histories=[["3", "9", "4"]], items=[["2"]])
    np.testing.assert_allclose(knn["contribution"].sum(), knn["score"][0], atol=1e-6)  # it is a sum


def test_similar_items(run):
    corpus, by = run.dataset.corpus, run.comparisons
    for way in by:
        found = run.similar(["3", "12"], by=way, k=4)
        assert found["item"].to_list() == ["3"] * 4 + ["12"] * 4 and "3" not in found["similar"][:4].to_list()
        scores = found["score"].to_list()
        assert scores[:4] == sorted(scores[:4], reverse=True)
    if run.relations:
        scorer = jax.device_get(run.params["scorer"])
        name = corpus.attributes[0]
        relation = run.relations.index(name)
        values = corpus.item_values[:, 0]
        entities = scorer["entity_embeddings"]
        expected = np.array(
            [
                np.sum(
                    entities[3]
                    * (scorer["relation_embeddings"][relation] + entities[values[t][values[t] > 0]].mean(0))
                    * entities[t]
                )
                for t in range(1, NUM_ITEMS + 1)
            ]
        )
        found = run.similar(["3"], by=name, k=NUM_ITEMS)
        np.testing.assert_allclose(found["score"], expected[[int(i) - 1 for i in found["similar"]]], rtol=1e-4)
    with pytest.raises(UserError, match="Choose one of"):
        run.similar(["3"], by="latent 99")


def test_finding_items():
    ids = pl.Series(["a1", "a2", "a3", "a4"])
    finder = ItemFinder(ids, pl.Series(["Toy Story (1995)", "Batman (1989)", "Batman Forever (1995)", None]))
    assert finder.find("a4").item == 4 and finder.find("toy  STORY (1995)").how == "title"
    assert finder.find("Toy Storey 1995").item == 1
    for text, message in (("Batman", "could be several items"), ("zzzz", "no item has an id or a title")):
        with pytest.raises(UserError, match=message):
            finder.find(text)
    twice = ItemFinder(pl.Series(["x", "y"]), pl.Series(["Same", "same "]))
    with pytest.raises(
        UserError, match=r"2 items have the title 'Same'. Choose one by its id: Same \[x\], same  \[y\]"
    ):
        twice.find("Same")


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".jsonl"])
def test_files_of_requests_and_lists(ending, place, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("lrd_jax.data.requests.ROWS_PER_PART", 2)
    run = lrd_jax.load_run(place / "kda_lrd")
    users, histories = pl.DataFrame({"user": [3, 1, 44]}), pl.DataFrame({"history": [["3", "9"], ["7"], ["1", "2"]]})
    written = {".csv": "write_csv", ".parquet": "write_parquet", ".jsonl": "write_ndjson"}[ending]
    read = {".csv": pl.read_csv, ".parquet": pl.read_parquet, ".jsonl": pl.read_ndjson}[ending]
    source, target = tmp_path / f"in{ending}", tmp_path / f"out{ending}"
    for frame, expected in (
        (users, run.recommend(users=[3, 1, 44], k=3)),
        (histories, run.recommend(histories=histories["history"].to_list(), k=3)),
    ):
        if ending == ".csv" and "history" in frame.columns:
            frame = frame.with_columns(pl.col("history").list.join("|"))
        getattr(frame, written)(source)
        command.recommend(RecommendFlags(place / "kda_lrd", input=source, output=target, k=3))
        found = read(target)
        assert found["item"].cast(pl.String).to_list() == expected["item"].to_list()
        np.testing.assert_allclose(found["score"], expected["score"], rtol=1e-6)
    assert "9 rows in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user,history\n1,2\n", "expected a column user or a column history"),
        ("name\nx\n", "found name"),
        ("user\n3\n\n", "row 2 is empty"),
    ],
)
def test_bad_requests(text, message, tmp_path):
    (tmp_path / "in.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        list(read_requests(tmp_path / "in.csv"))


def test_parts_become_one_file_or_none(tmp_path):
    def parts():
        yield pl.DataFrame({"a": [1]})
        raise UserError("stopped")

    with pytest.raises(UserError, match="stopped"):
        write_parts(tmp_path / "out.csv", parts())
    assert not list(tmp_path.iterdir())


def test_commands(place, tmp_path, capsys):
    command.recommend(RecommendFlags(place / "kda_lrd", user="5", k=3, explain=True, remove=("7",)))
    printed = capsys.readouterr().out
    expected = lrd_jax.load_run(place / "kda_lrd").recommend(users=[5], k=3, remove=["7"])
    assert all(item in printed for item in expected["item"]) and "rank before" in printed
    assert "mostly through" in printed and "(no history: taste and popularity)" in printed
    command.recommend(RecommendFlags(place / "caser", history=("3", "9"), k=3, explain=True))
    assert "score with the item minus without it" in capsys.readouterr().out
    similar(SimilarFlags(place / "kda_lrd", ("3",), k=2, output=tmp_path / "s.csv"))
    found = pl.read_csv(tmp_path / "s.csv")
    run = lrd_jax.load_run(place / "kda_lrd")
    assert found["by"].unique(maintain_order=True).to_list() == list(run.comparisons)


def test_new_items_are_recommended(place, tmp_path, capsys):
    (tmp_path / "new.csv").write_text("item,text\nfresh,red wooden chair\n")
    new = tmp_path / "new.csv"
    command.recommend(RecommendFlags(place / "kda_lrd", history=("3", "9"), new_items=new, candidates=("fresh", "7")))
    assert "fresh" in capsys.readouterr().out
    with pytest.raises(UserError, match="interactions"):
        command.recommend(RecommendFlags(place / "item_knn", history=("3",), new_items=new))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "nobody to recommend for"),
        ({"user": "1", "history": ("3",)}, "several of --user"),
        ({"input": "in.csv"}, "field '--output'"),
        ({"input": "in.xls", "output": "o.csv"}, "cannot tell the format of in.xls"),
        ({"user": "1", "k": 0}, "field '--k'"),
        ({"user": "1", "filter": ("genre",)}, "expected FIELD=VALUE"),
    ],
)
def test_flags_that_do_not_fit(flags, message, tmp_path):
    from pathlib import Path

    paths = {name: Path(value) for name, value in flags.items() if name in ("input", "output")}
    with pytest.raises(UserError, match=message):
        RecommendFlags(tmp_path, **{**flags, **paths}).check()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"users": [999]}, "there is no user 999"),
        ({"histories": [["zz"]]}, "there is no item zz"),
        ({"histories": [[]]}, "history 0 is empty"),
        ({"users": [1], "k": 0}, "Set k to 1 or more"),
        ({"users": [1], "retrieve": 0}, "Set retrieve to 1 or more"),
        ({"users": [1], "filter": pl.col("colour") == "red"}, "the filter does not fit the items"),
        ({"histories": [["3"]], "times": [[float("nan")]]}, "do not ascend"),
        ({}, "expected either users or histories"),
    ],
)
def test_what_cannot_be_recommended(arguments, message, place):
    with pytest.raises(UserError, match=message):
        lrd_jax.load_run(place / "caser").recommend(**arguments)


def test_scores_that_are_not_finite_are_refused(place):
    run = lrd_jax.load_run(place / "item_knn")
    broken = run.ranker
    broken.params = {**broken.params, "similarities": broken.params["similarities"] * np.float32("nan")}
    assert isinstance(run.model, CountedSystem)
    with pytest.raises(UserError, match="not finite"):
        run.recommend(users=[1])
