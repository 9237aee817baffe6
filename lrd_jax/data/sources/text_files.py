"""Text files as people bring them -> plain UTF-8 files: unpacked, decoded, without a byte-order mark."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import lzma
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TypeAlias

import polars as pl

from lrd_jax.errors import UserError

PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip")
"""Endings behind a text file's own."""
ENCODING_REMEDY = "Save it as UTF-8, such as with: iconv -f latin1 -t utf-8 OLD > NEW"

_CHUNK = 2**20  # bytes
_Packed: TypeAlias = gzip.GzipFile | IO[bytes]
_OPENERS: dict[bytes, Callable[[Path], _Packed]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_ZIP, _ZSTD = b"PK\x03\x04", b"\x28\xb5\x2f\xfd"
_MARKS = {  # UTF-32's little-endian mark begins with UTF-16's
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}


def marked_encoding(start: bytes) -> str | None:
    """The encoding that the byte-order mark at the start of a text tells, None without one."""
    return next((encoding for mark, encoding in _MARKS.items() if start.startswith(mark)), None)


def decoded(pieces: Iterator[bytes], encoding: str, file: Path) -> Iterator[bytes]:
    """A text of that encoding, piece by piece, in UTF-8 and without its byte-order mark.

    Raises:
      UserError: bytes that are none of the encoding's.
    """
    decoder, lines = codecs.getincrementaldecoder(encoding)(), 0
    try:
        for piece in pieces:
            text = decoder.decode(piece)
            lines += text.count("\n")
            yield text.encode()
        yield decoder.decode(b"", final=True).encode()
    except (UnicodeDecodeError, UnicodeEncodeError):
        problem = f"the text is not {encoding[:6].upper()}, which its byte-order mark tells"
        remedy = "Copy or download it again, or save it as UTF-8"
        raise UserError(problem, file=file, line=lines + 1, remedy=remedy) from None


def utf8(data: bytes, file: Path) -> bytes:
    """The text of a small file in UTF-8, decoded where a byte-order mark tells another encoding."""
    encoding = marked_encoding(data[:4])
    return data if encoding is None else b"".join(decoded(iter((data,)), encoding, file))


def refuse_other_encodings(path: Path, file: Path) -> None:
    """Refuse a text that is not UTF-8, with the first line that is not.

    Args:
      path: the text.
      file: what the user calls it.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                problem = f"the text is not UTF-8 (byte 0x{line[error.start]:02x} at {error.start + 1} of the line)"
                raise UserError(problem, file=file, line=number, remedy=ENCODING_REMEDY) from None


def name_within(file: Path) -> str:
    """The name of the text in a file: of the only member of a zip, else the file's own without .gz and the like.

    Raises:
      UserError: a zip of several files or none.
    """
    if file.suffix.lower() == ".zip" or _start(file).startswith(_ZIP):
        return _only_member(file)
    return file.name.removesuffix(file.suffix) if file.suffix.lower() in PACKED else file.name


@contextlib.contextmanager
def plain_text(file: Path) -> Iterator[Path]:
    """The text of a file in plain UTF-8: the file itself where it is that, else a copy for as long as the block runs.

    Raises:
      UserError: a zip of several files, damaged data, or an encoding that cannot be told.
    """
    with tempfile.TemporaryDirectory(prefix="lrd_jax-") as workspace:
        path = _unpacked(file, Path(workspace) / "unpacked")
        start = _start(path)
        encoding = marked_encoding(start)
        if encoding is None and b"\0" in start:
            problem = "it holds bytes of 0, as UTF-16 without a byte-order mark and files that are not text do"
            raise UserError(problem, file=file, line=1, remedy="Save it as text in UTF-8")
        if encoding is not None:
            path = _rewritten(path, Path(workspace) / "decoded", lambda pieces: decoded(pieces, encoding, file))
            start = _start(path)
        if b"\r" in start[:-1] and b"\n" not in start:  # lines end as they did on old Macs
            path = _rewritten(
                path, Path(workspace) / "lines", lambda pieces: (piece.replace(b"\r", b"\n") for piece in pieces)
            )
        yield path


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4096)


def _only_member(file: Path) -> str:
    try:
        with zipfile.ZipFile(file) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
    except zipfile.BadZipFile as error:
        raise UserError(f"the zip cannot be read ({error})", file=file, remedy="Copy or download it again") from None
    if "[Content_Types].xml" in names:
        raise UserError("it is a workbook of Excel", file=file, remedy="Save the sheet as CSV (UTF-8)")
    names = [name for name in names if not name.startswith("__MACOSX/")]
    if len(names) != 1:
        listed = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
        remedy = "Unpack it and name the file that is meant"
        raise UserError(f"the zip holds {len(names)} files, not one ({listed})", file=file, remedy=remedy)
    return names[0].rpartition("/")[2]


def _unpacked(file: Path, target: Path) -> Path:
    """The file itself, or what it packs in `target`."""
    start = _start(file)
    try:
        if start.startswith(_ZIP):
            name = _only_member(file)
            with zipfile.ZipFile(file) as archive:
                member = next(info for info in archive.infolist() if info.filename.rpartition("/")[2] == name)
                with archive.open(member) as packed:
                    return _copy(packed, target)
        if start.startswith(_ZSTD):  # which Python does not read before 3.14: polars, as lines of one column each
            lines = pl.scan_csv(file, has_header=False, separator="\x1f", quote_char=None, schema={"line": pl.String})
            lines.sink_csv(target, include_header=False, separator="\x1f", quote_style="never")
            return target
        for magic, opener in _OPENERS.items():
            if start.startswith(magic):
                with opener(file) as packed:
                    return _copy(packed, target)
    except (
        OSError,
        EOFError,
        zlib.error,
        lzma.LZMAError,
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
    ) as error:
        problem = f"it cannot be unpacked ({' '.join(str(error).split())[:200]})"
        raise UserError(problem, file=file, remedy="Copy or download it again, or unpack it yourself") from None
    except pl.exceptions.PolarsError as error:
        problem = f"it cannot be unpacked ({' '.join(str(error).split())[:200]})"
        raise UserError(problem, file=file, remedy="Unpack it yourself") from None
    return file


def _copy(packed: _Packed, target: Path) -> Path:
    with target.open("wb") as out:
        shutil.copyfileobj(packed, out, _CHUNK)
    return target


def _rewritten(path: Path, target: Path, change: Callable[[Iterator[bytes]], Iterator[bytes]]) -> Path:
    with path.open("rb") as source, target.open("wb") as out:
        out.writelines(change(iter(lambda: source.read(_CHUNK), b"")))
    return target
