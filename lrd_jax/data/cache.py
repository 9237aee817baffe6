"""Where downloads and read corpora are kept, and the corpus cache itself.

A cache only saves time: a corrupt entry is made again, an unwritable folder is passed over in silence.
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
    """Folder for everything that can be made again: the environment's LRD_JAX_CACHE, else the user's cache folder."""
    chosen = os.environ.get("LRD_JAX_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("lrd_jax"))


def load_corpus(name: str, content_hash: str) -> Corpus | None:
    """The cached corpus of this content, or None where there is none that can be read.

    Args:
      name: the dataset's name; it is not content and comes from the caller.
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
        return None  # missing or damaged: the caller reads the files and stores it anew


def store_corpus(corpus: Corpus) -> None:
    """Keep a corpus for `load_corpus`: written under a temporary name, then renamed, so never seen half written."""
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
