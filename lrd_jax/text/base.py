"""The interface of text encoders, and code shared by the local ones."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NoReturn, Protocol

import numpy as np
from tqdm import tqdm

from lrd_jax.errors import UserError

TEXTS_PER_CALL = 256


class Encoder(Protocol):
    """A frozen language model that turns texts into vectors.

    To add one, add a file next to this one and a line in `plugins.ENCODERS`, or an entry point of another package (see
    docs/extending.md). All attributes except `encode` are for the record (the JSON next to the array).

    Attributes:
      name: the name in `EncoderConfig.encoder`.
      model: its model: a folder, a name on the hub, or a name in the API.
      version: name and version of the software (of the client, if a server embeds).
      dimensions: T; None if only `encode` can determine it.
      pooling: how token vectors are combined: "mean", "cls", ...; "unknown" if not documented.
      normalised: whether every row has Euclidean length 1 (or 0 for a text without known tokens).
      origin: further details of where the vectors come from, such as the hash of the weights or the server's address;
        no secrets, because it is written to disk.
    """

    name: str
    model: str
    version: str
    dimensions: int | None
    pooling: str
    normalised: bool
    origin: Mapping[str, str]

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embeds texts that are not blank: float32 [N, T].

        Called once with all texts. A row depends only on its own text, up to rounding that depends on the batch. The
        encoder shows its own progress, on a terminal only (`in_parts` does so).

        Raises:
          UserError: the texts cannot be embedded.
        """
        ...


def in_parts(encode: Callable[[Sequence[str]], np.ndarray], texts: Sequence[str], name: str) -> np.ndarray:
    """Embeds texts in parts, with a progress bar on a terminal: float32 [N, T].

    Args:
      encode: function from n texts to [n, T].
      texts: N texts, at least one.
      name: name of the encoder, for the progress bar.
    """
    parts = []
    with tqdm(total=len(texts), desc=f"{name} embeds texts", unit="text", disable=None) as bar:
        for start in range(0, len(texts), TEXTS_PER_CALL):
            parts.append(np.asarray(encode(texts[start : start + TEXTS_PER_CALL]), np.float32))
            bar.update(len(parts[-1]))
    return np.concatenate(parts)


def not_installed(package: str, extra: str, error: ImportError) -> UserError:
    """The error if an encoder's package cannot be imported."""
    return UserError(
        f"the encoder {package} cannot be imported ({error})",
        field="text.encoder",
        remedy=f"Install it with pip install -e '.[{extra}]', or choose another encoder",
    )


def model_not_named(encoder: str) -> NoReturn:
    """Raises UserError: the encoder has no default model."""
    raise UserError(f"{encoder} has no default model", field="text.model", remedy="Set it to a model's folder")


@contextlib.contextmanager
def told_of_loading(model: str) -> Iterator[None]:
    """Turns any error that a library raises while loading a model into a `UserError`."""
    try:
        yield
    except Exception as error:  # the type of error for damaged or missing files depends on the library and its version
        reason = next(iter(str(error).splitlines()), "").rstrip(".") or type(error).__name__
        remedy = (
            "Set text.model to a folder with a complete model, or to a name on the Hugging Face hub (which needs a"
            " network)"
        )
        raise UserError(f"the model cannot be loaded ({reason})", file=model, remedy=remedy) from error


def of_length_one(embeddings: np.ndarray) -> np.ndarray:
    """Rows scaled to Euclidean length 1, float32; rows of zeros stay zero."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return (embeddings / np.where(lengths == 0, 1, lengths)).astype(np.float32)
