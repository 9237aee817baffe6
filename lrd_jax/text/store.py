"""Text embeddings of a dataset on disk: an array and a JSON of where it came from, beside the dataset (`naming`).

One convention: the array on disk is float32 [I, T], its row 0 being item 1; in memory it is float32 [I + 1, T], row 0
being padding and zero. An item whose text is blank has a zero row as well, which says no more about it than padding
does. (The readers of datasets refuse items without text; the rule is for those who call this module themselves.)
"""

from __future__ import annotations

import json
import os
import shlex
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np

import lrd_jax
from lrd_jax.config.schema import WORDLLAMA_DIMENSIONS, EncoderConfig, TextConfig
from lrd_jax.data.rechorus import read_texts
from lrd_jax.errors import UserError
from lrd_jax.runs.terminal import say
from lrd_jax.text.base import Encoder
from lrd_jax.text.checks import warn_of_empty
from lrd_jax.text.encoders import PAID, build_encoder
from lrd_jax.text.file import read_file, read_rows
from lrd_jax.text.naming import embeddings_path, model_name, recorded, text_hash
from lrd_jax.text.openai.refused import TextsRefused
from lrd_jax.text.weights import weights_hash


def embed_texts(texts: Sequence[str], encoder: Encoder) -> np.ndarray:
    """Embed the texts of items 1..; blank ones get zeros. float32 [I, T].

    Args:
      texts: I + 1 texts; the first is padding.
      encoder: the language model.

    Raises:
      TextsRefused: the server embeds other texts, but not these.
      UserError: the texts cannot be embedded, or the encoder gave something else than one vector for each, or zeros
        for all.
    """
    rows = [row for row, text in enumerate(texts[1:]) if text.strip()]
    if not rows and encoder.dimensions is None:
        remedy = "Set --dimensions"
        raise UserError(f"all texts are blank, so the width of {encoder.model} cannot be found out", remedy=remedy)
    try:
        vectors = encoder.encode([texts[row + 1] for row in rows]) if rows else None
    except TextsRefused as refused:
        raise refused.of_items([row + 1 for row in rows]) from None
    assert encoder.dimensions is not None  # since it has encoded
    embeddings = np.zeros((len(texts) - 1, encoder.dimensions), np.float32)  # [I, T]
    if vectors is None:
        return embeddings
    wanted = (len(rows), encoder.dimensions)
    if vectors.shape != wanted or not np.isfinite(vectors).all():
        held = f"shape {vectors.shape}, not {wanted}" if vectors.shape != wanted else "NaN or infinity among them"
        remedy = "Choose another model or another width"
        raise UserError(f"the vectors of {encoder.name} {encoder.model} have {held}", field="text.model", remedy=remedy)
    if not vectors.any():
        problem = f"{encoder.name} {encoder.model} embeds all {len(rows):,} texts as vectors of zeros"
        raise UserError(problem, field="text.model", remedy="Choose another model, one that knows words of these texts")
    embeddings[rows] = vectors
    return embeddings


def write_embeddings(
    folder: str | os.PathLike[str],
    texts: Sequence[str],
    embeddings: np.ndarray,
    encoder: Encoder,
    encoder_config: EncoderConfig,
) -> Path:
    """Write an encoder's [I, T] array and its JSON for the dataset in `folder`; returns the array's path.

    Each file appears whole or not at all, the array first: a JSON therefore never speaks of an array still to come.

    Raises:
      UserError: the place cannot be written to.
    """
    path = embeddings_path(folder, texts, encoder_config)
    provenance = {
        "encoder": encoder.name,
        "model": encoder.model,
        "version": encoder.version,
        "dimensions": encoder.dimensions,
        "pooling": encoder.pooling,
        "normalised": encoder.normalised,
        **encoder.origin,
        "num_items": len(texts) - 1,
        "text_hash": text_hash(texts),
        "created_by": f"lrd_jax {lrd_jax.__version__}",
    }
    array = np.ascontiguousarray(embeddings, np.float32)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, lambda file: np.save(file, array, allow_pickle=False))
        _write(path.with_suffix(".json"), lambda file: file.write(json.dumps(provenance, indent=2).encode() + b"\n"))
    except OSError as error:
        raise UserError(
            f"cannot write the text embeddings ({error.strerror or error})",
            file=path,
            remedy="Make room there, or name another cache folder in LRD_JAX_CACHE",
        ) from error
    return path


def load_embeddings(
    folder: str | os.PathLike[str], texts: Sequence[str], encoder_config: EncoderConfig, *, server: str | None = None
) -> np.ndarray:
    """The stored embeddings of a dataset's items, float32 [I + 1, T], row 0 zero. Warns where vectors are zeros.

    Args:
      folder: the dataset folder.
      texts: I + 1 texts; the first is padding.
      encoder_config: which encoder and how wide.
      server: base URL of the server that must have made them; None: any.

    Raises:
      UserError: the array or its JSON is missing or cannot be read, or it is of another encoder, model, server,
        width, number of items or other texts, or holds NaN or infinity; or the model's folder is there and holds other
        weights.
    """
    path = embeddings_path(folder, texts, encoder_config)
    remedy = f"Run `{embed_command(folder, encoder_config)}`"

    def refuse(problem: str, file: Path = path, field: str | None = None, cause: Exception | None = None) -> NoReturn:
        raise UserError(problem, file=file, field=field, remedy=remedy) from cause

    provenance_path = path.with_suffix(".json")
    try:
        provenance = json.loads(provenance_path.read_bytes())
    except OSError as error:
        refuse(f"cannot read where the embeddings came from ({error.strerror})", provenance_path, cause=error)
    except ValueError as error:
        refuse("does not parse as JSON", provenance_path, cause=error)
    if not isinstance(provenance, dict):
        refuse("the entry is missing", provenance_path, "encoder")
    if isinstance(recorded := provenance.get("server"), str):
        # Without its address, the command would ask, and pay, another server than the one these came from.
        remedy = f"Run `{embed_command(folder, encoder_config, server=recorded)}`"
        if server is not None and recorded != server:
            raise UserError(
                f"the embeddings are of the server {recorded}, not {server}",
                file=path,
                field="--base-url",
                remedy="Replace them with --force, or keep them by naming their server with --base-url",
            )
    width = encoder_config.known_dimensions or provenance.get("dimensions")
    expected: dict[str, tuple[Any, str]] = {
        "encoder": (encoder_config.encoder, "is of another encoder"),
        "dimensions": (width, "the embeddings have another width than text.dimensions"),
        "num_items": (len(texts) - 1, "the embeddings are of another number of items"),
        "text_hash": (text_hash(texts), "the items' texts have changed since they were embedded"),
    }
    if encoder_config.model is not None:
        expected["model"] = (model_name(encoder_config), "the embeddings are of another model")
        if "weights_hash" in provenance and Path(expected["model"][0]).is_dir():
            expected["weights_hash"] = (weights_hash(Path(expected["model"][0])), "the model's weights have changed")
    for field, (value, problem) in expected.items():
        if field not in provenance:
            refuse("the entry is missing", provenance_path, field)
        if provenance[field] != value:
            refuse(f"{problem} ({_short(provenance[field])}, not {_short(value)})", provenance_path, field)
    if type(width) is not int or width < 1:
        refuse(f"expected the number of dimensions, got {_short(width)}", provenance_path, "dimensions")
    embeddings = read_rows(path, (len(texts) - 1, width), remedy)
    warn_of_empty(embeddings, str(path), texts)
    return embeddings


def texts_changed(folder: str | os.PathLike[str], texts: Sequence[str], encoder_config: EncoderConfig) -> bool:
    """Whether embeddings are stored that are of other texts than the items have now."""
    return recorded(embeddings_path(folder, texts, encoder_config), "text_hash") not in (None, text_hash(texts))


def load_or_embed(folder: str | os.PathLike[str], num_items: int, text_config: TextConfig) -> np.ndarray:
    """What `train` calls: the stored embeddings, made first where there are none. float32 [I + 1, T], row 0 zero.

    With the encoder "file", that array instead.

    Raises:
      UserError: an item has no text, or as `load_embeddings`: an array that no longer fits is not replaced.
    """
    if text_config.encoder == "file":
        return load_file(text_config, num_items)
    texts = read_texts(Path(folder), num_items)
    path = embeddings_path(folder, texts, text_config)
    if not path.exists():
        if text_config.encoder in PAID:
            command = embed_command(folder, text_config, force=False)
            raise UserError(
                f"there are no embeddings of {text_config.encoder} yet, and training asks no server that costs money",
                file=path,
                remedy=f"Run `{command}`; with --dry-run it prints what that costs",
            )
        encoder = build_encoder(text_config)
        path = write_embeddings(folder, texts, embed_texts(texts, encoder), encoder, text_config)
        say(f"{num_items:,} item texts embedded with {encoder.name} {encoder.version} in {path}")
    return load_embeddings(folder, texts, text_config)


def load_file(encoder_config: EncoderConfig, num_items: int) -> np.ndarray:
    """As `read_file`, with a warning where vectors are zeros: [I + 1, T]."""
    embeddings = read_file(encoder_config, num_items)
    warn_of_empty(embeddings, str(encoder_config.file))
    return embeddings


def embed_command(
    folder: str | os.PathLike[str], encoder_config: EncoderConfig, *, server: str | None = None, force: bool = True
) -> str:
    """The command line that makes the embeddings of a dataset, of a `server` if one is named; with `force`, again."""
    command = ["python", "-m", "lrd_jax.embed", str(folder), "--encoder", encoder_config.encoder]
    if encoder_config.model is not None:
        command += ["--model", encoder_config.model]
    own_width = WORDLLAMA_DIMENSIONS if encoder_config.encoder == "wordllama" else None
    if encoder_config.dimensions not in (None, own_width):
        command += ["--dimensions", str(encoder_config.dimensions)]
    if server is not None:
        command += ["--base-url", server]
    return shlex.join([*command, "--force"] if force else command)


def _write(path: Path, fill: Callable[[IO[bytes]], Any]) -> None:
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            fill(file)
        # mkstemp makes files that only their owner reads; a dataset is shared like any other file.
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 20 else text[:12] + "..."
