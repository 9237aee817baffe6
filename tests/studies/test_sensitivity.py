"""Figure 6 through the command: trained, averaged, drawn."""

import json
import xml.etree.ElementTree

import numpy as np
import pytest
from matplotlib.image import imread

from tests.studies.conftest import RCF, finish

LATENT, WEIGHTS = (2, 3), ("0.1", "10")


@pytest.fixture(scope="module")
def study(place):
    """The folder of a study whose runs have one epoch, and what it printed."""
    (place.configs / "tiny/rcf_lrd.toml").write_text(RCF.replace('"rcf"', '"rcf_lrd"\nclassifier_input = "id"'))
    words = ["--dataset", "tiny", "--system", "rcf_lrd", "--latent", "2,3", "--weights", ",".join(WEIGHTS)]
    printed = finish(place.start("sensitivity", *words, "--set", "run.epochs=1", workdir="sensitivity"))
    return place.folder / "sensitivity", printed


def test_averages_are_those_of_the_runs(study):
    folder, printed = study
    report = json.loads((folder / "sensitivity-tiny-rcf_lrd.json").read_text())
    for split in ("dev", "test"):
        runs = np.array(
            [
                [
                    json.loads((folder / f"tiny/rcf_lrd-latent{n}-weight{w}/seed0/results.json").read_text())[split]
                    for w in WEIGHTS
                ]
                for n in LATENT
            ]
        )
        values = np.vectorize(lambda metrics: metrics["NDCG@5"])(runs)  # [latent, weights]
        assert len(np.unique(values)) > 2  # so that the two options cannot be taken for each other
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
