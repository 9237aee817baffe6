"""Downloads files into the cache; a file gets its final name only after it is checked."""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path

from lrd_jax.errors import UserError

_SECONDS_TO_CONNECT = 5


def fetch(file: Path, algorithm: str | None, checksum: str | None, download: Callable[[Path], Path]) -> None:
    """Downloads into a temporary folder, checks, and only then renames to `file`.

    Args:
      file: the destination.
      algorithm, checksum: name in `hashlib` and hexadecimal value; None if no checksum is published.
      download: downloads the file into a given folder and returns its path.

    Raises:
      UserError: the cache cannot be written.
      OSError: the network failed.
      ValueError: the checksum differs.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        workspace = tempfile.TemporaryDirectory(dir=file.parent)
    except OSError as error:
        remedy = "Set the environment variable LRD_JAX_CACHE to a writable folder"
        raise UserError(f"the cache cannot be written ({error.strerror})", file=file.parent, remedy=remedy) from None
    with workspace as folder:
        downloaded = download(Path(folder))
        if algorithm is not None:
            found = digest(downloaded, algorithm)
            if found != checksum:
                raise ValueError(f"its {algorithm} is {found}, not {checksum}")
        os.replace(downloaded, file)


def download_url(url: str, folder: Path) -> Path:
    """Downloads a file under its own name, with a progress bar.

    Raises:
      OSError: the network failed, or fewer bytes arrived than the server announced.
    """
    from tqdm import tqdm

    file = folder / url.rpartition("/")[2]
    with urllib.request.urlopen(url, timeout=_SECONDS_TO_CONNECT) as response, file.open("wb") as out:
        size = int(response.headers.get("Content-Length") or 0) or None
        with tqdm(total=size, unit="B", unit_scale=True, desc=file.name, leave=False, disable=None) as progress:
            while chunk := response.read(1 << 16):
                out.write(chunk)
                progress.update(len(chunk))
            if size is not None and out.tell() != size:
                raise OSError(f"{out.tell():,} of {size:,} bytes arrived")
    return file


def digest(file: Path, algorithm: str) -> str:
    """The checksum of a file, hexadecimal."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def one_line(error: Exception) -> str:
    """The message of an error in at most 200 characters."""
    return " ".join((str(error) or type(error).__name__).split())[:200]
