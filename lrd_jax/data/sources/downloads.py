"""Files from the network: into the cache, checked, and only then under their name."""

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
    """Download in a temporary folder, check, and only then rename to `file`.

    Args:
      file: where it is to be.
      algorithm, checksum: of `hashlib`, and hexadecimal; None where no checksum is published.
      download: given a folder, puts the file into it and returns its path.

    Raises:
      UserError: the cache cannot be written.
      OSError: the network failed.
      ValueError: another checksum.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        workspace = tempfile.TemporaryDirectory(dir=file.parent)
    except OSError as error:
        remedy = "Set the environment's LRD_JAX_CACHE to a folder that can be written"
        raise UserError(f"the cache cannot be written ({error.strerror})", file=file.parent, remedy=remedy) from None
    with workspace as folder:
        downloaded = download(Path(folder))
        if algorithm is not None:
            found = digest(downloaded, algorithm)
            if found != checksum:
                raise ValueError(f"its {algorithm} is {found}, not {checksum}")
        os.replace(downloaded, file)


def download_url(url: str, folder: Path) -> Path:
    """Download a file under its own name, with a progress bar.

    Raises:
      OSError: the network failed, or fewer bytes came than the server told of.
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
                raise OSError(f"{out.tell():,} of {size:,} bytes came")
    return file


def digest(file: Path, algorithm: str) -> str:
    """The checksum of a file, hexadecimal."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def one_line(error: Exception) -> str:
    """An error's words in at most 200 characters."""
    return " ".join((str(error) or type(error).__name__).split())[:200]
