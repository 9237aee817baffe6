"""Reads and writes files of named arrays: .npz, .safetensors and, if torch is installed, .pt."""

from __future__ import annotations

import io
import types
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lrd_jax.errors import UserError
from lrd_jax.files import refuse_irregular, write_atomically

_TORCH = (".pt", ".pth")
_OTHER_PICKLES = (".bin", ".ckpt", ".pkl")
CONVERSION = (
    'Convert it where torch is installed: `state = torch.load("{file}", map_location="cpu", weights_only=True)` and '
    '`numpy.savez("state.npz", **{{name: value.numpy() for name, value in state.items()}})`'
)
"""How to convert a PyTorch pickle to a file that `read_arrays` accepts."""


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz, .safetensors, .pt or .pth file by name. Nothing in the file is executed.

    Raises:
      UserError: the file has another format, is missing, damaged or contains anything other than numbers and texts; or
        it is a PyTorch file and torch is not installed (the message explains how to convert it).
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in _TORCH:
        return _read_torch(path)
    if path.suffix in _OTHER_PICKLES:
        remedy = CONVERSION.format(file=path)
        raise UserError("pickles are not read, because they may run any code", file=path, remedy=remedy)
    if path.suffix != ".npz":
        raise UserError("not .npz, .safetensors, .pt or .pth", file=path, remedy="Give a file in one of these formats")
    return read_npz(path)


def check_can_write(path: Path, option: str) -> None:
    """Rejects, before any long work, a file that `write_arrays` could not write.

    Args:
      path: path of the file.
      option: the option with the path, for the message.

    Raises:
      UserError: the file exists, its folder does not, it has another format, or torch is missing for .pt.
    """
    if path.suffix not in (".npz", ".safetensors", ".pt"):
        remedy = "Use the extension .npz, .safetensors or .pt"
        raise UserError("this format cannot be written", file=path, field=option, remedy=remedy)
    if path.exists():
        raise UserError("the file already exists", file=path, field=option, remedy="Choose another file")
    if not path.absolute().parent.is_dir():
        raise UserError(
            "its folder does not exist", file=path, field=option, remedy="Make it, or choose another folder"
        )
    if path.suffix == ".pt":
        _torch(path, ".pt files are written by torch, which is not installed", "Install torch, or use a .npz file")


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes named arrays as .npz, .safetensors or .pt, completely or not at all.

    Raises:
      UserError: the file cannot be written.
    """
    content = io.BytesIO()
    if path.suffix == ".safetensors":
        from safetensors.numpy import save

        content.write(save(dict(arrays)))
    elif path.suffix == ".pt":
        import torch

        torch.save({name: torch.tensor(value) for name, value in arrays.items()}, content)
    else:
        named: dict[str, Any] = {**arrays}  # Any: by NumPy's types a name might be the argument allow_pickle
        np.savez(content, **named)
    try:
        write_atomically(path, content.getvalue())
    except OSError as error:
        raise UserError(f"cannot be written ({error.strerror})", file=path, remedy="Choose another file") from error


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz file by name.

    Raises:
      UserError: as for `read_arrays`.
    """
    refuse_irregular(path)
    name, remedy = None, "Write the file again with numpy.savez"
    try:
        with open(path, "rb") as stream:
            if not zipfile.is_zipfile(stream):
                raise UserError("not a .npz file, or truncated", file=path, remedy=remedy)
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as file:
                arrays = {}
                for name in file.files:  # noqa: B007 - the error names the array that cannot be read
                    arrays[name] = file[name]
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror or error})", file=path) from error
    except (ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"damaged, or not numeric ({error})", file=path, field=name, remedy=remedy) from error
    for name, value in arrays.items():
        if not isinstance(value, np.ndarray):
            raise UserError("not an array", file=path, field=name, remedy=remedy)
    return arrays


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    refuse_irregular(path)
    try:
        return load_file(path)
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror or error})", file=path) from error
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        problem = f"damaged, or in a number format that NumPy lacks ({error})"
        raise UserError(problem, file=path, remedy="Save it again as float32 with safetensors") from error


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    problem = "it is a pickle, which only torch can read safely, and torch is not installed"
    torch = _torch(path, problem, CONVERSION.format(file=path))
    remedy = "Save it again with torch.save(model.state_dict(), FILE)"
    try:
        with warnings.catch_warnings(action="ignore"):  # torch warns about files that are not state dicts
            state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror or error})", file=path) from error
    except Exception as error:  # a damaged file may raise anything
        raise UserError("damaged, or it contains more than tensors", file=path, remedy=remedy) from error
    if not isinstance(state, Mapping):
        raise UserError(f"expected tensors by name, got a {type(state).__name__}", file=path, remedy=remedy)
    arrays = {}
    for name, tensor in state.items():
        if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided:
            problem = f"expected a dense tensor, got {type(tensor).__name__}"
            raise UserError(problem, file=path, field=str(name), remedy=remedy)
        tensor = tensor.detach()
        # NumPy has no bfloat16.
        arrays[str(name)] = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return arrays


def _torch(path: Path, problem: str, remedy: str) -> types.ModuleType:
    """The module torch; raises a `UserError` about the file if torch is missing or not safe."""
    try:
        import torch
    except ImportError as error:
        raise UserError(problem, file=path, remedy=remedy) from error
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6):
        # CVE-2025-32434: weights_only=True did not prevent a file from running code.
        problem = f"torch {torch.__version__} may run code in such a file"
        raise UserError(problem, file=path, remedy="Install torch 2.6 or newer")
    module: types.ModuleType = torch
    return module
