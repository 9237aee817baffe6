"""Text embeddings of a dataset on disk: text_ENCODER.npy and a JSON of where it came from, beside the dataset.

One convention: the array on disk is float32 [I, T], its row 0 being item 1; in memory it is float32 [I + 1, T], row 0
being padding and zero. An item whose text is blank has a zero row as well, which says no more about it than padding
does. (The readers of datasets refuse items without text; the rule is for those who call this module themselves.)
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from tqdm import tqdm

import lrd_jax
from lrd_jax.config import EncoderConfig, TextConfig
from lrd_jax.data.cache import cache_dir
from lrd_jax.data.rechorus import read_texts
from lrd_jax.display import say
from lrd_jax.errors import UserError
from lrd_jax.text.encoders import Encoder, build_encoder

TEXTS_PER_CALL = 256


def text_path(folder: str | os.PathLike, encoder: str) -> Path:
    """The array of an encoder's embeddings in `folder`; its JSON has the same name with .json."""
    return Path(folder) / f"text_{encoder}.npy"


def text_hash(texts: Sequence[str]) -> str:
    """SHA-256 (hex) of the texts of items 1.., each preceded by its length in bytes, so that no two lists collide."""
    digest = hashlib.sha256()
    for text in texts[1:]:
        encoded = text.encode("utf-8")
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.hexdigest()


def embeddings_path(folder: str | os.PathLike, texts: Sequence[str], encoder: str) -> Path:
    """Where the array of these texts is, or is to be written: beside the dataset, or in the cache if that is read-only.

    The cache goes before an array in a read-only folder, for that one could not be replaced when it no longer fits.
    """
    beside = text_path(folder, encoder)
    if _writable(Path(folder)):
        return beside
    cached = text_path(cache_dir() / "text" / text_hash(texts), encoder)
    return beside if beside.exists() and not cached.exists() else cached


def embed_texts(texts: Sequence[str], encoder: Encoder) -> np.ndarray:
    """Embed the texts of items 1.. with a progress bar on a terminal; blank ones get zeros. float32 [I, T].

    Args:
      texts: I + 1 texts; the first is padding.
      encoder: the language model.
    """
    embeddings = np.zeros((len(texts) - 1, encoder.dimensions), np.float32)  # [I, T]
    rows = [row for row, text in enumerate(texts[1:]) if text.strip()]
    with tqdm(total=len(rows), desc=f"{encoder.name} reads texts", unit="text", disable=None) as bar:
        for start in range(0, len(rows), TEXTS_PER_CALL):
            part = rows[start : start + TEXTS_PER_CALL]
            embeddings[part] = encoder.encode([texts[row + 1] for row in part])
            bar.update(len(part))
    return embeddings


def write_embeddings(folder: str | os.PathLike, texts: Sequence[str], embeddings: np.ndarray, encoder: Encoder) -> Path:
    """Write an encoder's [I, T] array and its JSON for the dataset in `folder`; returns the array's path.

    Each file appears whole or not at all, the array first: a JSON therefore never speaks of an array still to come.

    Raises:
      UserError: the place cannot be written to.
    """
    path = embeddings_path(folder, texts, encoder.name)
    provenance = {
        "encoder": encoder.name,
        "version": encoder.version,
        "dimensions": encoder.dimensions,
        "num_items": len(texts) - 1,
        "text_hash": text_hash(texts),
        "created_by": f"lrd_jax {lrd_jax.__version__}",
    }
    array = np.ascontiguousarray(embeddings, np.float32)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, lambda file: np.save(file, array, allow_pickle=False))
        _write(path.with_suffix(".json"), lambda file: file.write(json.dumps(provenance, indent=2).encode() + b"\n"))
    except OSError as error:
        raise UserError(
            f"cannot write the text embeddings ({error.strerror or error})",
            file=path,
            remedy="Make room there, or name another cache folder in LRD_JAX_CACHE",
        ) from error
    return path


def load_embeddings(folder: str | os.PathLike, texts: Sequence[str], encoder_config: EncoderConfig) -> np.ndarray:
    """The stored embeddings of a dataset's items, float32 [I + 1, T], row 0 zero.

    Args:
      folder: the dataset folder.
      texts: I + 1 texts; the first is padding.
      encoder_config: which encoder and how wide.

    Raises:
      UserError: the array or its JSON is missing or cannot be read, or it is of another encoder, width, number of
        items or other texts, or holds NaN or infinity.
    """
    path = embeddings_path(folder, texts, encoder_config.encoder)
    remedy = f"Run `{embed_command(folder, encoder_config)}`"

    def refuse(problem: str, file: Path = path, field: str | None = None, cause: Exception | None = None):
        raise UserError(problem, file=file, field=field, remedy=remedy) from cause

    provenance_path = path.with_suffix(".json")
    try:
        provenance = json.loads(provenance_path.read_bytes())
    except OSError as error:
        refuse(f"cannot read where the embeddings came from ({error.strerror})", provenance_path, cause=error)
    except ValueError as error:
        refuse("does not parse as JSON", provenance_path, cause=error)
    expected = {
        "encoder": (encoder_config.encoder, "is of another encoder"),
        "dimensions": (encoder_config.dimensions, "the embeddings have another width than text.dimensions"),
        "num_items": (len(texts) - 1, "the embeddings are of another number of items"),
        "text_hash": (text_hash(texts), "the items' texts have changed since they were embedded"),
    }
    for field, (value, problem) in expected.items():
        if not isinstance(provenance, dict) or field not in provenance:
            refuse("the entry is missing", provenance_path, field)
        if provenance[field] != value:
            refuse(f"{problem} ({_short(provenance[field])}, not {_short(value)})", provenance_path, field)
    return _read(path, len(texts) - 1, encoder_config.dimensions, remedy)


def read_embeddings(path: Path, num_items: int, dimensions: int) -> np.ndarray:
    """An array of text embeddings that somebody made elsewhere, float32 [I + 1, T], row 0 zero.

    Args:
      path: .npy, floating-point [I, T].
      num_items, dimensions: I and T, as they should be.

    Raises:
      UserError: the array cannot be read, has another shape, or holds NaN or infinity.
    """
    return _read(path, num_items, dimensions, "Mend --text.file, or --text.dimensions where the width is meant")


def _read(path: Path, num_items: int, dimensions: int, remedy: str) -> np.ndarray:
    def refuse(problem: str, cause: Exception | None = None):
        raise UserError(problem, file=path, remedy=remedy) from cause

    try:
        stored = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        refuse("cannot read the embeddings", error)
    shape = (num_items, dimensions)
    if not isinstance(stored, np.ndarray) or not np.issubdtype(stored.dtype, np.floating):
        refuse("the embeddings are not floating-point numbers")
    if stored.shape != shape:
        refuse(f"the embeddings have shape {stored.shape}, not {shape}")
    embeddings = np.zeros((shape[0] + 1, shape[1]), np.float32)  # [I + 1, T]
    embeddings[1:] = stored
    finite = np.isfinite(embeddings).all(axis=1)
    if not finite.all():
        refuse(f"the embedding of item {int(finite.argmin())} holds NaN or infinity")
    return embeddings


def load_or_embed(folder: str | os.PathLike, num_items: int, text_config: TextConfig) -> np.ndarray:
    """What `train` calls: the stored embeddings, made first where there are none. float32 [I + 1, T], row 0 zero.

    With `text_config.file`, that array instead.

    Raises:
      UserError: an item has no text, or as `load_embeddings` (an array that no longer fits is never replaced unasked).
    """
    if text_config.file is not None:
        return read_embeddings(text_config.file, num_items, text_config.dimensions)
    texts = read_texts(folder, num_items)
    if not embeddings_path(folder, texts, text_config.encoder).exists():
        encoder = build_encoder(text_config)
        path = write_embeddings(folder, texts, embed_texts(texts, encoder), encoder)
        say(f"{num_items:,} item texts embedded with {encoder.name} {encoder.version} in {path}")
    return load_embeddings(folder, texts, text_config)


def embed_command(folder: str | os.PathLike, encoder_config: EncoderConfig) -> str:
    """The command line that makes the embeddings of a dataset anew."""
    command = ["python", "-m", "lrd_jax.embed", str(folder), "--encoder", encoder_config.encoder]
    if encoder_config.dimensions != EncoderConfig().dimensions:
        command += ["--dimensions", str(encoder_config.dimensions)]
    return shlex.join([*command, "--force"])


def _writable(folder: Path) -> bool:
    # Mode bits as well: root may write anywhere, but a folder without any write bit was closed on purpose.
    return os.access(folder, os.W_OK) and bool(folder.stat().st_mode & 0o222)


def _write(path: Path, fill: Callable[[IO[bytes]], Any]) -> None:
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            fill(file)
        # mkstemp makes files that only their owner reads; a dataset is shared like any other file.
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 20 else text[:12] + "..."
