"""Stores every paid vector in one SQLite file, written as answers arrive.

A process may be killed at any time: SQLite rolls back an unfinished transaction when the file is next opened.
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
"""Seconds to wait for another process's transaction."""
_KEYS_PER_QUERY = 500
_SCHEMA = (
    # The checksum is zlib's CRC-32 of the vector, because SQLite detects damage only in its own structure.
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
    """SHA-256 of everything that an answer depends on.

    Args:
      text: the text as sent.
      model: name of the model.
      dimensions: the requested width; None: the model's own.
      service: base URL of the server; None: OpenAI's. Two servers may have different weights under the same name.
      generation: how often the model behind the name has changed, see `lrd_jax.text.openai.probe`.
    """
    identity = json.dumps([service, model, dimensions, text, *([generation] if generation else [])])
    return hashlib.sha256(identity.encode()).digest()


class Database:
    """The SQLite file with the vectors; `lrd_jax.text.openai.batch_records` stores unfinished batches in it.

    Attributes:
      path: the file.
    """

    def __init__(self, path: Path) -> None:
        """Opens the file, or creates it.

        Raises:
          UserError: it cannot be opened or created, is damaged, or is another kind of file.
        """
        self.path = path
        with self._told():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise sqlite3.OperationalError(error.strerror or str(error)) from error
            # Only explicit transactions. Use the default rollback journal, because a write-ahead log does not work on
            # network file systems, which often hold home folders.
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
                raise UserError("it is a database of another program", file=self.path, remedy="Move it elsewhere")
            elif version != FORMAT:
                raise UserError(
                    f"it has format {version}, but this version of lrd_jax reads format {FORMAT}",
                    file=self.path,
                    remedy="Use the version that wrote it, or set LRD_JAX_CACHE to another cache folder",
                )

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Database:
        """Returns itself, for `with`."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction: on disk when the block ends; undone after an exception or a kill."""
        with self._told():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # errors such as a full disk have ended it already
                    self._connection.execute("ROLLBACK")
                raise

    def rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a SELECT."""
        with self._told():
            return self._connection.execute(query, tuple(values)).fetchall()

    def put(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        """Stores an answer in one transaction.

        Args:
          keys: keys from `vector_key`.
          vectors: finite float32 [len(keys), T].
        """
        blobs = [row.tobytes() for row in np.ascontiguousarray(vectors, "<f4")]
        records = [(key, blob, zlib.crc32(blob)) for key, blob in zip(keys, blobs, strict=True)]
        with self.transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", records)

    def widths(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        """The width of each stored vector, without damaged vectors and zero vectors."""
        return {key: len(vector) for key, vector in self._vectors(keys) if vector.any()}

    def forget(self, keys: Sequence[bytes]) -> None:
        """Deletes vectors in one transaction."""
        with self.transaction() as connection:
            connection.executemany("DELETE FROM vectors WHERE key = ?", [(key,) for key in keys])

    def read(self, keys: Sequence[bytes], width: int) -> np.ndarray:
        """The vectors of these keys: float32 [len(keys), T].

        Raises:
          UserError: a vector is missing or has another width.
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
                # Damaged vectors count as missing, so they are requested again.
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
                remedy="Check disk space and permissions, or set LRD_JAX_CACHE to another cache folder",
            ) from error
        except sqlite3.DatabaseError as error:
            raise UserError(
                f"the cache of embeddings is damaged ({error})",
                file=self.path,
                remedy="Restore it from a copy or with `sqlite3 FILE .recover`; if you move it away instead, its"
                " vectors are requested and paid for again",
            ) from error
