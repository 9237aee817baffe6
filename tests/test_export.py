"""Exported runs: for each model what the run gives, in a process that has neither this package nor flax."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import lrd_jax
from lrd_jax.errors import UserError
from lrd_jax.export.__main__ import ExportFlags, export
from lrd_jax.export.program import PLATFORMS
from lrd_jax.export.write import export_run
from lrd_jax.exported import Exported
from tests import processes, small_runs

SEQUENCE = ("caser", "gru4rec", "sasrec", "tisasrec")
MODELS = ("popularity", "item_knn", *SEQUENCE, "rcf", "kda", "rcf_lrd", "kda_lrd")
MORE = [
    ("sasrec", {"num_layers": 1}),
    ("tisasrec", {"num_layers": 1}),
    ("kda", {"num_layers": 1}),
    ("kda_lrd", {"relation_prior": "learned"}),
]
QUICK = ("popularity", "item_knn", "sasrec", "kda_lrd")
LONG = {model: [] if model in QUICK else [pytest.mark.slow, pytest.mark.nightly] for model in MODELS}
HISTORIES = [["3", "5", "9"], ["40"], ["1", "2", "1", "4", "5", "6", "7", "8"]]
TIMES = [[10.9, 4000.2, 90_000], [5], [0, 0, 10, 70, 400, 10_000, 10_000, 10_001.5]]


@pytest.fixture(scope="module", autouse=True)
def _quickly_compiled():
    with small_runs.quickly_compiled():
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """`data`; runs and exports are added when first asked for."""
    place = tmp_path_factory.mktemp("export")
    (place / "data").symlink_to(small_runs.shared(tmp_path_factory) / "data")
    return place


@pytest.fixture(scope="module")
def made(place, tmp_path_factory):
    """Makes, once, the run of a model with such options; returns the run and its export with histories."""
    found = {}

    def make(model, **options):
        name = "-".join([model, *map(str, options.values())])
        if name not in found:
            if options:
                folder = small_runs.train(place / name, place / "data", model=model, **options)
            else:
                folder = small_runs.shared(tmp_path_factory, model) / model
            run = lrd_jax.load_run(folder)
            export_run(run, place / f"{folder.name}-export", with_histories=True)
            found[name] = run, place / f"{folder.name}-export"
        return found[name]

    return make


def assert_alike(found, expected):
    """Within 1e-6 of the size of the scores."""
    assert found.dtype == expected.dtype == np.float32 and found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def assert_lists(found, frame, expected_rows):
    """The lists of a run's frame, but for items whose scores are as good as equal."""
    name = frame.columns[0]
    for of_row, row in zip(found, expected_rows, strict=True):
        part = frame.filter(frame[name] == row)
        np.testing.assert_allclose([score for _, score in of_row], part["score"], rtol=1e-5, atol=1e-7)
        if np.diff(part["score"].to_numpy()).max(initial=-1) < -1e-6 * part["score"].abs().max():  # no two are close
            assert [item for item, _ in of_row] == part["item"].to_list()
        else:
            assert len({item for item, _ in of_row}) == len(part)


@pytest.mark.parametrize(
    ("model", "options"),
    [
        *(pytest.param(model, {}, marks=LONG[model]) for model in MODELS),
        *(pytest.param(*more, marks=[pytest.mark.slow, pytest.mark.nightly]) for more in MORE),
    ],
)
def test_scores_and_lists_are_the_runs(model, options, made):
    run, folder = made(model, **options)
    exported = Exported.load(folder)
    users, chosen = run.dataset.user_ids.to_list()[-64:], ["7", "1", "22"]
    scores, lists = run.score(users), run.recommend(users, k=33)
    for number in (1, 64):
        assert_alike(exported.score(users[:number]), scores[:number])
        assert_lists(exported.recommend(users[:number], k=33), lists, users[:number])
    for times in (None, TIMES):
        given = {"histories": HISTORIES, "times": times}
        scores = run.score(**given)
        assert_alike(exported.score(**given), scores)
        for items in (chosen, [chosen] * 3):
            assert_alike(exported.score(**given, items=items), scores[:, [6, 0, 21]])
        for exclude in (True, False):
            asked = {**given, "k": 33, "exclude_seen": exclude}
            assert_lists(exported.recommend(**asked), run.recommend(**asked), range(3))


@pytest.mark.parametrize("model", [pytest.param(model, marks=LONG[model]) for model in MODELS])
def test_programs_are_for_all_platforms_and_sizes(model, made):
    folder = made(model)[1]
    manifest = json.loads((folder / "manifest.json").read_text())
    for about in manifest["programs"].values():
        program = jax.export.deserialize(bytearray((folder / about["file"]).read_bytes()))
        assert program.platforms == tuple(manifest["platforms"]) == PLATFORMS
        (_, *inputs), _ = jax.tree.unflatten(program.in_tree, program.in_avals)
        found = [(str(x.dtype), [str(size) for size in x.shape]) for x in inputs]
        assert found == [(each["dtype"], [str(size) for size in each["shape"]]) for each in about["arguments"]]
        weights = jax.tree.unflatten(program.in_tree, program.in_avals)[0][0]
        assert {name: (str(x.dtype), list(x.shape)) for name, x in weights.items()} == {
            name: (each["dtype"], each["shape"]) for name, each in manifest["weights"].items()
        }
        code = program.mlir_module()
        assert set(part.split("(")[0] for part in code.split("custom_call @")[1:]) <= {"shape_assertion"}


@pytest.mark.parametrize("model", SEQUENCE)
def test_vectors_of_users_and_items_give_the_scores(model, made):
    run, folder = made(model)
    exported, items = Exported.load(folder), np.load(folder / "item_vectors.npy")
    assert items.shape == (40, 4) and exported.item_ids == run.dataset.item_ids.to_list()
    assert_alike(exported.vectors(histories=HISTORIES) @ items.T, run.score(histories=HISTORIES))


def test_a_known_user_with_a_history_of_the_callers(made):
    """The user's own vector, and None for the mean."""
    run, folder = made("kda")
    exported, own = Exported.load(folder), run.dataset.user_ids[4]
    corpus = run.dataset.corpus
    part = slice(*corpus.sequence_offsets[5:7])
    items = run.dataset.item_ids.gather(corpus.sequence_items[part] - 1).to_list()
    times = corpus.sequence_times[part].tolist()
    found = exported.score([own, None], histories=[items] * 2, times=[times] * 2)
    assert_alike(found[:1], run.score([own]))
    assert_alike(found[1:], run.score(histories=[items], times=[times]))


def test_ids_may_be_numbers_and_batches_empty(made):
    exported = Exported.load(made("sasrec")[1])
    np.testing.assert_array_equal(
        exported.score(histories=[[3, 5]], items=[1, 2]), exported.score(histories=[["3", "5"]], items=["1", "2"])
    )
    assert exported.score(histories=[]).shape == (0, 40)
    assert exported.vectors(histories=[]).shape == (0, 4)
    assert exported.recommend(users=[]) == []


def test_mistakes_are_told(made, tmp_path):
    run, folder = made("kda")
    exported = Exported.load(folder)
    with pytest.raises(ValueError, match="there is no item 41: give ids as the source has them"):
        exported.score(histories=[["41"]])
    with pytest.raises(ValueError, match="there is no user nobody"):
        exported.recommend(["nobody"])
    with pytest.raises(ValueError, match="there are no histories of an unknown user"):
        exported.recommend([None])
    with pytest.raises(ValueError, match="history 1 is empty"):
        exported.score(histories=[["1"], []])
    with pytest.raises(ValueError, match="not as many"):
        exported.score(histories=[["1"]], times=[[1, 2]])
    with pytest.raises(ValueError, match="the times of history 1 do not ascend"):
        exported.score(histories=[["1"], ["1", "2"]], times=[[1], [2, 1]])
    with pytest.raises(ValueError, match="give users, histories or both"):
        exported.score()
    with pytest.raises(ValueError, match="2 lists of items for 1 users"):
        exported.score(histories=[["1"]], items=[["1"], ["2"]])
    with pytest.raises(ValueError, match="k is 0"):
        exported.recommend(histories=[["1"]], k=0)
    with pytest.raises(ValueError, match="kda has no vectors of users"):
        exported.vectors(histories=[["1"]])
    export_run(run, tmp_path / "bare")
    assert not (tmp_path / "bare" / "histories.safetensors").exists()
    with pytest.raises(ValueError, match="made without --with-histories"):
        Exported.load(tmp_path / "bare").score(run.dataset.user_ids[:1].to_list())
    with pytest.raises(UserError, match="it is there already"):
        export_run(run, tmp_path / "bare")
    with pytest.raises(ValueError, match="holds no export"):
        Exported.load(tmp_path)


@pytest.mark.parametrize("name", ["params.safetensors", "items.json", "score.jax_export", "histories.safetensors"])
def test_a_changed_or_missing_file_is_refused(name, made, tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in made("kda")[1].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} was changed after the export"):
        Exported.load(folder)
    (folder / name).unlink()
    with pytest.raises(ValueError, match=f"{name} cannot be read"):
        Exported.load(folder)


def test_a_failed_export_leaves_nothing(made, tmp_path, monkeypatch):
    run, _ = made("kda")

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lrd_jax.export.write.save_file", fail)
    with pytest.raises(UserError, match="cannot be written .No space left on device"):
        export_run(run, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_the_command_prints_files_and_how_to_load(made, tmp_path, capsys):
    export(ExportFlags(made("sasrec")[0].folder, tmp_path / "out", with_histories=True))
    printed = capsys.readouterr().out
    assert all(path.name in printed for path in (tmp_path / "out").iterdir())
    assert "sasrec, epoch" in printed and "for cpu, cuda, tpu" in printed
    assert f"from load import Exported; Exported.load('{tmp_path / 'out'}').recommend(users=[USER])" in printed


ALONE = """
import json, sys
MISSING = {"lrd_jax", "flax", "polars", "safetensors", "optax", "orbax", "pydantic", "tyro", "rich", "tqdm"}
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in MISSING:
            raise ImportError(f"{name} is not there")
sys.meta_path.insert(0, Refuse())
sys.path.insert(0, sys.argv[1])
from load import Exported
exported = Exported.load(sys.argv[1])
request = json.load(sys.stdin)
print(json.dumps([exported.score(**request).tolist(), exported.recommend(**request)]))
assert not MISSING & set(sys.modules)
"""


def alone(python, folder, request, **variables):
    """Scores and lists of the folder's load.py in a process that imports jax, what it needs, and nothing else."""
    environment = processes.environment(folder, JAX_NUMPY_RANK_PROMOTION="allow", **variables)
    command = [python, "-c", ALONE, str(folder)]
    text = json.dumps(request)
    done = subprocess.run(command, input=text, env=environment, cwd=folder, capture_output=True, text=True, timeout=300)
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


@pytest.mark.process
@pytest.mark.parametrize("model", ["kda", "tisasrec", "item_knn"])
def test_without_this_package(model, made):
    run, folder = made(model)
    request = {"histories": HISTORIES, "times": TIMES}
    scores, lists = alone(sys.executable, folder, request)
    assert_alike(np.array(scores, np.float32), run.score(**request))
    assert_lists(lists, run.recommend(**request), range(3))


@pytest.mark.slow
@pytest.mark.process
def test_in_an_environment_of_jax_numpy_and_flatbuffers(made, tmp_path):
    """The folder alone, in a new environment whose site-packages hold what jax needs, by links."""
    run, folder = made("kda_lrd")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True, timeout=60)
    site = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    for name in (
        "jax",
        "jaxlib",
        "numpy",
        "numpy.libs",
        "flatbuffers",
        "ml_dtypes",
        "scipy",
        "scipy.libs",
        "opt_einsum",
    ):
        held = [Path(entry) / name for entry in sys.path if entry and (Path(entry) / name).is_dir()]
        for where in held[:1]:
            (site / name).symlink_to(where)
    request = {"users": run.dataset.user_ids[:5].to_list()}
    scores, lists = alone(tmp_path / "venv" / "bin" / "python", folder, request, PYTHONPATH="")
    assert_alike(np.array(scores, np.float32), run.score(**request))
    assert_lists(lists, run.recommend(**request), request["users"])
