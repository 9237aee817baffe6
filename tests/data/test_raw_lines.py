"""Blocks of whole lines of gzipped and plain files, and what is refused."""

import gzip
import hashlib
import json
import re

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrd_jax.data.sources import raw_lines
from lrd_jax.data.sources.raw_lines import RawFile, json_rows
from lrd_jax.data.sources.text_files import marked_encoding
from lrd_jax.errors import UserError

SCHEMA = {"id": pl.String, "time": pl.Int64}
REQUIRED = {"id": "the item"}


def rows_of(path, schema=SCHEMA, required=REQUIRED):
    return [row for frame in json_rows(RawFile(path), schema, required) for row in frame.iter_rows()]


@settings(max_examples=60, deadline=None)
@given(
    data=st.binary(min_size=1)
    .map(lambda data: data.replace(b"\x1f", b"\n"))
    .filter(lambda data: marked_encoding(data) is None),
    size=st.integers(1, 30),
)
@pytest.mark.parametrize("packed", [False, True])
def test_blocks_are_the_file_in_whole_lines_with_their_numbers(tmp_path_factory, data, size, packed):
    path = tmp_path_factory.mktemp("blocks") / "file"
    path.write_bytes(gzip.compress(data) if packed else data)
    file = RawFile(path)
    blocks = list(file.blocks(size))

    assert b"".join(block.data for block in blocks) == data
    assert all(block.data.endswith(b"\n") for block in blocks[:-1])
    before = 0
    for block in blocks:
        assert block.first_line == data[:before].count(b"\n") + 1
        before += len(block.data)
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_pieces_of_a_highly_packed_file_stay_small(tmp_path, monkeypatch):
    monkeypatch.setattr(raw_lines, "_BLOCK", 1000)
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(b"0123456789abcde\n" * 10_000))
    assert max(len(block.data) for block in RawFile(path).blocks(500)) <= 2000


def test_several_gzip_members_are_one_text(tmp_path):
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(b"one\ntw") + gzip.compress(b"o\nthree\n") + b"\0" * 512)
    assert [block.data for block in RawFile(path).blocks()] == [b"one\ntwo\nthree\n"]


LINES = b'{"id": "0000013714", "time": 1, "text": "a\\nb"}\n\n{"time": 2, "id": "\\u00e9"}\n'


@pytest.mark.parametrize("packed", [False, True])
def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path, packed):
    data = b'\xef\xbb\xbf{"user": "a"}\n'
    (tmp_path / "rows").write_bytes(gzip.compress(data) if packed else data)
    assert [block.data for block in RawFile(tmp_path / "rows").blocks()] == [data[3:]]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_other_encodings_come_as_utf_8(tmp_path, encoding, packed):
    data = LINES.decode().encode(encoding)
    (tmp_path / "rows").write_bytes(gzip.compress(data) if packed else data)
    assert rows_of(tmp_path / "rows") == [("0000013714", 1), ("é", 2)]
    (tmp_path / "rows").write_bytes(data[:-1])
    with pytest.raises(UserError, match=f"line 3: the text has a byte-order mark of {encoding.upper()}"):
        rows_of(tmp_path / "rows")


@pytest.mark.parametrize("packed", [False, True])
def test_rows_keep_zeros_and_skip_blank_lines_and_other_fields(tmp_path, packed):
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(LINES) if packed else LINES)
    assert rows_of(path) == [("0000013714", 1), ("é", 2)]


@pytest.mark.parametrize(
    "bad",
    [b"garbage", b'{"id": "x"', b"[1]", b"null", b'{"id": "x"} {"id": "y"}', b'{"id": "\xff"}',
     b'{"id": "x", "time": "soon"}', b'{"id": "x", "time": 1e40}'],
)  # fmt: skip
@pytest.mark.parametrize("before", [0, 1, 6, 41])
def test_the_first_bad_line_is_named(tmp_path, bad, before):
    path = tmp_path / "file"
    path.write_bytes(b'{"id": "a", "time": 1}\n\n' * before + bad + b"\n" + LINES + b"rubbish\n")
    with pytest.raises(UserError, match=rf"file, line {2 * before + 1}: the line is not a JSON object"):
        rows_of(path)


def test_a_bad_line_in_a_later_block_is_named(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b'{"id": "a"}\n' * 500 + b"rubbish\n")
    blocks = RawFile.blocks
    monkeypatch.setattr(RawFile, "blocks", lambda self: blocks(self, 100))
    with pytest.raises(UserError, match="line 501"):
        rows_of(path)


def test_a_missing_field_is_named_with_its_line(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(LINES + b"\n" + json.dumps({"time": 3}).encode())
    with pytest.raises(UserError, match=re.escape("line 5, field 'id': the item is missing")):
        rows_of(path)


class TestRefused:
    def test_missing(self, tmp_path):
        with pytest.raises(UserError, match="the file is missing"):
            rows_of(tmp_path / "none")

    def test_folder(self, tmp_path):
        with pytest.raises(UserError, match="the file cannot be read"):
            rows_of(tmp_path)

    @pytest.mark.parametrize("data", [b"", gzip.compress(b"", mtime=0)])
    def test_empty(self, tmp_path, data):
        (tmp_path / "file").write_bytes(data)
        with pytest.raises(UserError, match="the file is empty"):
            rows_of(tmp_path / "file")

    @pytest.mark.parametrize("kept", [3, 15, -1, -9])
    def test_cut_short(self, tmp_path, kept):
        (tmp_path / "file").write_bytes(gzip.compress(LINES * 10)[:kept])
        with pytest.raises(UserError, match="gzip data ends too early"):
            rows_of(tmp_path / "file")

    def test_damaged(self, tmp_path):
        packed = bytearray(gzip.compress(LINES * 10))
        packed[-6] ^= 1  # of the checksum
        (tmp_path / "file").write_bytes(packed)
        with pytest.raises(UserError, match="gzip data is damaged"):
            rows_of(tmp_path / "file")
