"""Where a dataset's text embeddings lie: text_ENCODER[-MODEL][-WIDTHd].npy, its JSON by the same name."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lrd_jax.config.schema import WORDLLAMA_DIMENSIONS, EncoderConfig
from lrd_jax.data.cache import cache_dir
from lrd_jax.text.encoders import PAID

SLUG_LENGTH = 80


def model_name(encoder_config: EncoderConfig) -> str | None:
    """`EncoderConfig.model`, a folder as its absolute path, so that it names the same model from everywhere."""
    model = encoder_config.model
    if model is None or encoder_config.encoder in PAID:
        return model
    is_folder = model.startswith(("/", ".", "~")) or os.path.isdir(model)
    return os.path.abspath(os.path.expanduser(model)) if is_folder else model


def text_path(folder: str | os.PathLike[str], encoder_config: EncoderConfig) -> Path:
    """The array in `folder` that is of the width asked for.

    Asked for a width that the model's embeddings of full width have, it is those: they need not be made again.
    """
    full = Path(folder) / f"{_stem(encoder_config)}.npy"
    width = encoder_config.dimensions
    default = WORDLLAMA_DIMENSIONS if encoder_config.encoder == "wordllama" else None
    if width is None or width == default or recorded(full, "dimensions") == width:
        return full
    return full.with_name(f"{_stem(encoder_config)}-{width}d.npy")


def embeddings_path(folder: str | os.PathLike[str], texts: Sequence[str], encoder_config: EncoderConfig) -> Path:
    """Where the array of these texts is, or is to be written: beside the dataset, or in the cache if that is read-only.

    The cache goes before an array in a read-only folder, for that one could not be replaced when it no longer fits.
    """
    beside = text_path(folder, encoder_config)
    if _writable(Path(folder)):
        return beside
    cached = text_path(cache_dir() / "text" / text_hash(texts), encoder_config)
    return beside if beside.exists() and not cached.exists() else cached


def text_hash(texts: Sequence[str]) -> str:
    """SHA-256 (hex) of the texts of items 1.., each preceded by its length in bytes, so that no two lists collide."""
    digest = hashlib.sha256()
    for text in texts[1:]:
        encoded = text.encode("utf-8")
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.hexdigest()


def recorded(array: Path, entry: str) -> Any:
    """An entry of the JSON beside an array; None: it cannot be read."""
    try:
        return json.loads(array.with_suffix(".json").read_bytes())[entry]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _stem(encoder_config: EncoderConfig) -> str:
    model = model_name(encoder_config)
    return f"text_{encoder_config.encoder}" + (f"-{_slug(model)}" if model is not None else "")


def _slug(model: str) -> str:
    """A model's name as part of a file name; a name that had to be changed gets a hash, so that no two become one."""
    base = os.path.basename(model) if os.path.isabs(model) else model
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", base)[:SLUG_LENGTH]
    return slug if slug == model else f"{slug}-{hashlib.sha256(os.fsencode(model)).hexdigest()[:8]}"


def _writable(folder: Path) -> bool:
    # Mode bits as well: root may write anywhere, but a folder without any write bit was closed on purpose.
    return os.access(folder, os.W_OK) and bool(folder.stat().st_mode & 0o222)
