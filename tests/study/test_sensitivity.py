"""Figure 6 through the command: trained, averaged, drawn."""

import json
import xml.etree.ElementTree

import numpy as np
import polars as pl
import pytest
from matplotlib.image import imread

from lrd_jax.ranking.metrics import ranking_metrics
from lrd_jax.runs.folder import RunWriter, open_run_folder
from lrd_jax.study.cells import make_cells, sensitivity_variants
from lrd_jax.training.setup import resolve
from tests.study.conftest import RCF, finish

pytestmark = pytest.mark.process

LATENT, WEIGHTS = (2, 3), (0.1, 10.0)


@pytest.fixture(scope="module")
def study(place):
    """The folder of a study, which found three runs finished and trained one, and what it printed."""
    (place.configs / "tiny/rcf_lrd.toml").write_text(
        RCF.replace('"rcf"', '"rcf_lrd"\nclassifier_input = "id"').replace("epochs = 4", "epochs = 1")
    )
    folder, arguments = place.folder / "sensitivity", {"options": {}, "configs": place.configs}
    variants, folders = sensitivity_variants("rcf_lrd", LATENT, WEIGHTS), {"tiny": place.folder / "data"}
    _, *others = make_cells(["tiny"], variants, folder, folders=folders, **arguments)
    for number, cell in enumerate(others):
        pretend_to_have_run(resolve(cell.config.for_seed(0)), np.arange(1, 61) // (number + 2) + 1)
    words = ["--dataset", "tiny", "--system", "rcf_lrd", "--latent", "2,3", "--weights", "0.1,10"]
    printed = finish(place.start("sensitivity", *words, workdir="sensitivity"))
    assert printed.count("interactions;") == 1  # one was trained
    return folder, printed


def pretend_to_have_run(config, ranks):
    """A finished run with these ranks in both splits."""
    open_run_folder(config.run_folder, config, resume=False)
    writer = RunWriter(config.run_folder)
    split = np.arange(1, 61), pl.repeat(None, 60, dtype=pl.String, eager=True), ranks
    writer.write_ranks(dev=split, test=split)
    metrics = ranking_metrics(ranks)
    of_run = {"best_epoch": 1, "epochs": 1, "seconds": 0.5, "device": "1 x cpu"}
    writer.write_results(dev=metrics, test=metrics, config=config, dataset_hash="0", fingerprint="0", **of_run)
    writer.close()


def test_averages_are_those_of_the_runs(study):
    folder, printed = study
    report = json.loads((folder / "sensitivity-tiny-rcf_lrd.json").read_text())
    for split in ("dev", "test"):
        runs = np.array(
            [
                [
                    json.loads((folder / f"tiny/rcf_lrd-latent{n}-weight{w:g}/seed0/results.json").read_text())[split]
                    for w in WEIGHTS
                ]
                for n in LATENT
            ]
        )
        values = np.vectorize(lambda metrics: metrics["NDCG@5"])(runs)  # [latent, weights]
        assert len(np.unique(values)) == 4  # so that no option or value can be taken for another
        averages = report["averages"]
        assert [row["value"] for row in averages["num_latent_relations"]] == [2, 3]
        assert [row["value"] for row in averages["lrd_weight"]] == [0.1, 10]
        assert [row[split] for row in averages["num_latent_relations"]] == pytest.approx(values.mean(axis=1))
        assert [row[split] for row in averages["lrd_weight"]] == pytest.approx(values.mean(axis=0))
    assert f"{values[:, 1].mean():.4f}" in printed and "NDCG@5 by lrd_weight" in printed


def test_figures_are_drawn(study):
    folder, _ = study
    pixels = imread(folder / "sensitivity-tiny-rcf_lrd.png")
    assert pixels.shape[0] > 300 and len(np.unique(pixels)) > 10  # not one colour
    drawn = xml.etree.ElementTree.parse(folder / "sensitivity-tiny-rcf_lrd.svg")
    assert sum(1 for _ in drawn.iter("{http://www.w3.org/2000/svg}path")) > 20
