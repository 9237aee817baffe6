"""Files of named arrays, .npz, .safetensors and, where torch is, .pt: read whole, with clear errors, and written."""

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
from lrd_jax.files import refuse_irregular
from lrd_jax.runs.folder import write_atomically

_TORCH = (".pt", ".pth")
_OTHER_PICKLES = (".bin", ".ckpt", ".pkl")
CONVERSION = (
    'Convert it where torch is: `state = torch.load("{file}", map_location="cpu", weights_only=True)` and '
    '`numpy.savez("state.npz", **{{name: value.numpy() for name, value in state.items()}})`'
)
"""How a pickle of PyTorch becomes a file that `read_arrays` takes."""


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz, .safetensors, .pt or .pth file by name. Nothing in the file is executed.

    Raises:
      UserError: the file is of another kind, or of PyTorch where torch is not installed (the message tells how to
        convert it), missing, damaged, or holds something else than numbers and texts.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in _TORCH:
        return _read_torch(path)
    if path.suffix in _OTHER_PICKLES:
        remedy = CONVERSION.format(file=path)
        raise UserError("pickles are not read, since they may run any code", file=path, remedy=remedy)
    if path.suffix != ".npz":
        raise UserError("not .npz, .safetensors, .pt or .pth", file=path, remedy="Give a file of one of these kinds")
    return read_npz(path)


def check_can_write(path: Path, option: str) -> None:
    """Refuses, before the long work, a file that `write_arrays` could not write.

    Args:
      path: of the file.
      option: that named it, for the message.

    Raises:
      UserError: the file is there already, its folder is not, it is of another kind, or torch is missing for .pt.
    """
    if path.suffix not in (".npz", ".safetensors", ".pt"):
        remedy = "End its name in .npz, .safetensors or .pt"
        raise UserError("not a kind of file that can be written", file=path, field=option, remedy=remedy)
    if path.exists():
        raise UserError("the file exists already", file=path, field=option, remedy="Name another file")
    if not path.absolute().parent.is_dir():
        raise UserError("its folder does not exist", file=path, field=option, remedy="Make the folder, or name another")
    if path.suffix == ".pt":
        _torch(path, ".pt files are written by torch, which is not installed", "Install torch, or name a .npz file")


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by name as .npz, .safetensors or .pt, all of the file or nothing.

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
        raise UserError(f"cannot be written ({error.strerror})", file=path, remedy="Name another file") from error


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz file by name.

    Raises:
      UserError: as `read_arrays`.
    """
    refuse_irregular(path)
    name, remedy = None, "Make the file anew with numpy.savez"
    try:
        with open(path, "rb") as stream:
            if not zipfile.is_zipfile(stream):
                raise UserError("not a .npz file, or cut short", file=path, remedy=remedy)
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as file:
                arrays = {}
                for name in file.files:  # noqa: B007 - the name is told where its array cannot be read
                    arrays[name] = file[name]
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror or error})", file=path) from error
    except (ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"damaged, or no array of numbers ({error})", file=path, field=name, remedy=remedy) from error
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
        problem = f"damaged, or of a number format that NumPy lacks ({error})"
        raise UserError(problem, file=path, remedy="Save it anew as float32 with safetensors") from error


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    problem = "it is a pickle, which may run any code unless torch reads it, and torch is not installed"
    torch = _torch(path, problem, CONVERSION.format(file=path))
    remedy = "Save it anew with torch.save(model.state_dict(), FILE)"
    try:
        with warnings.catch_warnings(action="ignore"):  # of torch, about files that are no state dicts
            state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror or error})", file=path) from error
    except Exception as error:  # a damaged file raises what it likes
        raise UserError("damaged, or it holds something else than tensors", file=path, remedy=remedy) from error
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
    """The module torch; a `UserError` about the file where there is none, or one that is not safe."""
    try:
        import torch
    except ImportError as error:
        raise UserError(problem, file=path, remedy=remedy) from error
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6):
        # CVE-2025-32434: weights_only=True did not keep a file from running code.
        problem = f"torch {torch.__version__} may run code that such a file holds"
        raise UserError(problem, file=path, remedy="Install torch 2.6 or newer")
    module: types.ModuleType = torch
    return module
