"""Commands as real processes, for tests of signals, streams, locks and the environment."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def environment(place: Path, **more: str) -> dict[str, str]:
    """The CPU as commands set it up by themselves, quickly compiled; all tests share what is compiled (conftest.py)."""
    kept = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "COLUMNS")}
    quick = {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
    return {**kept, **quick, "LRD_JAX_CACHE": str(place / "cache"), "JAX_PLATFORMS": "cpu", **more}


def start(place: Path, command: str, *arguments: str, **more: str) -> subprocess.Popen:
    """Start python -m lrd_jax.COMMAND with more variables in its environment."""
    words = [sys.executable, "-m", f"lrd_jax.{command}", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    pipes |= {"stdin": subprocess.DEVNULL, "encoding": more.get("PYTHONIOENCODING", "utf-8")}
    return subprocess.Popen(words, cwd=ROOT, env=environment(place, **more), **pipes)


def finish(process: subprocess.Popen) -> subprocess.CompletedProcess:
    """Wait for its end."""
    stdout, stderr = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def run(place: Path, command: str, *arguments: str, **more: str) -> subprocess.CompletedProcess:
    """Run it to its end."""
    return finish(start(place, command, *arguments, **more))


def shell(place: Path, line: str) -> subprocess.CompletedProcess:
    """Run a line of bash, for its redirections; in it, $command.train is a command and $python the interpreter."""
    environ = environment(place, command=f"{sys.executable} -m lrd_jax", python=sys.executable)
    return subprocess.run(
        ["bash", "-c", line],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )


def small_training(place: Path, workdir: str, *arguments: str, model: str = "rcf", epochs: int = 3) -> list[str]:
    """Arguments of train for a model of 4 dimensions on place/data."""
    words = ["--data.path", place / "data", "--run.workdir", place / workdir, "--model.name", model]
    words += ["--model.embedding-dim", 4, "--model.num-heads", 2, "--model.num-layers", 0, "--run.cpu-devices", 1]
    words += ["--optim.batch-size", 64, "--run.epochs", epochs, "--run.patience", epochs, *arguments]
    return list(map(str, words))
