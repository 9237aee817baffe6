"""Studies as they are run: whole, killed, side by side, again."""

import json
import re
import shutil
import time

import numpy as np
import pytest

from lrd_jax.ranking.metrics import ranking_metrics
from tests.study.conftest import finish

pytestmark = pytest.mark.process

RUNS = [f"tiny/{variant}/seed{seed}" for variant in ("ours", "popularity") for seed in (0, 1)]


def read(folder):
    """A report without what differs between two calls of the program."""
    report = json.loads((folder / "table.json").read_text())
    del report["command"], report["date"]
    return report


def trained(printed):
    """The runs whose results a process made."""
    return [path for path in RUNS if re.search(rf"results in .*/{path}$", printed, re.M)]


@pytest.fixture(scope="module")
def whole(place):
    """An uninterrupted study and what it printed; tests only read it."""
    printed = finish(place.table())
    assert trained(printed) == RUNS
    return place.folder / "out", printed


def test_report_is_what_the_runs_found(whole):
    folder, printed = whole
    report = read(folder)
    assert [(cell["variant"], cell["seeds"], cell["missing"]) for cell in report["cells"]] == [
        ("ours", [0, 1], []),
        ("popularity", [0, 1], []),
    ]
    values = {}
    for cell in report["cells"]:
        results = [json.loads((folder / f"tiny/{cell['variant']}/seed{n}/results.json").read_text()) for n in (0, 1)]
        for split in ("dev", "test"):
            for name, figures in cell[split].items():
                assert figures["values"] == [run[split][name] for run in results]
                assert figures["mean"] == pytest.approx(np.mean(figures["values"]))
                assert figures["std"] == pytest.approx(np.std(figures["values"], ddof=1))
        values[cell["variant"]] = cell["test"]["NDCG@5"]["mean"]
        assert f"{cell['test']['HR@10']['mean']:.4f} ± {cell['test']['HR@10']['std']:.4f}" in printed
        assert results[0]["versions"] in report["versions"] and results[0]["device"] in report["devices"]
        assert report["dataset_hashes"]["tiny"] == [results[0]["dataset"]["hash"]]

    (comparison,) = report["comparisons"]
    assert (comparison["variant"], comparison["base"], comparison["seeds"]) == ("ours", "popularity", [0, 1])
    assert comparison["users"] == 60
    figures = comparison["metrics"]["NDCG@5"]
    assert figures["difference"] == pytest.approx(values["ours"] - values["popularity"])
    assert figures["improvement_percent"] == pytest.approx(100 * figures["difference"] / values["popularity"])
    low, high = figures["interval"]
    assert low < figures["difference"] < high
    for test in ("t_test_p", "wilcoxon_p"):
        assert 0 < figures[test] <= figures[f"{test}_holm"] <= 1

    markdown = (folder / "table.md").read_text()
    assert (
        f"| {figures['base_value']:.4f} | {figures['value']:.4f} | {figures['improvement_percent']:+.2f}% |" in markdown
    )
    assert "Command: `python -m lrd_jax.study table --workdir" in markdown and "Versions: " in markdown


def test_finished_runs_are_not_run_again(whole, place):
    folder, _ = whole
    report, times = read(folder), {path: (folder / path / "results.json").stat().st_mtime_ns for path in RUNS}
    assert trained(finish(place.table())) == []
    assert {path: (folder / path / "results.json").stat().st_mtime_ns for path in RUNS} == times
    assert read(folder) == report


def test_killed_and_run_again(whole, place):
    """SIGKILL while the second seed trains; the same table as without."""
    folder = place.folder / "killed"
    process = place.table(workdir="killed")
    deadline, lines = time.time() + 120, folder / RUNS[1] / "metrics.jsonl"
    while not (lines.exists() and lines.read_bytes()) and process.poll() is None and time.time() < deadline:
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert (folder / RUNS[0] / "results.json").exists()
    assert not (folder / RUNS[2]).exists() and not (folder / "table.json").exists()
    kept = (folder / RUNS[0] / "results.json").stat().st_mtime_ns
    finish(place.table(workdir="killed"))
    assert (folder / RUNS[0] / "results.json").stat().st_mtime_ns == kept
    assert read(folder) == read(whole[0])


def test_side_by_side(whole, place):
    """Two processes share the runs, and the table of the one that ends last has all of them."""
    processes = [place.table(workdir="shared") for _ in range(2)]
    printed = [finish(process) for process in processes]
    assert sorted(trained(printed[0]) + trained(printed[1])) == sorted(RUNS)
    assert read(place.folder / "shared") == read(whole[0])


def test_another_configuration_is_refused_and_the_rest_goes_on(whole, place):
    """Every run of `ours` differs; a row that is new is trained all the same."""
    folder = place.folder / "refused"
    shutil.copytree(whole[0] / "tiny/ours", folder / "tiny/ours")
    process = place.table("--set", "optim.learning_rate=0.01", "run.epochs=1", workdir="refused")
    printed, error = process.communicate(timeout=200)
    assert process.returncode == 2
    assert trained(printed) == RUNS[2:]
    assert "error: the report is incomplete, because 2 failed" in error and "learning_rate was 0.05, now 0.01" in error
    assert [cell["seeds"] for cell in read(folder)["cells"]] == [[], [0, 1]]
    assert "Traceback" not in error


def test_a_run_that_started_elsewhere_is_refused(whole, place):
    """--set run.init_from of a finished run is another run, although its folder would resume from its checkpoint."""
    folder = place.folder / "elsewhere"
    shutil.copytree(whole[0] / "tiny", folder / "tiny")
    process = place.table("--set", f"run.init_from={folder / RUNS[0]}", workdir="elsewhere")
    printed, error = process.communicate(timeout=200)
    assert process.returncode == 2
    assert trained(printed) == []
    assert "run.init_from None, not with" in printed + error and "Traceback" not in error


def test_only_report(whole, place):
    folder = place.folder / "half"
    for path in RUNS[:3]:
        shutil.copytree(whole[0] / path, folder / path)
    printed = finish(place.table("--only-report", workdir="half"))
    assert "not finished: 1\n" in printed and not (folder / RUNS[3]).exists()
    report = read(folder)
    assert report["cells"][1]["missing"] == [1]
    (comparison,) = report["comparisons"]
    assert comparison["seeds"] == [0]
    assert [row["seeds"] for row in report["by_popularity"]["slices"][:2]] == [[0, 1], [0]]
    with np.load(folder / RUNS[0] / "ranks.npz", allow_pickle=False) as ranks:
        assert comparison["metrics"]["HR@5"]["value"] == pytest.approx(ranking_metrics(ranks["test_ranks"])["HR@5"])


def test_runs_of_other_data_are_not_compared(whole, place):
    folder = place.folder / "other"
    shutil.copytree(whole[0] / "tiny", folder / "tiny")
    results = folder / RUNS[2] / "results.json"
    results.write_text(re.sub(r'"hash": "\w{8}', '"hash": "00000000', results.read_text()))
    error = finish(place.table("--only-report", workdir="other"), returncode=2)
    assert "ours and popularity on tiny have different data" in error
    report = read(folder)
    assert len(report["cells"]) == 2 and report["comparisons"] == [] and report["by_popularity"]["slices"] == []
    told = r"tiny is left out: .*/data: it is not the dataset of popularity's run with seed 0\. .*--data"
    assert re.search(told, (folder / "table.md").read_text())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--system", "kda"], "Unrecognized options|unrecognized"),
        (["--set", "run.epoch=3"], "field 'run.epoch': there is no such option. Perhaps you mean run.epochs"),
        (["--claim", "0"], "field '--claim': expected an integer >= 1"),
        (["--variants", "/nowhere.toml"], "/nowhere.toml: cannot read"),
    ],
)
def test_mistakes_on_the_command_line(arguments, message, place):
    error = finish(place.start("table", "--datasets", "tiny", "--systems", "rcf", *arguments), returncode=2)
    assert re.search(message, error) and "Traceback" not in error
