"""Counts the tokens of texts, cuts texts, and packs them into requests."""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tiktoken

FETCH_SECONDS = 20.0
"""Time limit for tiktoken to download a vocabulary; tiktoken itself has none."""


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """Counts and cuts texts in tokens, or in UTF-8 bytes if the model's vocabulary is not available.

    A token of a byte-level BPE has at least one byte, so the number of bytes is an upper bound of the number of tokens:
    texts packed or cut by bytes stay within every limit in tokens.

    Attributes:
      unit: name of the vocabulary, or "UTF-8 bytes".
      encoding: tiktoken's encoding; None: bytes.
      problem: why there is no vocabulary; None if there is one.
    """

    unit: str
    encoding: tiktoken.Encoding | None = None
    problem: str | None = None

    @property
    def exact(self) -> bool:
        """Whether counts are exact token counts, not an upper bound."""
        return self.encoding is not None

    def count(self, texts: Sequence[str]) -> list[int]:
        """Number of tokens of each text, or an upper bound. Special tokens in a text count as ordinary text."""
        if self.encoding is None:
            return [len(text.encode()) for text in texts]
        return list(map(len, self.encoding.encode_ordinary_batch(list(texts), num_threads=2)))

    def cut(self, text: str, limit: int) -> str:
        """A prefix of the text, in whole characters, with at most `limit` tokens, and as long as can be found."""
        if self.encoding is None:
            return text.encode()[:limit].decode(errors="ignore")
        tokens = self.encoding.encode_ordinary(text)
        kept = limit
        # A token may end inside a character, and the prefix may be tokenised differently from the whole text.
        while len(tokens) > limit:
            text = self.encoding.decode_bytes(tokens[:kept]).decode(errors="ignore")
            tokens = self.encoding.encode_ordinary(text)
            kept -= 1
        return text


BYTES = Tokenizer("UTF-8 bytes")


@functools.cache
def load_tokenizer(model: str, seconds: float = FETCH_SECONDS) -> Tokenizer:
    """The tokenizer of an OpenAI model; if its vocabulary is not available, one that counts bytes, with the reason.

    tiktoken keeps vocabularies in TIKTOKEN_CACHE_DIR, else in the folder for temporary files, and downloads missing
    ones.

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
        except Exception as error:  # after any failure, count bytes
            outcome.append(error)

    # A thread, because a hanging request cannot be stopped; as a daemon it does not keep the process alive.
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
    """Splits a list greedily into runs of at most `max_count` entries with a sum of at most `max_size`.

    Args:
      sizes: size of each entry; an entry larger than `max_size` gets its own run.
      max_count, max_size: the limits.

    Yields:
      Indices into `sizes`, in order, each exactly once.
    """
    start, total = 0, 0
    for index, size in enumerate(sizes):
        if index > start and (index - start == max_count or total + size > max_size):
            yield range(start, index)
            start, total = index, 0
        total += size
    if start < len(sizes):
        yield range(start, len(sizes))
