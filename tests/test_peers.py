"""What `benchmarks.peers` gives RecBole, how it trains two sides in turns, and what it makes of their times."""

import dataclasses
import io
import json
import subprocess
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from benchmarks import peers_environment
from benchmarks.options import Options, parse_options
from benchmarks.peers import Course, PeersOptions, comparison, peer_config, records, train_in_turns
from benchmarks.peers_environment import (
    ENVIRONMENT,
    LIBRARIES,
    RECBOLE,
    ensure_recbole,
    environment_folder,
    find_recbole,
)
from benchmarks.peers_export import RECBOLE_NAMES, recbole_settings, write_interactions
from benchmarks.peers_sides import SCRIPT, Ours, RecBole, Timed
from benchmarks.workload import Workload
from lrd_jax.data.corpus import Split
from lrd_jax.errors import UserError
from lrd_jax.ranking.metrics import ranking_metrics, target_ranks
from lrd_jax.training.setup import assemble_corpus

PYTHON = find_recbole(cuda=False)  # of the user's cache; the tests themselves have another
needs_recbole = pytest.mark.skipif(
    PYTHON is None, reason=f"RecBole is not installed in {environment_folder(cuda=False)}: run benchmarks.peers once"
)
H = 3  # shorter than most histories
SMALL = PeersOptions(batch_size=64, dropout=0.0)


def small_config(model: str):
    config = peer_config(model, SMALL)
    sizes = {"embedding_dim": 8, "num_heads": 2, "gru_hidden_dim": 10, "max_filter_height": H}
    model = config.model.model_copy(update=sizes)
    return config.model_copy(update={"model": model, "data": config.data.model_copy(update={"history_length": H})})


def sequences(corpus) -> dict[int, list[int]]:
    """Each user's items in order."""
    offsets = corpus.sequence_offsets
    return {u: corpus.sequence_items[offsets[u] : offsets[u + 1]].tolist() for u in range(1, corpus.num_users + 1)}


def examples(items: list[int], places: range) -> list[tuple]:
    """(newest H items before, item) for each of some places in a user's sequence."""
    return [(tuple(items[max(0, place - H) : place]), items[place]) for place in places]


class TestExport:
    def test_holds_every_sequence_in_order_with_dev_and_test_last(self, corpus, tmp_path):
        written = pl.read_csv(write_interactions(corpus, tmp_path), separator="\t")

        assert written.columns == ["user_id:token", "item_id:token", "timestamp:float"]
        by_user = written.sort("user_id:token", "timestamp:float").group_by("user_id:token", maintain_order=True)
        found = {user: rows["item_id:token"].to_list() for (user,), rows in by_user}
        assert found == sequences(corpus)
        for split, place in ((corpus.test, -1), (corpus.dev, -2)):
            users = corpus.sequence_users[split.rows]
            assert [found[user][place] for user in users] == corpus.sequence_items[split.rows].tolist()

    def test_times_are_places_so_that_equal_seconds_keep_their_order(self, corpus, tmp_path):
        equal = dataclasses.replace(corpus, sequence_times=np.zeros_like(corpus.sequence_times))
        written = pl.read_csv(write_interactions(equal, tmp_path), separator="\t")
        times = written.group_by("user_id:token").agg(pl.col("timestamp:float").sort())["timestamp:float"].to_list()
        assert all(places == list(range(len(places))) for places in times)

    @pytest.mark.parametrize("split", ["dev", "test"])
    def test_refuses_other_splits(self, corpus, tmp_path, split):
        held = getattr(corpus, split)
        rows = np.concatenate([held.rows[:-1], held.rows[-1:] - 1])
        other = dataclasses.replace(corpus, **{split: Split(rows, held.negatives)})
        with pytest.raises(UserError, match="the last of them in test.csv"):
            write_interactions(other, tmp_path)

    @pytest.mark.parametrize("model", RECBOLE_NAMES)
    def test_settings_are_ours(self, tmp_path, model):
        config = peer_config(model, PeersOptions(batch_size=17, dropout=0.25, seed=3))
        settings = recbole_settings(config, tmp_path, use_gpu=False)
        assert (settings["train_batch_size"], settings["seed"], settings["MAX_ITEM_LIST_LENGTH"]) == (17, 3, 20)
        assert (settings["learning_rate"], settings["weight_decay"]) == (config.optim.learning_rate, 0)
        assert config.loss.rec_objective == "cross_entropy" and settings["loss_type"] == "CE"
        expected = {
            "sasrec": {"n_layers": 2, "hidden_size": 64, "inner_size": 64, "hidden_dropout_prob": 0.25},
            "gru4rec": {"embedding_size": 64, "hidden_size": 100, "dropout_prob": 0.25},
            "caser": {"embedding_size": 64, "nh": 8, "nv": 4, "dropout_prob": 0.25},
        }[model]
        assert expected.items() <= settings.items()


class Scripted:
    """A side whose epochs take 1, 2, 3, ... seconds and whose dev scores are given."""

    def __init__(self, name: str, scores: list[float], log: list[str]) -> None:
        self.name, self.scores, self.log, self.epoch = name, scores, log, 0

    def train(self) -> Timed:
        self.log.append(f"{self.name} trains")
        self.epoch += 1
        return Timed(float(self.epoch), 0.0)

    def validate(self) -> Timed:
        self.log.append(f"{self.name} ranks")
        return Timed(0.5, self.scores[self.epoch - 1])

    def test(self) -> Timed:
        self.log.append(f"{self.name} tests")
        return Timed(0.5, 1.0)


class TestTurns:
    def test_sides_alternate_and_stop_by_themselves(self):
        log = []
        sides = {"a": Scripted("a", [0.3, 0.2, 0.1, 0.9], log), "b": Scripted("b", [0.1, 0.2, 0.3, 0.4], log)}
        courses = train_in_turns(sides, epochs=4, patience=2, label="")
        assert log[:8] == ["a trains", "a ranks", "b trains", "b ranks"] * 2
        assert [len(courses[name].rankings) for name in "ab"] == [3, 4]  # a: no better one for two epochs
        assert [courses[name].best_epoch for name in "ab"] == [1, 4]
        assert log[-2:] == ["a tests", "b tests"]

    def test_the_first_of_equal_scores_is_best(self):
        assert Course(rankings=[Timed(1, 0.2), Timed(1, 0.3), Timed(1, 0.3)]).best_epoch == 2


@pytest.fixture(scope="module")
def ours(corpus):
    config = small_config("gru4rec")
    return Ours(Workload(Options(model="gru4rec"), corpus.name, assemble_corpus(config, corpus, None)))


class TestRecords:
    @pytest.fixture
    def lines(self, ours):
        theirs = SimpleNamespace(
            describe=lambda: {"device": "cpu", "torch": "2", "compile_seconds": None, "examples": 5, "parameters": 7}
        )
        ranked = [Timed(0.02, 0.1), Timed(0.04, 0.3), Timed(0.06, 0.2)]
        courses = {
            "ours": Course([Timed(9, 0), Timed(2, 0), Timed(1, 0)], ranked, Timed(0.1, 0.25)),
            "theirs": Course([Timed(10, 0)], [Timed(0.4, 0.15)], Timed(0.1, 0.05)),
        }
        workload = Workload(Options(model="gru4rec"), "tiny", ours._run)
        return records(workload, {"ours": ours, "theirs": theirs}, courses)

    def test_medians_and_ratios(self, lines):
        ours, theirs = lines
        assert (ours["epoch_p50"], ours["epoch_min"], ours["ranking_p50"]) == (2, 1, 0.04)
        assert (ours["best_epoch"], ours["dev_ndcg"], ours["test_ndcg"]) == (2, 0.3, 0.25)
        assert (theirs["epoch_ratio"], theirs["ranking_ratio"]) == pytest.approx((10 / 2, 0.4 / 0.04))
        assert (ours["epoch_ratio"], ours["ranking_ratio"]) == (1, 1)
        json.dumps(lines)

    def test_table(self, lines):
        printed = io.StringIO()
        Console(file=printed, width=120).print(comparison(lines))
        shown = {row[0]: row[1:] for row in cells(printed.getvalue())}
        assert shown["training epoch, s"] == ["2.000", "10.000", "5.00"]
        assert shown["full ranking of dev, s"] == ["0.0400", "0.4000", "10.00"]
        assert shown["test NDCG@10"] == ["0.2500", "0.0500", "0.20"]


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if "│" in line]


def unseen(corpus, rows):
    """Every item but the target and those of the user's rows before it, 0 in their places, for every row."""
    negatives = np.tile(np.arange(1, corpus.num_items + 1, dtype=np.int32), (len(rows), 1))
    for negative, row in zip(negatives, rows, strict=True):
        first = corpus.sequence_offsets[corpus.sequence_users[row]]
        negative[corpus.sequence_items[first : row + 1] - 1] = 0
    return negatives


class TestOurs:
    def test_tests_the_best_weights(self, ours):
        ranked = [ours.validate()]
        for _ in range(8):
            assert ours.train().seconds > 0
            ranked.append(ours.validate())
        best = max(ranked, key=lambda timed: timed.value)
        assert best.value > ranked[0].value  # it learns
        ours._params = ours._run.init(seed=1).params
        assert ours.validate().value < best.value  # worse weights do not displace the best
        run, weights = ours._run, ours._best[1]
        for split, found in (("dev", best), ("test", ours.test())):
            rows = getattr(run.corpus, split).rows
            counts = run.evaluation_on_device(weights, run.arrays, rows, unseen(run.corpus, rows))
            assert ranking_metrics(target_ranks(counts.greater, counts.equal))["NDCG@10"] == pytest.approx(found.value)


class TestCommandLine:
    def test_models_with_commas(self):
        assert parse_options(PeersOptions, "peers", "", ["--models", "caser,sasrec"]).models == ("caser", "sasrec")
        assert parse_options(PeersOptions, "peers", "", []).models == ("sasrec", "gru4rec", "caser")

    @pytest.mark.parametrize("models, problem", [("sasrec,kda", "none of them"), ("caser,caser", "there twice")])
    def test_refuses_other_models(self, models, problem):
        with pytest.raises(UserError, match=problem):
            parse_options(PeersOptions, "peers", "", ["--models", models])

    def test_refuses_no_epochs(self):
        with pytest.raises(UserError, match="--epochs"):
            parse_options(PeersOptions, "peers", "", ["--epochs", "0"])

    @pytest.mark.parametrize("option, value", [("dropout", 1.5), ("seed", -1), ("batch_size", 10**9)])
    def test_refuses_values_out_of_range(self, option, value):
        with pytest.raises(UserError, match=f"'--{option.replace('_', '-')}'"):
            peer_config("sasrec", PeersOptions(**{option: value}))


class TestEnvironment:
    def test_counts_only_when_it_holds_what_is_asked_for(self, tmp_path, monkeypatch):
        monkeypatch.setenv("LRD_JAX_CACHE", str(tmp_path))
        marker = environment_folder(cuda=False) / "installed.txt"
        assert find_recbole(cuda=False) is None
        marker.parent.mkdir(parents=True)
        marker.write_text("\n".join((RECBOLE, *LIBRARIES)) + "\n")
        assert find_recbole(cuda=False) == marker.parent / "bin" / "python"
        assert find_recbole(cuda=True) is None
        marker.write_text(f"{RECBOLE}\n")
        assert find_recbole(cuda=False) is None

    def test_a_python_without_releases_is_reported_at_once(self, tmp_path, monkeypatch):
        monkeypatch.setenv("LRD_JAX_CACHE", str(tmp_path))
        monkeypatch.setattr(peers_environment, "_NEWEST_PYTHON", (3, 10))
        with pytest.raises(UserError, match="Run this benchmark with Python 3.11 or 3.12"):
            ensure_recbole(cuda=False)
        assert not any(tmp_path.iterdir())


# Prints every example of RecBole's loaders, in our ids, with what is left out of its ranking.
DUMP = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("peers_recbole", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
training = module.Training(**json.loads(sys.stdin.readline()))
dataset = training._train.dataset
ids = {field: [int(token) if token.isdigit() else 0 for token in dataset.field2id_token[field].astype(str)]
       for field in ("user_id", "item_id")}
def rows(batch, seen=None):
    for n in range(len(batch)):
        length = int(batch["item_length"][n])
        history = [ids["item_id"][i] for i in batch["item_id_list"][n][:length].tolist()]
        left_out = None if seen is None else sorted(ids["item_id"][i] for i in seen[1][seen[0] == n].tolist())
        user, item = ids["user_id"][int(batch["user_id"][n])], ids["item_id"][int(batch["item_id"][n])]
        yield [user, history, item, left_out]
found = {"train": [row for batch in training._train for row in rows(batch)]}
for name in ("valid", "test"):
    found[name] = [row for batch in getattr(training, "_" + name) for row in rows(batch[0], batch[1])]
print(json.dumps(found))
"""


@pytest.mark.process
@needs_recbole
class TestRecBole:
    def test_has_our_examples_and_leaves_out_what_was_seen(self, corpus, tmp_path):
        write_interactions(corpus, tmp_path)
        settings = recbole_settings(small_config("gru4rec"), tmp_path, use_gpu=False)
        done = subprocess.run(
            [PYTHON, "-I", "-c", DUMP, SCRIPT],
            input=json.dumps({"model": "GRU4Rec", "settings": settings}) + "\n",
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=ENVIRONMENT,
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        expected = {"train": [], "valid": [], "test": []}
        for user, items in sequences(corpus).items():
            n = len(items)
            for split, places in (
                ("train", range(1, n - 2)),
                ("valid", range(n - 2, n - 1)),
                ("test", range(n - 1, n)),
            ):
                for place, (history, target) in zip(places, examples(items, places), strict=True):
                    seen = None if split == "train" else sorted(items[:place])
                    expected[split].append([user, list(history), target, seen])
        for split, rows in expected.items():
            assert sorted(found[split], key=str) == sorted(rows, key=str)

    def test_trains_ranks_and_says_what_it_is(self, corpus, ours, tmp_path):
        write_interactions(corpus, tmp_path)
        settings = recbole_settings(small_config("gru4rec"), tmp_path, use_gpu=False)
        with RecBole(PYTHON, "GRU4Rec", settings, tmp_path) as side:
            described = side.describe()
            assert described.keys() == ours.describe().keys()
            assert described["examples"] == ours.describe()["examples"]
            losses = [side.train().value for _ in range(5)]
            ranked, tested = side.validate(), side.test()
        assert losses[-1] < losses[0]
        assert losses[0] == pytest.approx(np.log(corpus.num_items + 1), abs=0.2)  # a mean over the batches
        assert 0 < ranked.value < 1 and 0 < tested.value < 1 and ranked.seconds > 0

    def test_reports_why_it_ended(self, tmp_path):
        settings = recbole_settings(small_config("gru4rec"), tmp_path, use_gpu=False)  # no interactions are there
        with pytest.raises(UserError, match="its last words: .*known dataset name"):
            RecBole(PYTHON, "GRU4Rec", settings, tmp_path)
