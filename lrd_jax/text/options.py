"""Options of `python -m lrd_jax.embed` for encoders that use a server."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from lrd_jax.config.schema import Section

MAX_INPUT_TOKENS = 8191
"""Token limit of one text for all embedding models of OpenAI."""
MAX_REQUEST_INPUTS = 2048
MAX_REQUEST_TOKENS = 300_000


class ServerOptions(Section):
    """The server, its limits and retries (openai, openai-batch)."""

    base_url: str | None = Field(None, min_length=1)
    """Base URL of an OpenAI-compatible server, without a key in it. None: OPENAI_BASE_URL, else OpenAI's URL."""
    max_tokens: int = Field(MAX_INPUT_TOKENS, ge=1, le=MAX_INPUT_TOKENS)
    """Texts are cut after this many tokens; lower it for another server's model with a shorter context."""
    max_retries: int = Field(8, ge=0, le=100)
    """How often a request is repeated after status 408, 409, 429, 5xx or a broken connection, after the waiting time in
    the server's retry-after header, if any."""
    timeout: float = Field(120.0, ge=0.1, le=3600.0)
    """Seconds without an answer after which a request is repeated."""
    prices: Path | None = None
    """TOML file of prices, used before OpenAI's prices in lrd_jax/text/openai/prices.toml."""
    abandon_batches: bool = False
    """Forget unfinished batches with these texts; the texts are requested, and paid for, again."""


class RequestOptions(Section):
    """How texts are grouped into requests (openai)."""

    concurrency: int = Field(4, ge=1, le=256)
    """Number of parallel requests."""
    request_inputs: int = Field(MAX_REQUEST_INPUTS, ge=1, le=MAX_REQUEST_INPUTS)
    """Maximum number of texts per request; some servers allow fewer. A request that is too large for the server is
    split."""
    request_tokens: int = Field(MAX_REQUEST_TOKENS, ge=1, le=MAX_REQUEST_TOKENS)
    """Maximum number of tokens per request; a longer text gets its own request."""


class BatchOptions(Section):
    """How to wait for batches (openai-batch)."""

    wait: bool = True
    """Wait until all batches have finished. Without it: submit batches, collect available results, and exit with code
    75 while batches are unfinished; run the same command later to continue."""
    poll_seconds: float = Field(60.0, ge=0.01, le=86_400.0)
    """Maximum number of seconds between two status checks of the batches; the first checks come sooner."""
