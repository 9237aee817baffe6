"""Compiled programs outlive the process; each case is a process of its own, since jax is configured for good."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.process

# Compiles an epoch of a tiny run and says from where it came and what XLA planned for it.
SCRIPT = """
import sys
import jax
from pathlib import Path
from lrd_jax.command_line.compiled import keep_compiled
keep_compiled(Path(sys.argv[1]))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event) if event.endswith("/cache_hits") else None)
def loop(x):
    return jax.lax.fori_loop(0, 3, lambda n, y: jax.numpy.sin(y @ y) + n, x)
compiled = jax.jit(loop).lower(jax.ShapeDtypeStruct((64, 64), "float32")).compile()
print(len(hits), compiled.memory_analysis().temp_size_in_bytes, jax.config.jax_compilation_cache_dir)
"""


def run_script(folder, before="", **environment):
    """The script in a new process, after a line of bash."""
    without_a_place = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    return subprocess.run(
        ["bash", "-c", f'{before}exec "$@"', "bash", sys.executable, "-c", SCRIPT, str(folder)],
        env={**without_a_place, "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        text=True,
        check=True,
    )


def compile_in(folder, **environment):
    """(hits, temporary bytes, folder in use) of the script."""
    done = run_script(folder, **environment)
    assert "rror" not in done.stderr, done.stderr
    hits, temporary, used = done.stdout.split()
    return int(hits), int(temporary), used


def test_the_second_process_compiles_nothing(tmp_path):
    first, second = (compile_in(tmp_path / "compiled") for _ in range(2))
    assert (first[0], second[0]) == (0, 1)
    assert first[1] == second[1] > 0  # memory is planned with this figure, wherever the program comes from
    assert first[2] == second[2] and list((tmp_path / "compiled").rglob("*-cache"))


def test_the_users_place_stands(tmp_path):
    theirs = str(tmp_path / "theirs")
    assert compile_in(tmp_path / "ours", JAX_COMPILATION_CACHE_DIR=theirs)[2] == theirs
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize("damage", ["cut", "empty", "other bytes"])
def test_a_damaged_program_is_replaced(tmp_path, damage):
    """As a full disk leaves it; otherwise every later process would warn, and compile anew."""
    for _ in range(2):
        compile_in(tmp_path / "compiled")
    for entry in (tmp_path / "compiled").rglob("*-cache"):
        whole = entry.read_bytes()
        entry.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "other bytes": bytes(len(whole))}[damage])
    done = run_script(tmp_path / "compiled")
    assert done.stdout.split()[0] == "0"
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"warning: deleted a damaged compiled program in {tmp_path}/compiled/")
    assert compile_in(tmp_path / "compiled")[0] == 1


def test_a_full_disk_leaves_nothing_damaged(tmp_path):
    done = run_script(tmp_path / "compiled", before="ulimit -f 1; ")  # no file above 1 KiB
    (line,) = done.stderr.splitlines()
    assert line.startswith("warning: a compiled program cannot be kept in") and "the run goes on" in line
    assert not list((tmp_path / "compiled").rglob("*-cache"))
    assert [compile_in(tmp_path / "compiled")[0] for _ in range(2)] == [0, 1]


@pytest.mark.parametrize("obstacle", ["a file", "nothing"])
def test_a_place_that_cannot_be_used_is_passed_over(tmp_path, obstacle):
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "compiled" if obstacle == "a file" else "/proc/nowhere"
    assert compile_in(folder)[2] == "None"
