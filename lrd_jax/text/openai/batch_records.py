"""Batches under way, in the SQLite file of the vectors: what was handed in, and what must not be handed in twice."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import secrets
from collections.abc import Iterator, Sequence

from lrd_jax.errors import UserError
from lrd_jax.runs.terminal import say
from lrd_jax.text.openai.vector_cache import Database


@dataclasses.dataclass(frozen=True)
class OpenBatch:
    """A batch that was handed in, or was about to be.

    Attributes:
      marker: our name for it, which the server keeps in its metadata.
      batch_id: the server's name; None: it is not known whether the server ever had it.
      keys: of the texts in it, `vector_cache.vector_key`.
    """

    marker: str
    batch_id: str | None
    keys: frozenset[bytes]


class BatchRecords:
    """The batches of one server. Every change is on disk when its call returns."""

    def __init__(self, database: Database, service: str) -> None:
        """`service`: base URL of the server."""
        self._database, self._service = database, service

    def plan(self, keys: Sequence[bytes]) -> str:
        """Note, before anything is handed in, that these texts are about to be; returns the marker."""
        marker = secrets.token_hex(16)
        with self._database.transaction() as connection:
            connection.execute("INSERT INTO batches VALUES (?, ?, NULL, 1)", (marker, self._service))
            connection.executemany("INSERT INTO batch_rows VALUES (?, ?)", [(marker, key) for key in keys])
        return marker

    def handed_in(self, marker: str, batch_id: str) -> None:
        """Note the server's name of a batch."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE batches SET batch_id = ? WHERE marker = ?", (batch_id, marker))

    def close(self, marker: str) -> None:
        """Forget which texts are in a batch: those that are not in the cache by now have to be asked for again."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE batches SET is_open = 0 WHERE marker = ?", (marker,))
            connection.execute("DELETE FROM batch_rows WHERE marker = ?", (marker,))

    def open(self) -> list[OpenBatch]:
        """Those not closed, in the order in which they were planned."""
        query = "SELECT marker, batch_id FROM batches WHERE is_open AND service = ? ORDER BY rowid"
        return [
            OpenBatch(marker, batch_id, frozenset(self._keys(marker)))
            for marker, batch_id in self._database.rows(query, (self._service,))
        ]

    def under_way(self) -> frozenset[bytes]:
        """The keys of all texts in batches that are not closed."""
        return frozenset().union(*(batch.keys for batch in self.open()))

    def abandon(self, keys: frozenset[bytes]) -> None:
        """Close every batch that holds one of these texts."""
        for batch in self.open():
            if batch.keys & keys:
                self.close(batch.marker)

    def _keys(self, marker: str) -> Iterator[bytes]:
        for (key,) in self._database.rows("SELECT key FROM batch_rows WHERE marker = ?", (marker,)):
            yield key


@contextlib.contextmanager
def sole_asker(database: Database, service: str) -> Iterator[None]:
    """One process at a time asks a server for what the cache lacks, so that two do not pay for the same texts.

    What is missing is to be looked up within. The system frees the lock of a process that was killed.

    Args:
      database: the cache.
      service: base URL of the server.
    """
    path = database.path.with_name(f"asking-{hashlib.sha256(service.encode()).hexdigest()[:16]}.lock")
    try:
        lock = open(path, "ab")
    except OSError as error:
        remedy = "Make it writable, or name another cache folder in LRD_JAX_CACHE"
        raise UserError(f"cannot be opened ({error.strerror})", file=path, remedy=remedy) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that asks {service}, to use its answers")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
