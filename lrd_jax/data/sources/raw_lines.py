"""Raw files of one record per line, gzipped or plain, read in blocks of whole lines: memory does not grow with them."""

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
    """Some whole lines of a file: the 1-based number of the first, and their bytes."""

    first_line: int
    data: bytes


class RawFile:
    """A file to be read once from end to end, with a progress bar in its own bytes.

    Attributes:
      path: the file.
      sha256: hexadecimal SHA-256 of the file as it lies there, known when `blocks` has come to its end.
    """

    def __init__(self, path: Path) -> None:
        """Nothing is opened yet."""
        self.path = Path(path)
        self.sha256 = ""

    def blocks(self, size: int = _BLOCK) -> Iterator[Block]:
        """The text in blocks of whole lines, each about `size` bytes, or one line where that is longer.

        A byte-order mark at the start is left out; where it tells of UTF-16 or UTF-32, the text comes as UTF-8.

        Raises:
          UserError: the file is missing, cannot be read, is empty, or its gzip data is damaged or cut short.
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
    """What gzip members hold, one after the other as gzip allows, never more than _BLOCK bytes at once."""
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
                chunk = decompressor.unused_data.lstrip(b"\0")  # some writers pad a member with zeros
                decompressor, started = zlib.decompressobj(wbits=31), False
    if started:
        raise UserError("its gzip data ends too early", file=path, remedy=_DAMAGED)


def json_rows(file: RawFile, schema: Schema, required: Mapping[str, str]) -> Iterator[pl.DataFrame]:
    """Some fields of a file of one JSON object per line, a frame per block; other fields are passed over.

    Args:
      file: what to read.
      schema: fields and their types; a field that a line lacks is null.
      required: fields that no line may lack, and what they are, for messages: {"asin": "the item"}.

    Raises:
      UserError: see `RawFile.blocks`; a line that is no such object.
    """
    for block in file.blocks():
        try:
            rows = pl.read_ndjson(block.data, schema=dict(schema))
        except pl.exceptions.PolarsError:
            line, problem = _first_bad_line(block, schema)
            problem = f"the line is not a JSON object with these fields ({problem})"
            raise UserError(problem, file=file.path, line=line, remedy=f"{_DAMAGED}, or correct the line") from None
        for field, meaning in required.items():
            missing = rows[field].is_null()
            if missing.any():
                line = _line_of_row(block, first_row(missing))
                raise UserError(f"{meaning} is missing", file=file.path, line=line, field=field, remedy=_DAMAGED)
        yield rows


def _first_bad_line(block: Block, schema: Schema) -> tuple[int, str]:
    """The first line that cannot be read and why, found by halving: the lines before it can be read together."""
    lines = block.data.split(b"\n")
    good, bad = 0, len(lines)  # so many lines can be read, so many cannot
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
    """The line of a row; blank lines hold none."""
    filled = [number for number, line in enumerate(block.data.split(b"\n")) if line.strip()]
    return block.first_line + filled[row]


def concat(frames: list[pl.DataFrame], schema: Schema) -> pl.DataFrame:
    """The frames below each other, an empty frame of that schema where there are none."""
    return pl.concat(frames, rechunk=True) if frames else pl.DataFrame(schema=dict(schema))
