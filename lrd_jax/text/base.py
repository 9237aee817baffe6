"""What a text encoder is, and what those that run on this machine share."""

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

    A new one is a file beside this one and a line in `plugins.ENCODERS`, or an entry point of another package (see
    docs/extending.md). Everything but `encode` is for the record (the JSON beside the array).

    Attributes:
      name: the name in `EncoderConfig.encoder`.
      model: which of its models: the folder, the name on the hub, or what the API calls it.
      version: which software, the client's where a server embeds.
      dimensions: T; None where `encode` is what finds it out.
      pooling: how the vectors of the tokens become one: "mean", "cls", ...; "unknown" where nothing says it.
      normalised: whether every row has Euclidean length 1 (or 0: nothing known of it).
      origin: what else says where the vectors come from, such as the hash of the weights or a server's address; no
        secret, for it is written to disk.
    """

    name: str
    model: str
    version: str
    dimensions: int | None
    pooling: str
    normalised: bool
    origin: Mapping[str, str]

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts that are not blank: float32 [N, T].

        Called once with all texts. A row depends on its own text alone, up to the rounding of the batch that it falls
        into. The encoder shows its own progress, on a terminal only (`in_parts` does so).

        Raises:
          UserError: the texts cannot be embedded.
        """
        ...


def in_parts(encode: Callable[[Sequence[str]], np.ndarray], texts: Sequence[str], name: str) -> np.ndarray:
    """Embed texts in parts, with a progress bar on a terminal: float32 [N, T].

    Args:
      encode: texts → [n, T].
      texts: N of them, one at least.
      name: of the encoder, for the bar.
    """
    parts = []
    with tqdm(total=len(texts), desc=f"{name} reads texts", unit="text", disable=None) as bar:
        for start in range(0, len(texts), TEXTS_PER_CALL):
            parts.append(np.asarray(encode(texts[start : start + TEXTS_PER_CALL]), np.float32))
            bar.update(len(parts[-1]))
    return np.concatenate(parts)


def not_installed(package: str, extra: str, error: ImportError) -> UserError:
    """What to raise where an encoder's package cannot be imported."""
    return UserError(
        f"the encoder {package} cannot be imported ({error})",
        field="text.encoder",
        remedy=f"Install it with pip install -e '.[{extra}]', or choose another encoder",
    )


def model_not_named(encoder: str) -> NoReturn:
    """Raises that the encoder has no model of its own."""
    raise UserError(f"{encoder} has no model of its own", field="text.model", remedy="Set it to a model's folder")


@contextlib.contextmanager
def told_of_loading(model: str) -> Iterator[None]:
    """Whatever a library raises on a model that it cannot load becomes a `UserError`."""
    try:
        yield
    except Exception as error:  # damaged or missing files end in any kind of error, by library and version
        reason = next(iter(str(error).splitlines()), "").rstrip(".") or type(error).__name__
        remedy = (
            "Set text.model to a folder that holds a whole model, or to a name on the Hugging Face hub, which has to be"
            " within reach"
        )
        raise UserError(f"the model cannot be loaded ({reason})", file=model, remedy=remedy) from error


def of_length_one(embeddings: np.ndarray) -> np.ndarray:
    """Rows scaled to Euclidean length 1, float32; a row of zeros stays."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return (embeddings / np.where(lengths == 0, 1, lengths)).astype(np.float32)
