"""Options of `python -m lrd_jax.embed` for encoders that are asked over the network."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from lrd_jax.config.schema import Section

MAX_INPUT_TOKENS = 8191
"""Of one text, for all embedding models of OpenAI's."""
MAX_REQUEST_INPUTS = 2048
MAX_REQUEST_TOKENS = 300_000


class ServerOptions(Section):
    """Which server is asked, and how patiently (openai, openai-batch)."""

    base_url: str | None = Field(None, min_length=1)
    """Base URL of an OpenAI-compatible server, without a key in it. None: OPENAI_BASE_URL, else OpenAI's."""
    max_tokens: int = Field(MAX_INPUT_TOKENS, ge=1, le=MAX_INPUT_TOKENS)
    """Where a text is cut; lower it for another server's model with a shorter context."""
    max_retries: int = Field(8, ge=0, le=100)
    """How often a request is repeated after status 408, 409, 429, 5xx or a broken connection. If the server says when,
    in retry-after, then."""
    timeout: float = Field(120.0, ge=0.1, le=3600.0)
    """Seconds without an answer after which a request is given up and repeated."""
    prices: Path | None = None
    """TOML file of prices. They come before those in lrd_jax/text/prices.toml, which are OpenAI's own."""
    abandon_batches: bool = False
    """Forget the batches under way that hold these texts; they are asked for, and paid for, again."""


class RequestOptions(Section):
    """How texts are put into requests (openai)."""

    concurrency: int = Field(4, ge=1, le=256)
    """Requests under way at once."""
    request_inputs: int = Field(MAX_REQUEST_INPUTS, ge=1, le=MAX_REQUEST_INPUTS)
    """Most texts in one request; some servers allow fewer. A request that is too large for the server is split."""
    request_tokens: int = Field(MAX_REQUEST_TOKENS, ge=1, le=MAX_REQUEST_TOKENS)
    """Most tokens in one request; a text with more has one to itself."""


class BatchOptions(Section):
    """How batches are waited for (openai-batch)."""

    wait: bool = True
    """Wait until all batches have finished. Without it: hand in, take the results that are there, and exit with code
    75 while batches are under way; run the same command later to go on."""
    poll_seconds: float = Field(60.0, ge=0.01, le=86_400.0)
    """Longest time between two looks at the batches; the first looks come sooner."""
