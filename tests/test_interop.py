"""`python -m lrd_jax.interop`: golden files compared, weights of the published code brought in."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lrd_jax.config.schema import Config
from lrd_jax.config.toml_file import load_config
from lrd_jax.data.synthetic import write_synthetic
from lrd_jax.errors import UserError
from lrd_jax.interop.export_weights import export_run
from lrd_jax.interop.import_weights import import_state
from lrd_jax.interop.parameter_names import TEXT, TIED, state_of
from lrd_jax.interop.parity import compare_file
from lrd_jax.interop.score_check import check_scores
from lrd_jax.training.load import load_trained
from lrd_jax.training.loop import train_and_evaluate
from lrd_jax.training.seed_run import SeedRun
from lrd_jax.training.setup import assemble, resolve
from tests import golden_files

ROOT = Path(__file__).parents[1]
SHARED = Path(__file__).resolve().parents[2] / "shared"
GOLDEN = sorted(golden_files.FOLDER.glob("*.npz"))
DEVICES = "--xla_force_host_platform_device_count=2 --xla_cpu_multi_thread_eigen=false"


@pytest.fixture(scope="module", autouse=True)
def _two_devices():
    """As many in the processes as here, so that they share what is compiled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XLA_FLAGS", DEVICES)
        yield


def interop(*arguments):
    return command("interop", *arguments)


def command(name, *arguments):
    words = [sys.executable, "-m", f"lrd_jax.{name}", *map(str, arguments)]
    # Compiled without optimisation, which takes less time and must not matter.
    environment = os.environ | {"XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_backend_optimization_level=0"}
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def changed(tmp_path, name, changes):
    """A copy of a golden file with {key: array, function of the old one, or None to leave it out}."""
    with np.load(golden_files.FOLDER / f"{name}.npz") as file:
        arrays = {key: file[key] for key in file.files}
    for key, change in changes.items():
        if change is None:
            del arrays[key]
        else:
            arrays[key] = change(arrays[key]) if callable(change) else change
    np.savez(tmp_path / f"{name}.npz", **arrays)
    return tmp_path / f"{name}.npz"


def disagreeing(path):
    return [compared.name for compared in compare_file(path) if not compared.agrees]


@pytest.mark.process
def test_all_golden_files_agree():
    answer = interop("parity", *GOLDEN)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    lines = answer.stdout.splitlines()
    number = r"(\d\.\d\de-\d\d)"
    last = re.fullmatch(
        rf"parity: {len(GOLDEN)} files, max value difference {number}, max gradient difference {number}", lines[-1]
    )
    assert float(last[1]) <= 1e-5 and float(last[2]) <= 1e-4
    told = [line.split()[0] for line in lines if line.startswith("  ")]
    held = []
    for path in GOLDEN:
        with np.load(path) as file:
            held += [key for key in file.files if key.startswith(("out/", "grad/"))]
    assert sorted(told) == sorted(held)


@pytest.mark.process
def test_exit_codes(tmp_path):
    off = changed(tmp_path, "ranking_metrics", {"out/HR@5": lambda x: x + 2e-5})
    answer = interop("parity", golden_files.FOLDER / "ranking_metrics.npz", off)
    assert answer.returncode == 1 and re.search(r"out/HR@5 .*DIFFERS\n", answer.stdout), answer.stdout
    assert answer.stdout.endswith("parity: 2 files, max value difference 2.00e-05, max gradient difference 0.00e+00\n")
    answer = interop("parity", tmp_path / "nothing.npz")
    assert answer.returncode == 2 and answer.stderr.count("\n") == 1 and "nothing.npz" in answer.stderr


def one_off(by):
    """Changes one entry, the largest, so that the scale of an array stays."""

    def change(x):
        x = x.copy()
        x.flat[np.abs(x).argmax()] += by
        return x

    return change


@pytest.mark.parametrize(
    ("name", "key", "change"),
    [
        ("rcf", "out/prediction", one_off(2e-5)),
        ("rcf", "out/kg_prediction", one_off(-2e-5)),
        ("rcf", "out/kg_loss", lambda x: x + 2e-5),
        ("rcf", "out/loss", lambda x: x * np.nan),
        ("rcf", "grad/W2.bias", lambda x: x * np.float32(1 + 3e-4)),
        ("rcf", "grad/attn_head.q_linear.weight", one_off(1e-6)),
        ("rcf", "grad/item_bias.weight", lambda x: x * np.nan),
        ("rcf_lrd_released", "grad/item_embeddings.weight", lambda x: np.concatenate([x[:1] + 1, x[1:]])),
        ("gru4rec", "grad/out.weight", lambda x: x.T.reshape(x.shape)),
        ("lrd_paper", "out/mean_entropy", lambda x: x + 2e-5),
        ("lrd_paper", "out/posterior", one_off(2e-5)),
    ],
)
def test_a_difference_is_found(tmp_path, name, key, change):
    assert disagreeing(changed(tmp_path, name, {key: change})) == [key]


SCORES = {"out/prediction", "out/rec_loss", "out/loss"}
OPTIONS = {
    "hyper/gamma": (np.float32(0.0), {"out/loss"}),
    "hyper/lambda": (np.float32(0.0), {"out/loss"}),
    "hyper/drop_virtual": (np.bool_(True), {"out/loss", "out/lrd_loss"}),
    "hyper/include_value": (np.bool_(False), SCORES | {"out/kg_prediction", "out/kg_loss"}),
    "hyper/num_layers": (np.int64(1), SCORES),
    "hyper/num_heads": (np.int64(4), SCORES),
    "hyper/pooling": (np.str_("max"), SCORES),
}


@pytest.mark.process
def test_every_option_of_a_file_counts(tmp_path):
    paths = []
    for key, (value, _) in OPTIONS.items():
        (tmp_path / key).mkdir(parents=True)
        paths.append(changed(tmp_path / key, "rcf_lrd_released", {key: value}))
    answer = interop("parity", *paths)
    assert answer.returncode == 1, answer.stderr
    files = re.split(r"^/.*\n", answer.stdout, flags=re.MULTILINE)[1:]
    for lines, (key, (_, affected)) in zip(files, OPTIONS.items(), strict=True):
        assert set(re.findall(r"^  (out/\w+) .*DIFFERS$", lines, flags=re.MULTILINE)) == affected, key


def test_other_sizes(tmp_path):
    """Fewer rows, a shorter history, fewer candidates: what does not depend on the others stays as it was."""
    rows = [1, 3, 4, 5, 6]  # histories of 5 at most
    with np.load(golden_files.FOLDER / "kda.npz") as file:
        batch = {key: file[key] for key in file.files if key.startswith("batch/")}
        predictions = {key: file[key][rows] for key in ("out/prediction", "out/kg_prediction")}
    changes = {key: value[rows] for key, value in batch.items() if len(value) == 9}
    for name in ("history_items", "history_times", "history_delta_t"):
        changes[f"batch/{name}"] = changes[f"batch/{name}"][:, :5]
    changes["batch/neg_his_items"] = changes["batch/neg_his_items"][:, :5]
    for name in ("batch/item_id", "batch/item_val"):
        changes[name] = changes[name][:, :3]
    predictions["out/prediction"] = predictions["out/prediction"][:, :3]
    # A history longer than the others' stays out, and so do the file's losses and gradients, which are means over rows.
    found = disagreeing(changed(tmp_path, "kda", changes | predictions))
    assert {"out/loss", "out/rec_loss", "grad/user_embeddings.weight"} <= set(found)
    assert not set(predictions) & set(found)


def test_without_attributes_every_relation_counts_the_same(tmp_path):
    """Without values in the file, item-item, attribute and latent relations cannot be distinguished."""
    changes = {"batch/item_values": np.zeros_like, "batch/item_val": np.zeros_like, "batch/value_id": np.zeros_like}
    compared = {one.name: one for one in compare_file(changed(tmp_path, "kda_lrd_released", changes))}
    assert compared["out/lrd_loss"].agrees and not compared["out/prediction"].agrees


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("kda", {"param/W1.weight": None}, "W1.weight"),
        ("kda", {"param/relational_dynamic_aggregation.freq_imag.weight": None}, "freq_imag"),
        ("kda", {"param/W3.weight": np.zeros((2, 2), np.float32)}, "param/W3.weight"),
        ("kda", {"param/W1.weight": np.zeros((16, 8), np.float32)}, "param/W1.weight"),
        ("kda", {f"param/{next(iter(TIED))}": np.zeros((5, 16), np.float32)}, "the same parameter"),
        ("kda", {f"param/{next(iter(TIED))}": None}, next(iter(TIED))),
        ("kda", {"out/kg_loss": None}, "out/kg_loss"),
        ("kda", {"out/lrd_loss": np.float32(0)}, "out/lrd_loss"),
        ("kda", {"grad/W1.weight": None}, "grad/W1.weight"),
        ("kda", {"grad/W3.weight": np.zeros((2, 2), np.float32)}, "grad/W3.weight"),
        ("kda", {"grad/W1.weight": np.zeros((2, 2), np.float32)}, "grad/W1.weight"),
        ("kda", {"extra": np.zeros(2)}, "extra"),
        ("kda", {"batch/user_id": None}, "batch/user_id"),
        ("kda", {"batch/user_id": lambda x: x + 10}, "batch/user_id"),
        ("kda", {"batch/item_id": lambda x: x[:, :1], "batch/item_val": lambda x: x[:, :1]}, "batch/item_id"),
        ("kda", {"batch/relation_id": lambda x: x[:3]}, "batch/relation_id"),
        ("kda", {"batch/lengths": lambda x: x - 1}, "lengths"),
        ("kda", {"batch/item_val": np.zeros_like}, "batch/item_val"),
        ("kda", {"hyper/model": None}, "hyper/model"),
        ("kda", {"hyper/model": np.str_("bert4rec")}, "hyper/model"),
        ("kda", {"hyper/model": np.str_("rcf")}, "freq_real"),
        ("kda", {"hyper/num_heads": np.int64(3)}, "num_heads"),
        ("kda", {"hyper/pooling": np.str_("attention")}, "A.weight"),
        ("kda", {"hyper/gamma": None}, "hyper/gamma"),
        ("sasrec", {"batch/history_items": lambda x: np.pad(x, ((0, 0), (0, 3)))}, "batch/"),
        ("sasrec", {"param/p_embeddings.weight": lambda x: x[:6]}, "history"),
        ("sasrec", {"hyper/num_layers": np.int64(3)}, "hyper/num_layers"),
        ("lrd_paper", {"param/classifier_bias": None}, "param/classifier_bias"),
        ("lrd_paper", {"param/other": np.zeros(3)}, "param/other"),
        ("ranking_metrics", {"scores": None}, "scores"),
        ("ranking_metrics", {"out/MRR": np.float64(0.1)}, "out/MRR"),
    ],
)
def test_a_file_that_cannot_be_read_is_reported(tmp_path, name, changes, told):
    path = changed(tmp_path, name, changes)
    with pytest.raises(UserError, match=re.escape(told)) as caught:
        compare_file(path)
    assert str(path) in str(caught.value)


def test_damaged_files(tmp_path):
    whole = (golden_files.FOLDER / "kda.npz").read_bytes()
    for name, content in {"cut.npz": whole[: len(whole) // 2], "text.npz": b"abc", "empty.npz": b""}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=name):
            compare_file(tmp_path / name)
    with zipfile.ZipFile(golden_files.FOLDER / "kda.npz") as file:
        offset = file.getinfo("out/prediction.npy").header_offset
    (tmp_path / "flipped.npz").write_bytes(whole[: offset + 80] + bytes(100) + whole[offset + 180 :])
    np.savez(tmp_path / "object.npz", **{"out/loss": np.array([None, {}], object)})
    for name, field in {"flipped.npz": "out/prediction", "object.npz": "out/loss"}.items():
        with pytest.raises(UserError, match=f"{name}.*{field}"):
            compare_file(tmp_path / name)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """`data`, and the random weights of a KDA_LRD on it as `state.npz`; texts that no encoder of ours has made."""
    place = tmp_path_factory.mktemp("interop")
    write_synthetic(place / "data", num_users=40, num_items=30, max_length=9)
    np.save(place / "text.npy", np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32))
    options = {"name": "kda_lrd", "embedding_dim": 12, "num_heads": 2, "num_layers": 2, "num_latent_relations": 2}
    config = Config.model_validate(
        {
            "data": {"path": place / "data", "history_length": 4},
            "text": {"encoder": "file", "file": place / "text.npy"},
            "model": options | {"num_dft_points": 8, "decay_init": "random"},
            "run": {"workdir": place / "original", "cpu_devices": 2},
        }
    )
    run = assemble(config)
    params = jax.device_get(run.init().params)
    state = state_of("kda_lrd", params) | {TEXT: np.asarray(run.arrays.tables.text)}
    np.savez(place / "state.npz", **state)
    return place, run, params, state


def import_config(place, out, **model):
    """What has to be stated: no width, no number of anything that the weights tell."""
    model = {"name": "kda_lrd", "num_heads": 2, "num_layers": 2, "pooling": "mean", "include_value": True} | model
    data, run = {"path": place / "data", "history_length": 4}, {"workdir": out, "cpu_devices": 2}
    return Config.model_validate({"data": data, "model": model, "run": run})


def test_imported_weights_are_the_weights_bit_for_bit(place, tmp_path):
    place, run, params, _ = place
    results = import_state(place / "state.npz", import_config(place, tmp_path / "run"))
    moved = shutil.move(tmp_path / "run", tmp_path / "moved")  # the text embeddings go with the folder
    trained = load_trained(moved)
    assert trained.epoch == results["best_epoch"] == 0
    jax.tree.map(np.testing.assert_array_equal, trained.params, params)
    np.testing.assert_array_equal(trained.run.arrays.tables.text, run.arrays.tables.text)
    with np.load(moved / "ranks.npz") as ranks:
        for split in ("dev", "test"):
            original = run.rank_targets(jax.device_put(params, run.arrays.examples.sharding), split)
            np.testing.assert_array_equal(trained.run.rank_targets(trained.params, split), original)
            np.testing.assert_array_equal(ranks[f"{split}_ranks"], original)
    model = load_config(moved / "config.toml").model
    assert (model.embedding_dim, model.num_latent_relations, model.num_dft_points) == (12, 2, 8)


@pytest.mark.parametrize(
    ("change", "options", "told"),
    [
        ({"W1.bias": None}, {}, "W1.bias.*missing"),
        ({TEXT: None}, {}, "item_embeddings.weight.*missing"),
        ({"W3.bias": np.zeros(2, np.float32)}, {}, "W3.bias.*no such parameter"),
        ({"W1.bias": lambda x: x[:5]}, {}, r"W1.bias.*\(5,\)"),
        ({"W1.bias": lambda x: x * np.nan}, {}, "W1.bias.*NaN"),
        ({"W1.bias": lambda x: x.astype(int)}, {}, "W1.bias.*int64"),
        ({"user_embeddings.weight": lambda x: x[1:]}, {}, r"user_embeddings.weight.*\(40, 12\).*\(41, 12\)"),
        ({"entity_embeddings.weight": lambda x: x[1:]}, {}, "entity_embeddings.weight.*shape"),
        ({"item_bias.weight": lambda x: x[2:]}, {}, r"item_bias.weight.*\(30, 1\).*\(31, 1\)"),
        ({"relation_embeddings.weight": lambda x: x[:5]}, {}, "relation_embeddings.weight.*latent"),
        ({TEXT: lambda x: x[1:]}, {}, r"item_embeddings.weight.*\(30, 6\).*\(31, 6\)"),
        ({TEXT: lambda x: x + 1}, {}, "item_embeddings.weight.*row 0"),
        ({}, {"embedding_dim": 16, "num_heads": 4}, "embedding_dim is 16, but the shapes give 12"),
        ({}, {"embedding_dim": 64}, "embedding_dim is 64, but the shapes give 12"),  # stated, though it is the default
        ({}, {"num_latent_relations": 3}, "num_latent_relations is 3, but the shapes give 2"),
        ({}, {"num_latent_relations": 6}, "num_latent_relations is 6, but the shapes give 2"),
        ({}, {"pooling": "attention"}, "A.*missing"),
        ({}, {"num_heads": 8}, "num_heads"),
        ({}, {"name": "kda"}, "no such parameter|relation_embeddings.weight"),
        ({}, {"name": "popularity"}, "popularity"),
    ],
)
def test_weights_that_do_not_fit_are_refused(place, tmp_path, change, options, told):
    place, _, _, state = place
    state = dict(state)
    for name, value in change.items():
        state[name] = value(state[name]) if callable(value) else value
    np.savez(tmp_path / "state.npz", **{name: value for name, value in state.items() if value is not None})
    with pytest.raises(UserError, match=told):
        import_state(tmp_path / "state.npz", import_config(place, tmp_path / "run", **options))
    assert not (tmp_path / "run" / "config.toml").exists()


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.bin", "model.pkl"])
def test_without_torch_the_error_for_a_pickle_explains_how_to_convert_it(place, tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / name).write_bytes(b"\x80\x02.")
    with pytest.raises(UserError, match=rf"{name}.*weights_only=True.*numpy\.savez"):
        import_state(tmp_path / name, import_config(place[0], tmp_path / "run"))


def test_a_run_without_classifier_goes_out_and_comes_back(place, tmp_path):
    """As the paper's code with --include_lrd 0: neither texts nor classifier in the state."""
    place = place[0]
    config = import_config(place, tmp_path / "first", embedding_dim=12, num_latent_relations=2, num_dft_points=8)
    config = config.model_copy(update={"loss": config.loss.model_copy(update={"lrd_weight": 0.0})})
    params = jax.device_get(assemble(config).init().params)
    state = state_of("kda_lrd", params)
    assert not any("project_layer" in name for name in state)
    np.savez(tmp_path / "state.npz", **state)
    import_state(tmp_path / "state.npz", import_config(place, tmp_path / "again"))
    jax.tree.map(np.testing.assert_array_equal, load_trained(tmp_path / "again").params, params)
    assert load_config(tmp_path / "again" / "config.toml").loss.lrd_weight == 0


@pytest.mark.parametrize(
    ("model", "told"),
    [({"classifier_input": "id"}, "no classifier_input id"), ({"relation_prior": "fixed"}, "no relation_prior")],
)
def test_what_the_published_code_does_not_have_is_not_exported(place, tmp_path, model, told):
    """Training is not needed to find out: an untrained run does."""
    config = import_config(place[0], tmp_path / "run", embedding_dim=12, **model)
    text = config.text.model_copy(update={"encoder": "file", "file": place[0] / "text.npy"})
    config = resolve(config.model_copy(update={"text": text}))
    seed = SeedRun(config, assemble(config), resume=False)
    seed.adopt()
    seed.close()
    with pytest.raises(UserError, match=told):
        export_run(tmp_path / "run", tmp_path / "state.npz")
    assert not (tmp_path / "state.npz").exists()


@pytest.mark.process
def test_messages_name_the_options_of_import(place, tmp_path):
    state, data, held = place[0] / "state.npz", place[0] / "data", tmp_path / "held"
    held.mkdir()
    for name in ("config.toml", "results.json"):
        (held / name).write_text("")
    told = {
        (
            "--out",
            held,
        ): f"error: {held}, field '--out': the folder already holds a run. Choose another folder with --out.",
        ("--out", "a[b]"): "the path contains a square bracket. Choose another with --out.",
        (
            "--out",
            tmp_path / "new",
            "--model",
            "popularity",
        ): "field '--model': the published code has no model popularity",
    }
    for words, expected in told.items():
        answer = interop("import", state, "--model", "kda_lrd", "--data", data, *words)
        assert answer.returncode == 2 and expected in answer.stderr and answer.stderr.count("\n") == 1, answer.stderr
        assert "run.workdir" not in answer.stderr and "--resume" not in answer.stderr


@pytest.mark.process
def test_import_and_fine_tuning_as_commands(place, tmp_path):
    """SASRec through .safetensors; then an epoch of steps too small to see, which must end where it began."""
    place, out, tuned = place[0], tmp_path / "run", tmp_path / "tuned"
    options = {"name": "sasrec", "embedding_dim": 8, "num_heads": 2, "num_layers": 2}
    config = Config.model_validate(
        {"data": {"path": place / "data"}, "model": options, "run": {"workdir": out, "cpu_devices": 2}}
    )
    params = jax.device_get(assemble(config).init().params)
    save_file(state_of("sasrec", params), tmp_path / "state.safetensors")
    arguments = ["--model", "sasrec", "--model.num-heads", 2, tmp_path / "state.safetensors", "--data", place / "data"]
    answer = interop("import", *arguments, "--out", out)
    assert answer.returncode == 0, answer.stderr
    assert f"run folder: {out}" in answer.stdout and "NDCG@10" in answer.stdout
    jax.tree.map(np.testing.assert_array_equal, load_trained(out).params, params)
    again = interop("import", *arguments, "--out", out)
    assert again.returncode == 2 and "already holds a run" in again.stderr
    back = interop("export", out, "--out", tmp_path / "back.safetensors")
    assert back.returncode == 0, back.stderr
    assert "options that do not follow from its shapes: --model.num-heads 2\n" in back.stdout
    assert load_file(tmp_path / "back.safetensors").keys() == load_file(tmp_path / "state.safetensors").keys()

    small = ["--run.epochs", 1, "--optim.learning-rate", 1e-12, "--run.workdir", tuned]
    answer = command("train", "--config", out / "config.toml", "--run.init-from", out, *small)
    assert answer.returncode == 0, answer.stderr
    assert load_config(tuned / "config.toml").run.init_from == out
    jax.tree.map(lambda *pair: np.testing.assert_allclose(*pair, atol=1e-10), load_trained(tuned).params, params)
    wider = config.model_copy(update={"model": config.model.model_copy(update={"embedding_dim": 16})})
    run = wider.run.model_copy(update={"workdir": tmp_path / "wider", "init_from": out})
    with pytest.raises(UserError, match=r"run\.init_from.*\[8\] in the checkpoint and .*\[16\] in the run"):
        train_and_evaluate(wider.model_copy(update={"run": run}))


OFFICE = {
    "kda": {"num_layers": 2, "num_heads": 4, "pooling": "mean", "include_value": True},
    "kda_lrd": {"num_layers": 2, "num_heads": 4, "pooling": "mean", "include_value": True},
    "rcf_lrd": {"num_layers": 3, "num_heads": 1, "include_value": True},
}


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "golden_import").exists(), reason="../shared is not there")
@pytest.mark.parametrize("name", ["kda", "kda_lrd", pytest.param("rcf_lrd", marks=pytest.mark.nightly)])
def test_whole_models_of_the_published_code_on_office(name, tmp_path):
    data, run = {"path": SHARED / "data" / "office", "history_length": 20}, {"workdir": tmp_path / "run"}
    config = Config.model_validate({"data": data, "model": {"name": name} | OFFICE[name], "run": run})
    check = SHARED / "golden_import" / f"{name}_test.npz"
    import_state(SHARED / "golden_import" / f"{name}_state.npz", config, check=check)
    trained = load_trained(tmp_path / "run")
    checked = check_scores(check, trained.run, trained.params)
    assert (checked.rows, checked.ranks_off, checked.scores_off) == (1000, 0, 0) and checked.largest < 1e-4
    # 2,420 items, two attributes of 382 values in all, "none" of each among them, and padding.
    assert len(trained.params["scorer"]["entity_embeddings"]) == 2803
