"""Reads raw files with one record per line, gzipped or plain, in blocks of whole lines, so memory use is bounded."""

from __future__ import annotations

import hashlib
import itertools
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

import polars as pl
from tqdm import tqdm

from lrd_jax.data.sources.columns import first_row
from lrd_jax.data.sources.text_files import decoded, marked_encoding
from lrd_jax.errors import UserError

_BLOCK = 2**25  # bytes of unpacked text in one block, 32 MiB
_CHUNK = 2**20  # bytes of the file read at once
_DAMAGED = "Copy or download it again"

Schema: TypeAlias = Mapping[str, pl.DataType | type[pl.DataType]]
"""Columns and their types."""


class Block(NamedTuple):
    """Several whole lines of a file: the 1-based number of the first line, and their bytes."""

    first_line: int
    data: bytes


class RawFile:
    """A file that is read once from start to end, with a progress bar over its bytes.

    Attributes:
      path: the file.
      sha256: hexadecimal SHA-256 of the file on disk, known when `blocks` has finished.
    """

    def __init__(self, path: Path) -> None:
        """Stores the path; does not open the file yet."""
        self.path = Path(path)
        self.sha256 = ""

    def blocks(self, size: int = _BLOCK) -> Iterator[Block]:
        """The text in blocks of whole lines, each about `size` bytes, or longer for a single line.

        A byte-order mark at the start is removed; UTF-16 and UTF-32 with such a mark are converted to UTF-8.

        Raises:
          UserError: the file is missing, cannot be read, is empty, or its gzip data is damaged or truncated.
        """
        pieces: list[bytes] = []
        held, line = 0, 1
        for piece in self._text():
            end = piece.rfind(b"\n") + 1
            if end and held + end >= size:
                block = b"".join((*pieces, piece[:end]))
                yield Block(line, block)
                line += block.count(b"\n")
                pieces, held, piece = [], 0, piece[end:]
            pieces.append(piece)
            held += len(piece)
        rest = b"".join(pieces)
        if rest:
            yield Block(line, rest)
        elif line == 1:
            raise UserError("the file is empty", file=self.path, remedy=_DAMAGED)

    def _text(self) -> Iterator[bytes]:
        pieces = self._pieces()
        first = next(pieces, b"")
        pieces, encoding = itertools.chain((first,), pieces), marked_encoding(first)
        return pieces if encoding is None else decoded(pieces, encoding, self.path)

    def _pieces(self) -> Iterator[bytes]:
        digest = hashlib.sha256()
        try:
            with (
                self.path.open("rb") as file,
                tqdm(
                    total=self.path.stat().st_size, desc=self.path.name, unit="B", unit_scale=True, leave=False,
                    disable=None,
                ) as progress,
            ):  # fmt: skip

                def chunks() -> Iterator[bytes]:
                    while chunk := file.read(_CHUNK):
                        digest.update(chunk)
                        progress.update(len(chunk))
                        yield chunk

                packed = file.peek(2)[:2] == b"\x1f\x8b"
                yield from _unpacked(chunks(), self.path) if packed else chunks()
        except FileNotFoundError:
            raise UserError("the file is missing", file=self.path) from None
        except OSError as error:
            raise UserError(f"the file cannot be read ({error.strerror})", file=self.path) from None
        self.sha256 = digest.hexdigest()


def _unpacked(chunks: Iterator[bytes], path: Path) -> Iterator[bytes]:
    """The contents of one or more concatenated gzip members, at most _BLOCK bytes at a time."""
    decompressor = zlib.decompressobj(wbits=31)
    started = False
    for chunk in chunks:
        while chunk:
            started = True
            try:
                yield decompressor.decompress(chunk, _BLOCK)
            except zlib.error as error:
                raise UserError(f"its gzip data is damaged ({error})", file=path, remedy=_DAMAGED) from None
            chunk = decompressor.unconsumed_tail
            if decompressor.eof:
                chunk = decompressor.unused_data.lstrip(b"\0")  # some programs pad a member with zeros
                decompressor, started = zlib.decompressobj(wbits=31), False
    if started:
        raise UserError("its gzip data ends too early", file=path, remedy=_DAMAGED)


def json_rows(file: RawFile, schema: Schema, required: Mapping[str, str]) -> Iterator[pl.DataFrame]:
    """Selected fields of a file with one JSON object per line, one frame per block; other fields are ignored.

    Args:
      file: the file to read.
      schema: fields and their types; a missing field is null.
      required: fields that every line must have, and what they are, for messages: {"asin": "the item"}.

    Raises:
      UserError: see `RawFile.blocks`; also if a line is not such an object.
    """
    for block in file.blocks():
        try:
            rows = pl.read_ndjson(block.data, schema=dict(schema))
        except pl.exceptions.PolarsError:
            line, problem = _first_bad_line(block, schema)
            problem = f"the line is not a JSON object with these fields ({problem})"
            raise UserError(problem, file=file.path, line=line, remedy=f"{_DAMAGED}, or fix the line") from None
        for field, meaning in required.items():
            missing = rows[field].is_null()
            if missing.any():
                line = _line_of_row(block, first_row(missing))
                raise UserError(f"{meaning} is missing", file=file.path, line=line, field=field, remedy=_DAMAGED)
        yield rows


def _first_bad_line(block: Block, schema: Schema) -> tuple[int, str]:
    """The first line that cannot be read and the reason, found by binary search."""
    lines = block.data.split(b"\n")
    good, bad = 0, len(lines)  # the first `good` lines can be read, the first `bad` cannot
    while bad - good > 1:
        middle = (good + bad) // 2
        if _problem(b"\n".join(lines[good:middle]), schema) is None:
            good = middle
        else:
            bad = middle
    return block.first_line + good, _problem(lines[good], schema) or "it cannot be read"


def _problem(data: bytes, schema: Schema) -> str | None:
    try:
        pl.read_ndjson(data, schema=dict(schema))
    except pl.exceptions.PolarsError as error:
        return str(error).splitlines()[0]
    return None


def _line_of_row(block: Block, row: int) -> int:
    """The line of a row; blank lines have no row."""
    filled = [number for number, line in enumerate(block.data.split(b"\n")) if line.strip()]
    return block.first_line + filled[row]


def concat(frames: list[pl.DataFrame], schema: Schema) -> pl.DataFrame:
    """The frames concatenated; an empty frame with this schema if there are none."""
    return pl.concat(frames, rechunk=True) if frames else pl.DataFrame(schema=dict(schema))
