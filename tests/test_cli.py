"""The command line and the configuration files, as processes where that matters."""

import re
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import get_args

import pytest

from lrd_jax.command_line.parse import parse_config, run_command
from lrd_jax.config.schema import Config, ModelConfig
from lrd_jax.config.toml_file import (
    config_difference,
    config_to_toml,
    find_line,
    flatten,
    load_config,
    stated_options,
)
from lrd_jax.errors import UserError

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*/*.toml"))


def train(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "lrd_jax.train", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


def refused(toml: str, folder: Path) -> str:
    """Message of the refusal of a TOML text."""
    (folder / "run.toml").write_text(toml)
    with pytest.raises(UserError) as error:
        load_config(folder / "run.toml")
    return str(error.value)


@pytest.mark.process
def test_help_shows_every_option():
    answer = train("--help")
    assert answer.returncode == 0
    for key in [*flatten(Config()), "config", "resume", "seeds"]:
        assert f"--{key.replace('_', '-')}" in answer.stdout
    shown = " ".join(re.sub("[│╭╮╰╯─]", " ", answer.stdout).split())
    assert "Attention heads; must divide the embedding width. (default: 4)" in shown
    assert "Which interactions to learn from." in shown
    assert "--seeds N,N,... Train with these seeds, at once where memory allows" in shown


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--optim.lerning-rate", "3"], ["--optim.lerning-rate", "--optim.learning-rate FLOAT"]),
        (["--seed", "3"], ["--seed", "--run.seed INT"]),
        (["--optim.learning-rate", "fast"], ["--optim.learning-rate", "float", "'fast'"]),
        (["--run.epochs", "1.5"], ["--run.epochs", "int", "'1.5'"]),
        (["--model.name", "kad"], ["--model.name", "'kda'", "'kda_lrd'"]),
        (["--optim.l2", "-1"], ["--optim.l2", "a number >= 0.0", "-1.0"]),
        (["--optim.l2", "nan"], ["--optim.l2", "a number >= 0.0", "nan"]),
        (
            ["--loss.rec-objective", "gbce"],
            ["--loss.rec-objective", "kda_lrd is not trained with gbce", "Leave it at bpr"],
        ),
        (["--model.num-heads", "5"], ["embedding_dim (64) must be a multiple of num_heads (5)"]),
        (["--config", "missing.toml"], ["missing.toml", "cannot read", "No such file"]),
        (["stray"], ["stray"]),
    ],
)
def test_mistakes_on_the_command_line(arguments, expected, capsys):
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: parse_config(arguments))
    assert stop.value.code == 2
    printed, told = capsys.readouterr()
    assert printed == ""
    assert "Traceback" not in told and "pydantic" not in told
    for part in expected:
        assert part in told


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("[optim]\nl2 = 0.0\nlerning_rate = 1e-3\n", ["line 3", "optim.lerning_rate", "mean optim.learning_rate."]),
        ("[optim]\nlearning-rate = 1e-3\n", ["line 2", "optim.learning-rate", "mean optim.learning_rate."]),
        ("learning_rate = 1e-3\n", ["line 1", "learning_rate", "mean optim.learning_rate."]),
        ("model.seed = 1\n", ["line 1", "model.seed", "mean run.seed."]),
        ("[optim]\nquantity = 1\n", ["line 2", "optim.quantity", "learning_rate, l2, batch_size"]),
        ("[optimiser]\nl2 = 0\n", ["line 1", "optimiser", "mean [optim]."]),
        ("[zzz]\nl2 = 0\n", ["line 1", "zzz", "data, text, model, loss, optim, run"]),
        ('[optim]\nlearning_rate = "5e-4"\n', ["line 2", "optim.learning_rate", "a number > 0.0", "'5e-4'"]),
        ("[run]\nepochs = 1.5\n", ["line 2", "run.epochs", "an integer >= 1", "1.5"]),
        ("[run]\nepochs = true\n", ["line 2", "run.epochs", "an integer >= 1", "True"]),
        ("[data]\npath = 3\n", ["line 2", "data.path", "a path", "got 3"]),
        ('[model]\nname = "kad_lrd"\n', ["line 2", "model.name", "'rcf', 'kda'", "mean 'kda_lrd'."]),
        ("[model]\ninclude_value = 1\n", ["line 2", "model.include_value", "true or false", "got 1"]),
        ("[model]\nnum_dft_points = 7\n", ["line 2", ">= 2 and a multiple of 2", "got 7"]),
        ('[loss]\nkg_weight = "aut"\n', ["line 2", "loss.kg_weight", "'auto' or a number >= 0.0", "mean 'auto'."]),
        ("[loss]\nkg_weight = -1\n", ["line 2", "loss.kg_weight", "'auto' or a number >= 0.0", "got -1"]),
        ("[optim]\nl2 = inf\n", ["line 2", "optim.l2", "a number >= 0.0", "got inf"]),
        ("[model]\nembedding_dim = 30\n", ["line 1", "'model'", "embedding_dim (30)", "num_heads (4)"]),
        ('model = "kda"\n', ["line 1", "'model'", "a table of options", "'kda'", "[model]"]),
        ("[model]\nname = kda\n", ["line 2", "not valid TOML"]),
        ("[run]\nseed = 1\nseed = 2\n", ["line 3", "not valid TOML"]),
        ("[run", ["not valid TOML"]),
        (
            '[loss]\nnum_negatives = 2\nrec_objective = "gbce"\n',
            ["line 3", "'loss.rec_objective'", "kda_lrd is not trained with gbce", "sasrec"],
        ),
        (
            '[model]\nname = "sasrec"\n[loss]\nrec_objective = "cross_entropy"\n[optim]\nupdate = "lazy"\n',
            ["line 6", "'optim.update'", "every item", "Use dense updates"],
        ),
        (
            '[data]\nhistory_length = 3\n[model]\nname = "caser"\n',
            ["'model.max_filter_height'", "4 items does not fit into data.history_length (3)", "Lower it"],
        ),
        ("run.seed = 1979-05-27\n", ["line 1", "run.seed", "an integer", "1979-05-27"]),
    ],
)
def test_mistakes_in_a_file(toml, expected, tmp_path):
    message = refused(toml, tmp_path)
    assert message.startswith(str(tmp_path / "run.toml"))
    for part in expected:
        assert part in message


def test_file_that_is_no_text(tmp_path):
    (tmp_path / "run.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="UTF-8"):
        load_config(tmp_path / "run.toml")
    with pytest.raises(UserError, match="cannot read"):
        load_config(tmp_path)


def test_command_line_overrides_file_overrides_defaults(tmp_path):
    (tmp_path / "run.toml").write_text('[data]\npath = "some/where"\n[optim]\nlearning_rate = 0.5\nbatch_size = 7\n')
    config, flags = parse_config(
        ["--config", str(tmp_path / "run.toml"), "--optim.learning-rate", "5e-4", "--model.no-include-value"]
    )
    assert (config.optim.learning_rate, config.optim.batch_size, config.optim.l2) == (5e-4, 7, 1e-6)
    assert config.data.path == Path("some/where")
    assert config.model.include_value is False
    assert flags.resume is False
    config, flags = parse_config(["--resume", "--data.path", "a", "--run.workdir", "b", "--loss.kg-weight", "2"])
    assert (config.data.path, config.run.workdir, config.loss.kg_weight) == (Path("a"), Path("b"), 2.0)
    assert flags.resume is True
    assert parse_config([])[0] == Config()


def test_run_folders_that_say_touched_are_read_as_lazy(tmp_path):
    """Earlier versions wrote that word."""
    toml = config_to_toml(parse_config(["--optim.update", "lazy"])[0])
    (tmp_path / "earlier.toml").write_text(toml.replace('update = "lazy"', 'update = "touched"'))
    (tmp_path / "now.toml").write_text(toml)
    assert load_config(tmp_path / "earlier.toml") == load_config(tmp_path / "now.toml")
    assert load_config(tmp_path / "now.toml").optim.update == "lazy"
    with pytest.raises(SystemExit, match="2"):
        parse_config(["--optim.update", "touched"])


def test_options_that_were_given_are_known_from_defaults(tmp_path):
    """Also where they were given their default, by any spelling."""
    (tmp_path / "some.toml").write_text("[model]\nnum_heads = 4\n[optim]\nl2 = 1e-5\n")
    words = ["--config", str(tmp_path / "some.toml"), "--model.include-value", "--model.num_layers=1"]
    config, _ = parse_config([*words, "--model.longest-time-unit", "None"])
    given = {"include_value", "num_heads", "num_layers", "longest_time_unit"}
    assert stated_options(config) == {f"model.{name}" for name in given} | {"optim.l2"}
    defaults = config.model_copy(update={"optim": Config().optim})
    assert defaults == Config() and not stated_options(parse_config([])[0])
    assert stated_options(parse_config(["--model.no-include-value"])[0]) == {"model.include_value"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_config_loads(path):
    config = load_config(path)
    assert config.model.name == path.stem
    assert config.dataset_name == path.parent.name
    defaults = flatten(Config())
    for line in path.read_text().splitlines():  # differences only
        if (name := line.partition(" = ")[0]) != line and not line.startswith("#"):
            assert any(key.endswith(f".{name}") and flatten(config)[key] != defaults[key] for key in defaults), line


def test_every_model_has_a_config_for_every_dataset():
    models = get_args(ModelConfig.model_fields["name"].annotation)
    datasets = ("electronics", "ml-100k", "office")
    assert [(path.parent.name, path.stem) for path in CONFIGS] == [*product(datasets, sorted(models))]


def test_latent_relations_as_published():
    latent = {f"{path.parent.name}/{path.stem}": load_config(path).model.num_latent_relations for path in CONFIGS}
    assert {name: count for name, count in latent.items() if name.endswith("lrd")} == {
        "electronics/kda_lrd": 8,
        "electronics/rcf_lrd": 5,
        "ml-100k/kda_lrd": 6,
        "ml-100k/rcf_lrd": 6,
        "office/kda_lrd": 8,
        "office/rcf_lrd": 5,
    }


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--data.path", 'quo"te\\d', "--loss.kg-weight", "1", "--run.seed", "7", "--optim.l2", "1e-300"],
        ["--run.workdir", "x y", "--model.no-include-value", "--model.pooling", "max"],
    ],
)
def test_resolved_configuration_reads_back_equal(arguments, tmp_path):
    config, _ = parse_config(arguments)
    (tmp_path / "config.toml").write_text(config_to_toml(config))
    assert load_config(tmp_path / "config.toml") == config
    assert parse_config(["--config", str(tmp_path / "config.toml")])[0] == config


def test_difference_leaves_out_the_run_folder():
    old, _ = parse_config([])
    new, _ = parse_config(["--run.workdir", "elsewhere", "--run.epochs", "3", "--model.pooling", "max"])
    assert config_difference(old, new) == [("model.pooling", "mean", "max"), ("run.epochs", 200, 3)]


def test_run_folder():
    assert Config().run_folder == Path("runs/ml-100k-kda_lrd-seed0")
    assert parse_config(["--data.path", "data/office/", "--run.seed", "3"])[0].run_folder == Path(
        "runs/office-kda_lrd-seed3"
    )
    assert parse_config(["--run.workdir", "w"])[0].run_folder == Path("w")


def test_find_line():
    text = "# model.name\nrun.seed = 1\n[ model ]\n  name = 'x'\n"
    assert [find_line(text, key) for key in ("run.seed", "model", "model.name", "model.x")] == [2, 3, 4, None]


def test_run_command_tells_without_a_traceback(capsys):
    def bad_input():
        raise UserError("the list does not parse", file="a.csv", line=3, field="items", remedy="Write it as JSON")

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stop:
        run_command(bad_input)
    assert stop.value.code == 2
    expected = "error: a.csv, line 3, field 'items': the list does not parse. Write it as JSON.\n"
    assert capsys.readouterr().err == expected
    with pytest.raises(SystemExit) as stop:
        run_command(interrupted)
    assert stop.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"
    run_command(lambda: None)


PUBLISHED = sorted((ROOT / "configs/published").glob("*/*.toml"))


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_configs_of_the_published_experiment(path):
    """The published settings, and besides them only what the published code does otherwise than we do."""
    config, usual = load_config(path), load_config(ROOT / "configs" / path.parent.name / path.name)
    differences = {key: now for key, _, now in config_difference(usual, config)}
    expected = {"loss.negatives": "published", "run.early_stopping": "published", "run.patience": 5}
    assert config.data.path == Path("data") / ("ml-100k-published" if path.parent.name == "ml-100k" else "office")
    if config.model.discovers_relations:
        expected["loss.history_negatives"] = "published"
    if path.stem.startswith("kda"):
        expected["model.decay_init"] = "random"
    if path.stem == "tisasrec":
        expected["model.longest_time_unit"] = 65_535
    assert differences == expected and config.leak


TRAINED = [path for path in CONFIGS if path.stem not in ("popularity", "item_knn")]


@pytest.mark.parametrize("path", TRAINED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_configs_hold_the_published_settings(path):
    """Every value of design section 2, so that a change of the quick start's defaults cannot change them unseen."""
    config, dataset = load_config(path), path.parent.name
    latent = 6 if dataset == "ml-100k" else {"kda_lrd": 8, "rcf_lrd": 5}.get(path.stem, 6)
    assert (config.model.name, config.data.history_length, config.run.patience) == (path.stem, 20, 10)
    assert (config.model.embedding_dim, config.model.dropout) == (64, 0.0)
    assert (config.optim.batch_size, config.loss.num_negatives) == (256, 1)
    slow = ("rcf", "rcf_lrd", "sasrec", "tisasrec")
    assert config.optim.learning_rate == (1e-4 if path.stem in slow else 1e-3)
    assert config.optim.l2 == (1e-4 if path.stem in ("caser", "gru4rec") else 1e-6)
    if not config.model.is_relational:
        assert config.loss.rec_objective == "bpr"
        assert (config.model.num_layers, config.model.time_max, config.model.gru_hidden_dim) == (1, 512, 100)
        return
    assert (config.model.num_layers, config.model.num_heads) == (5, 4)
    assert (config.model.pooling, config.model.include_value) == ("mean", True)
    assert config.loss.kg_weight == "auto"
    if config.model.discovers_relations:
        loss = config.loss
        assert (loss.lrd_objective, loss.lrd_weight, loss.entropy_weight) == ("released", 10.0, 0.1)
        assert config.model.num_latent_relations == latent
