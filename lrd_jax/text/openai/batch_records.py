"""Records unfinished batches in the SQLite file of the vectors, so that no text is submitted twice."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import secrets
from collections.abc import Iterator, Sequence

from lrd_jax.errors import UserError
from lrd_jax.terminal.lines import say
from lrd_jax.text.openai.vector_cache import Database


@dataclasses.dataclass(frozen=True)
class OpenBatch:
    """A batch that was submitted or planned.

    Attributes:
      marker: our id of the batch, which the server keeps in the batch's metadata.
      batch_id: the server's id; None: it is unknown whether the batch reached the server.
      keys: keys of its texts, `vector_cache.vector_key`.
    """

    marker: str
    batch_id: str | None
    keys: frozenset[bytes]


class BatchRecords:
    """The batches of one server. Every change is on disk when its call returns."""

    def __init__(self, database: Database, service: str) -> None:
        """Stores the database and `service`, the base URL of the server."""
        self._database, self._service = database, service

    def plan(self, keys: Sequence[bytes]) -> str:
        """Records, before submitting, that these texts are about to be submitted; returns the marker."""
        marker = secrets.token_hex(16)
        with self._database.transaction() as connection:
            connection.execute("INSERT INTO batches VALUES (?, ?, NULL, 1)", (marker, self._service))
            connection.executemany("INSERT INTO batch_rows VALUES (?, ?)", [(marker, key) for key in keys])
        return marker

    def handed_in(self, marker: str, batch_id: str) -> None:
        """Records the server's id of a batch."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE batches SET batch_id = ? WHERE marker = ?", (batch_id, marker))

    def close(self, marker: str) -> None:
        """Closes a batch and forgets its texts; those that are not in the cache must be requested again."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE batches SET is_open = 0 WHERE marker = ?", (marker,))
            connection.execute("DELETE FROM batch_rows WHERE marker = ?", (marker,))

    def open(self) -> list[OpenBatch]:
        """The open batches, in the order in which they were planned."""
        query = "SELECT marker, batch_id FROM batches WHERE is_open AND service = ? ORDER BY rowid"
        return [
            OpenBatch(marker, batch_id, frozenset(self._keys(marker)))
            for marker, batch_id in self._database.rows(query, (self._service,))
        ]

    def under_way(self) -> frozenset[bytes]:
        """The keys of all texts in open batches."""
        return frozenset().union(*(batch.keys for batch in self.open()))

    def abandon(self, keys: frozenset[bytes]) -> None:
        """Closes every batch with one of these texts."""
        for batch in self.open():
            if batch.keys & keys:
                self.close(batch.marker)

    def _keys(self, marker: str) -> Iterator[bytes]:
        for (key,) in self._database.rows("SELECT key FROM batch_rows WHERE marker = ?", (marker,)):
            yield key


@contextlib.contextmanager
def sole_asker(database: Database, service: str) -> Iterator[None]:
    """A lock: only one process at a time requests missing texts from a server, so that two do not pay for the same.

    Look up the missing texts inside the block. The system frees the lock of a killed process.

    Args:
      database: the cache.
      service: base URL of the server.
    """
    path = database.path.with_name(f"asking-{hashlib.sha256(service.encode()).hexdigest()[:16]}.lock")
    try:
        lock = open(path, "ab")
    except OSError as error:
        remedy = "Make it writable, or set LRD_JAX_CACHE to another cache folder"
        raise UserError(f"cannot be opened ({error.strerror})", file=path, remedy=remedy) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that uses {service}, to reuse its answers")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
