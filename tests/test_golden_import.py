"""Whole models of the published code: imported with its scores and ranks, and exported as they came."""

import os
from pathlib import Path

import jax
import numpy as np
import pytest

from lrd_jax.config.schema import Config
from lrd_jax.config.toml_file import load_config
from lrd_jax.errors import UserError
from lrd_jax.interop.export_weights import export_run
from lrd_jax.interop.import_weights import import_state
from lrd_jax.interop.score_check import check_scores
from lrd_jax.training.load import load_trained
from tests.small_runs import quickly_compiled

FOLDER = Path(__file__).parent / "golden_import"


def relational(num_layers, num_heads, pooling, include_value=True):
    options = {"num_layers": num_layers, "num_heads": num_heads, "pooling": pooling, "include_value": include_value}
    return {f"model.{name}": value for name, value in options.items()} | {"data.history_length": 20}


UNTOLD = {
    "caser": {},
    "gru4rec": {"data.history_length": 20},
    "gru4rec_rechorus": {"data.history_length": 20},
    "sasrec": {"model.num_heads": 2},
    "tisasrec": {"model.num_heads": 2, "model.longest_time_unit": 65535},
    "tisasrec_rechorus": {"model.num_heads": 2, "model.longest_time_unit": None},
    "rcf": relational(1, 2, "mean"),
    "kda": relational(2, 4, "mean", include_value=False),
    "kda_rechorus": relational(2, 2, "max"),
    "rcf_lrd": {option: value for option, value in relational(1, 1, "").items() if option != "model.pooling"},
    "kda_lrd": relational(3, 2, "mean"),
}


def configured(model, data, out, options):
    sections = {"data": {"path": data}, "model": {"name": model}, "run": {"workdir": out, "cpu_devices": 2}}
    for option, value in options.items():
        section, name = option.split(".")
        sections[section][name] = value
    return Config.model_validate(sections)


def arrays(path):
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with quickly_compiled():
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """name → the run folder of a fixture, imported at first use."""
    place = tmp_path_factory.mktemp("golden_import")

    def imported(name):
        if not (place / name).exists():
            config = configured(name.removesuffix("_rechorus"), FOLDER / "tiny", place / name, UNTOLD[name])
            import_state(FOLDER / f"{name}_state.npz", config, check=FOLDER / f"{name}_test.npz")
        return place / name

    return imported


@pytest.mark.parametrize("name", UNTOLD)
def test_the_published_code_s_scores_and_ranks(runs, name):
    trained, path = load_trained(runs(name)), FOLDER / f"{name}_test.npz"
    checked = check_scores(path, trained.run, trained.params)
    assert (checked.rows, checked.scores, checked.ranks_off, checked.scores_off) == (60, 1500, 0, 0)
    assert checked.largest < 1e-4
    theirs, ours = arrays(path), arrays(runs(name) / "ranks.npz")
    by_user = lambda users, ranks: ranks[np.argsort(users)]  # noqa: E731 - each user has one row
    expected = by_user(theirs["user_id"], theirs["rank"])
    np.testing.assert_array_equal(by_user(ours["test_users"], ours["test_ranks"]), expected)


@pytest.mark.parametrize("name", UNTOLD)
def test_exported_as_it_came_and_imported_again(runs, name, tmp_path):
    out = tmp_path / "state.npz"
    assert export_run(runs(name), out) == UNTOLD[name]
    theirs, ours = arrays(FOLDER / f"{name}_state.npz"), arrays(out)
    if "item_bias.weight" in theirs:
        rows = 71  # padding and 70 items; then comes the row to spare
        assert ours["item_bias.weight"].shape == (rows + 1, 1) and not ours["item_bias.weight"][rows]
        for state in (theirs, ours):
            state["item_bias.weight"] = state["item_bias.weight"][:rows]
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        np.testing.assert_array_equal(ours[key], value, err_msg=key)
    if name.endswith("_rechorus"):
        return  # the eight systems once are enough
    import_state(out, configured(name, FOLDER / "tiny", tmp_path / "again", UNTOLD[name]))
    first, again = load_trained(runs(name)), load_trained(tmp_path / "again")
    jax.tree.map(np.testing.assert_array_equal, again.params, first.params)
    for key, ranks in arrays(runs(name) / "ranks.npz").items():
        np.testing.assert_array_equal(arrays(tmp_path / "again" / "ranks.npz")[key], ranks)


def test_options_that_do_not_follow_from_shapes_are_required(tmp_path):
    for name, untold in UNTOLD.items():
        for missing in untold:
            stated = {option: value for option, value in untold.items() if option != missing}
            config = configured(name.removesuffix("_rechorus"), FOLDER / "tiny", tmp_path / "run", stated)
            with pytest.raises(UserError, match="--assume-published") as caught:
                import_state(FOLDER / f"{name}_state.npz", config)
            assert "--" + missing.replace("_", "-") in str(caught.value)
            assert not any("--" + option.replace("_", "-") in str(caught.value) for option in stated)
    assert not (tmp_path / "run").exists()


def test_published_values_are_assumed_printed_and_kept(tmp_path, capsys):
    config = configured("kda", FOLDER / "tiny", tmp_path / "run", {"model.include_value": False, "model.num_layers": 2})
    import_state(FOLDER / "kda_state.npz", config, assume_published=True, check=FOLDER / "kda_test.npz")
    said = capsys.readouterr().out
    assert "assumed as published: --model.num-heads 4 --model.pooling mean --data.history-length 20\n" in said
    assert "check: 0 of 60 ranks differ, and 0 of 1,500 scores" in said
    kept = load_config(tmp_path / "run" / "config.toml")
    assert (kept.model.num_heads, kept.model.pooling, kept.data.history_length) == (4, "mean", 20)
    assert (kept.model.num_layers, kept.model.include_value) == (2, False)


@pytest.mark.parametrize("wrong", [{"model.num_heads": 2}, {"model.num_layers": 1}, {"model.pooling": "max"}])
def test_check_finds_wrong_options(tmp_path, wrong):
    config = configured("kda", FOLDER / "tiny", tmp_path / "run", UNTOLD["kda"] | wrong)
    with pytest.raises(UserError, match=r"\d+ of 60 ranks differ, and [1-9].* of 1,500 scores.*No run folder was made"):
        import_state(FOLDER / "kda_state.npz", config, check=FOLDER / "kda_test.npz")
    assert not (tmp_path / "run").exists()


def test_check_counts_what_differs(runs, tmp_path):
    trained = load_trained(runs("caser"))
    theirs = arrays(FOLDER / "caser_test.npz")
    shuffled = {name: value[::-1].copy() for name, value in theirs.items()}
    shuffled["rank"][[3, 5]] += 1
    shuffled["scores"][0, :4] += 0.01
    shuffled["scores"][1, 0] = np.nan
    np.savez(tmp_path / "off.npz", **shuffled)
    checked = check_scores(tmp_path / "off.npz", trained.run, trained.params)
    assert (checked.rows, checked.ranks_off, checked.scores_off) == (60, 2, 5)
    assert str(checked).startswith("2 of 60 ranks differ, and 5 of 1,500 scores by more than 0.0001")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"scores": None}, "'scores'.*missing"),
        ({"rank": lambda x: x[1:]}, "'rank'.*one row per user_id"),
        ({"scores": lambda x: x[:, :9]}, r"'scores'.*\(60, 25\).*\(60, 9\)"),
        ({"user_id": lambda x: x * 0 + 1}, "row 0: test.csv has no row of user 1 and item|row 1"),
        ({"item_id": lambda x: x + 1000}, "row 0: test.csv has no row of user"),
        ({name: lambda x: x[[0, 0]] for name in ("user_id", "item_id", "scores", "rank")}, "row 1: .* left"),
    ],
)
def test_files_that_cannot_be_checked(runs, tmp_path, change, told):
    trained, theirs = load_trained(runs("caser")), arrays(FOLDER / "caser_test.npz")
    for name, value in change.items():
        theirs[name] = value if value is None else value(theirs[name])
    path = tmp_path / "test.npz"
    np.savez(path, **{name: value for name, value in theirs.items() if value is not None})
    with pytest.raises(UserError, match=f"^{path}, .*{told}"):
        check_scores(path, trained.run, trained.params)


def test_what_cannot_be_exported(runs, tmp_path):
    (tmp_path / "there.npz").write_bytes(b"mine")
    for out, told in {
        "there.npz": "there.npz, field '--out': the file already exists. Choose another file",
        "state.bin": "state.bin, field '--out': this format cannot be written",
        "nowhere/state.npz": "its folder does not exist",
    }.items():
        with pytest.raises(UserError, match=told):
            export_run(runs("caser"), tmp_path / out)
    with pytest.raises(UserError, match="there is no run"):
        export_run(tmp_path, tmp_path / "state.npz")
    assert sorted(os.listdir(tmp_path)) == ["there.npz"] and (tmp_path / "there.npz").read_bytes() == b"mine"
