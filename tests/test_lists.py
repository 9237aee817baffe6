"""`evaluate --lists` and `--lists-from`: top-K lists against plain loops, lists of others, comparisons, bad input."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
import scipy.stats

import lrd_jax
from lrd_jax.command_line.parse import run_command
from lrd_jax.data.synthetic import write_synthetic
from lrd_jax.evaluate import __main__ as evaluate
from lrd_jax.evaluate.list_summary import METRICS
from lrd_jax.evaluate.run_protocol import are_candidates, build_listing, build_ranking
from lrd_jax.models.simple import item_counts
from lrd_jax.ranking.candidates import draw_negatives
from lrd_jax.ranking.lists import top_items
from lrd_jax.ranking.protocols.full import Full
from lrd_jax.ranking.protocols.given import Given
from lrd_jax.ranking.protocols.sampled import Sampled
from lrd_jax.ranking.statistics import holm
from lrd_jax.runs.checkpoint import Checkpoints
from lrd_jax.training.load import load_trained
from tests import small_runs

USERS, ITEMS = 43, 40
PROTOCOLS = [Given(), Sampled(negatives=11, sampling="popularity", seed=3), Full(), Full(keep_seen=True)]


@pytest.fixture(scope="module", autouse=True)
def _quickly():
    with small_runs.quickly_compiled():
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """`data`, with ids of a source and where some users have two test rows; runs `rcf` and `popular` on it."""
    place = tmp_path_factory.mktemp("lists")
    data = place / "data"
    write_synthetic(data, num_users=USERS, num_items=ITEMS, num_negatives=20)
    header, *lines = (data / "test.csv").read_text().splitlines()
    again = [line.replace("[", "[3, 3, ").rsplit(", ", 2)[0] + "]" for line in lines[::4]]  # a negative twice
    again = [line for line in again if line.split("\t")[1] != "3"]
    (data / "test.csv").write_text("\n".join([header, *lines, *again]) + "\n")
    for kind, number in (("user", USERS), ("item", ITEMS)):
        rows = "".join(f"{kind[0]}{100 + own}\t{own}\n" for own in range(1, number + 1))
        (data / f"{kind}s.tsv").write_text(f"raw_id\t{kind}_id\n{rows}")
    small_runs.train(place / "rcf", data)
    small_runs.train(place / "popular", data, model="popularity")
    return place


@pytest.fixture(scope="module")
def popular(place):
    return load_trained(place / "popular")


@pytest.fixture(scope="module")
def rcf(place):
    return load_trained(place / "rcf")


def command(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["evaluate", *map(str, arguments)])
    # The devices stay as the tests have set them up, however many cores there are.
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2 --xla_cpu_multi_thread_eigen=false")
    run_command(evaluate.main)


def refused(monkeypatch, capsys, *arguments):
    """The message of a command that ends with exit code 2."""
    with pytest.raises(SystemExit) as ended:
        command(monkeypatch, *arguments)
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message


def candidates_of(protocol, run, split="test"):
    """Each row's candidates as a set, by plain loops."""
    corpus, rows = run.corpus, getattr(run.corpus, split).rows
    targets = corpus.sequence_items[rows].tolist()
    if isinstance(protocol, Full):
        firsts = rows if protocol.keep_seen else corpus.sequence_offsets[corpus.sequence_users[rows]]
        seen = [set(corpus.sequence_items[a:b].tolist()) for a, b in zip(firsts, rows, strict=True)]
        return [set(range(1, ITEMS + 1)) - had | {target} for had, target in zip(seen, targets, strict=True)]
    listed = getattr(corpus, split).negatives
    if isinstance(protocol, Sampled):
        weights = np.log(np.maximum(item_counts(corpus)[1:], 1e-30)).astype(np.float32)
        draw = jax.jit(draw_negatives, static_argnums=4)
        listed = np.asarray(draw(jax.random.key(protocol.seed), run.arrays, rows, weights, protocol.negatives))
    return [set(negatives.tolist()) | {target} for negatives, target in zip(listed, targets, strict=True)]


# On the device


@pytest.mark.parametrize("length", [1, 5, 50])
@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
def test_lists_are_the_best_candidates(length, protocol, popular, monkeypatch):
    """Scores are whole numbers with many ties, which the lower item number wins; 50 is beyond all candidates."""
    monkeypatch.setattr("lrd_jax.evaluate.run_protocol._PAIRS_PER_PART", {True: 300, False: 300})
    run, scores = popular.run, item_counts(popular.run.corpus)
    counts, lists = build_listing(run, "test", protocol, length)(popular.params)
    for row, items in enumerate(candidates_of(protocol, run)):
        expected = sorted(items, key=lambda item: (-scores[item], item))[:length]
        found = lists.items[row]
        assert found[: len(expected)].tolist() == expected and not found[len(expected) :].any()
        assert lists.scores[row, : len(expected)].tolist() == scores[expected].tolist()
        assert np.isneginf(lists.scores[row, len(expected) :]).all()
    ranked = build_ranking(run, "test", protocol)(popular.params)
    jax.tree.map(np.testing.assert_array_equal, counts, ranked)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
def test_targets_stand_where_they_rank(protocol, rcf):
    counts, lists = build_listing(rcf.run, "test", protocol, ITEMS)(rcf.params)
    targets = rcf.run.corpus.sequence_items[rcf.run.corpus.test.rows]
    places = (lists.items == targets[:, None]).argmax(axis=1)
    assert (places <= counts.greater + counts.equal).all()
    if protocol.name != "given":  # where a negative that is listed twice counts twice, and is in the list once
        assert (places >= counts.greater).all()
    for items, candidates in zip(lists.items.tolist(), candidates_of(protocol, rcf.run), strict=True):
        assert sorted(item for item in items if item) == sorted(candidates)
    jax.tree.map(np.testing.assert_array_equal, counts, build_ranking(rcf.run, "test", protocol)(rcf.params))


def test_ties_duplicates_and_zeros():
    items, scores = jnp.array([2, 3, 3, 5, 7, 8]), jnp.array([0.0, 1.0, 1.0, -0.0, 1.0, 9.0])
    found = jax.jit(top_items, static_argnums=3)(items, scores, jnp.array([True] * 5 + [False]), 6)
    assert found.items.tolist() == [3, 7, 2, 5, 0, 0] and found.scores[:4].tolist() == [1, 1, 0, 0]
    nothing = top_items(items, scores, jnp.zeros(6, bool), 2)
    assert nothing.items.tolist() == [0, 0] and np.isneginf(nothing.scores).all()


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
def test_which_items_are_candidates(protocol, popular):
    run = popular.run
    items = np.random.default_rng(0).integers(0, ITEMS + 1, (len(run.corpus.test.rows), 30)).astype(np.int32)
    found = are_candidates(run.corpus, run.arrays, "test", protocol, items)
    for row, candidates in enumerate(candidates_of(protocol, run)):
        assert found[row].tolist() == [item in candidates for item in items[row].tolist()]


# The command


def lists_and_tables(monkeypatch, folder, *arguments):
    """The lists, the ranks and the JSON that a command writes."""
    places = {name: folder / f"{name}.out" for name in ("lists", "out", "json")}
    command(monkeypatch, *arguments, *(word for name, file in places.items() for word in (f"--{name}", file)))
    return pl.read_parquet(places["lists"]), pl.read_parquet(places["out"]), json.loads(places["json"].read_text())


@pytest.mark.parametrize("protocol", ["given", "full"])
def test_lists_of_two_runs(protocol, place, tmp_path, monkeypatch, capsys):
    options = ["--protocol", protocol, "--at", "2,7"]
    lists, ranks, tables = lists_and_tables(monkeypatch, tmp_path, place / "rcf", place / "popular", *options)
    test = pl.read_csv(place / "data/test.csv", separator="\t")
    assert lists["run"].unique(maintain_order=True).to_list() == [str(place / "rcf"), str(place / "popular")]
    assert lists.group_by("run", "row").agg(pl.col("rank")).filter(pl.col("rank") != list(range(1, 8))).is_empty()
    assert (lists["raw_user"] == "u" + (100 + lists["user"]).cast(pl.String)).all()
    assert (lists["raw_item"] == "i" + (100 + lists["item"]).cast(pl.String)).all()
    targets = test["item_id"].gather(lists["row"] - 1)
    assert (test["user_id"].gather(lists["row"] - 1) == lists["user"]).all()
    assert ((targets == lists["item"]) == lists["is_target"]).all() and lists["is_target"].any()
    assert (lists.filter(rank=1)["score"].to_numpy() >= lists.filter(rank=7)["score"].to_numpy()).all()
    printed = capsys.readouterr().out
    for run in tables["runs"]:
        mine = lists.filter(run=run["run"])
        hits = mine.filter(pl.col("is_target"))["rank"].to_numpy()
        found = run["list_metrics"]
        assert set(found) == {f"{name}@{k}" for name in METRICS for k in (2, 7)} and None not in found.values()
        for k in (2, 7):
            top = mine.filter(pl.col("rank") <= k)
            assert found[f"MAP@{k}"] == pytest.approx((1 / hits[hits <= k]).sum() / len(test))
            assert found[f"Coverage@{k}"] == top["item"].n_unique() / ITEMS
            figures = [f"{found[f'{name}@{k}']:.4f}" for name in METRICS]
            assert any(line.startswith("│") and figures == line.split("│")[3:-1] for line in _squeezed(printed))
    comparisons = tables["comparisons"]
    assert [one["metric"] for one in comparisons] == ["NDCG@2", "NDCG@7"]
    for one, k in zip(comparisons, (2, 7), strict=True):
        gain = pl.when(pl.col("rank") <= k).then(1 / (pl.col("rank") + 1).log(2)).otherwise(0.0)
        by_user = ranks.group_by("user", "run").agg(gain.mean().alias("gain")).pivot("run", index="user", values="gain")
        difference = (by_user[str(place / "popular")] - by_user[str(place / "rcf")]).round(12).to_numpy()
        counts = [int((difference > 0).sum()), int((difference < 0).sum()), int((difference == 0).sum())]
        assert [one["wins"], one["losses"], one["ties"]] == counts and sum(counts) == one["users"] == USERS
        assert one["difference"] == pytest.approx(difference.mean())
        assert one["t_test_p"] == pytest.approx(scipy.stats.ttest_1samp(difference, 0).pvalue)
        assert one["wilcoxon_p"] == pytest.approx(scipy.stats.wilcoxon(difference).pvalue)
        assert f" {one['t_test_p']:.2g} " in printed
    for test_name in ("t_test_p", "wilcoxon_p"):
        corrected = holm([one[test_name] for one in comparisons]).tolist()
        assert [one[f"{test_name}_holm"] for one in comparisons] == corrected


def _squeezed(printed):
    return [line.replace(" ", "") for line in printed.splitlines()]


def others(lists, file, order="rank"):
    """Lists of ours as another system would write them."""
    frame = lists.select(user="raw_user", item="raw_item", row="row", rank="rank", score="score").drop(
        {"rank": "score", "score": "rank"}[order]
    )
    write = {".csv": frame.write_csv, ".jsonl": frame.write_ndjson, ".parquet": frame.write_parquet}
    write[file.suffix](file)
    return file


@pytest.mark.parametrize(("ending", "order"), [(".csv", "rank"), (".jsonl", "score"), (".parquet", "rank")])
@pytest.mark.parametrize("protocol", ["given", "full"])
def test_our_lists_as_those_of_others(protocol, ending, order, place, tmp_path, monkeypatch, capsys):
    """Beside the run, and without it: the same figures, and as many wins as losses, none."""
    options = ["--protocol", protocol, "--at", "3,6"]
    lists, ranks, tables = lists_and_tables(monkeypatch, tmp_path, place / "rcf", *options)
    file = others(lists, tmp_path / f"others{ending}", order)
    again, both, told = lists_and_tables(monkeypatch, tmp_path, place / "rcf", "--lists-from", file, *options)
    mine, theirs = told["runs"]
    assert mine == tables["runs"][0] and theirs["list_metrics"] == mine["list_metrics"]
    assert (theirs["run"], theirs["model"], theirs["seed"]) == (str(file), "lists", None)
    assert theirs["metrics"] == mine["metrics"] | {"MRR": None}
    assert all(one["wins"] == one["losses"] == 0 and one["t_test_p"] == 1 for one in told["comparisons"])
    columns = ["row", "rank", "item", "is_target"]
    assert again.filter(run=str(file)).select(columns).equals(lists.select(columns))
    found = both.filter(run=str(file))
    inside = ranks["rank"] <= 6
    assert found["rank"].filter(inside).equals(ranks["rank"].filter(inside))
    assert found["rank"].filter(~inside).is_infinite().all() and found["greater"].null_count() == int((~inside).sum())
    capsys.readouterr()
    alone = lists_and_tables(monkeypatch, tmp_path, "--data.path", place / "data", "--lists-from", file, *options)[2]
    assert alone["runs"] == [theirs] and alone["comparisons"] == []
    assert "warning" not in capsys.readouterr().err


def test_lists_that_we_wrote_of_several_runs(place, tmp_path, monkeypatch):
    """Each is a system of its own, under its name and model."""
    lists, _, tables = lists_and_tables(monkeypatch, tmp_path, place / "rcf", place / "popular", "--protocol", "full")
    file = tmp_path / "both.parquet"
    lists.write_parquet(file)
    where = ["--data.path", place / "data", "--protocol", "full", "--lists-from", file]
    told = lists_and_tables(monkeypatch, tmp_path, *where)[2]
    assert [run["run"] for run in told["runs"]] == [f"{file}: {place / name}" for name in ("rcf", "popular")]
    assert [run["model"] for run in told["runs"]] == ["rcf", "popularity"]
    assert [run["list_metrics"] for run in told["runs"]] == [run["list_metrics"] for run in tables["runs"]]


def test_users_without_lists_and_items_that_are_no_candidates(place, popular, tmp_path, monkeypatch, capsys):
    """Some users are missing, seen items are taken out, and what is behind them moves up."""
    corpus = popular.run.corpus
    users, rows = corpus.sequence_users, corpus.test.rows
    table, expected = [], []
    for row in rows:
        user, target = int(users[row]), int(corpus.sequence_items[row])
        seen = [int(item) for item in corpus.sequence_items[corpus.sequence_offsets[user] : row] if item != target]
        items = list(dict.fromkeys([seen[0], 1 if target != 1 else 2, seen[-1], target]))
        expected.append(None if user < 5 else [item for item in items if item not in seen].index(target) + 1)
        if user >= 5:
            number = int(np.flatnonzero(rows == row)[0]) + 1
            table += [(f"u{100 + user}", f"i{100 + item}", -place, number) for place, item in enumerate(items)]
    pl.DataFrame(table, ["user", "item", "score", "row"], orient="row").write_csv(tmp_path / "few.csv")
    options = ["--data.path", place / "data", "--protocol", "full", "--lists-from", tmp_path / "few.csv"]
    _, ranks, told = lists_and_tables(monkeypatch, tmp_path, *options)
    assert ranks["rank"].to_list() == [float("inf") if rank is None else rank for rank in expected]
    hits = [1 / rank if rank else 0 for rank in expected]
    assert told["runs"][0]["list_metrics"]["MAP@5"] == pytest.approx(np.mean(hits))
    message = " ".join(capsys.readouterr().err.split())
    assert f"few.csv: 4 of {USERS} test users have no list; each of their rows counts as a miss" in message
    assert "listed items are no candidates of their row (all items, those seen before excluded)" in message
    assert "the longest list has 2 candidates, fewer than the largest cutoff, 10" in message


def test_a_users_list_is_for_all_rows_of_the_user(place, popular, tmp_path, monkeypatch):
    corpus = popular.run.corpus
    frame = pl.DataFrame({"user": [f"u{100 + user}" for user in range(1, USERS + 1) for _ in range(ITEMS)]})
    items = pl.Series("item", [f"i{100 + item}" for item in range(1, ITEMS + 1)] * USERS)
    frame.with_columns(items, rank=pl.int_range(pl.len())).write_csv(tmp_path / "same.csv")
    options = [
        "--data.path",
        place / "data",
        "--protocol",
        "full",
        "--keep-seen",
        "--lists-from",
        tmp_path / "same.csv",
    ]
    _, ranks, told = lists_and_tables(monkeypatch, tmp_path, *options)
    assert ranks["rank"].to_list() == corpus.sequence_items[corpus.test.rows].tolist()
    assert told["runs"][0]["list_metrics"]["Personalisation@5"] == pytest.approx(0)
    assert told["runs"][0]["metrics"]["MRR"] is not None  # every target is in its list


def test_no_attributes_and_no_texts(place, tmp_path, monkeypatch, capsys):
    data = shutil.copytree(place / "data", tmp_path / "data")
    for file in ("item_meta.csv", "item_text.tsv", "users.tsv", "items.tsv"):
        (data / file).unlink()
    for stale in data.glob("text_*"):
        stale.unlink()
    pl.DataFrame({"user": [1, 1, 2], "item": [1, 2, 3], "rank": [1, 2, 1]}).write_parquet(tmp_path / "a.parquet")
    options = ["--data.path", data, "--protocol", "full", "--lists-from", tmp_path / "a.parquet"]
    lists, _, told = lists_and_tables(monkeypatch, tmp_path, *options)
    found = told["runs"][0]["list_metrics"]
    assert found["ILD attributes@5"] is found["ILD text@5"] is None and found["Novelty@5"] > 0
    assert lists["raw_item"].null_count() == len(lists) and lists["score"].null_count() == len(lists)
    assert " - " in capsys.readouterr().out


# Python


def test_from_python(place, tmp_path, monkeypatch):
    lists, ranks, tables = lists_and_tables(monkeypatch, tmp_path, place / "rcf", "--protocol", "full", "--at", "3,6")
    found = lrd_jax.load_run(place / "rcf").evaluate_lists("full", at=(3, 6))
    (run,) = tables["runs"]
    about = {"run": run["run"], "model": "rcf", "rows": run["rows"]}
    assert found.metrics.row(0, named=True) == {**about, **run["metrics"], **run["list_metrics"]}
    assert found.lists.equals(lists) and found.rows.equals(ranks)
    dataset = lrd_jax.load_dataset(place / "data")
    frame = lists.select(user="raw_user", item="raw_item", row="row", rank="rank")
    for given in (frame, others(lists, tmp_path / "lists.csv")):
        again = dataset.evaluate_lists(given, at=(3, 6))
        drop = ["run", "model", "MRR"]
        assert again.metrics.drop(drop).equals(found.metrics.drop(drop))
    with pytest.raises(lrd_jax.UserError, match="lists, field 'rank': the column is missing. Add the column"):
        dataset.evaluate_lists(frame.drop("rank"))
    with pytest.raises(lrd_jax.UserError, match="lists is a list. Give a frame"):
        dataset.evaluate_lists([1])


# Bad input


def test_scores_that_are_not_finite(place, rcf, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(place / "rcf", tmp_path / "run")
    params = jax.tree.map(np.array, rcf.params)
    params["scorer"]["user_embeddings"][[5, 9]] = np.nan
    checkpoints = Checkpoints(folder / "checkpoints")
    checkpoints.save("best", rcf.epoch, params)
    checkpoints.close()
    for protocol in ("given", "full"):
        message = refused(monkeypatch, capsys, folder, "--protocol", protocol, "--lists", tmp_path / "lists.parquet")
        assert f"2 of {USERS} test users have scores that are not finite" in message
    assert not (tmp_path / "lists.parquet").exists()


ROWS = "user,item,rank\nu101,i101,1\nu101,i102,2\nu102,i101,1\n"
WRONG = {
    "an unknown user": (ROWS + "u7,i101,1\n", "field 'user': row 4, 'u7', is no user of the dataset. Give ids as"),
    "an unknown item": (ROWS + "u103,77,1\n", "field 'item': row 4, '77', is no item of the dataset. Give ids as"),
    "examples of ids": (ROWS + "u103,77,1\n", "such as 'i101', 'i102', 'i103', or remove the row"),
    "an item twice": (
        ROWS + "u101,i102,3\n",
        "field 'item': row 4, 'i102', has the same item as an earlier row of its list. Keep one of them",
    ),
    "a rank twice": (ROWS + "u101,i103,2\n", "field 'rank': row 4 has the same rank as an earlier row of its list"),
    "no rank": (ROWS + "u103,i103,\n", "field 'rank': row 4 is no finite number. Give every row its rank"),
    "a rank that is a word": (ROWS + "u103,i103,x\n", "field 'rank': row 4, 'x', is no finite number"),
    "a score that is NaN": (
        "user,item,score\nu101,i101,0.5\nu101,i102,nan\n",
        "field 'score': row 2, 'nan', is no finite number. Give every row its score",
    ),
    "no item": (ROWS + "u103,,1\n", "field 'item': row 4 is empty. Give every row its id, or remove the row"),
    "no column": ("user,item\nu101,i101\n", "field 'rank': the column is missing. Add the column rank, or score"),
    "no users": ("who,item,rank\nu101,i101,1\n", "field 'user': the column is missing. Name the columns user and item"),
    "no rows": ("user,item,rank\n", "the file has no lists. Add rows, or leave the file out"),
    "a row of another user": (
        "user,item,rank,row\nu101,i101,1,1\nu101,i102,2,2\n",
        "is no row of the user's. Number the rows of the split from 1 to",
    ),
    "a row beyond": ("user,item,rank,row\nu101,i101,1,0\n", "field 'row': row 1, '0', is no row of the user's"),
    "another split": (
        "user,item,rank,split\nu101,i101,1,dev\n",
        "field 'split': row 1, 'dev', is not test. Name their split with --split",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_lists_that_are_wrong(name, place, tmp_path, monkeypatch, capsys):
    text, message = WRONG[name]
    file = tmp_path / "lists.csv"
    file.write_text(text)
    found = refused(monkeypatch, capsys, "--data.path", place / "data", "--lists-from", file)
    assert f"error: {file}" in found and message in found


def test_options_that_do_not_go_together(place, tmp_path, monkeypatch, capsys):
    file = tmp_path / "lists.csv"
    file.write_text(ROWS)
    assert "there is no dataset to evaluate the lists on" in refused(monkeypatch, capsys, "--lists-from", file)
    twice = ["--data.path", place / "data", "--lists-from", file, "--lists-from", tmp_path / "." / "lists.csv"]
    assert "the file is there twice" in refused(monkeypatch, capsys, *twice)
    missing = ["--data.path", place / "data", "--lists-from", tmp_path / "none.csv"]
    assert "none.csv: there is no such file. Check the path" in refused(monkeypatch, capsys, *missing)
    unwritable = [place / "rcf", "--lists", "/nowhere/lists.parquet"]
    assert "/nowhere/lists.parquet, field '--lists': cannot be written" in refused(monkeypatch, capsys, *unwritable)
    other = shutil.copytree(place / "data", tmp_path / "other")
    run = small_runs.train(tmp_path / "run", other, model="popularity")
    message = refused(monkeypatch, capsys, place / "rcf", run, "--lists-from", file)
    assert "field '--lists-from': the runs are on several datasets (data, other), and lists are for one" in message
