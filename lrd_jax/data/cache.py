"""The cache folder for downloads and datasets, and the corpus cache.

The cache only saves time: a corrupt entry is made again, and an unwritable folder is ignored without a message.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from lrd_jax.data.corpus import Corpus, Split

_ARRAYS = tuple(f.name for f in dataclasses.fields(Corpus) if f.type == "np.ndarray")
_COUNTS = ("num_users", "num_items", "num_entities")
_NAMES = ("item_relations", "attributes")
_SPLITS = ("dev", "test")


def cache_dir() -> Path:
    """The folder for reproducible files: the environment variable LRD_JAX_CACHE, or else the user's cache folder."""
    chosen = os.environ.get("LRD_JAX_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("lrd_jax"))


def load_corpus(name: str, content_hash: str) -> Corpus | None:
    """The cached corpus with this content, or None if the cache has no readable one.

    Args:
      name: the dataset's name, which is not part of the content.
      content_hash: SHA-256 (hex) of the files, `lrd_jax.data.rechorus.content_hash`.
    """
    try:
        with np.load(_corpus_path(content_hash), allow_pickle=False) as stored:
            meta = json.loads(str(stored["meta"]))
            if meta["content_hash"] != content_hash:
                return None
            fields: dict[str, Any] = {
                **{field: int(meta[field]) for field in _COUNTS},
                **{field: tuple(meta[field]) for field in _NAMES},
                **{field: stored[field] for field in _ARRAYS},
                **{s: Split(rows=stored[f"{s}_rows"], negatives=stored[f"{s}_negatives"]) for s in _SPLITS},
            }
            return Corpus(name=name, content_hash=content_hash, **fields)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        return None  # missing or damaged: the caller reads the files and stores it again


def store_corpus(corpus: Corpus) -> None:
    """Stores a corpus for `load_corpus`, under a temporary name first, so that readers never see a partial file."""
    meta = {field: getattr(corpus, field) for field in ("content_hash", *_COUNTS, *_NAMES)}
    arrays = {field: getattr(corpus, field) for field in _ARRAYS}
    for name in _SPLITS:
        split = getattr(corpus, name)
        arrays |= {f"{name}_rows": split.rows, f"{name}_negatives": split.negatives}
    path = _corpus_path(corpus.content_hash)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=path.stem[:16], suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, meta=np.array(json.dumps(meta)), **arrays)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def _corpus_path(content_hash: str) -> Path:
    return cache_dir() / "corpus" / f"{content_hash}.npz"
