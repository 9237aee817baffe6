"""Checks a language model's folder for unsafe weights, and hashes the files that determine its vectors."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lrd_jax.errors import UserError

_PICKLED = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
DECISIVE = (".safetensors", ".json", ".txt", ".model")
"""Extensions of a model's weights, settings and tokenizer."""
OTHER_FORMATS = ("onnx", "openvino")
"""Folders with the same weights for other software."""


def refuse_pickled_weights(folder: Path) -> None:
    """Rejects a model with a module that would be read from a pickle, which can run any code.

    Pickled weights next to safetensors weights are not read, so they are accepted.

    Raises:
      UserError: `folder` is not a folder, or it or a folder below it has only pickled weights.
    """
    if not folder.is_dir():
        raise UserError("there is no such model folder", file=folder, remedy="Give a folder with a model")
    for path in _files(folder):
        if path.suffix in _PICKLED and not list(path.parent.glob("*.safetensors")):
            raise UserError(
                "the weights are a pickle, which can run any code when it is read",
                file=path,
                remedy="Choose a model with .safetensors weights. If you trust this one, convert it: load it with"
                " sentence-transformers and call save_pretrained(FOLDER), which writes safetensors",
            )


def weights_hash(folder: Path) -> str:
    """SHA-256 (hex) of the names and contents of a model folder's weights, tokenizer and settings.

    Raises:
      UserError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in _files(folder):
        if path.suffix in DECISIVE:
            try:
                with open(path, "rb") as file:
                    content = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise UserError(f"cannot read the model ({error.strerror})", file=path) from error
            digest.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _files(folder: Path) -> list[Path]:
    """The files of a model, sorted, without hidden files and formats other than PyTorch's."""
    found = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and parts[0] not in OTHER_FORMATS and not any(part.startswith(".") for part in parts):
            found.append(path)
    return found
