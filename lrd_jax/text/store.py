"""Text embeddings of a dataset on disk: an array and a JSON with its origin, in the dataset folder (`naming`).

The array on disk is float32 [I, T], where row 0 is item 1. In memory it is float32 [I + 1, T], where row 0 is zero
padding. An item with a blank text has a zero row too. (The readers of datasets reject items without text; this applies
to direct calls of this module.)
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

from lrd_jax.config.schema import WORDLLAMA_DIMENSIONS, EncoderConfig, TextConfig
from lrd_jax.data.rechorus import read_texts
from lrd_jax.errors import UserError
from lrd_jax.terminal.lines import say
from lrd_jax.text.base import Encoder
from lrd_jax.text.checks import warn_of_empty
from lrd_jax.text.encoders import PAID, build_encoder
from lrd_jax.text.file import read_file, read_rows
from lrd_jax.text.naming import embeddings_path, model_name, recorded, text_hash
from lrd_jax.text.openai.refused import TextsRefused
from lrd_jax.text.weights import weights_hash
from lrd_jax.version import __version__


def embed_texts(texts: Sequence[str], encoder: Encoder) -> np.ndarray:
    """Embeds the texts of items 1..; blank texts get zeros. float32 [I, T].

    Args:
      texts: I + 1 texts; the first is padding.
      encoder: the language model.

    Raises:
      TextsRefused: the server embeds some texts but rejects others.
      UserError: the texts cannot be embedded, or the encoder did not return one vector per text, or only zeros.
    """
    rows = [row for row, text in enumerate(texts[1:]) if text.strip()]
    if not rows and encoder.dimensions is None:
        remedy = "Set --dimensions"
        raise UserError(f"all texts are blank, so the width of {encoder.model} is unknown", remedy=remedy)
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
        held = f"shape {vectors.shape}, not {wanted}" if vectors.shape != wanted else "NaN or infinity in them"
        remedy = "Choose another model or another width"
        raise UserError(f"the vectors of {encoder.name} {encoder.model} have {held}", field="text.model", remedy=remedy)
    if not vectors.any():
        problem = f"{encoder.name} {encoder.model} embeds all {len(rows):,} texts as zero vectors"
        raise UserError(problem, field="text.model", remedy="Choose a model that knows words of these texts")
    embeddings[rows] = vectors
    return embeddings


def write_embeddings(
    folder: str | os.PathLike[str],
    texts: Sequence[str],
    embeddings: np.ndarray,
    encoder: Encoder,
    encoder_config: EncoderConfig,
) -> Path:
    """Writes an encoder's [I, T] array and its JSON for the dataset in `folder`; returns the array's path.

    Each file is written completely or not at all, the array first, so a JSON never describes a missing array.

    Raises:
      UserError: the files cannot be written.
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
        "created_by": f"lrd_jax {__version__}",
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
            remedy="Free disk space, or set LRD_JAX_CACHE to another cache folder",
        ) from error
    return path


def load_embeddings(
    folder: str | os.PathLike[str], texts: Sequence[str], encoder_config: EncoderConfig, *, server: str | None = None
) -> np.ndarray:
    """Loads the embeddings of a dataset's items, float32 [I + 1, T], row 0 zero. Warns about zero vectors.

    Args:
      folder: the dataset folder.
      texts: I + 1 texts; the first is padding.
      encoder_config: the encoder and its width.
      server: base URL of the server that must have made them; None: any.

    Raises:
      UserError: the array or its JSON is missing or cannot be read; it was made with another encoder, model, server,
        width, number of items or other texts; it contains NaN or infinity; or the weights in the model's folder have
        changed.
    """
    path = embeddings_path(folder, texts, encoder_config)
    remedy = f"Run `{embed_command(folder, encoder_config)}`"

    def refuse(problem: str, file: Path = path, field: str | None = None, cause: Exception | None = None) -> NoReturn:
        raise UserError(problem, file=file, field=field, remedy=remedy) from cause

    provenance_path = path.with_suffix(".json")
    try:
        provenance = json.loads(provenance_path.read_bytes())
    except OSError as error:
        refuse(f"cannot read the origin of the embeddings ({error.strerror})", provenance_path, cause=error)
    except ValueError as error:
        refuse("does not parse as JSON", provenance_path, cause=error)
    if not isinstance(provenance, dict):
        refuse("the entry is missing", provenance_path, "encoder")
    if isinstance(recorded := provenance.get("server"), str):
        # Without its address, the command would use, and pay, another server than the one of these embeddings.
        remedy = f"Run `{embed_command(folder, encoder_config, server=recorded)}`"
        if server is not None and recorded != server:
            raise UserError(
                f"the embeddings are from the server {recorded}, not {server}",
                file=path,
                field="--base-url",
                remedy="Replace them with --force, or set --base-url to their server to keep them",
            )
    width = encoder_config.known_dimensions or provenance.get("dimensions")
    expected: dict[str, tuple[Any, str]] = {
        "encoder": (encoder_config.encoder, "the embeddings are from another encoder"),
        "dimensions": (width, "the embeddings have another width than text.dimensions"),
        "num_items": (len(texts) - 1, "the embeddings are for another number of items"),
        "text_hash": (text_hash(texts), "the items' texts have changed since they were embedded"),
    }
    if encoder_config.model is not None:
        expected["model"] = (model_name(encoder_config), "the embeddings are from another model")
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
    """Whether the stored embeddings, if any, are of other texts than the items have now."""
    return recorded(embeddings_path(folder, texts, encoder_config), "text_hash") not in (None, text_hash(texts))


def load_or_embed(folder: str | os.PathLike[str], num_items: int, text_config: TextConfig) -> np.ndarray:
    """Loads the embeddings for training; makes them if there are none. float32 [I + 1, T], row 0 zero.

    With the encoder "file", it reads that file instead.

    Raises:
      UserError: an item has no text; or see `load_embeddings`: an array that no longer fits is not replaced.
    """
    if text_config.encoder == "file":
        return load_file(text_config, num_items)
    texts = read_texts(Path(folder), num_items)
    path = embeddings_path(folder, texts, text_config)
    if not path.exists():
        if text_config.encoder in PAID:
            command = embed_command(folder, text_config, force=False)
            raise UserError(
                f"there are no embeddings of {text_config.encoder} yet, and training uses no server that costs money",
                file=path,
                remedy=f"Run `{command}`; add --dry-run to print the cost",
            )
        encoder = build_encoder(text_config)
        path = write_embeddings(folder, texts, embed_texts(texts, encoder), encoder, text_config)
        say(f"{num_items:,} item texts embedded with {encoder.name} {encoder.version} in {path}")
    return load_embeddings(folder, texts, text_config)


def load_file(encoder_config: EncoderConfig, num_items: int) -> np.ndarray:
    """As `read_file`, and warns about zero vectors: [I + 1, T]."""
    embeddings = read_file(encoder_config, num_items)
    warn_of_empty(embeddings, str(encoder_config.file))
    return embeddings


def embed_command(
    folder: str | os.PathLike[str], encoder_config: EncoderConfig, *, server: str | None = None, force: bool = True
) -> str:
    """The command line that makes the embeddings of a dataset, from `server` if given; with `force`, again."""
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
        # mkstemp gives access to the owner only; a dataset should have normal permissions.
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 20 else text[:12] + "..."
