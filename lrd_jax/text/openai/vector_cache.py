"""Every vector that was ever paid for: one SQLite file, written as answers arrive.

A process may be killed at any moment: SQLite rolls an unfinished transaction back when the file is next opened.
Several processes may use the file at once; they wait for each other's transactions.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lrd_jax.data.cache import cache_dir
from lrd_jax.errors import UserError

APPLICATION_ID = 0x4C52444A  # "LRDJ"
FORMAT = 1
BUSY_SECONDS = 60.0
"""How long to wait for another process's transaction."""
_KEYS_PER_QUERY = 500
_SCHEMA = (
    # The checksum is zlib's CRC-32 of the vector: SQLite notices damage to its own structure only.
    "CREATE TABLE vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL, checksum INTEGER NOT NULL)",
    "CREATE TABLE batches (marker TEXT PRIMARY KEY, service TEXT NOT NULL, batch_id TEXT, is_open INTEGER NOT NULL)",
    "CREATE TABLE batch_rows (marker TEXT NOT NULL, key BLOB NOT NULL, PRIMARY KEY (marker, key)) WITHOUT ROWID",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {FORMAT}",
)


def cache_path() -> Path:
    """The file in the cache folder."""
    return cache_dir() / "text" / "openai.sqlite"


def vector_key(text: str, *, model: str, dimensions: int | None, service: str | None, generation: int = 0) -> bytes:
    """SHA-256 of what an answer depends on.

    Args:
      text: as it is sent.
      model: its name.
      dimensions: as asked for; None: the model's own.
      service: base URL of the server; None: OpenAI's. Two servers may have different weights under one name.
      generation: how often another model was found behind that name, `lrd_jax.text.openai.probe`.
    """
    identity = json.dumps([service, model, dimensions, text, *([generation] if generation else [])])
    return hashlib.sha256(identity.encode()).digest()


class Database:
    """The SQLite file: vectors here, batches under way in `lrd_jax.text.openai.batch_records`.

    Attributes:
      path: the file.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
          UserError: it cannot be opened or made, is damaged, or is something else.
        """
        self.path = path
        with self._told():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise sqlite3.OperationalError(error.strerror or str(error)) from error
            # No transactions but our own; the default rollback journal, since a write-ahead log does without network
            # file systems, where home folders often are.
            self._connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
            try:
                self._check_format()
            except BaseException:
                self._connection.close()
                raise

    def _check_format(self) -> None:
        with self._told(), self.transaction() as connection:
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if application == 0 and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
                for statement in _SCHEMA:
                    connection.execute(statement)
            elif application != APPLICATION_ID:
                raise UserError("is a database of another program", file=self.path, remedy="Move it elsewhere")
            elif version != FORMAT:
                raise UserError(
                    f"has format {version}, and this version of lrd_jax reads {FORMAT}",
                    file=self.path,
                    remedy="Use the version that wrote it, or name another cache folder in LRD_JAX_CACHE",
                )

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Database:
        """For `with`."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of what is executed within, on disk when it ends; or nothing of it, after an exception or a kill."""
        with self._told():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk, for one, has ended it already
                    self._connection.execute("ROLLBACK")
                raise

    def rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a SELECT."""
        with self._told():
            return self._connection.execute(query, tuple(values)).fetchall()

    def put(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        """Keep an answer, in one transaction.

        Args:
          keys: of `vector_key`.
          vectors: finite float32 [len(keys), T].
        """
        blobs = [row.tobytes() for row in np.ascontiguousarray(vectors, "<f4")]
        records = [(key, blob, zlib.crc32(blob)) for key, blob in zip(keys, blobs, strict=True)]
        with self.transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", records)

    def widths(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        """The width of each vector that is there, undamaged and not of zeros, which say nothing about a text."""
        return {key: len(vector) for key, vector in self._vectors(keys) if vector.any()}

    def forget(self, keys: Sequence[bytes]) -> None:
        """Remove vectors, in one transaction."""
        with self.transaction() as connection:
            connection.executemany("DELETE FROM vectors WHERE key = ?", [(key,) for key in keys])

    def read(self, keys: Sequence[bytes], width: int) -> np.ndarray:
        """The vectors of keys that are all there with this width: float32 [len(keys), T].

        Raises:
          UserError: one is not.
        """
        vectors = np.empty((len(keys), width), np.float32)
        places = {key: place for place, key in enumerate(keys)}
        found = 0
        for key, vector in self._vectors(keys):
            if len(vector) == width:
                vectors[places[key]] = vector
                found += 1
        if found != len(keys):
            problem = f"{len(keys) - found} of {len(keys)} vectors are missing or have another width than {width}"
            raise UserError(problem, file=self.path, remedy="Run the command again")
        return vectors

    def _vectors(self, keys: Sequence[bytes]) -> Iterator[tuple[bytes, np.ndarray]]:
        for start in range(0, len(keys), _KEYS_PER_QUERY):
            part = keys[start : start + _KEYS_PER_QUERY]
            marks = ",".join("?" * len(part))
            for key, blob, checksum in self.rows(f"SELECT * FROM vectors WHERE key IN ({marks})", part):
                # What is damaged is asked for again, so it is as good as missing.
                if isinstance(blob, bytes) and len(blob) % 4 == 0 and zlib.crc32(blob) == checksum:
                    yield key, np.frombuffer(blob, "<f4")

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise UserError(
                f"the cache of embeddings cannot be used ({error})",
                file=self.path,
                remedy="Make room and rights for it, or name another cache folder in LRD_JAX_CACHE",
            ) from error
        except sqlite3.DatabaseError as error:
            raise UserError(
                f"the cache of embeddings is damaged ({error})",
                file=self.path,
                remedy="Restore it from a copy or with `sqlite3 FILE .recover`; if you move it away instead, what it"
                " holds is asked and paid for again",
            ) from error
