"""Text embeddings from a file: .npy, .npz, or the bare numbers that the published code reads.

The published code (github.com/ysh-1998/LRD, `load_plm_embedding` in src/models/sequential/KDAPlus.py and RCFPlus.py)
reads `np.fromfile(path)` into a row for each item from item 1, without padding: float64 where the file's name holds
"GPT" (Office.feat.GPT, 1,536 wide), else float32, as data/get_emb.py writes it with `ndarray.tofile`. Nothing in such a
file says which, so here its size does.
"""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from lrd_jax.config.schema import EncoderConfig
from lrd_jax.errors import UserError
from lrd_jax.files import refuse_irregular

_REMEDY = "Check text.file, and text.dimensions if the width is wrong"


def embeds_no_texts(encoder_config: EncoderConfig) -> NoReturn:
    """Raises a `UserError`: what stands where the other encoders have a function that makes one."""
    remedy = "Choose another encoder, or train with --text.encoder file --text.file FILE"
    raise UserError("a file of embeddings embeds no texts", field="text.encoder", remedy=remedy)


def read_file(encoder_config: EncoderConfig, num_items: int) -> np.ndarray:
    """The embeddings of `encoder_config.file`, float32 [I + 1, T], row 0 zero.

    The file has a row for each item from item 1; a first row of zeros for padding may stand before them.

    Args:
      encoder_config: the file, and the width if it is to be checked; of bare numbers it is needed wherever both
        float32 and float64 fit.
      num_items: I.

    Raises:
      UserError: no file is named, or it cannot be read, does not fit the items or the width, may be read in two ways,
        or holds NaN or infinity.
    """
    file, width = encoder_config.file, encoder_config.dimensions
    if file is None:
        raise UserError(
            "the encoder is file, but no file is named", field="text.file", remedy="Name the array of embeddings"
        )
    path, name = _archive_and_name(file)
    refuse_irregular(path)
    match path.suffix.lower():
        case ".npy":
            stored = _load(path, _REMEDY)
        case ".npz":
            stored = _from_archive(path, name)
        case _:
            stored = _from_dump(path, num_items, width)
    if stored.ndim != 2:
        raise UserError(f"the embeddings have shape {stored.shape}, not a row for each item", file=file)
    if len(stored) == num_items + 1:
        if np.any(stored[0]):
            problem = f"there are {len(stored):,} rows for {num_items:,} items, and row 0 is not zero, as padding is"
            raise UserError(problem, file=file, remedy=_REMEDY)
        stored = stored[1:]
    return _rows(stored, (num_items, width or stored.shape[1]), file, _REMEDY)


def read_rows(path: Path, shape: tuple[int, int], remedy: str) -> np.ndarray:
    """An .npy array of exactly this shape [I, T] as float32 [I + 1, T], row 0 zero.

    Raises:
      UserError: it cannot be read, has another shape, or holds NaN or infinity.
    """
    return _rows(_load(path, remedy), shape, path, remedy)


def _rows(stored: np.ndarray, shape: tuple[int, int], file: Path, remedy: str) -> np.ndarray:
    def refuse(problem: str) -> NoReturn:
        raise UserError(problem, file=file, remedy=remedy)

    if not np.issubdtype(stored.dtype, np.floating):
        refuse("the embeddings are not floating-point numbers")
    if stored.shape != shape or not shape[1]:
        refuse(f"the embeddings have shape {stored.shape}, not {shape}")
    embeddings = np.zeros((shape[0] + 1, shape[1]), np.float32)  # [I + 1, T]
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinity and is refused below
        embeddings[1:] = stored
    finite = np.isfinite(embeddings).all(axis=1)
    if not finite.all():
        refuse(f"the embedding of item {int(finite.argmin())} holds NaN or infinity")
    return embeddings


def _load(path: Path, remedy: str) -> np.ndarray:
    try:
        stored = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError("cannot read the embeddings", file=path, remedy=remedy) from error
    if not isinstance(stored, np.ndarray):  # an archive by the wrong name
        stored.close()
        raise UserError("cannot read the embeddings", file=path, remedy=remedy)
    return stored


def _archive_and_name(file: Path) -> tuple[Path, str | None]:
    if (match := re.fullmatch(r"(.+\.npz):([^:]+)", os.fspath(file), re.IGNORECASE | re.DOTALL)) and not file.exists():
        return Path(match[1]), match[2]
    return file, None


def _from_archive(path: Path, name: str | None) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = archive.files
            if name is None and len(names) == 1:
                name = names[0]
            if name in names:
                stored: np.ndarray = archive[name]
                return stored
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise UserError("cannot read the embeddings", file=path, remedy=_REMEDY) from error
    held = ", ".join(names) if names else "none"
    problem = f"there is no array {name}" if name is not None else f"there are {len(names)} arrays, not one"
    raise UserError(f"{problem} (it holds: {held})", file=path, remedy=f"Name one, as in {path}:NAME")


class _Layout(NamedTuple):
    """One way to read bare numbers."""

    dtype: np.dtype
    rows: int
    width: int

    def __str__(self) -> str:
        return f"{self.rows:,} rows of {self.width:,} as {self.dtype.name}"


def _from_dump(path: Path, num_items: int, width: int | None) -> np.ndarray:
    """Bare numbers without a header, of the one type and number of rows that fit the file's size."""
    try:
        size, content = path.stat().st_size, np.memmap(path, np.uint8, "r") if path.stat().st_size else b""
    except (OSError, ValueError) as error:
        raise UserError("cannot read the embeddings", file=path, remedy=_REMEDY) from error
    layouts = [
        _Layout(dtype, rows, width or size // (rows * dtype.itemsize))
        for dtype in (np.dtype("<f4"), np.dtype("<f8"))
        for rows in (num_items, num_items + 1)
        if rows
    ]
    fitting = [
        layout
        for layout in layouts
        if size and layout.rows * layout.width * layout.dtype.itemsize == size
        # One row more than there are items is padding, which is zero; otherwise the size fits by chance.
        if layout.rows == num_items or not np.any(content[: layout.width * layout.dtype.itemsize])
    ]
    if not fitting:
        wanted = f" of {width:,} numbers" if width else ""
        problem = f"{size:,} bytes are not {num_items:,} rows{wanted} in float32 or float64, with or without padding"
        raise UserError(problem, file=path, remedy=_REMEDY)
    if len(fitting) > 1:
        remedy = "Set text.dimensions to their width (the published Office.feat.GPT: 1536, float64)"
        raise UserError(f"may hold {' or '.join(map(str, fitting))}", file=path, remedy=remedy)
    (layout,) = fitting
    return np.asarray(content).view(layout.dtype).reshape(layout.rows, layout.width)
