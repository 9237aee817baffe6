"""A tiny study: popularity and RCF without passes, on a synthetic dataset."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lrd_jax.data.synthetic import write_synthetic

ROOT = Path(__file__).parents[2]

RCF = """\
[data]
history_length = 5
[model]
name = "rcf"
num_layers = 0
embedding_dim = 4
num_heads = 2
[optim]
batch_size = 64
learning_rate = 0.05
[run]
epochs = 4
cpu_devices = 1
"""


class Place:
    """A folder with configurations and a dataset, and the program started in it."""

    def __init__(self, folder: Path, num_users: int = 60) -> None:
        self.folder, self.configs = folder, folder / "configs"
        write_synthetic(folder / "data", num_users=num_users)
        (self.configs / "tiny").mkdir(parents=True)
        (self.configs / "tiny/rcf.toml").write_text(RCF)
        (self.configs / "tiny/popularity.toml").write_text(RCF.replace("rcf", "popularity"))
        (self.configs / "tiny/item_knn.toml").write_text(RCF.replace("rcf", "item_knn"))
        # The slow one first; the other is its base.
        variants = (
            '[variants.ours]\nsystem = "rcf"\nbase = "popularity"\n[variants.popularity]\nsystem = "popularity"\n'
        )
        (folder / "variants.toml").write_text(variants)

    def start(self, command: str, *arguments: str, workdir: str = "out") -> subprocess.Popen:
        """Start a study."""
        words = [sys.executable, "-m", "lrd_jax.study", command, "--workdir", str(self.folder / workdir)]
        words += ["--configs", str(self.configs), "--data", f"tiny={self.folder}/data", *arguments]
        flags = "--xla_backend_optimization_level=0"
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "COLUMNS": "200"}
        environment["LRD_JAX_CACHE"] = str(self.folder / "cache")
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(words, cwd=ROOT, env=environment, **pipes)

    def table(self, *arguments: str, workdir: str = "out") -> subprocess.Popen:
        """Start the table of both systems with two seeds."""
        mine = ["--datasets", "tiny", "--seeds", "0,1", "--claim", "1", "--variants", f"{self.folder}/variants.toml"]
        return self.start("table", *mine, *arguments, workdir=workdir)


def finish(process: subprocess.Popen, returncode: int = 0) -> str:
    """What a process printed, when it has ended as expected."""
    out, err = process.communicate(timeout=200)
    assert process.returncode == returncode, err
    return out if returncode == 0 else err


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Place:
    return Place(tmp_path_factory.mktemp("study"))
