"""`python -m lrd_jax.evaluate`: every protocol against plain loops, the files, the tables, bad input."""

import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import polars as pl
import pytest

from lrd_jax.command_line.parse import run_command
from lrd_jax.data.corpus import Split
from lrd_jax.data.device import put_split
from lrd_jax.data.synthetic import write_synthetic
from lrd_jax.devices import data_mesh
from lrd_jax.errors import UserError
from lrd_jax.evaluate import __main__ as evaluate
from lrd_jax.evaluate.run_protocol import build_ranking
from lrd_jax.models.simple import item_counts
from lrd_jax.ranking.candidates import draw_negatives, left_out
from lrd_jax.ranking.metrics import target_ranks
from lrd_jax.ranking.on_device import build_counts
from lrd_jax.ranking.protocols.full import Full
from lrd_jax.ranking.protocols.given import Given
from lrd_jax.ranking.protocols.sampled import Sampled
from lrd_jax.runs.checkpoint import Checkpoints
from lrd_jax.runs.folder import read_results
from lrd_jax.training.load import load_trained
from tests import reference, small_runs

USERS, ITEMS = 61, 40


@pytest.fixture(scope="module", autouse=True)
def _quickly():
    with small_runs.quickly_compiled():
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """`data`; `later`, where users have up to two test rows; a run `rcf` on `data`, a run `popular` on `later`."""
    place = tmp_path_factory.mktemp("evaluate")
    write_synthetic(place / "data", num_users=USERS, num_items=ITEMS, num_negatives=20)
    later = shutil.copytree(place / "data", place / "later")
    header, *lines = (later / "train.csv").read_text().splitlines()
    last = {line.split("\t")[0]: line for line in lines if int(line.split("\t")[0]) % 3}  # sorted by time
    (later / "train.csv").write_text("\n".join([header, *(line for line in lines if line not in last.values())]) + "\n")
    added = "".join(f"{line}\t{other_than(line.split()[1])}\n" for line in last.values())
    (later / "test.csv").write_text((later / "test.csv").read_text() + added)
    small_runs.train(place / "rcf", place / "data")
    small_runs.train(place / "popular", later, model="popularity")
    return place


def other_than(target):
    """20 items as negatives of a row."""
    return str([item for item in range(1, 22) if str(item) != target][:20])


@pytest.fixture(scope="module")
def rcf(place):
    return load_trained(place / "rcf")


@pytest.fixture(scope="module")
def popular(place):
    return load_trained(place / "popular")


def command(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["evaluate", *map(str, arguments)])
    run_command(evaluate.main)


def refused(monkeypatch, capsys, *arguments):
    """The message of a command that ends with exit code 2."""
    with pytest.raises(SystemExit) as ended:
        command(monkeypatch, *arguments)
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "Traceback" not in told
    return told


# Against plain loops


def others(corpus, row, keep_seen):
    """The items that a row's target is ranked against in the full protocol."""
    first = row if keep_seen else corpus.sequence_offsets[corpus.sequence_users[row]]
    return sorted(set(range(1, corpus.num_items + 1)) - set(corpus.sequence_items[first : row + 1].tolist()))


@pytest.mark.parametrize("keep_seen", [False, True])
def test_full_protocol_with_many_ties(keep_seen, popular):
    """Scores are whole numbers here, so that plain loops find the same ties; users have several rows."""
    corpus, counts = popular.run.corpus, item_counts(popular.run.corpus)
    rows, items = corpus.test.rows, corpus.sequence_items
    assert len(rows) > len(set(corpus.sequence_users[rows])) == USERS
    found = build_ranking(popular.run, "test", Full(keep_seen=keep_seen))(popular.params)
    scores = [np.array([counts[items[row]], *counts[others(corpus, row, keep_seen)]]) for row in rows]
    average, pessimistic = (target_ranks(found.greater, found.equal, ties) for ties in ("average", "pessimistic"))
    assert average.tolist() == [reference.rank_of_first(row) for row in scores]
    assert pessimistic.tolist() == [int((row >= row[0]).sum()) for row in scores]
    assert found.finite.all() and found.equal.any()


# Targets that the user had before


@pytest.fixture(scope="module")
def repeats(place):
    """A run on data in which every third user's test target is the item that the user began with."""
    folder = shutil.copytree(place / "data", place / "repeats")
    train = pl.read_csv(folder / "train.csv", separator="\t")  # sorted by time
    firsts = dict(train.unique("user_id", keep="first", maintain_order=True).select("user_id", "item_id").iter_rows())
    header, *lines = (folder / "test.csv").read_text().splitlines()
    for number, (user, _, time, _) in enumerate(line.split("\t") for line in lines):
        if int(user) % 3 == 0:
            lines[number] = f"{user}\t{firsts[int(user)]}\t{time}\t{other_than(str(firsts[int(user)]))}"
    (folder / "test.csv").write_text("\n".join([header, *lines]) + "\n")
    return small_runs.train(place / "again", folder, model="popularity")


def test_full_protocol_ranks_a_target_that_the_user_had_before(repeats):
    """It stays a candidate, while the user's other earlier items do not."""
    run = load_trained(repeats)
    corpus, counts = run.run.corpus, item_counts(run.run.corpus)
    had = [
        corpus.sequence_items[row] in corpus.sequence_items[corpus.sequence_offsets[corpus.sequence_users[row]] : row]
        for row in corpus.test.rows
    ]
    assert 0 < sum(had) < len(had)
    for protocol in (Full(), Full(keep_seen=True)):
        found = build_ranking(run.run, "test", protocol)(run.params)
        candidates = [
            [corpus.sequence_items[row], *others(corpus, row, protocol.keep_seen)] for row in corpus.test.rows
        ]
        expected = [reference.rank_of_first(counts[row]) for row in candidates]
        assert target_ranks(found.greater, found.equal).tolist() == expected
        assert protocol.num_candidates(corpus, "test").tolist() == [len(row) for row in candidates]
    assert Sampled(negatives=7).num_candidates(corpus, "test").tolist() == [8] * USERS
    assert Given().num_candidates(corpus, "dev").tolist() == [21] * USERS


@pytest.mark.parametrize("protocol", ["given", "sampled", "full", "full-keep-seen"])
def test_new_and_repeated_targets_are_separated(protocol, place, repeats, tmp_path, monkeypatch, capsys):
    out, summary = tmp_path / "out.parquet", tmp_path / "out.json"
    options = {"sampled": ["--negatives", 9], "full-keep-seen": ["--keep-seen"]}.get(protocol, [])
    name = protocol.removesuffix("-keep-seen")
    command(monkeypatch, repeats, place / "rcf", "--protocol", name, *options, "--out", out, "--json", summary)
    frame = pl.read_parquet(out).filter(run=str(repeats))
    data = {part: pl.read_csv(place / f"repeats/{part}.csv", separator="\t") for part in ("train", "dev", "test")}
    before = pl.concat([data["train"].select("user_id", "item_id"), data["dev"].select("user_id", "item_id")]).rows()
    expected = [row in before for row in frame.select("user", "item").rows()]
    assert frame.schema["target_repeated"] == pl.Boolean and frame["target_repeated"].to_list() == expected
    told, other = json.loads(summary.read_text())["runs"]
    new, repeated = told["slices"]["target_repeated"]
    assert (new["bin"], repeated["bin"], repeated["rows"]) == ("new", "repeated", sum(expected))
    for part, flag in ((new, False), (repeated, True)):
        inside = frame.filter(target_repeated=flag)
        assert part["rows"] == len(inside)
        found = recomputed(inside, 5)
        assert {figure: part["metrics"][figure] for figure in found} == pytest.approx(found, abs=1e-12)
    assert set(other["slices"]) == {"target_popularity", "history_length"}  # a dataset without
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.count("whether the user had the target before") == 1


def test_figures_that_are_one_by_construction(place, repeats, tmp_path, monkeypatch, capsys):
    """Shown once per dataset on the terminal, and in the JSON of each run; with `full` it depends on the row."""
    summary = tmp_path / "out.json"
    files = ["--json", summary, "--out", tmp_path / "out.parquet"]
    command(monkeypatch, repeats, "--protocol", "sampled", "--negatives", 9, "--at", "5,10,20", *files)
    (warning,) = json.loads(summary.read_text())["runs"][0]["warnings"]
    assert warning["rows"] == {"HR@10": {"test": USERS}, "HR@20": {"test": USERS}}
    assert f"warning: repeats: {warning['text']}\n" in capsys.readouterr().err
    command(monkeypatch, place / "rcf", "--protocol", "full", "--at", 30, *files)
    (warning,) = json.loads(summary.read_text())["runs"][0]["warnings"]
    few = pl.read_parquet(tmp_path / "out.parquet").filter(pl.col("candidates") <= 30)
    assert warning["rows"] == {"HR@30": {"test": len(few)}} and 0 < len(few) < USERS and few["rank"].max() <= 30
    command(monkeypatch, place / "rcf", "--protocol", "full", *files)
    assert "warning" not in capsys.readouterr().err.split("30")[-1]
    assert json.loads(summary.read_text())["runs"][0]["warnings"] == []


def test_full_ranking_is_the_given_one_with_all_other_items(rcf):
    run, rows = rcf.run, rcf.run.corpus.test.rows
    out = np.asarray(jax.jit(left_out, static_argnums=2)(run.arrays, rows, run.corpus.num_items))
    negatives = np.where(out == 0, np.arange(1, run.corpus.num_items + 1), 0).astype(np.int32)
    expected = run.evaluation_on_device(rcf.params, run.arrays, *put_split(Split(rows, negatives), data_mesh()))
    history_length = run.config.data.history_length
    candidates = Full().candidates(run.corpus, "test")
    full = build_counts(run.system, data_mesh(), candidates, history_length=history_length)
    found = full(rcf.params, run.arrays, rows)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert len(set(found.greater.tolist())) > 10


def test_sampled_ranking_is_the_given_one_with_the_drawn_items(rcf):
    run, rows, key = rcf.run, rcf.run.corpus.test.rows, jax.random.key(5)
    log_weights = np.zeros(run.corpus.num_items, np.float32)
    draw = jax.jit(draw_negatives, static_argnums=4)
    negatives = np.asarray(draw(key, run.arrays, rows, log_weights, 9))
    expected = run.evaluation_on_device(rcf.params, run.arrays, *put_split(Split(rows, negatives), data_mesh()))
    candidates = Sampled(negatives=9, seed=5).candidates(run.corpus, "test")
    sampled = build_counts(run.system, data_mesh(), candidates, history_length=run.config.data.history_length)
    found = sampled(rcf.params, run.arrays, *candidates.by_row, *candidates.shared)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize("protocol", [Full(), Sampled(negatives=11, sampling="popularity")])
def test_parts_do_not_matter(protocol, rcf, monkeypatch):
    whole = build_ranking(rcf.run, "dev", protocol)(rcf.params)
    monkeypatch.setattr("lrd_jax.evaluate.run_protocol._PAIRS_PER_PART", {True: 300, False: 300})
    parts = build_ranking(rcf.run, "dev", protocol)(rcf.params)
    jax.tree.map(np.testing.assert_array_equal, parts, whole)
    assert len(whole.finite) == USERS


@pytest.mark.parametrize("sampling", ["uniform", "popularity"])
def test_as_many_negatives_as_there_are(sampling, popular):
    """The largest number is right: one more is refused, and with it some row is ranked against all that is left."""
    corpus = popular.run.corpus
    drawable = set(np.flatnonzero(item_counts(corpus) > 0)) if sampling == "popularity" else set(range(1, ITEMS + 1))
    most = min(len(drawable & set(others(corpus, row, False))) for row in corpus.test.rows)
    with pytest.raises(UserError, match=f"'--negatives': {most + 1} .* leaves only {most} .* Give at most {most}"):
        build_ranking(popular.run, "test", Sampled(negatives=most + 1, sampling=sampling))
    assert build_ranking(popular.run, "test", Sampled(negatives=most, sampling=sampling))(popular.params).finite.all()


# The command


def recomputed(frame, cutoff):
    """HR, NDCG and MRR from a Parquet file, by polars."""
    hit, rank = pl.col("rank") <= cutoff, pl.col("rank")
    return frame.select(
        (hit.mean()).alias(f"HR@{cutoff}"),
        pl.when(hit).then(1 / (rank + 1).log(2)).otherwise(0).mean().alias(f"NDCG@{cutoff}"),
        pl.when(hit).then(1 / rank).otherwise(0).mean().alias(f"MRR@{cutoff}"),
        (1 / rank).mean().alias("MRR"),
    ).row(0, named=True)


def bounds(label):
    """The least and the largest value in a bin."""
    first, _, last = label.removesuffix("+").partition("-")
    return int(first), 10**6 if label.endswith("+") else int(last or first)


@pytest.mark.process
def test_given_protocol_repeats_the_results_of_training(place, tmp_path):
    """As a process of its own."""
    arguments = ["--json", str(tmp_path / "a.json"), "--out", str(tmp_path / "a.parquet")]
    process = [sys.executable, "-m", "lrd_jax.evaluate", str(place / "rcf"), *arguments]
    answer = subprocess.run(process, capture_output=True, text=True, timeout=120)
    assert answer.returncode == 0, answer.stderr
    assert "data: test, given candidates, ties: average rank" in answer.stdout
    (summary,) = json.loads((tmp_path / "a.json").read_text())["runs"]
    trained = read_results(place / "rcf")["test"]
    assert {name: summary["metrics"][name] for name in trained} == trained
    row = next(line for line in answer.stdout.splitlines() if line.startswith("│") and "/rcf" in line)
    for value in trained.values():
        assert f" {value:.4f} " in row
    with np.load(place / "rcf/ranks.npz") as ranks:
        frame = pl.read_parquet(tmp_path / "a.parquet")
        assert frame["user"].to_list() == ranks["test_users"].tolist()
        assert frame["rank"].to_list() == ranks["test_ranks"].tolist()
    assert not list((place / "rcf").glob("*.parquet"))


PROTOCOLS = {
    "given": (["--protocol", "given"], "given candidates"),
    "full": (["--protocol", "full"], "all items, those seen before excluded"),
    "full-keep-seen": (["--protocol", "full", "--keep-seen"], "all items, those seen before kept"),
    "sampled-7-popularity-seed2": (
        ["--protocol", "sampled", "--negatives", "7", "--sampling", "popularity", "--seed", "2"],
        "7 sampled negatives, drawn by popularity, seed 2",
    ),
}


def test_datasets_of_one_name_are_refused(place, tmp_path, monkeypatch, capsys):
    """Their rows would stand in one table as if they were of one dataset."""
    other = shutil.copytree(place / "later", tmp_path / "data")  # named as `rcf`'s, of other content
    run = small_runs.train(tmp_path / "run", other, model="popularity")
    message = refused(monkeypatch, capsys, shutil.copytree(place / "rcf", tmp_path / "rcf"), run)
    assert "two datasets of different content are named data" in message and str(run) in message


@pytest.mark.parametrize("name", PROTOCOLS)
def test_two_runs_in_one_table(name, place, tmp_path, monkeypatch, capsys):
    """Of two datasets; every number of the tables is in the Parquet file, and the protocol's name everywhere."""
    options, description = PROTOCOLS[name]
    folders, out, summary = (place / "rcf", place / "popular"), tmp_path / "out.parquet", tmp_path / "out.json"
    files = ["--out", out, "--json", summary, "--at", "3,1,7", "--ties", "pessimistic", "--split", "dev"]
    command(monkeypatch, *folders, *options, *files)
    printed = capsys.readouterr().out
    titles = [line for line in printed.splitlines() if "ties: pessimistic rank" in line]
    assert len(titles) == 5 and all(f"dev, {description}" in title for title in titles)
    assert f"data, later: dev, {description}" in titles[0]
    told = json.loads(summary.read_text())
    assert (told["protocol"], told["split"], told["ties"]) == (name, "dev", "pessimistic")

    frame = pl.read_parquet(out)
    assert frame["protocol"].unique().to_list() == [name] and len(frame) == 2 * USERS
    assert frame["run"].unique(maintain_order=True).to_list() == [str(folder) for folder in folders]
    np.testing.assert_array_equal(frame["rank"], 1 + frame["greater"] + frame["equal"])
    main = printed[: printed.index(titles[1])]
    for run, dataset in zip(told["runs"], ("data", "later"), strict=True):
        mine = frame.filter(run=run["run"])
        assert mine["dataset"].unique().to_list() == [run["dataset"]] == [dataset]
        for cutoff in (1, 3, 7):
            expected = recomputed(mine, cutoff)
            assert {metric: run["metrics"][metric] for metric in expected} == pytest.approx(expected, abs=1e-12)
        line = next(line for line in main.splitlines() if line.startswith("│") and run["run"] in line)
        assert [f"{value:.4f}" for value in run["metrics"].values()] == [x for x in line.split() if x.startswith("0.")]
        for column, bins in run["slices"].items():
            assert sum(part["rows"] for part in bins) == USERS
            for part in bins:
                inside = mine.filter(pl.col(column).is_between(*bounds(part["bin"])))
                assert len(inside) == part["rows"]
                if len(inside):
                    assert recomputed(inside, 3)["NDCG@3"] == pytest.approx(part["metrics"]["NDCG@3"], abs=1e-12)


def test_columns_tell_the_dataset(place, popular, monkeypatch):
    """Without --out the file is in the run folder, with a name that describes it."""
    command(monkeypatch, place / "popular", "--protocol", "full")
    frame = pl.read_parquet(place / "popular/evaluation-test-full.parquet")
    corpus = popular.run.corpus
    assert len(frame) == len(corpus.test.rows) > USERS
    train = pl.read_csv(place / "later/train.csv", separator="\t")
    popularity = dict(train.group_by("item_id").len().iter_rows())
    test = pl.read_csv(place / "later/test.csv", separator="\t")
    dev = pl.read_csv(place / "later/dev.csv", separator="\t")
    everything = pl.concat([part.select("user_id", "time") for part in (train, dev, test)])
    assert frame.select("user", "item").rows() == test.select("user_id", "item_id").rows()
    for row, (user, time) in zip(frame.iter_rows(named=True), test.select("user_id", "time").rows(), strict=True):
        assert row["target_popularity"] == popularity.get(row["item"], 0)
        assert row["history_length"] == len(everything.filter(user_id=user).filter(pl.col("time") < time))
    assert frame.select("model", "seed", "dataset", "split", "ties").unique().rows() == [
        ("popularity", 0, "later", "test", "average")
    ]


def test_original_ids(place, monkeypatch):
    """Where the dataset folder keeps them; here it knows those of the items only."""
    ids = place / "later" / "items.tsv"
    ids.write_text("raw_id\titem_id\n" + "".join(f"B{item:02d}\t{item}\n" for item in range(1, ITEMS + 1)))
    try:
        command(monkeypatch, place / "popular", "--protocol", "given")
    finally:
        ids.unlink()
    frame = pl.read_parquet(place / "popular/evaluation-test-given.parquet")
    assert frame["raw_item"].to_list() == [f"B{item:02d}" for item in frame["item"]]
    assert frame["raw_user"].null_count() == len(frame) and frame.schema["raw_user"] == pl.String


def test_the_same_seed_draws_the_same(place, tmp_path, monkeypatch):
    ranks = []
    for seed in (1, 1, 2):
        options = ["--protocol", "sampled", "--negatives", 9, "--seed", seed, "--out", tmp_path / "out.parquet"]
        command(monkeypatch, place / "rcf", *options)
        ranks.append(pl.read_parquet(tmp_path / "out.parquet")["rank"].to_list())
    assert ranks[0] == ranks[1] != ranks[2]


# Bad input


def test_scores_that_are_not_finite(place, rcf, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(place / "rcf", tmp_path / "run")
    params = jax.tree.map(np.array, rcf.params)
    params["scorer"]["user_embeddings"][[5, 9]] = np.nan
    checkpoints = Checkpoints(folder / "checkpoints")
    checkpoints.save("best", rcf.epoch, params)
    checkpoints.close()
    for protocol in ("given", "sampled", "full"):
        few = ["--negatives", 5] if protocol == "sampled" else []
        told = refused(monkeypatch, capsys, folder, "--protocol", protocol, *few)
        assert told.startswith(f"error: {folder}: 2 of {USERS} test users have scores that are not finite")
    assert not list(folder.glob("*.parquet"))


REFUSED = [
    (["--protokol", "full"], "--protocol"),
    (["--protocol", "popular"], "invalid choice"),
    (["--at", "5,x"], "field '--at': 'x' is no cutoff"),
    (["--at", "0"], "field '--at': '0' is no cutoff"),
    (["--at", "5,"], "field '--at': a cutoff is missing"),
    (["--negatives", "9"], "field '--negatives': means nothing with --protocol given"),
    (["--keep-seen"], "field '--keep-seen': means nothing with --protocol given"),
    (["--protocol", "full", "--sampling", "popularity"], "field '--sampling': means nothing with --protocol full"),
    (["--protocol", "sampled", "--negatives", "0"], "field '--negatives': expected an integer >= 1, got 0"),
    (["--protocol", "sampled", "--seed", "-1"], "field '--seed': expected an integer >= 0"),
    (["--protocol", "sampled", "--negatives", "40"], "field '--negatives': 40 negatives are too many"),
    (["--out", "/nowhere/out.parquet"], "/nowhere/out.parquet, field '--out': cannot be written"),
    (["--json", "/"], "/, field '--json': cannot be written"),
    (["."], ".: there is no run"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=lambda value: " ".join(value) if value else "")
def test_refused(options, message, place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert message in refused(monkeypatch, capsys, place / "rcf", *options)


def test_runs_named_twice_or_not_at_all(place, monkeypatch, capsys):
    assert "the run is there twice" in refused(monkeypatch, capsys, place / "rcf", place / "data/../rcf")
    assert "there is no run to evaluate" in refused(monkeypatch, capsys)
