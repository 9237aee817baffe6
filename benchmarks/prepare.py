"""How long `python -m lrd_jax.prepare amazon-2014` takes from raw files to a dataset folder, and how much memory."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Literal

import polars as pl
from rich.console import Console

from benchmarks.options import parse_options, write_lines
from benchmarks.raw_amazon import DumpSizes, write_dump
from benchmarks.report import commit, machine, rounded
from lrd_jax.command_line.parse import run_command
from lrd_jax.errors import UserError

CATEGORY = "Electronics"
SCALES = {"tiny": DumpSizes(120, 240, 1500, 400), "electronics": DumpSizes()}


@dataclasses.dataclass(frozen=True)
class PrepareOptions:
    """What is measured and where the record goes."""

    scale: Literal["electronics", "tiny"] = "electronics"
    """How large a dump is made: Electronics' size, or a toy."""
    dump: Path | None = None
    """Folder for the dump, made where it is not there yet, and kept. None: a temporary one, removed at the end."""
    repeat: int = 1
    """How often it is prepared, each time by a new process."""
    json: str | None = None
    """File that a line of JSON is added to for each time; - writes them to stdout."""


def main() -> None:
    """Makes the dump in another process, so that this one stays small, then times a child that prepares it."""
    options = parse_options(PrepareOptions, "prepare", __doc__)
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="prepare-") as temporary:
        dump = options.dump if options.dump is not None else Path(temporary) / "dump"
        files = [dump / f"reviews_{CATEGORY}_5.json.gz", dump / f"meta_{CATEGORY}.json.gz"]
        if not all(file.exists() for file in files):
            started = time.perf_counter()
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
                process.submit(write_dump, dump, CATEGORY, SCALES[options.scale]).result()
            console.print(f"dump made in {time.perf_counter() - started:.1f} s: {dump}")
        for _ in range(options.repeat):
            record = measure(dump, Path(temporary) / "folder", options.scale)
            record["dump_bytes"] = {file.name: file.stat().st_size for file in files}
            console.print(
                f"{record['seconds']:.1f} s ({record['cpu_seconds']:.1f} s of processor), "
                f"{record['peak_bytes'] / 1e9:.2f} GB: {record['sizes']}"
            )
            write_lines([rounded(record)], options.json)


def measure(dump: Path, folder: Path, scale: str) -> dict:
    """Prepares once: wall and processor seconds, the most memory that the process held, and what came out.

    The command has no worker processes; its threads are in its own memory.

    Raises:
      UserError: it failed.
    """
    command = [sys.executable, "-m", "lrd_jax.prepare", "amazon-2014", CATEGORY, "--source", str(dump)]
    command += ["--out", str(folder)]
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        if child.returncode:
            raise UserError(f"prepare failed: {output.read().decode(errors='replace').strip()}")
    card = json.loads((folder / "data_card.json").read_text(encoding="utf-8"))
    return {
        "benchmark": "prepare",
        "scale": scale,
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "sizes": {name: card["sizes"][name] for name in ("users", "items", "interactions")},
        "triples": {name: part["triples"] for kind in ("relations", "attributes") for name, part in card[kind].items()},
        "machine": machine(),
        "polars": pl.__version__,
        "commit": commit(),
    }


if __name__ == "__main__":
    run_command(main)
