"""A table's slices by the target's popularity, against the dataset's files."""

import dataclasses
import json

import numpy as np
import polars as pl
import pytest
import scipy.stats

from lrd_jax.data.synthetic import write_synthetic
from lrd_jax.ranking.metrics import ranking_metrics
from lrd_jax.ranking.slices import POPULARITY_STARTS
from lrd_jax.ranking.statistics import holm
from lrd_jax.study.cells import make_cells, read_variants
from lrd_jax.study.outcomes import read_outcomes
from lrd_jax.study.popularity import by_popularity
from tests.study.conftest import Place, finish

pytestmark = pytest.mark.process

BINS = ("0", "1-4", "5-9", "10-19", "20-49", "50-99", "100+")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """With so few users that some items are cold."""
    return Place(tmp_path_factory.mktemp("sliced"), num_users=30)


@pytest.fixture(scope="module")
def printed(place):
    return finish(place.table(workdir="sliced"))


@pytest.fixture(scope="module")
def found(printed, place):
    return json.loads((place.folder / "sliced/table.json").read_text())["by_popularity"]


@pytest.fixture(scope="module")
def outcomes(printed, place):
    variants, folders = read_variants(place.folder / "variants.toml"), {"tiny": place.folder / "data"}
    arguments = {"folders": folders, "options": {}, "configs": place.configs}
    read, failures = read_outcomes(make_cells(["tiny"], variants, place.folder / "sliced", **arguments), (0, 1))
    assert not failures
    return read


@pytest.fixture(scope="module")
def expected(printed, place):
    """{bin: bool [N]} and {variant: [ranks of each seed]} by the rows of test.csv."""
    train, test = (pl.read_csv(place.folder / f"data/{name}.csv", separator="\t") for name in ("train", "test"))
    counts = [train["item_id"].to_list().count(item) for item in test["item_id"]]
    ends = [*POPULARITY_STARTS[1:], np.inf]
    rows = {
        label: np.array([start <= count < end for count in counts])
        for label, start, end in zip(BINS, POPULARITY_STARTS, ends, strict=True)
    }
    ranks = {"ours": [], "popularity": []}
    for variant, of_seeds in ranks.items():
        for seed in (0, 1):
            with np.load(place.folder / f"sliced/tiny/{variant}/seed{seed}/ranks.npz", allow_pickle=False) as file:
                assert file["test_users"].tolist() == test["user_id"].to_list()
                of_seeds.append(file["test_ranks"])
    return rows, ranks


def test_figures(found, expected):
    rows, ranks = expected
    assert found["skipped"] == {}
    assert [(row["bin"], row["variant"]) for row in found["slices"]] == [
        (label, variant) for label in BINS for variant in ("ours", "popularity")
    ]
    for row in found["slices"]:
        chosen = rows[row["bin"]]
        assert row["rows"] == chosen.sum() and row["seeds"] == [0, 1]
        if not chosen.any():
            assert row["test"] is None
            continue
        metrics = [ranking_metrics(of_seed[chosen]) for of_seed in ranks[row["variant"]]]
        for name, figures in row["test"].items():
            assert figures["values"] == pytest.approx([run[name] for run in metrics])
            assert figures["mean"] == pytest.approx(np.mean([run[name] for run in metrics]))
    numbers = [chosen.sum() for chosen in rows.values()]
    assert numbers[0] > 0 and numbers[1] > 0 and numbers[-1] == 0  # cold, rare and empty slices are all there


def test_comparisons(found, expected):
    rows, ranks = expected
    assert [row["bin"] for row in found["comparisons"]] == [label for label in BINS if rows[label].any()]
    tested = {"t_test": [], "wilcoxon": []}
    for comparison in found["comparisons"]:
        chosen = rows[comparison["bin"]]
        assert comparison["users"] == chosen.sum() and list(comparison["metrics"]) == ["NDCG@5", "HR@10"]
        hits = {name: np.mean([of_seed[chosen] <= 10 for of_seed in ranks[name]], axis=0) for name in ranks}
        change, figures = hits["ours"] - hits["popularity"], comparison["metrics"]["HR@10"]
        assert figures["difference"] == pytest.approx(change.mean())
        low, high = figures["interval"]
        assert low <= change.mean() <= high
        if np.any(change) and len(change) > 1:
            assert figures["t_test_p"] == pytest.approx(scipy.stats.ttest_1samp(change, 0).pvalue)
            assert figures["wilcoxon_p"] == pytest.approx(scipy.stats.wilcoxon(change).pvalue)
        for test, of_test in tested.items():
            of_test += [(values[f"{test}_p"], values[f"{test}_p_holm"]) for values in comparison["metrics"].values()]
    for of_test in tested.values():  # one correction over all slices
        raw, corrected = zip(*of_test, strict=True)
        assert holm(raw) == pytest.approx(corrected)
        assert min(corrected) == pytest.approx(min(1, len(raw) * min(raw))) and min(raw) < 1


def test_section_of_the_markdown_only(found, printed, place):
    markdown = (place.folder / "sliced/table.md").read_text()
    section = markdown.split("## By the target's popularity\n")[1]
    cold = found["slices"][0]
    figures = cold["test"]["NDCG@5"]
    assert f"| 0 | ours | {cold['rows']} |" in section and f"{figures['mean']:.4f} ± {figures['std']:.4f}" in section
    comparison = found["comparisons"][0]
    assert f"| 0 | {comparison['users']} | tiny: ours against popularity | NDCG@5 |" in section
    assert "| 100+ |" not in section  # no rows
    assert "Comparisons" in printed and "Comparisons by slice" not in printed


def elsewhere(outcomes, folder):
    """The outcomes with their dataset in another folder."""
    moved = []
    for outcome in outcomes:
        data = outcome.cell.config.data.model_copy(update={"path": folder})
        config = outcome.cell.config.model_copy(update={"data": data})
        moved.append(outcome._replace(cell=dataclasses.replace(outcome.cell, config=config)))
    return moved


def test_missing_and_other_datasets_are_skipped(outcomes, tmp_path):
    found = by_popularity(elsewhere(outcomes, tmp_path / "nowhere"))
    assert found["slices"] == found["comparisons"] == []
    assert "nowhere: cannot open the dataset folder" in found["skipped"]["tiny"]
    write_synthetic(tmp_path / "other", num_users=30, seed=1)
    found = by_popularity(elsewhere(outcomes, tmp_path / "other"))
    assert "other: it is not the dataset of ours's run with seed 0" in found["skipped"]["tiny"]


def test_rows_in_another_order_are_skipped(outcomes):
    ours, base = outcomes
    users, ranks = ours.ranks[1]
    mixed = ours._replace(ranks={**ours.ranks, 1: (users[::-1], ranks[::-1])})
    assert "ours's run with seed 1" in by_popularity([mixed, base])["skipped"]["tiny"]


def test_nothing_finished(outcomes):
    """No dataset is read, so none is missed."""
    none = [outcome._replace(results={}, ranks={}) for outcome in elsewhere(outcomes, "/nowhere")]
    assert by_popularity(none) == {"slices": [], "comparisons": [], "skipped": {}}
