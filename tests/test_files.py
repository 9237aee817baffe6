"""What is no regular file, wherever a command takes one: refused at once, since a FIFO would wait for a writer."""

import os
import re
import socket

import pytest

from lrd_jax.config.schema import EncoderConfig
from lrd_jax.config.toml_file import load_config
from lrd_jax.data.sources.amazon_2023 import read_amazon_2023
from lrd_jax.data.sources.movielens import read_movielens
from lrd_jax.data.sources.recbole import read_recbole
from lrd_jax.data.sources.table_files import read_table
from lrd_jax.data.tables import read_bytes
from lrd_jax.errors import UserError
from lrd_jax.files import is_there
from lrd_jax.interop.state_file import read_arrays
from lrd_jax.text.file import read_file


def link(target):
    return lambda path: path.symlink_to(target)


def bind(path):
    os.chdir(path.parent)  # a socket's path may only be short
    socket.socket(socket.AF_UNIX).bind(path.name)


KINDS = {
    "FIFO": (os.mkfifo, "it is a FIFO, not a regular file"),
    "socket": (bind, "it is a socket, not a regular file"),
    "device": (link("/dev/zero"), "it is a device, not a regular file"),
    "link to nothing": (link("/nowhere/at all"), "it is a link to /nowhere/at all, which cannot be opened (No such"),
    "link below a file": (link("/dev/null/x"), "it is a link to /dev/null/x, which cannot be opened (Not a directory)"),
}
READERS = {
    "a dataset's": ("train.csv", read_bytes),
    "--config": ("run.toml", load_config),
    "text.file": ("text.npy", lambda path: read_file(EncoderConfig(encoder="file", file=path), 3)),
    "text.file without header": ("text.feat", lambda path: read_file(EncoderConfig(encoder="file", file=path), 3)),
    "STATE": ("state.npz", read_arrays),
    "FILE": ("log.csv", read_table),
    "DIR/x.inter": ("x.inter", lambda path: read_recbole(path.parent)),
    "ml-1m.zip": ("ml-1m.zip", lambda path: read_movielens("1m", path)),
    "--reviews": ("Toys.jsonl", lambda path: read_amazon_2023("Toys", reviews=path, meta=path)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reader", READERS)
def test_refused(reader, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (name, read), (make, message) = READERS[reader], KINDS[kind]
    make(tmp_path / name)
    assert is_there(tmp_path / name)
    with pytest.raises(UserError, match=re.escape(f"{tmp_path / name}: {message}")):
        read(tmp_path / name)


def test_link_to_itself(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(UserError, match=re.escape("a: it is a link to b, which cannot be opened (Too many levels of")):
        read_bytes(tmp_path / "a")


def test_a_link_to_a_file_is_read(tmp_path):
    (tmp_path / "real").write_text("content")
    (tmp_path / "link").symlink_to("real")
    assert read_bytes(tmp_path / "link") == b"content"
    assert not is_there(tmp_path / "none")
    with pytest.raises(UserError, match="none: the file is missing"):
        read_bytes(tmp_path / "none")
