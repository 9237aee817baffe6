"""The SQLite file: what it keeps, what it refuses, and that a kill or a second process does it no harm."""

import os
import signal
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from lrd_jax.errors import UserError
from lrd_jax.text.openai.vector_cache import Database, vector_key

KEYS = [bytes([n]) * 32 for n in range(3)]


def path_in(folder):
    return folder / "text" / "openai.sqlite"


def vectors(count=3, width=5, seed=0):
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def test_what_is_put_is_read_in_any_order(tmp_path):
    with Database(path_in(tmp_path)) as database:
        database.put(KEYS, vectors())
    with Database(path_in(tmp_path)) as database:
        assert database.widths([*KEYS, b"x" * 32]) == dict.fromkeys(KEYS, 5)
        np.testing.assert_array_equal(database.read(KEYS[::-1], 5), vectors()[::-1])
        assert database.read([], 5).shape == (0, 5)
        with pytest.raises(UserError, match="1 of 2 vectors are missing"):
            database.read([KEYS[0], b"x" * 32], 5)
        with pytest.raises(UserError, match="another width"):
            database.read(KEYS, 4)


def test_more_keys_than_a_query_takes(tmp_path):
    keys = [n.to_bytes(32, "big") for n in range(1203)]
    many = vectors(1203, 2)
    with Database(path_in(tmp_path)) as database:
        database.put(keys, many)
        np.testing.assert_array_equal(database.read(keys, 2), many)


def test_keys_tell_text_model_width_and_server():
    base = {"model": "m", "dimensions": None, "service": None}
    keys = {vector_key(text, **base) for text in ("", "a", "b", "é", 'a"', "\ud800")}
    keys |= {
        vector_key("a", **base | change) for change in ({"model": "n"}, {"dimensions": 3}, {"service": "http://a"})
    }
    assert len(keys) == 9 and all(len(key) == 32 for key in keys)


def test_a_damaged_vector_is_as_good_as_missing(tmp_path):
    with Database(path_in(tmp_path)) as database:
        database.put(KEYS, vectors())
    content = path_in(tmp_path).read_bytes()
    blob = vectors()[1].tobytes()
    assert content.count(blob) == 1
    path_in(tmp_path).write_bytes(content.replace(blob, blob[:-1] + bytes([blob[-1] ^ 1])))
    with Database(path_in(tmp_path)) as database:
        assert set(database.widths(KEYS)) == {KEYS[0], KEYS[2]}
        database.put(KEYS[1:2], vectors()[1:2])
        np.testing.assert_array_equal(database.read(KEYS, 5), vectors())


@pytest.mark.parametrize("damage", ["garbage", "truncated", "tables gone"])
def test_damaged_file_is_reported(tmp_path, damage):
    path = path_in(tmp_path)
    with Database(path) as database:
        database.put([n.to_bytes(32, "big") for n in range(300)], vectors(300, 20))
    content = path.read_bytes()
    if damage == "garbage":
        path.write_bytes(b"no database at all" * 100)
    elif damage == "truncated":
        path.write_bytes(content[:4096])
    else:
        path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with pytest.raises(UserError) as error, Database(path) as database:
        database.widths([n.to_bytes(32, "big") for n in range(300)])
    assert str(path) in str(error.value) and "damaged" in str(error.value) and "recover" in str(error.value)


def test_other_databases_are_left_alone(tmp_path):
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE vectors (key, vector)")
    with pytest.raises(UserError, match="database of another program"):
        Database(path)
    with Database(tmp_path / "ours.sqlite") as database, database.transaction() as connection:
        connection.execute("PRAGMA user_version = 9")
    with pytest.raises(UserError, match="format 9"):
        Database(tmp_path / "ours.sqlite")


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "text").write_text("a file")
    with pytest.raises(UserError, match="cannot be used .File exists.*LRD_JAX_CACHE"):
        Database(path_in(tmp_path))


def test_a_failed_transaction_leaves_nothing(tmp_path):
    with Database(path_in(tmp_path)) as database:
        with pytest.raises(ZeroDivisionError), database.transaction() as connection:
            connection.execute("INSERT INTO vectors VALUES (?, ?, 0)", (KEYS[0], b""))
            raise ZeroDivisionError
        assert database.rows("SELECT * FROM vectors") == []


WRITER = """
import sys, pathlib, numpy as np
from lrd_jax.text.openai.vector_cache import Database
path, first, count = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
with Database(path) as database:
    for start in range(first, first + count, 10):
        numbers = range(start, start + 10)
        keys = [n.to_bytes(32, "big") for n in numbers]
        database.put(keys, np.array([[n] * 500 for n in numbers], np.float32))
        print(start, flush=True)
"""


def writer(path, first, count):
    command = [sys.executable, "-c", WRITER, str(path), str(first), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.process
def test_two_processes_at_once(tmp_path):
    processes = [writer(path_in(tmp_path), first, 300) for first in (0, 200)]  # a third is written by both
    assert [process.communicate()[1] or process.returncode for process in processes] == [0, 0]
    with Database(path_in(tmp_path)) as database:
        read = database.read([n.to_bytes(32, "big") for n in range(500)], 500)
    np.testing.assert_array_equal(read, np.arange(500, dtype=np.float32)[:, None].repeat(500, 1))


@pytest.mark.process
def test_killed_while_writing(tmp_path):
    process = writer(path_in(tmp_path), 0, 1_000_000)
    told = [int(process.stdout.readline()) for _ in range(5)]
    os.kill(process.pid, signal.SIGKILL)
    told += [int(line) for line in process.communicate()[0].split()]
    with Database(path_in(tmp_path)) as database:
        numbers = [int.from_bytes(key, "big") for (key,) in database.rows("SELECT key FROM vectors ORDER BY key")]
        assert numbers[: told[-1] + 10] == list(range(told[-1] + 10))  # what was told is there
        assert len(numbers) % 10 == 0  # and answers are there whole
        assert database.rows("PRAGMA integrity_check") == [("ok",)]
