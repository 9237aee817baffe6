"""The virtual environment in which RecBole runs, made once and kept in the cache folder.

RecBole needs older libraries than lrd_jax, so it never shares an environment with it.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from rich.console import Console

from lrd_jax.data.cache import cache_dir
from lrd_jax.errors import UserError

# Without its own requirements, of which ray and thop have no release for newer Pythons and are not used here.
RECBOLE = "recbole==1.2.1"
LIBRARIES = (
    "torch==2.13.0",
    "numpy==1.26.4",
    "pandas==2.2.3",
    "scipy==1.13.1",
    "scikit-learn",
    "tensorboard",
    "setuptools<80",
    "colorlog==4.7.2",
    "colorama==0.4.4",
    "pyyaml",
    "texttable",
    "tqdm",
)
ENVIRONMENT = {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
"""What RecBole's process needs in its environment besides ours."""

_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
_NEWEST_PYTHON = (3, 12)  # of numpy 1.26.4
_SECONDS_TO_CONNECT = 5


def environment_folder(*, cuda: bool) -> Path:
    """Where the cache keeps the environment of this Python, with CUDA's or the CPU's torch."""
    python = "{}.{}".format(*platform.python_version_tuple())
    return cache_dir() / "recbole" / f"python{python}-{'cuda' if cuda else 'cpu'}"


def find_recbole(*, cuda: bool) -> Path | None:
    """The environment's Python, or None where it has not been made or lacks something."""
    folder = environment_folder(cuda=cuda)
    marker = folder / "installed.txt"
    complete = marker.exists() and marker.read_text() == _contents()
    return folder / "bin" / "python" if complete else None


def ensure_recbole(*, cuda: bool) -> Path:
    """The environment's Python; the environment is made first where there is none.

    Args:
      cuda: torch for NVIDIA GPUs, which the package index has, in place of PyTorch's own one for CPUs.

    Raises:
      UserError: no package index can be reached, or this Python is too new.
    """
    if (python := find_recbole(cuda=cuda)) is not None:
        return python
    if sys.version_info[:2] > _NEWEST_PYTHON:
        problem = f"RecBole's libraries have no release for Python {platform.python_version()}"
        raise UserError(problem, remedy="Run this benchmark with Python 3.11 or 3.12")
    folder = environment_folder(cuda=cuda)
    python = folder / "bin" / "python"
    index = [] if cuda or not _reachable(_CPU_INDEX) else ["--extra-index-url", _CPU_INDEX]
    install = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:")
    with Console(stderr=True).status(f"{RECBOLE} and its libraries into {folder}, once: 1.4 GB, more with CUDA"):
        _run(sys.executable, "-m", "venv", "--clear", folder)
        _run(*install, *index, *LIBRARIES)
        _run(*install, "--no-deps", RECBOLE)
    (folder / "installed.txt").write_text(_contents())  # last: a folder without it is made again
    return python


def _contents() -> str:
    return "\n".join((RECBOLE, *LIBRARIES)) + "\n"


def _reachable(url: str) -> bool:
    """Whether a server answers soon; pip would wait minutes for one that does not."""
    try:
        with urllib.request.urlopen(f"{url}/", timeout=_SECONDS_TO_CONNECT):
            return True
    except (OSError, urllib.error.URLError):
        return False


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr + done.stdout).strip().splitlines() or ["no message"]
        said = next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1])
        problem = f"RecBole's environment could not be made: {said}"
        raise UserError(problem, remedy="See that pip reaches a package index and that the disk has room, then repeat")
