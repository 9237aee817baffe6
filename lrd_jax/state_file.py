"""Files of named arrays, .npz and .safetensors, read whole with every mistake told."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from lrd_jax.errors import UserError
from lrd_jax.files import refuse_irregular

_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl")
CONVERSION = (
    'Convert it where torch is: `state = torch.load("{file}", map_location="cpu", weights_only=True)` and '
    '`numpy.savez("state.npz", **{{name: value.numpy() for name, value in state.items()}})`'
)
"""How a pickle of PyTorch becomes a file that `read_arrays` takes."""


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz or .safetensors file by name. Nothing in the file is executed.

    Raises:
      UserError: the file is of another kind (a pickle of PyTorch is told how to convert), missing, damaged, or holds
        something else than numbers and texts.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in _PICKLES:
        remedy = CONVERSION.format(file=path)
        raise UserError("pickles are not read, since they may run any code", file=path, remedy=remedy)
    if path.suffix != ".npz":
        raise UserError("neither .npz nor .safetensors", file=path, remedy="Give a file of one of these kinds")
    return read_npz(path)


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
