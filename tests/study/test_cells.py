"""What a study is to run."""

from pathlib import Path

import pytest

from lrd_jax.config.schema import Config
from lrd_jax.errors import UserError
from lrd_jax.study.cells import (
    ablation_variants,
    make_cells,
    parse_folders,
    parse_options,
    read_variants,
    sensitivity_variants,
    system_variants,
)
from lrd_jax.study.space import Range, paper_space, read_space

VARIANTS = """\
[variants.kda]
system = "kda"

[variants.light]
system = "kda_lrd"
base = "kda"
loss.lrd_weight = 1
"model.classifier_input" = "id"

[variants.light.optim]
learning_rate = 1e-2
"""


def cells(variants, datasets=("office",), **changes):
    arguments = {"folders": {}, "options": {}, "configs": None} | changes
    return make_cells(datasets, variants, Path("out"), **arguments)


def test_published_configurations_are_the_base():
    found = cells(system_variants(["kda_lrd", "kda", "rcf"]), ["ml-100k", "office"])
    assert [(cell.dataset, cell.variant, cell.base) for cell in found[:3]] == [
        ("ml-100k", "kda_lrd", "kda"),
        ("ml-100k", "kda", None),
        ("ml-100k", "rcf", None),
    ]
    assert len(found) == 6 and found[3].config.model.num_latent_relations == 8
    assert [run.run_folder for run in found[3].runs((0, 4))] == [Path(f"out/office/kda_lrd/seed{n}") for n in (0, 4)]
    assert [run.run.seed for run in found[3].runs((0, 4))] == [0, 4]


def test_base_must_be_present_to_compare():
    assert [variant.base for variant in system_variants(["kda_lrd", "rcf", "rcf_lrd"])] == [None, None, "rcf"]


def test_what_overrides_what(tmp_path):
    (tmp_path / "variants.toml").write_text(VARIANTS)
    variants = read_variants(tmp_path / "variants.toml")
    (_, light) = cells(variants, options={"optim.learning_rate": 0.5, "run.epochs": 3}, folders={"office": Path("/x")})
    assert (light.variant, light.base, light.config.model.name) == ("light", "kda", "kda_lrd")
    assert (light.config.loss.lrd_weight, light.config.model.classifier_input) == (1.0, "id")
    assert (light.config.optim.learning_rate, light.config.run.epochs) == (0.5, 3)
    assert light.config.model.num_latent_relations == 8  # of the published file
    assert light.config.data.path == Path("/x")


def test_ablation():
    found = {cell.variant: cell for cell in cells(ablation_variants("kda_lrd"))}
    assert list(found) == ["kda_lrd", "kda_lrd-without-llm", "kda_lrd-without-kge", "kda"]
    assert [cell.base for cell in found.values()] == [None, "kda_lrd", "kda_lrd", "kda_lrd"]
    assert found["kda_lrd-without-llm"].config.model.classifier_input == "id"
    assert found["kda_lrd-without-kge"].config.loss.kg_weight == 0
    assert found["kda"].config.model.name == "kda"
    assert found["kda_lrd"].config == cells(system_variants(["kda_lrd"]))[0].config  # the same run as in a table


def test_sensitivity():
    found = cells(sensitivity_variants("rcf_lrd", (5, 6), (0.1, 10.0)))
    assert [cell.variant for cell in found][:2] == ["rcf_lrd-latent5-weight0.1", "rcf_lrd-latent5-weight10"]
    chosen = [(cell.config.model.num_latent_relations, cell.config.loss.lrd_weight) for cell in found]
    assert chosen == [(5, 0.1), (5, 10.0), (6, 0.1), (6, 10.0)]


def test_words():
    assert parse_folders(["a=/x/y", "b=z=1"]) == {"a": Path("/x/y"), "b": Path("z=1")}
    words = ["optim.learning-rate=1e-3", "model.decay_init=flat", "run.epochs=3", "model.include_value=false"]
    assert parse_options(words) == {
        "optim.learning_rate": 1e-3,
        "model.decay_init": "flat",
        "run.epochs": 3,
        "model.include_value": False,
    }


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: parse_folders(["a"]), "'--data': cannot read 'a'.*NAME=FOLDER"),
        (lambda: parse_options(["run.epochs"]), "'--set': cannot read 'run.epochs'.*section.option=value"),
        (lambda: parse_options(["epochs=3"]), "'--set': 'epochs' is not an option"),
        (lambda: parse_options(["run.epochs=3", "run.epochs=4"]), "run.epochs is given twice"),
        (lambda: cells(system_variants(["kda"]), options={"run.epoch": 3}), "run.epoch'.*you mean run.epochs"),
        (lambda: cells(system_variants(["kda"]), options={"run.epochs": "many"}), "'run.epochs': expected an integer"),
        (
            lambda: cells(system_variants(["kda"]), options={"run.seed": 1}),
            "'run.seed': this option cannot be set.*--seeds",
        ),
        (lambda: cells(system_variants(["kdda"])), "no configuration of kdda on office.*Choose one of .*kda, kda_lrd"),
        (lambda: cells(system_variants(["kda"]), ["offic"]), "kda on offic.*The datasets are .*office"),
        (lambda: cells(system_variants(["kda", "kda"])), "the variant 'kda' is given twice"),
        (lambda: cells(system_variants(["kda"]), ["../x"]), "'../x' is not a dataset name"),
        (lambda: cells(system_variants(["kda"]), folders={"x": Path("y")}), "--data names 'x'.*not among --datasets"),
        (lambda: ablation_variants("kda"), "'--system': kda has no latent relations.*kda_lrd"),
        (lambda: sensitivity_variants("rcf", (5,), (1.0,)), "rcf has no latent relations"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(UserError, match=message):
        make()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "expected only tables of variants"),
        ("[variants]\na = 1", "expected only tables of variants"),
        ("[variants.a]\nmodel.dropout = 0.1", "variants.a.system': the system is missing"),
        ('[variants.a]\nsystem = "kda"\nbase = "b"', "variants.toml: a has the base 'b'"),
        (
            '[variants.a]\nsystem = "kda"\n[variants.a.model]\ndropuot = 0.1',
            "variants.toml, line 4, field 'variants.a.model.dropuot'.*Perhaps you mean model.dropout",
        ),
        (
            '[variants.a]\nsystem = "kda"\n[variants.a.data]\npath = "x"',
            "'data.path': this option cannot be set.*--data",
        ),
        ("[variants.a", "line 1.*not valid TOML|not valid TOML"),
    ],
)
def test_mistakes_in_variants(text, message, tmp_path):
    (tmp_path / "variants.toml").write_text(text)
    with pytest.raises(UserError, match=message):
        cells(read_variants(tmp_path / "variants.toml"))


def test_space_of_the_paper():
    def sizes(system):
        config = Config.model_validate({"model": {"name": system}})
        return {key: len(choices) for key, choices in paper_space(config).items()}

    assert sizes("popularity") == {"optim.learning_rate": 3, "optim.l2": 4}
    assert sizes("kda") == {"optim.learning_rate": 3, "optim.l2": 4, "loss.kg_weight": 4}
    assert sizes("rcf_lrd") == sizes("kda") | {"loss.lrd_weight": 4, "model.num_latent_relations": 6}


def test_space_of_a_file(tmp_path):
    file = tmp_path / "space.toml"
    file.write_text('[space]\n"run.epochs" = {low = 1, high = 3}\n[space.optim]\nl2 = [0, 1e-6]\n')
    assert read_space(file, Config()) == {"run.epochs": Range(1, 3), "optim.l2": [0, 1e-6]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[spaces]\na = 1", r"expected one table \[space\]"),
        ('[space]\n"optim.l2" = 3', "'space.optim.l2': expected choices or a range, got 3"),
        ('[space]\n"optim.l2" = []', "expected choices or a range"),
        ('[space]\n"optim.l2" = {low = 0, high = 1, log = true}', "expected choices or a range"),
        ('[space]\n"optim.l2" = {low = 1, high = 0}', "expected choices or a range"),
        ('[space]\n"optim.l2" = {from = 1, to = 2}', "expected choices or a range"),
        ('[space]\n"optim.l3" = [1]', "space.toml.*'space.optim.l3'.*The options of .optim. are learning_rate, l2"),
        ('[space]\n"optim.l2" = [1, -1]', "'space.optim.l2': expected a number >= 0"),
    ],
)
def test_mistakes_in_spaces(text, message, tmp_path):
    (tmp_path / "space.toml").write_text(text)
    with pytest.raises(UserError, match=message):
        read_space(tmp_path / "space.toml", Config())
