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
from safetensors.numpy import save_file

from lrd_jax.assemble import assemble
from lrd_jax.config import Config
from lrd_jax.config_file import load_config
from lrd_jax.data.synthetic import write_synthetic
from lrd_jax.errors import UserError
from lrd_jax.imported import import_state
from lrd_jax.loop import train_and_evaluate
from lrd_jax.parity import compare_file
from lrd_jax.published import PUBLISHED, TEXT, TIED, paths
from lrd_jax.trained import load_trained
from tests import golden_files

ROOT = Path(__file__).parents[1]
GOLDEN = sorted(golden_files.FOLDER.glob("*.npz"))
DEVICES = "--xla_force_host_platform_device_count=2 --xla_cpu_multi_thread_eigen=false"


@pytest.fixture(scope="module", autouse=True)
def _compiled_once(tmp_path_factory):
    """Perturbed copies of a file, and the processes, compile what another has compiled."""
    folder = tmp_path_factory.mktemp("compiled")
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = [getattr(jax.config, name) for name in names]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XLA_FLAGS", DEVICES)
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(folder))
        for name, value in zip(names, (str(folder), 0.1), strict=True):
            jax.config.update(name, value)
        yield
    for name, value in zip(names, before, strict=True):
        jax.config.update(name, value)


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
    """With no values in the file, nothing tells item-item, attribute and latent relations apart."""
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
        ("kda", {f"param/{next(iter(TIED))}": np.zeros((5, 16), np.float32)}, "one parameter"),
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
def test_a_file_that_cannot_be_read_is_told(tmp_path, name, changes, told):
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


def exported(model, params):
    """Our parameters as the published code saves them: its names and layouts, and a row of biases to spare."""
    state = {}
    for path, value in paths(params).items():
        number = re.search(r"(?<=_)\d+(?=/)", path)
        general = re.sub(r"(?<=_)\d+(?=/)", "*", path)
        name, place = next((n, p) for n, p in PUBLISHED[model].items() if p.path == general)
        state[name.replace("*", number[0] if number else "")] = value.T if place.transposed else value
    if "item_bias.weight" in state:
        state["item_bias.weight"] = np.append(state["item_bias.weight"], 7).astype(np.float32)[:, None]
        state |= {second: state[first] for second, first in TIED.items()}
    return {name: np.ascontiguousarray(value) for name, value in state.items()}


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
    state = exported("kda_lrd", params) | {TEXT: np.asarray(run.arrays.tables.text)}
    np.savez(place / "state.npz", **state)
    return place, run, params, state


def import_config(place, out, **model):
    """What has to be stated: no width, no number of anything that the weights tell."""
    model = {"name": "kda_lrd", "num_heads": 2, "num_layers": 2} | model
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
        ({}, {"embedding_dim": 16, "num_heads": 4}, "embedding_dim is 16, the shapes say 12"),
        ({}, {"num_latent_relations": 3}, "num_latent_relations is 3, the shapes say 2"),
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


def test_a_pickle_is_not_read_but_how_to_convert_it_is_told(place, tmp_path):
    (tmp_path / "model.pt").write_bytes(b"\x80\x02.")
    with pytest.raises(UserError, match=r"weights_only=True.*numpy\.savez"):
        import_state(tmp_path / "model.pt", import_config(place[0], tmp_path / "run"))


def test_import_and_fine_tuning_as_commands(place, tmp_path):
    """SASRec through .safetensors; then an epoch of steps too small to see, which must end where it began."""
    place, out, tuned = place[0], tmp_path / "run", tmp_path / "tuned"
    options = {"name": "sasrec", "embedding_dim": 8, "num_heads": 2, "num_layers": 2}
    config = Config.model_validate(
        {"data": {"path": place / "data"}, "model": options, "run": {"workdir": out, "cpu_devices": 2}}
    )
    params = jax.device_get(assemble(config).init().params)
    save_file(exported("sasrec", params), tmp_path / "state.safetensors")
    arguments = ["--model", "sasrec", "--model.num-heads", 2, tmp_path / "state.safetensors", "--data", place / "data"]
    answer = interop("import", *arguments, "--out", out)
    assert answer.returncode == 0, answer.stderr
    assert f"run folder: {out}" in answer.stdout and "NDCG@10" in answer.stdout
    jax.tree.map(np.testing.assert_array_equal, load_trained(out).params, params)
    again = interop("import", *arguments, "--out", out)
    assert again.returncode == 2 and "already holds a run" in again.stderr

    small = ["--run.epochs", 1, "--optim.learning-rate", 1e-12, "--run.workdir", tuned]
    answer = command("train", "--config", out / "config.toml", "--run.init-from", out, *small)
    assert answer.returncode == 0, answer.stderr
    assert load_config(tuned / "config.toml").run.init_from == out
    jax.tree.map(lambda *pair: np.testing.assert_allclose(*pair, atol=1e-10), load_trained(tuned).params, params)
    wider = config.model_copy(update={"model": config.model.model_copy(update={"embedding_dim": 16})})
    run = wider.run.model_copy(update={"workdir": tmp_path / "wider", "init_from": out})
    with pytest.raises(UserError, match=r"run\.init_from.*\[8\] there and .*\[16\] here"):
        train_and_evaluate(wider.model_copy(update={"run": run}))
