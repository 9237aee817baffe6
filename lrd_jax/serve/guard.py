"""Around the routes: large bodies are refused, every answer is counted, pages load nothing from outside."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from lrd_jax.serve.asked import MOST_BODY
from lrd_jax.serve.metrics import Metrics

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_MOST_DRAINED = 32 * MOST_BODY
"""Bytes that are read and thrown away, so that a client that sends too much still reads the answer."""
_HEADERS = [
    (b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]


class _TooLarge(Exception):
    """The body is longer than allowed."""


class _Gone(Exception):
    """The client has gone."""


class Guard:
    """An ASGI app around another."""

    def __init__(self, app: App, metrics: Metrics, paths: Collection[str]) -> None:
        """Takes the app, the counts and the paths that are counted by name."""
        self._app, self._metrics, self._paths = app, metrics, frozenset(paths)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 500

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        try:
            whole = await _body(scope, receive)
            await self._app(scope, _replay(whole, receive), counted)
        except _TooLarge:
            await _refuse(counted)
        except _Gone:
            status = 499  # as nginx counts it
        finally:
            path = scope["path"] if scope["path"] in self._paths else "other"
            self._metrics.request(path, status, time.monotonic() - started)


async def _body(scope: Message, receive: Receive) -> bytes:
    """All of the body.

    Raises:
      _TooLarge: it is too long; what can be read of it has been.
      _Gone: the client went before its end.
    """
    declared = dict(scope["headers"]).get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > _MOST_DRAINED:
        raise _TooLarge
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        part, more = message.get("body", b""), message.get("more_body", False)
        size += len(part)
        if size > _MOST_DRAINED:
            raise _TooLarge
        if size <= MOST_BODY:
            parts.append(part)
        else:
            parts.clear()
    if size > MOST_BODY:
        raise _TooLarge
    return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Gives the body as one message, then what comes."""
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


async def _refuse(send: Send) -> None:
    message = f"The body is larger than {MOST_BODY:,} bytes."
    body = json.dumps({"error": message, "field": "body"}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 413, "headers": [*headers, (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": body})
