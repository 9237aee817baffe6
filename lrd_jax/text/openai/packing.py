"""Tokens of texts: counted, cut, and packed into requests."""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tiktoken

FETCH_SECONDS = 20.0
"""How long tiktoken may take to fetch a vocabulary; it sets no limit of its own."""


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """Counts and cuts texts in tokens, or in UTF-8 bytes where the model's vocabulary cannot be had.

    A token of a byte-level BPE is one byte or more, so the number of bytes is an upper bound of the number of tokens:
    what is packed or cut by it stays within every limit in tokens.

    Attributes:
      unit: name of the vocabulary, or "UTF-8 bytes".
      encoding: tiktoken's; None: bytes.
      problem: why there is no vocabulary; None where there is one.
    """

    unit: str
    encoding: tiktoken.Encoding | None = None
    problem: str | None = None

    @property
    def exact(self) -> bool:
        """Whether counts are tokens rather than an upper bound."""
        return self.encoding is not None

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, or an upper bound. What looks like a special token counts as the text that it is."""
        if self.encoding is None:
            return [len(text.encode()) for text in texts]
        return list(map(len, self.encoding.encode_ordinary_batch(list(texts), num_threads=2)))

    def cut(self, text: str, limit: int) -> str:
        """The longest beginning of the text, in whole characters, that is found to have at most `limit` tokens."""
        if self.encoding is None:
            return text.encode()[:limit].decode(errors="ignore")
        tokens = self.encoding.encode_ordinary(text)
        kept = limit
        # A token may end within a character, and what is left of the text may be split otherwise than the whole was.
        while len(tokens) > limit:
            text = self.encoding.decode_bytes(tokens[:kept]).decode(errors="ignore")
            tokens = self.encoding.encode_ordinary(text)
            kept -= 1
        return text


BYTES = Tokenizer("UTF-8 bytes")


@functools.cache
def load_tokenizer(model: str, seconds: float = FETCH_SECONDS) -> Tokenizer:
    """The tokenizer of a model of OpenAI's; without its vocabulary, one that counts bytes and says why.

    tiktoken keeps vocabularies in TIKTOKEN_CACHE_DIR, else in the folder for temporary files, and fetches what is
    missing there.

    Args:
      model: the model's name.
      seconds: how long to wait for the vocabulary.
    """
    import tiktoken
    from tiktoken.model import encoding_name_for_model

    try:
        name = encoding_name_for_model(model)
    except KeyError:
        return dataclasses.replace(BYTES, problem=f"tiktoken has no vocabulary for {model}")
    outcome: list[tiktoken.Encoding | Exception] = []

    def fetch() -> None:
        try:
            outcome.append(tiktoken.get_encoding(name))
        except Exception as error:  # whatever stopped it, bytes will do
            outcome.append(error)

    # A thread, since a request that hangs cannot be stopped; being a daemon, it does not keep the process.
    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    thread.join(seconds)
    match outcome:
        case [tiktoken.Encoding() as encoding]:
            return Tokenizer(name, encoding)
        case [error]:
            return dataclasses.replace(BYTES, problem=f"tiktoken cannot fetch {name} ({type(error).__name__})")
        case _:
            return dataclasses.replace(BYTES, problem=f"tiktoken did not fetch {name} within {seconds:g} s")


def pack(sizes: Sequence[int], max_count: int, max_size: int) -> Iterator[range]:
    """Split a list into runs of at most `max_count` entries and `max_size` in sum, each as long as it can be.

    Args:
      sizes: of each entry; one that is larger than `max_size` gets a run to itself.
      max_count, max_size: the limits.

    Yields:
      Indices into `sizes`, in order, every one once.
    """
    start, total = 0, 0
    for index, size in enumerate(sizes):
        if index > start and (index - start == max_count or total + size > max_size):
            yield range(start, index)
            start, total = index, 0
        total += size
    if start < len(sizes):
        yield range(start, len(sizes))
