"""Each benchmark as a user's script calls it, and the datasets that are made for them. No test looks at a time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import full_ranking, profile, report, sampling, score, seeds, workload
from benchmarks.options import Options, TrainingOptions, parse_options
from benchmarks.peak import Peak
from benchmarks.scale import NUM_NEGATIVES, SCALES, generate_corpus, parse_scale
from lrd_jax.data.sampling import build_sampler
from lrd_jax.data.synthetic import write_synthetic
from lrd_jax.errors import UserError

ROOT = Path(__file__).parents[1]
KEYS = {
    "benchmark", "part", "model", "scale", "shapes", "dtype", "update", "device_kind", "device_count", "machine", "jax",
    "jaxlib", "xla_flags", "commit", "repeat", "compile_seconds", "p50", "p90", "min", "ratio", "examples_per_second",
    "pairs_per_second", "flop", "matmul_flops", "matmul", "share_of_matmul", "copy_bytes_per_second", "peak_bytes",
    "peak_bytes_of",
}  # fmt: skip
# A pair forward at H = 20, D = 64, L = 5: 4·H·R·D + L·(10·R·D² + 4·R²·D).
PAIR_FLOP = {
    5: 25_600 + 5 * (204_800 + 6_400),  # 1.08 M
    13: 66_560 + 5 * (532_480 + 43_264),  # 2.95 M
}
TINY = ("--scale", "tiny", "--repeat", "2", "--cpu-devices", "2", "--json", "-")


def start(name: str, *arguments: str) -> subprocess.Popen:
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    pipes = {stream: subprocess.PIPE for stream in ("stdout", "stderr")}
    return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdin=subprocess.DEVNULL, **pipes)


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    stdout, stderr = process.communicate(timeout=180)
    return process.returncode, stdout, stderr


@pytest.fixture(scope="module")
def processes():
    """(exit code, stdout, stderr) of every process that these tests read, two at a time."""
    commands = {
        "train_epoch": ("train_epoch", *TINY, "--batch-size", "128", "--update", "lazy"),
        "profile": ("profile", *TINY, "--batch-size", "64"),
        "compile": ("compile", "--model", "rcf", *TINY, "--repeat", "1"),
    }
    running = {name: start(*command) for name, command in commands.items()}
    outputs = {name: finish(process) for name, process in running.items()}
    return {**outputs, "bad scale": finish(start("score", "--scale", "huge"))}


@pytest.fixture
def run_here(monkeypatch, capsys):
    """Runs a benchmark on the devices of the tests, beside a peak of 100 GFLOP/s, and returns its stdout and stderr."""

    def run(benchmark, *arguments: str) -> tuple[str, str]:
        monkeypatch.setattr(workload, "set_up_devices", lambda number: None)
        monkeypatch.setattr(report, "measure_peak", lambda dtype: Peak(1e11, f"2048³ {dtype} on paper", 1e10))
        monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
        benchmark.main()
        return capsys.readouterr()

    return run


def records(output: str) -> list[dict]:
    return [json.loads(line) for line in output.splitlines()]


def assert_sane(record: dict, benchmark: str, model: str, dtype: str = "float32") -> None:
    assert record.keys() == KEYS
    assert (record["benchmark"], record["model"], record["dtype"]) == (benchmark, model, dtype)
    assert (record["device_kind"], record["device_count"], record["peak_bytes_of"]) == ("cpu", 2, "process")
    assert 0 < record["min"] <= record["p50"] <= record["p90"]
    for key in ("compile_seconds", "matmul_flops", "copy_bytes_per_second", "peak_bytes"):
        assert record[key] > 0, key
    assert f"2048³ {dtype} on" in record["matmul"]
    if record["flop"] is None:
        assert record["share_of_matmul"] is None
    else:
        share = record["flop"] / record["p50"] / record["matmul_flops"]
        assert record["share_of_matmul"] == pytest.approx(share, rel=1e-4)


@pytest.mark.slow
@pytest.mark.process
def test_train_epoch(processes):
    code, stdout, stderr = processes["train_epoch"]
    assert code == 0, stderr
    (record,) = records(stdout)
    assert_sane(record, "train_epoch", "kda_lrd")
    assert record["scale"] == "tiny" and record["repeat"] == 2 and record["update"] == "lazy"
    assert record["xla_flags"].startswith("--xla_backend_optimization_level=0")
    assert "share of matmul" in stderr
    shapes = record["shapes"]
    sizes = {"B": 128, "C": 2, "H": 20, "R": 13, "L": 5, "K": 8, "D": 64, "T": 256, "U": 48, "I": 160}
    assert sizes.items() <= shapes.items()
    examples = shapes["examples"]
    assert examples == len(generate_corpus(SCALES["tiny"]).train_rows) - 48  # a user's first item has no history
    assert record["flop"] == examples * 2 * 3 * PAIR_FLOP[13]
    assert record["examples_per_second"] == pytest.approx(examples / record["p50"], rel=1e-4)
    assert record["pairs_per_second"] == pytest.approx(2 * examples / record["p50"], rel=1e-4)


def test_score(run_here):
    (record,) = records(run_here(score, "--model", "kda", "--dtype", "bfloat16", *TINY)[0])
    assert_sane(record, "score", "kda", "bfloat16")
    assert (record["shapes"]["users"], record["shapes"]["C"], record["shapes"]["R"]) == (48, 100, 5)
    assert record["flop"] == 48 * 100 * PAIR_FLOP[5]
    assert record["share_of_matmul"] == pytest.approx(record["flop"] / 1e11 / record["p50"], rel=1e-4)
    assert record["examples_per_second"] == pytest.approx(48 / record["p50"], rel=1e-4)


def test_full_ranking_of_a_dataset_folder_added_to_a_file(run_here, tmp_path):
    data, file = tmp_path / "mine", tmp_path / "records.jsonl"
    write_synthetic(data, num_users=20, num_items=40, min_length=5, max_length=9, num_negatives=20)
    file.write_text("{}\n")
    options = ("--model", "rcf", "--data", str(data), "--repeat", "1", "--json", str(file))
    stdout, stderr = run_here(full_ranking, *options)
    before, record = records(file.read_text())
    assert before == {}
    assert_sane(record, "full_ranking", "rcf")
    assert record["scale"] == "mine"
    assert (record["shapes"]["users"], record["shapes"]["C"]) == (20, 40)
    assert record["flop"] == 20 * 40 * PAIR_FLOP[5]
    assert "share of matmul" in stdout and "{" not in stdout and stderr == ""


def test_sampling(run_here):
    found = records(run_here(sampling, "--model", "rcf_lrd", *TINY)[0])
    assert [record["part"] for record in found] == ["negatives", "histories", "triples", "batches"]
    for record in found:
        assert record["update"] is None
        assert_sane(record, "sampling", "rcf_lrd")
        assert record["flop"] is None and record["pairs_per_second"] is None
        assert record["examples_per_second"] > 0


@pytest.mark.slow
def test_seeds(run_here):
    found = records(run_here(seeds, "--model", "kda", "--seeds", "2", *TINY)[0])
    assert [record["part"] for record in found] == ["one after the other", "at once"]
    for record in found:
        assert_sane(record, "seeds", "kda")
        shapes = record["shapes"]
        assert (shapes["S"], shapes["B"], shapes["users"]) == (2, 256, 48)
        pairs = 2 * (2 * shapes["examples"] + 48 * 100)
        assert record["pairs_per_second"] == pytest.approx(pairs / record["p50"], rel=1e-4)
        assert record["examples_per_second"] == pytest.approx(2 * shapes["examples"] / record["p50"], rel=1e-4)
        assert record["flop"] == 2 * (3 * 2 * shapes["examples"] + 48 * 100) * PAIR_FLOP[5]
    separate, at_once = found
    assert separate["ratio"] is None
    assert at_once["ratio"] == pytest.approx(at_once["p50"] / separate["p50"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.process
def test_compile(processes):
    code, stdout, stderr = processes["compile"]
    assert code == 0, stderr
    found = records(stdout)
    places = ("new process", "same process")
    assert [record["part"] for record in found] == [
        f"{what}, {where}" for where in places for what in ("epoch", "evaluation")
    ]
    for record in found:
        assert_sane(record, "compile", "rcf")
        assert record["update"] == "dense"
        assert record["compile_seconds"] == record["p50"]


@pytest.mark.slow
@pytest.mark.process
def test_profile(processes):
    code, stdout, stderr = processes["profile"]
    assert code == 0, stderr
    found = records(stdout)
    assert "a training step of kda_lrd at scale tiny" in stderr and "block: attention" in stderr
    rows = {(record["part"], record["direction"]): record for record in found}
    both = ("block: attention", "block: feed-forward", "block: layer normalisation", "history through each relation")
    for part in (*both, "latent-relation loss", "knowledge-graph loss"):
        for direction in ("forward", "backward"):
            assert rows[part, direction]["seconds"] > 0, (part, direction)
    for part in ("Adam", "histories, negatives, triples", "sum over devices"):
        assert rows[part, ""]["seconds"] > 0, part
    for record in found:
        assert (record["benchmark"], record["scale"], record["device_count"]) == ("profile", "tiny", 2)
        assert 0 <= record["product_seconds"] <= record["seconds"]
        assert record["share_of_step"] == pytest.approx(record["seconds"] / record["step_seconds"], rel=1e-4, abs=1e-9)
    assert rows["block: feed-forward", "forward"]["product_seconds"] > 0
    assert rows["Adam", ""]["product_seconds"] == 0


PROGRAM = """HloModule jit_epoch, is_scheduled=true

%fused_computation.1 (p.0: f32[4,4], p.1: f32[4,4]) -> f32[4,4] {
  %p.0 = f32[4,4]{1,0} parameter(0)
  %p.1 = f32[4,4]{1,0} parameter(1)
  ROOT %dot.3 = f32[4,4]{1,0} dot(%p.0, %p.1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

ENTRY %main.1 (a.1: f32[4,4]) -> f32[4,4] {
  %a.1 = f32[4,4]{1,0} parameter(0), metadata={op_name="a"}
  %while.1 = (f32[4,4]{1,0}, s32[]) while(%t.1), condition=%c, body=%b, metadata={op_name="jit(epoch)/while"}
  %ynn.1 = f32[4,4]{1,0} fusion(%a.1, %a.1), kind=kCustom, calls=%fused_computation.1, metadata={op_name="jit(epoch)/transpose(jvp(RelationalModel))/block/attention/reduce_max"}
  %all-reduce.2 = (f32[4]{0}, f32[4,4]{1,0}) all-reduce(%a.1, %ynn.1), metadata={op_name="jit(epoch)/shard_map/psum"}
  ROOT %add.1 = f32[4,4]{1,0} add(%a.1, %ynn.1), metadata={op_name="jit(epoch)/jvp(RelationalModel)/block/add"}
}
"""  # noqa: E501


def test_time_goes_to_the_parts_of_the_model():
    operations = profile.read_operations(PROGRAM)
    assert operations["ynn.1"] == ("block: attention", "backward", True)
    assert operations["add.1"] == ("block: residual sums, copies", "forward", False)
    assert operations["all-reduce.2"] == ("sum over devices", "", False)
    assert "while.1" not in operations  # what it contains is counted
    events = [("ynn.1", 3.0), ("while.1", 9.0), ("add.1", 1.0), ("ynn.1", 2.0), ("python", 7.0)]
    assert profile.attribute(events, operations, 2) == {
        ("block: attention", "backward"): (2.5, 2.5),
        ("block: residual sums, copies", "forward"): (0.5, 0.0),
    }


@pytest.mark.process
def test_unknown_scale(processes):
    code, stdout, stderr = processes["bad scale"]
    assert (code, stdout) == (2, "")
    (line,) = stderr.splitlines()
    assert line.startswith("error: ") and "'huge' is no scale" in line and "USERSxITEMS" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--repeat", "0"], "--repeat"),
        (["--cpu-devices", "0"], "--cpu-devices"),
        (["--batch-size", "-1"], "--batch-size"),
        (["--data", "here", "--scale", "tiny"], "exclude each other"),
        (["--json", "/nowhere/at/all"], "cannot be written"),
    ],
)
def test_refused_values(arguments, message):
    with pytest.raises(UserError, match=message):
        parse_options(TrainingOptions, "train_epoch", "", arguments)


@pytest.mark.parametrize(
    "arguments", [["--dtype", "float64"], ["--batch-size", "8"], ["--update", "lazy"], ["--model", "bert"]]
)
def test_options_that_would_do_nothing_are_refused(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        parse_options(Options, "score", "", arguments)
    assert arguments[0] in capsys.readouterr().err


# The datasets that are made


@pytest.mark.parametrize("text", ["", "Office", "0x500", "50x109", "50x", "-5x500", "5x500x5", "99999999x500", "٥x500"])
def test_bad_scales(text):
    with pytest.raises(UserError, match="--scale"):
        parse_scale(text)


@pytest.fixture(scope="module", params=["tiny", "ml-100k", "office", "1x110", "700x300"])
def made(request):
    scale = parse_scale(request.param)
    return scale, generate_corpus(scale)


def test_sizes(made):
    scale, corpus = made
    assert (corpus.name, corpus.num_users, corpus.num_items) == (scale.name, scale.num_users, scale.num_items)
    if scale.num_users > 1:
        assert len(corpus.sequence_items) == pytest.approx(scale.num_interactions, rel=0.01)
    assert corpus.num_defined_relations == (3 if scale.name == "ml-100k" else 5)
    integers = [array for array in vars(corpus).values() if isinstance(array, np.ndarray)]
    integers += [array for split in (corpus.dev, corpus.test) for array in (split.rows, split.negatives)]
    assert all(array.dtype == np.int32 for array in integers)


def test_sequences(made):
    _, corpus = made
    users, items, times = corpus.sequence_users, corpus.sequence_items, corpus.sequence_times
    assert items.min() >= 1 and items.max() <= corpus.num_items and times.min() > 0
    same = users[1:] == users[:-1]
    assert ((users[1:] == users[:-1] + 1) | same).all() and (users[0], users[-1]) == (1, corpus.num_users)
    assert (np.diff(times)[same] >= 0).all()
    lengths = np.bincount(users)
    assert lengths[1:].min() >= 5
    np.testing.assert_array_equal(corpus.sequence_offsets, np.concatenate([[0], np.cumsum(lengths)]))
    assert len(np.unique(users.astype(np.int64) << 32 | items)) == len(items)


def test_splits(made):
    _, corpus = made
    ends = corpus.sequence_offsets[2:]
    np.testing.assert_array_equal(corpus.dev.rows, ends - 2)
    np.testing.assert_array_equal(corpus.test.rows, ends - 1)
    rows = np.concatenate([corpus.train_rows, corpus.dev.rows, corpus.test.rows])
    np.testing.assert_array_equal(np.sort(rows), np.arange(len(corpus.sequence_items)))
    assert (np.diff(corpus.train_rows) > 0).all()
    touched = np.zeros((corpus.num_users + 1, corpus.num_items + 1), bool)
    touched[corpus.sequence_users, corpus.sequence_items] = True
    for split in (corpus.dev, corpus.test):
        assert split.negatives.shape == (corpus.num_users, NUM_NEGATIVES)
        assert split.negatives.min() >= 1 and split.negatives.max() <= corpus.num_items
        assert not touched[corpus.sequence_users[split.rows][:, None], split.negatives].any()


def test_negatives_are_uniform():
    corpus = generate_corpus(parse_scale("3000x130"))
    untouched = np.full(corpus.num_items + 1, corpus.num_users)
    untouched -= np.bincount(corpus.sequence_items, minlength=corpus.num_items + 1)
    expected = untouched[1:] * NUM_NEGATIVES / (corpus.num_items - len(corpus.sequence_items) / corpus.num_users)
    drawn = np.bincount(corpus.dev.negatives.ravel(), minlength=corpus.num_items + 1)[1:]
    np.testing.assert_allclose(drawn, expected, rtol=0.15)  # about 2,400 each: 7 standard deviations


def test_relations(made):
    _, corpus = made
    heads, relations, tails = corpus.triples.T
    if corpus.item_relations:
        assert min(heads.min(), tails.min()) >= 1 and max(heads.max(), tails.max()) <= corpus.num_items
        assert set(relations) == set(range(1, 1 + len(corpus.item_relations)))
        assert (heads != tails).all()
        assert len(np.unique(corpus.triples, axis=0)) == len(corpus.triples)
    assert not corpus.item_values[0].any()
    first = 1 + corpus.num_items
    for attribute in range(len(corpus.attributes)):
        values = corpus.item_values[:, attribute]
        held = values > 0
        assert (held[:, :-1] >= held[:, 1:]).all()  # padded at the end
        assert values[held].min() >= first
        for row in values:
            assert len(set(row[row > 0])) == np.count_nonzero(row)
        first = values.max() + 1
    assert corpus.item_values.max() < corpus.num_entities
    sampler = build_sampler(corpus)
    assert sampler.triples is not None


def test_long_tails():
    corpus = generate_corpus(SCALES["office"])
    popularity = np.sort(np.bincount(corpus.sequence_items, minlength=corpus.num_items + 1)[1:])[::-1]
    assert 0.003 < popularity[0] / popularity.sum() < 0.01  # .006 on Office
    assert 0.35 < popularity[: len(popularity) // 10].sum() / popularity.sum() < 0.55
    lengths = np.diff(corpus.sequence_offsets)[1:]
    assert np.median(lengths) <= 8 < lengths.mean() < 12 and lengths.max() > 60
    degrees = np.bincount(corpus.triples[:, 2])
    assert degrees.max() > 20 * np.median(degrees)


def test_same_seed_same_corpus():
    first, second, other = (generate_corpus(SCALES["tiny"], seed) for seed in (3, 3, 4))
    assert first.content_hash == second.content_hash != other.content_hash
    for name, value in vars(first).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, getattr(second, name))
    np.testing.assert_array_equal(first.dev.negatives, second.dev.negatives)
    assert (first.dev.negatives != first.test.negatives).any()
