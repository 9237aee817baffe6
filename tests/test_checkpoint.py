"""Checkpoints: equal bit for bit, refused where they do not fit, complete whenever the process is killed."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lrd_jax.errors import UserError
from lrd_jax.runs.checkpoint import Checkpoints

ROOT = Path(__file__).parents[1]


class State(NamedTuple):
    params: dict
    optimizer: optax.OptState
    key: jax.Array
    step: jax.Array


def make_state(seed: int = 0) -> State:
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2**32, (5, 3), dtype=np.uint32)
    params = {
        "emb": {"w/x": jnp.asarray(rng.normal(size=(7, 4)), jnp.float32), "scalar": jnp.float32(rng.normal())},
        "any_bits": bits.view(np.float32),  # NaN payloads, denormals and infinities too
        "layers": [jnp.asarray(rng.integers(-9, 9, 3), jnp.int32), jnp.zeros((0, 4), jnp.float32)],
        "mask": jnp.asarray(rng.random(6) < 0.5),
        "half": jnp.asarray(rng.normal(size=3), jnp.bfloat16),
        "nothing": None,
    }
    optimizer = optax.adam(1e-3).init({"w": params["emb"]["w/x"]})
    return State(params, optimizer, jax.random.key_data(jax.random.key(seed)), jnp.int32(seed))


def assert_same_bits(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert a.tobytes() == b.tobytes()


@pytest.fixture
def checkpoints(tmp_path):
    opened = Checkpoints(tmp_path / "run")
    yield opened
    opened.close()


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_round_trip_is_bit_for_bit(checkpoints, tmp_path, capfd):
    assert checkpoints.latest_epoch("latest") is None
    checkpoints.save("latest", 3, make_state(1))
    epoch, state = checkpoints.restore("latest", like=make_state(2))
    assert epoch == 3
    assert isinstance(state, State)
    assert_same_bits(state, make_state(1))
    epoch, state = checkpoints.restore("latest", like=jax.eval_shape(make_state))
    assert_same_bits(state, make_state(1))
    again = Checkpoints(tmp_path / "run")
    assert_same_bits(again.restore("latest", like=make_state())[1], make_state(1))
    again.close()
    assert capfd.readouterr() == ("", "")


def test_restored_arrays_enter_a_donating_jit(checkpoints):
    checkpoints.save("latest", 1, make_state(1))
    _, state = checkpoints.restore("latest", like=make_state())
    jax.block_until_ready(jax.jit(lambda s: s, donate_argnums=0)(jax.tree.map(jnp.asarray, state)))


def test_empty_and_scalar_trees(checkpoints):
    for state in ({}, {"none": np.zeros((0, 2))}, np.float64(3.5), {"python": 3}):
        checkpoints.save("latest", 1, state)
        assert_same_bits(checkpoints.restore("latest", like=state)[1], state)


def test_keeps_one_latest_and_two_best(checkpoints, tmp_path):
    for epoch in (1, 2, 4, 10):
        checkpoints.save("best", epoch, make_state(epoch))
        checkpoints.save("latest", epoch, make_state(epoch))
    assert listing(tmp_path / "run/latest") == ["10"]
    assert listing(tmp_path / "run/best") == ["10", "4"]
    assert checkpoints.latest_epoch("best") == 10
    for epoch in (4, 10):
        assert_same_bits(checkpoints.restore("best", make_state(), epoch)[1], make_state(epoch))
    assert checkpoints.restore("best", make_state())[0] == 10


def test_overwrites_an_epoch_and_drops_an_abandoned_future(checkpoints, tmp_path):
    for epoch in (3, 6):
        checkpoints.save("best", epoch, make_state(epoch))
    checkpoints.save("best", 6, make_state(60))
    assert_same_bits(checkpoints.restore("best", make_state())[1], make_state(60))
    checkpoints.save("best", 4, make_state(4))  # resumed from epoch 3, and 4 is now better
    assert listing(tmp_path / "run/best") == ["3", "4"]


def without(state: State, *names: str) -> State:
    return state._replace(params={key: value for key, value in state.params.items() if key not in names})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: s._replace(step=jnp.float32(0)), ".step is int32[] in the checkpoint and float32[] in the run"),
        (
            lambda s: s._replace(key=jnp.zeros(4, jnp.uint32)),
            ".key is uint32[2] in the checkpoint and uint32[4] in the run",
        ),
        (lambda s: without(s, "mask"), "['mask'] is bool[6] in the checkpoint and missing in the run"),
        (
            lambda s: s._replace(params=s.params | {"new": jnp.ones(2)}),
            "['new'] is missing in the checkpoint and float32[2] in the run",
        ),
        (lambda s: without(s, "mask", "half", "any_bits", "emb"), "and 2 more"),
        (lambda s: s._replace(params={}), "more"),
    ],
)
def test_what_does_not_fit_is_refused(checkpoints, change, expected):
    checkpoints.save("latest", 2, make_state())
    with pytest.raises(UserError) as error:
        checkpoints.restore("latest", like=change(make_state()))
    assert expected in str(error.value)
    assert "latest/2" in str(error.value)


def test_missing_checkpoints_are_reported(checkpoints):
    with pytest.raises(UserError, match="there is no best checkpoint"):
        checkpoints.restore("best", make_state())
    checkpoints.save("best", 2, make_state())
    with pytest.raises(UserError, match="there is no best checkpoint of epoch 1"):
        checkpoints.restore("best", make_state(), epoch=1)


def test_damaged_checkpoint_is_reported(checkpoints, tmp_path):
    checkpoints.save("latest", 2, make_state())
    for path in (tmp_path / "run/latest/2/arrays").rglob("*"):
        if path.is_file() and path.stat().st_size > 200:
            path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="cannot be read"):
        checkpoints.restore("latest", make_state())


def test_unwritable_folder_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--run.workdir"):
        Checkpoints(tmp_path / "file")


def test_leftovers_of_a_killed_process(checkpoints, tmp_path):
    folder = tmp_path / "run/latest"
    checkpoints.save("latest", 1, make_state(1))
    (folder / "2.new.orbax-checkpoint-tmp-7/arrays").mkdir(parents=True)
    (folder / "0.old").mkdir()
    Checkpoints(tmp_path / "run").close()
    assert listing(folder) == ["1"]
    (folder / "1").rename(folder / "1.new")  # killed between the two renames of an overwrite
    (folder / "1.old").mkdir()
    reopened = Checkpoints(tmp_path / "run")
    assert listing(folder) == ["1"]
    assert_same_bits(reopened.restore("latest", make_state())[1], make_state(1))
    reopened.close()


SAVER = """
import sys
from pathlib import Path
import numpy as np
from lrd_jax.runs.checkpoint import Checkpoints

checkpoints = Checkpoints(Path(sys.argv[1]))
epoch = checkpoints.latest_epoch("latest") or 0
while True:
    epoch += 1
    state = {str(i): np.full((500, 64), epoch, np.float32) for i in range(40)} | {"best": np.int32(epoch)}
    checkpoints.save("best", epoch, state)
    checkpoints.save("latest", epoch, state)
    checkpoints.save("latest", epoch, state)
    print(epoch, flush=True)
"""


@pytest.mark.process
def test_killed_at_any_moment_the_last_checkpoint_is_whole(tmp_path):
    like = {str(i): np.zeros((500, 64), np.float32) for i in range(40)} | {"best": np.int32(0)}
    moments = random.Random(0)
    reached = 0
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        first = int(process.stdout.readline())
        assert first == reached + 1
        time.sleep(moments.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        printed = [first, *(int(line) for line in process.stdout.read().split("\n")[:-1])]
        process.wait()

        checkpoints = Checkpoints(tmp_path)
        reached, state = checkpoints.restore("latest", like)
        assert printed[-1] <= reached <= printed[-1] + 1
        for array in state.values():
            assert (array == reached).all()
        assert_same_bits(checkpoints.restore("best", like, epoch=int(state["best"]))[1], state)
        checkpoints.close()
        assert listing(tmp_path / "latest")[-1].isdecimal()


def test_an_abandoned_future_is_discarded(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for epoch in (3, 6):
        checkpoints.save("best", epoch, {"a": np.float32(epoch)})
    checkpoints.discard_after(5)
    checkpoints.save("best", 7, {"a": np.float32(7)})
    assert checkpoints.restore("best", {"a": np.float32(0)}, epoch=3)[1]["a"] == 3
    assert checkpoints.latest_epoch("best") == 7
