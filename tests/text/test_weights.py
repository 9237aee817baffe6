"""Model folders: pickles are rejected, different weights are distinguished."""

import pytest

from lrd_jax.errors import UserError
from lrd_jax.text.weights import refuse_pickled_weights, weights_hash


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    (folder / "2_Dense").mkdir(parents=True)
    for name in ("model.safetensors", "config.json", "vocab.txt", "2_Dense/model.safetensors"):
        (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize("name", ["pytorch_model.bin", "2_Dense/pytorch_model.bin", "3_Dense/a.pt", "a/b/c.pkl"])
def test_pickled_weights_alone_are_refused(model, name):
    for safe in (model / name).parent.glob("*.safetensors"):
        safe.unlink()
    (model / name).parent.mkdir(parents=True, exist_ok=True)
    (model / name).write_bytes(b"\x80\x04.")
    with pytest.raises(UserError, match=r"can run any code.*safetensors") as error:
        refuse_pickled_weights(model)
    assert str(model / name) in str(error.value)


def test_what_is_not_read_is_let_be(model):
    for name in ("pytorch_model.bin", "training_args.bin", "2_Dense/pytorch_model.bin"):
        (model / name).write_bytes(b"\x80\x04.")
    for name in ("onnx", "openvino", ".git"):
        (model / name).mkdir()
        (model / name / "model.bin").write_bytes(b"\x80\x04.")
    refuse_pickled_weights(model)


def test_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("missing", "file"):
        with pytest.raises(UserError, match="no such model folder"):
            refuse_pickled_weights(tmp_path / name)


def test_hash_depends_on_weights_settings_and_names_only(model, tmp_path):
    first = weights_hash(model)
    (model / "README.md").write_text("words")
    (model / "pytorch_model.bin").write_text("unread")
    (model / ".cache").mkdir()
    (model / ".cache/a.json").write_text("")
    assert weights_hash(model) == first
    assert weights_hash(model.rename(tmp_path / "moved")) == first
    model = tmp_path / "moved"
    seen = {first}
    for change in (
        lambda: (model / "2_Dense/model.safetensors").write_text("other"),
        lambda: (model / "config.json").write_text("other"),
        lambda: (model / "vocab.txt").rename(model / "words.txt"),
        lambda: (model / "words.txt").unlink(),
    ):
        change()
        assert weights_hash(model) not in seen
        seen.add(weights_hash(model))
