"""The tables in docs/results: what they hold, what is made of them, and a study's way into them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.results_table import __main__ as command
from benchmarks.results_table.collect import add_evaluations, add_runs
from benchmarks.results_table.markdown import fill
from benchmarks.results_table.store import FOLDER, Store, read_outcomes, read_store, target_popularity, write_store
from lrd_jax.data.rechorus import read_corpus
from lrd_jax.errors import UserError
from lrd_jax.models.simple import item_counts
from lrd_jax.ranking.metrics import ranking_metrics
from lrd_jax.runs.folder import read_results
from lrd_jax.study.cells import read_variants
from lrd_jax.study.paper_results import METRICS
from tests.study.conftest import Place, finish


@pytest.fixture(scope="module")
def tables():
    """Every table, computed once: the intervals of the comparisons take seconds."""
    return command._tables()


def test_pages_are_what_the_tables_say(tables, monkeypatch):
    monkeypatch.setattr(command, "_tables", lambda: tables)
    command.check()
    shown = "".join(page.read_text() for page in command._pages())
    assert all(f"<!-- table: {name} -->" in shown for name in tables)


def test_tables_stay_small():
    files = [file for file in FOLDER.iterdir() if file.is_file()]
    assert len(files) <= 5
    assert sum(file.stat().st_size for file in files) <= 1_000_000


def test_metrics_are_those_of_the_ranks():
    store = read_store()
    assert len(store.runs) >= 72
    for run in store.runs.iter_rows(named=True):
        for split in ("dev", "test"):
            computed = ranking_metrics(np.asarray(run[f"{split}_ranks"]))
            assert {metric: run[f"{split} {metric}"] for metric in METRICS} == pytest.approx(computed, abs=1e-12)


def test_no_path_of_a_machine_is_kept():
    for run in read_store().runs.iter_rows(named=True):
        assert '"/' not in run["config"] and "workdir" not in run["config"], run["study"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A study of two variants and two seeds, with its report."""
    place = Place(tmp_path_factory.mktemp("collected"))
    finish(place.table())
    return place


@pytest.fixture(scope="module")
def store(place):
    return add_runs(Store(), place.folder / "out", "ours", {"tiny": place.folder / "data"})


@pytest.mark.process
def test_report_of_stored_runs_is_the_study_s(place, store, monkeypatch, capsys):
    monkeypatch.setattr(command, "read_store", lambda: store)
    command.report("ours", place.folder / "variants.toml", ("tiny",))
    printed, written = capsys.readouterr().out, (place.folder / "out/table.md").read_text()
    assert printed.partition("\nCommand: ")[0] == written.partition("\nCommand: ")[0]
    assert "## Comparisons" in printed and "### Comparisons by slice" in printed


@pytest.mark.process
def test_what_is_stored_of_a_run(place, store):
    assert store.runs.select("study", "dataset", "variant", "seed").rows() == [
        ("ours", "tiny", variant, seed) for variant in ("ours", "popularity") for seed in (0, 1)
    ]
    outcome = read_outcomes(store, "ours", ["tiny"], read_variants(place.folder / "variants.toml"))[0]
    corpus = read_corpus(place.folder / "data")
    assert (outcome.cell.variant, outcome.cell.base, outcome.cell.config.model.name) == ("ours", "popularity", "rcf")
    for seed in (0, 1):
        folder = place.folder / f"out/tiny/ours/seed{seed}"
        held = read_results(folder)
        assert {key: value for key, value in outcome.results[seed].items() if key != "dataset"} == {
            key: value for key, value in held.items() if key != "dataset"
        }
        with np.load(folder / "ranks.npz") as ranks:
            np.testing.assert_array_equal(outcome.ranks[seed][0], ranks["test_users"])
            np.testing.assert_array_equal(outcome.ranks[seed][1], ranks["test_ranks"])
    expected = item_counts(corpus)[corpus.sequence_items[corpus.test.rows]]
    np.testing.assert_array_equal(target_popularity(store, [outcome]), expected)


@pytest.mark.process
def test_collecting_again_replaces_and_files_come_back(place, store, tmp_path):
    again = add_runs(store, place.folder / "out", "ours", {})  # the data are known
    assert (len(again.runs), len(again.rows)) == (4, 2)
    write_store(store, tmp_path / "first")
    write_store(add_runs(read_store(tmp_path / "first"), place.folder / "out", "ours", {}), tmp_path / "second")
    for name in Store._fields:
        first, second = ((tmp_path / folder / f"{name}.parquet").read_bytes() for folder in ("first", "second"))
        assert first == second


@pytest.mark.process
def test_one_run_and_its_ranking_of_all_items(place, store, tmp_path):
    run = tmp_path / "tiny/mine/seed0"
    shutil.copytree(place.folder / "out/tiny/ours/seed0", run)
    words = [sys.executable, "-m", "lrd_jax.evaluate", str(run), "--protocol", "full", "--json", str(tmp_path / "full")]
    subprocess.run(words, check=True, capture_output=True, timeout=200)
    single = add_runs(store, run, "single", {}, variant="mine")
    assert single.runs.filter(pl.col("study") == "single").select("dataset", "variant", "seed").rows() == [
        ("tiny", "mine", 0)  # the dataset is told by the data, which other runs have brought
    ]
    evaluated = add_evaluations(single, tmp_path / "full", "single").evaluations
    overall = evaluated.row(by_predicate=pl.col("slice") == "all", named=True)
    report = json.loads((tmp_path / "full").read_text())["runs"][0]
    assert {name: overall[name] for name in report["metrics"]} == report["metrics"]
    assert len(evaluated) == 1 + sum(map(len, report["slices"].values()))
    assert len(add_evaluations(single._replace(evaluations=evaluated), tmp_path / "full", "single").evaluations) == len(
        evaluated
    )


@pytest.mark.process
def test_mistakes(place, tmp_path):
    with pytest.raises(UserError, match="there is no finished run. Name the folder of a study or of a run"):
        add_runs(Store(), tmp_path, "ours", {})
    from lrd_jax.data.synthetic import write_synthetic

    other = write_synthetic(tmp_path / "other", num_users=50)
    with pytest.raises(UserError, match="not the dataset that the runs on tiny were trained on.*--data NAME=FOLDER"):
        add_runs(Store(), place.folder / "out", "ours", {"tiny": other})
    damaged = tmp_path / "damaged"
    shutil.copytree(place.folder / "out/tiny/ours/seed0", damaged)
    (damaged / "ranks.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match="damaged: the run's files cannot be read"):
        add_runs(Store(), damaged, "ours", {})


def test_unknown_table():
    page = "<!-- table: mine -->\n\nold\n\n<!-- end -->\n"
    assert fill(page, {"mine": "new"}) == "<!-- table: mine -->\n\nnew\n\n<!-- end -->\n"
    with pytest.raises(UserError, match="there is no table 'mine'. The tables are ours."):
        fill(page, {"ours": "new"})


def test_changed_page_is_reported(tables, monkeypatch, tmp_path):
    monkeypatch.setattr(command, "_tables", lambda: tables)
    page = tmp_path / "results.md"
    page.write_text((FOLDER.parent / "results.md").read_text().replace(".4063 ± .0014", ".4064 ± .0014"))
    monkeypatch.setattr(command, "ROOT", tmp_path)
    with pytest.raises(UserError, match="the tables are not those of docs/results. Run python -m benchmarks"):
        command.check()
    command.write()
    assert page.read_text() == (FOLDER.parent / "results.md").read_text()


def test_unknown_study():
    with pytest.raises(UserError, match="there are no runs of 'lrdd'. There are .*lrd, .*"):
        command.report("lrdd", Path("docs/lrd_variants.toml"))
