"""State dicts as files: .npz, .safetensors, and .pt and .pth where torch is."""

import os
import pickle
import sys

import numpy as np
import pytest

from lrd_jax.errors import UserError
from lrd_jax.interop.state_file import check_can_write, read_arrays, write_arrays

ARRAYS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float32([np.pi])}
for _array in ARRAYS.values():
    _array.flags.writeable = False  # as those that come from a device


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["npz", "safetensors", "pt"])
def test_what_is_written_is_read(tmp_path, kind):
    if kind == "pt":
        pytest.importorskip("torch")
    path = tmp_path / f"state.{kind}"
    check_can_write(path, "--out")
    write_arrays(path, ARRAYS)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    read = read_arrays(path)
    assert read.keys() == ARRAYS.keys()
    for name, value in ARRAYS.items():
        np.testing.assert_array_equal(read[name], value)
    with pytest.raises(UserError, match="already exists"):
        check_can_write(path, "--out")


def test_state_dicts_of_torch(tmp_path):
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(3, 2)
    torch.save(layer.state_dict(), tmp_path / "new.pth")
    torch.save(layer.state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name in ("new.pth", "old.pt"):
        read = read_arrays(tmp_path / name)
        np.testing.assert_array_equal(read["weight"], layer.weight.detach().numpy())
    torch.save({"x": torch.tensor([1.5, -2.0], dtype=torch.bfloat16)}, tmp_path / "brief.pt")
    np.testing.assert_array_equal(read_arrays(tmp_path / "brief.pt")["x"], np.float32([1.5, -2.0]))


class Harmful:
    """Leaves a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_nothing_but_tensors_is_taken_from_torch(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"a": torch.ones(2), "b": Harmful(tmp_path / "run")}, tmp_path / "harmful.pt")
    (tmp_path / "pickle.pth").write_bytes(pickle.dumps(Harmful(tmp_path / "run"), protocol=2))
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    torch.save({"state_dict": {"a": torch.ones(2)}, "epoch": 3}, tmp_path / "nested.pt")
    torch.save(torch.ones(2), tmp_path / "tensor.pt")
    torch.save({"a": torch.ones(2).to_sparse()}, tmp_path / "sparse.pt")
    whole = (tmp_path / "tensor.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.pt").write_bytes(b"")
    told = {
        "harmful.pt": "more than tensors",
        "pickle.pth": "more than tensors",
        "module.pt": "more than tensors",
        "nested.pt": "field 'state_dict': expected a dense tensor, got dict",
        "tensor.pt": "expected tensors by name, got a Tensor",
        "sparse.pt": "field 'a': expected a dense tensor",
        "cut.pt": "damaged",
        "empty.pt": "damaged",
        "missing.pt": "cannot be read",
    }
    for name, problem in told.items():
        with pytest.raises(UserError, match=f"{name}.*{problem}"):
            read_arrays(tmp_path / name)
    assert not (tmp_path / "run").exists()


def test_torch_that_does_not_keep_files_from_running_code_is_refused(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    torch.save({"a": torch.ones(2)}, tmp_path / "state.pt")
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with pytest.raises(UserError, match="torch 2.5.1.*Install torch 2.6 or newer"):
        read_arrays(tmp_path / "state.pt")


def test_other_kinds_of_file(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"state.csv: not \.npz, \.safetensors, \.pt or \.pth"):
        read_arrays(tmp_path / "state.csv")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match="torch, which is not installed. Install torch, or use a .npz"):
        check_can_write(tmp_path / "state.pt", "--out")
