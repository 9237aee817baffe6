"""Keeps compiled programs on disk for later processes, and deletes entries that a full disk has damaged."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import platform
import re
import warnings
import zlib
from pathlib import Path
from typing import Any, TextIO

import jax

from lrd_jax.terminal.lines import warn

_TROUBLE = re.compile(r"Error (reading|writing) persistent compilation cache entry for '([^']+)': (.*)", re.DOTALL)


def keep_compiled(folder: Path) -> None:
    """Keeps compiled programs in a folder. Later processes load them in tenths of a second instead of seconds.

    JAX_COMPILATION_CACHE_DIR, if set, takes precedence over the folder; JAX_ENABLE_COMPILATION_CACHE=0 turns this off.
    """
    _look_after_damage()
    if _cache_dir() is not None:
        return
    # CPU programs depend on the features of the CPU, and machines may share the folder.
    processor = platform.processor() + platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor += "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    folder /= hashlib.sha256(processor.encode()).hexdigest()[:12]
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _cache_dir() -> str | None:
    options: Any = jax.config  # whose attributes are made at run time
    folder: str | None = options.jax_compilation_cache_dir
    return folder


def _look_after_damage() -> None:
    """Deletes damaged entries when jax warns that it cannot read or write one.

    A full disk leaves a truncated entry, which jax would try to read at every start and never replace.
    """
    show = warnings.showwarning

    def show_or_act(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        trouble = _TROUBLE.match(str(message))
        if trouble is None:
            return show(message, category, filename, lineno, file, line)
        done, program, reason = trouble.groups()
        folder = Path(_cache_dir() or "")
        for path in folder.glob(f"{glob.escape(program)}-*-cache"):
            with contextlib.suppress(OSError):
                if _is_damaged(path):
                    path.unlink()
        if done == "reading":
            warn(f"deleted a damaged compiled program in {folder}; it is compiled again")
        else:
            warn(f"a compiled program cannot be kept in {folder} ({reason.strip()}); the run goes on")

    warnings.showwarning = show_or_act


def _is_damaged(path: Path) -> bool:
    """Whether an entry is not in the format that jax writes; with zstandard installed, any entry counts as damaged."""
    try:
        zlib.decompress(path.read_bytes())
    except zlib.error:
        return True
    return False
