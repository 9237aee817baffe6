"""An OpenAI-compatible server: its address, the key, and its errors in words that do not hold the key."""

from __future__ import annotations

import dataclasses
import json
import os
import urllib.request
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from lrd_jax.errors import UserError
from lrd_jax.runs.terminal import warn
from lrd_jax.text.openai.answers import RETRY_STATUSES, is_final
from lrd_jax.text.options import ServerOptions

if TYPE_CHECKING:
    import openai

Client = TypeVar("Client", "openai.OpenAI", "openai.AsyncOpenAI")

OPENAI_URL = "https://api.openai.com/v1"
KEY_VARIABLE, URL_VARIABLE = "OPENAI_API_KEY", "OPENAI_BASE_URL"
DEFAULT_MODEL = "text-embedding-ada-002"
WIDTHS = {"text-embedding-ada-002": 1536, "text-embedding-3-small": 1536, "text-embedding-3-large": 3072}
"""Dimensions of OpenAI's models; the last two can be asked for fewer."""
NO_KEY = "none"
"""Sent to a server that does without: the client insists on some key."""
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


def own_width(model: str, dimensions: int | None) -> int | None:
    """The width of a model's vectors; None: another server's model, whose answers show it.

    Args:
      model: its name.
      dimensions: as asked for; None: the model's own.

    Raises:
      UserError: the model does not come in this width.
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
    """The `dimensions` of a request; None: none, for it is the model's own width."""
    return None if dimensions == WIDTHS.get(model) else dimensions


def resolve_url(given: str | None) -> str:
    """The base URL in one spelling: as given, else the environment's OPENAI_BASE_URL, else OpenAI's.

    Raises:
      UserError: not an http or https address, or one that holds more than an address, such as a password.
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
        # What was meant as an address may hold a password, so it is not repeated.
        raise UserError("is not the address of a server", field=field, remedy=remedy)
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        problem = "holds a user, a password, a query or a fragment, which would be kept beside the embeddings"
        raise UserError(problem, field=field, remedy=f"{remedy}; the key goes into {KEY_VARIABLE}")
    # One spelling for one server: answers are kept by it.
    port = "" if parts.port in (None, {"http": 80, "https": 443}[parts.scheme]) else f":{parts.port}"
    name = parts.hostname or ""
    host = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{host}{port}{parts.path}".rstrip("/")


@dataclasses.dataclass(frozen=True)
class Service:
    """A server and the key for it.

    Attributes:
      url: base URL, ending in /v1 as a rule.
      key: from the environment; never shown.
    """

    url: str
    key: str = dataclasses.field(repr=False)

    def client(self, kind: type[Client], server: ServerOptions) -> Client:
        """A client of this kind, `openai.OpenAI` or `openai.AsyncOpenAI`. Without quota it does not retry.

        Raises:
          UserError: the HTTP library cannot use the address or a proxy that the environment names.
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
        except Exception as error:  # of any kind, by the version; its words may hold a proxy's password
            reason = str(error) if isinstance(error, ImportError) else type(error).__name__
        raise UserError(
            f"no connection to {self.url} can be set up ({reason})",
            remedy="Check the address and the proxies in the environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY)",
        )

    def explain(self, error: openai.OpenAIError) -> UserError:
        """The error in words.

        To be raised outside of the `except`, or it carries the client's error along: the request, with the key in it.
        """
        import openai

        match error:
            case openai.AuthenticationError() | openai.PermissionDeniedError():
                # Servers like to repeat the key here, in part or whole.
                problem, remedy = f"refused the key (status {error.status_code})", f"Check {KEY_VARIABLE}"
            case openai.APIStatusError():
                problem, remedy = f"answered with {self.reason(error)}", _remedy(error.status_code, error.body)
            case openai.APITimeoutError():
                problem, remedy = "did not answer in time", "Run the command again, or raise --timeout"
            case openai.APIConnectionError():
                problem = "cannot be reached, or broke off"
                remedy = f"Check the address and the network{self._proxy()}, and run the command again"
            case _:
                problem, remedy = f"cannot be used ({type(error).__name__})", "Run the command again"
        return UserError(f"the server {self.url} {problem}", remedy=remedy)

    def reason(self, error: openai.APIStatusError) -> str:
        """The status and the server's words, on one line."""
        if error.status_code in (401, 403):  # as in `explain`
            return f"status {error.status_code}"
        return f"status {error.status_code}: {self.redact(_message(error))}"

    def _proxy(self) -> str:
        parts, proxies = urlsplit(self.url), urllib.request.getproxies()
        if not {parts.scheme, "all"} & proxies.keys() or urllib.request.proxy_bypass(parts.hostname or ""):
            return ""
        return f" and the proxy that the environment names (NO_PROXY={parts.hostname} does without it)"

    def redact(self, text: str) -> str:
        """The text without the key, on one line, not too long and without a full stop."""
        known = text if self.key == NO_KEY else text.replace(self.key, "[key]")
        return " ".join(known.split())[:300].rstrip(". ")


def scope_of(url: str) -> str | None:
    """Where answers of a server belong in the cache: None for OpenAI's own, else the base URL."""
    return None if url == OPENAI_URL else url


def find_service(url: str) -> Service:
    """The server at a resolved address with the environment's key.

    A server other than OpenAI's may do without a key.

    Raises:
      UserError: there is no key, or it cannot be one.
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
        raise UserError(f"{KEY_VARIABLE} holds a character that no key has", remedy="Set it to the key alone")
    if key != NO_KEY and key in url:
        raise UserError(
            "the address holds the key, and is kept beside the embeddings", remedy="Take it out of the address"
        )
    host = urlsplit(url).hostname
    if url.startswith("http:") and host not in _LOCAL_HOSTS and key != NO_KEY:
        warn(f"the key goes to {host} unencrypted (http, not https)")
    return Service(url, key)


def may_be_the_texts(status: int, error: Any) -> bool:
    """Whether a refusal may be due to the texts of the request, so that other texts may be answered.

    Args:
      status: of the answer.
      error: the server's error object.
    """
    others = (401, 402, 404, *RETRY_STATUSES)  # key, money, model or address, patience
    return status >= 400 and status not in others and not is_final(error)


def _remedy(status: int, error: Any) -> str:
    if is_final(error) or status == 402:
        return "Check the balance of the account. What was answered is kept, and the same command goes on from there"
    if status == 404:
        return "Check --model and --base-url"
    if status in RETRY_STATUSES:
        return "What was answered is kept; run the command again later"
    less = "fewer texts in a request with --request-inputs, or shorter texts with --max-tokens"
    if status >= 500:
        return f"What was answered is kept; run the command again later, or try {less}"
    return f"What was answered is kept. Check --model, --dimensions and --base-url, or try {less}"


def _stop_retries(response: Any) -> None:
    """Tell the client not to ask again where the answer is that the quota is used up; it knows the status alone."""
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
    return str(body) if body else "nothing more"
