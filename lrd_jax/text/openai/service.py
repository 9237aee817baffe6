"""An OpenAI-compatible server: its address, its API key, and its errors as messages without the key."""

from __future__ import annotations

import dataclasses
import json
import os
import urllib.request
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from lrd_jax.errors import UserError
from lrd_jax.terminal.lines import warn
from lrd_jax.text.openai.answers import RETRY_STATUSES, is_final
from lrd_jax.text.options import ServerOptions

if TYPE_CHECKING:
    import openai

Client = TypeVar("Client", "openai.OpenAI", "openai.AsyncOpenAI")

OPENAI_URL = "https://api.openai.com/v1"
KEY_VARIABLE, URL_VARIABLE = "OPENAI_API_KEY", "OPENAI_BASE_URL"
DEFAULT_MODEL = "text-embedding-ada-002"
WIDTHS = {"text-embedding-ada-002": 1536, "text-embedding-3-small": 1536, "text-embedding-3-large": 3072}
"""Dimensions of OpenAI's models; the last two support fewer on request."""
NO_KEY = "none"
"""Sent to a server that needs no key, because the client requires one."""
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


def own_width(model: str, dimensions: int | None) -> int | None:
    """The width of a model's vectors; None for a model of another server, where only an answer shows it.

    Args:
      model: name of the model.
      dimensions: the requested width; None: the model's own.

    Raises:
      UserError: the model does not support this width.
    """
    width = WIDTHS.get(model)
    if dimensions is None or width is None or dimensions == width:
        return dimensions or width
    if model == DEFAULT_MODEL or dimensions > width:
        at_most = "" if model == DEFAULT_MODEL else "at most "
        raise UserError(
            f"{model} embeds in {at_most}{width} dimensions, not {dimensions}",
            field="--dimensions",
            remedy="Leave it out, or lower it" if at_most else "Leave it out, or choose text-embedding-3-small",
        )
    return dimensions


def asked_dimensions(model: str, dimensions: int | None) -> int | None:
    """The `dimensions` field of a request; None to leave it out, because it is the model's own width."""
    return None if dimensions == WIDTHS.get(model) else dimensions


def resolve_url(given: str | None) -> str:
    """The normalised base URL: the given one, else OPENAI_BASE_URL from the environment, else OpenAI's.

    Raises:
      UserError: it is not an http or https address, or contains more than an address, such as a password.
    """
    url = given or os.environ.get(URL_VARIABLE) or OPENAI_URL
    field = "--base-url" if given else URL_VARIABLE
    remedy = "Write it like http://127.0.0.1:8000/v1"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or url != url.strip():
        # Do not print the value, because it may contain a password.
        raise UserError("is not the address of a server", field=field, remedy=remedy)
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        problem = "contains a user, a password, a query or a fragment, which would be stored next to the embeddings"
        raise UserError(problem, field=field, remedy=f"{remedy}; put the key into {KEY_VARIABLE}")
    # Normalise, because the URL is part of the cache key.
    port = "" if parts.port in (None, {"http": 80, "https": 443}[parts.scheme]) else f":{parts.port}"
    name = parts.hostname or ""
    host = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{host}{port}{parts.path}".rstrip("/")


@dataclasses.dataclass(frozen=True)
class Service:
    """A server and its API key.

    Attributes:
      url: base URL, usually ending in /v1.
      key: from the environment; never shown.
    """

    url: str
    key: str = dataclasses.field(repr=False)

    def client(self, kind: type[Client], server: ServerOptions) -> Client:
        """A client of this kind, `openai.OpenAI` or `openai.AsyncOpenAI`. It does not retry if the quota is used up.

        Raises:
          UserError: the HTTP library cannot use the address or a proxy in the environment.
        """
        import openai

        hooked, hook = (
            (openai.DefaultHttpxClient, _stop_retries)
            if kind is openai.OpenAI
            else (openai.DefaultAsyncHttpxClient, _stop_retries_async)
        )
        try:
            http_client: Any = hooked(event_hooks={"response": [hook]}, timeout=server.timeout)
            return kind(
                api_key=self.key,
                base_url=self.url,
                max_retries=server.max_retries,
                timeout=server.timeout,
                http_client=http_client,
            )
        except Exception as error:  # the type depends on the version; the message may contain a proxy's password
            reason = str(error) if isinstance(error, ImportError) else type(error).__name__
        raise UserError(
            f"no connection to {self.url} can be set up ({reason})",
            remedy="Check the address and the proxies in the environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY)",
        )

    def explain(self, error: openai.OpenAIError) -> UserError:
        """The error as a message.

        Raise it outside of the `except` block; otherwise it includes the client's error, which contains the key.
        """
        import openai

        match error:
            case openai.AuthenticationError() | openai.PermissionDeniedError():
                # Servers often repeat the key here, in part or whole.
                problem, remedy = f"rejected the key (status {error.status_code})", f"Check {KEY_VARIABLE}"
            case openai.APIStatusError():
                problem, remedy = f"answered with {self.reason(error)}", _remedy(error.status_code, error.body)
            case openai.APITimeoutError():
                problem, remedy = "did not answer in time", "Run the command again, or raise --timeout"
            case openai.APIConnectionError():
                problem = "cannot be reached, or closed the connection"
                remedy = f"Check the address and the network{self._proxy()}, and run the command again"
            case _:
                problem, remedy = f"cannot be used ({type(error).__name__})", "Run the command again"
        return UserError(f"the server {self.url} {problem}", remedy=remedy)

    def reason(self, error: openai.APIStatusError) -> str:
        """The status and the server's message, on one line."""
        if error.status_code in (401, 403):  # as in `explain`
            return f"status {error.status_code}"
        return f"status {error.status_code}: {self.redact(_message(error))}"

    def _proxy(self) -> str:
        parts, proxies = urlsplit(self.url), urllib.request.getproxies()
        if not {parts.scheme, "all"} & proxies.keys() or urllib.request.proxy_bypass(parts.hostname or ""):
            return ""
        return f" and the proxy in the environment (to bypass it, set NO_PROXY={parts.hostname})"

    def redact(self, text: str) -> str:
        """The text without the key, on one line, at most 300 characters, without a final full stop."""
        known = text if self.key == NO_KEY else text.replace(self.key, "[key]")
        return " ".join(known.split())[:300].rstrip(". ")


def scope_of(url: str) -> str | None:
    """The server's part of cache keys: None for OpenAI's, else the base URL."""
    return None if url == OPENAI_URL else url


def find_service(url: str) -> Service:
    """The server at a resolved address, with the key from the environment.

    A server other than OpenAI's may need no key.

    Raises:
      UserError: the key is missing or malformed.
    """
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key:
        if url == OPENAI_URL:
            raise UserError(
                f"the environment has no {KEY_VARIABLE}",
                remedy=f"Set it with export {KEY_VARIABLE}=..., or add --dry-run to see what it would cost",
            )
        key = NO_KEY
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UserError(f"{KEY_VARIABLE} contains an invalid character", remedy="Set it to the key only")
    if key != NO_KEY and key in url:
        raise UserError(
            "the address contains the key and is stored with the embeddings", remedy="Remove the key from the address"
        )
    host = urlsplit(url).hostname
    if url.startswith("http:") and host not in _LOCAL_HOSTS and key != NO_KEY:
        warn(f"the key is sent to {host} unencrypted (http, not https)")
    return Service(url, key)


def may_be_the_texts(status: int, error: Any) -> bool:
    """Whether the texts of a rejected request may be the reason, so that other texts may succeed.

    Args:
      status: status of the answer.
      error: the server's error object.
    """
    others = (401, 402, 404, *RETRY_STATUSES)  # the key, the balance, the model or address, temporary errors
    return status >= 400 and status not in others and not is_final(error)


def _remedy(status: int, error: Any) -> str:
    if is_final(error) or status == 402:
        return "Check the balance of the account, then run the same command to continue. Earlier answers are stored"
    if status == 404:
        return "Check --model and --base-url"
    if status in RETRY_STATUSES:
        return "Run the command again later. Earlier answers are stored"
    less = "fewer texts per request with --request-inputs, or shorter texts with --max-tokens"
    if status >= 500:
        return f"Earlier answers are stored. Run the command again later, or try {less}"
    return f"Earlier answers are stored. Check --model, --dimensions and --base-url, or try {less}"


def _stop_retries(response: Any) -> None:
    """Stops the client from retrying if the quota is used up; the client itself sees only the status."""
    if response.status_code == 429:
        response.read()
        _mark_final(response)


async def _stop_retries_async(response: Any) -> None:
    if response.status_code == 429:
        await response.aread()
        _mark_final(response)


def _mark_final(response: Any) -> None:
    try:
        body = json.loads(response.content)
    except ValueError:
        return
    if isinstance(body, dict) and is_final(body.get("error", body)):
        response.headers["x-should-retry"] = "false"


def _message(error: openai.APIStatusError) -> str:
    body = error.body
    if isinstance(body, dict):
        message = body.get("message")
        return message if isinstance(message, str) else json.dumps(body)
    return str(body) if body else "no message"
