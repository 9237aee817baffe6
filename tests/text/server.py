"""An OpenAI-compatible server on loopback: /v1/embeddings, /v1/files, /v1/batches, and faults on demand.

`python -m tests.text.server --port 8123` runs it by itself; `running_server()` runs it in a thread of a test. What it
is asked is counted: GET /stats.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import socket
import struct
import threading
import time
from collections import Counter, deque

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lrd_jax.text.openai.probe import PROBE
from tests.text.batch_server import Batches

WIDTHS = {"text-embedding-ada-002": 1536, "text-embedding-3-small": 1536, "text-embedding-3-large": 3072}


def vector_of(text: str, model: str, dimensions: int) -> list[float]:
    """A vector of length 1 that depends on the text, the model and the width alone; float32 numbers."""
    seed = hashlib.sha256(json.dumps([text, model, dimensions]).encode()).digest()
    vector = np.random.default_rng(np.frombuffer(seed, np.uint32)).standard_normal(dimensions)
    return (vector / np.linalg.norm(vector)).astype(np.float32).tolist()


class Server:
    """The application and what it counts.

    Attributes:
      faults: what happens to the next requests of /v1/embeddings, in turn; "ok" is none. The first request of a run
        is for the test text.
      always: what happens to those after them.
      of_texts: what happens to requests that hold a text, by the text: a status, with which the request is refused as a
        whole, "error" (refused with status 200), or what the text's embedding is: "zeros", "nan", "null".
      most: how many inputs a request may hold.
      weights: of the models; other ones are other models behind the same names.
      requests: how often each path was asked, by "METHOD path".
      asked: how often each text was in a request of /v1/embeddings or in a batch; the test text is not counted.
      answered: how often each text's vector was sent.
      retry_after: seconds, sent with 429.
      delay: seconds before every answer.
      key: the only key that is let in; None: any.
      sent_keys: authorisation headers that came.
      width: of models that are not OpenAI's.
    """

    def __init__(self, *, delay: float = 0.0, key: str | None = None, width: int = 8) -> None:
        self.faults: deque[str] = deque()
        self.always = "ok"
        self.of_texts: dict[str, str] = {}
        self.most = 2048
        self.weights = ""
        self.requests: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.retry_after = 0.2
        self.delay, self.key, self.width = delay, key, width
        self.sent_keys: set[str] = set()
        self.times: list[float] = []
        self.most_at_once = self._at_once = 0
        self.batches = Batches(self)
        self.app = Starlette(
            routes=[
                Route("/v1/embeddings", self._embeddings, methods=["POST"]),
                *self.batches.routes(),
                Route("/stats", self._stats),
            ]
        )

    def width_of(self, model: str, dimensions: int | None) -> int:
        return dimensions or WIDTHS.get(model, self.width)

    def count(self, request: Request) -> Response | None:
        """Count a request; the refusal, if the key is not the one."""
        self.requests[f"{request.method} {request.url.path}"] += 1
        given = request.headers.get("authorization", "")
        self.sent_keys.add(given)
        if self.key is not None and given != f"Bearer {self.key}":
            return failure(401, f"Incorrect API key provided: {given.removeprefix('Bearer ')}.")
        return None

    async def _stats(self, request: Request) -> Response:
        return JSONResponse(
            {
                "requests": dict(self.requests),
                "texts asked": self.asked.total(),
                "distinct texts asked": len(self.asked),
                "texts answered": self.answered.total(),
                "texts asked more than once": sum(count > 1 for count in self.asked.values()),
            }
        )

    async def _embeddings(self, request: Request) -> Response:
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return await self._answer(request)
        finally:
            self._at_once -= 1

    async def _answer(self, request: Request) -> Response:
        self.times.append(time.monotonic())
        if (refusal := self.count(request)) is not None:
            return refusal
        body = await request.json()
        if (problem := wrong_with(body)) is not None:
            return failure(400, problem)
        fault = self.faults.popleft() if self.faults else self.always
        self.asked.update(text for text in body["input"] if text != PROBE)
        if len(body["input"]) > self.most:
            return failure(400, f"batch size is invalid, it should not be larger than {self.most}.")
        for text in body["input"]:
            if self.of_texts.get(text, "").isdecimal():
                return failure(int(self.of_texts[text]), "This was filtered")
            if self.of_texts.get(text) == "error":
                return JSONResponse({"error": {"message": "This was filtered", "code": "content_filter"}})
        if self.delay:
            await asyncio.sleep(self.delay)
        headers = {}
        match fault:
            case "429":
                return failure(429, "Rate limit reached", {"retry-after": str(self.retry_after)})
            case "500":
                return failure(500, "The server had an error")
            case "400":
                return failure(400, f"This is refused for {request.headers['authorization']}")
            case "401":
                return failure(401, f"Incorrect API key provided: {request.headers['authorization']}")
            case "quota":
                return failure(429, "You exceeded your current quota", code="insufficient_quota")
            case "error":
                return JSONResponse({"error": {"message": "No provider is there", "code": 404}})
            case "passing error":
                return JSONResponse({"error": {"message": "Overloaded, try again", "code": 503}})
            case "hang":
                await asyncio.sleep(3600)
            case "reset":
                transport = request.receive.__self__.transport
                linger = struct.pack("ii", 1, 0)  # closing sends RST
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                transport.abort()
                return Response()
            case "html":
                return Response("<html>Bad gateway</html>", media_type="text/html")
        answer = self.embed(body)
        data = answer["data"]
        for entry, text in zip(data, body["input"], strict=True):
            match self.of_texts.get(text):
                case "zeros":
                    entry["embedding"] = [0.0] * len(entry["embedding"])
                case "nan":
                    entry["embedding"][0] = float("nan")
                case "null":
                    entry["embedding"] = None
        match fault:
            case "no index":
                for entry in data:
                    del entry["index"]
            case "no last index":
                del data[-1]["index"]
            case "same index":
                for entry in data:
                    entry["index"] = 0
            case "zeros":
                for entry in data:
                    entry["embedding"] = [0.0] * len(entry["embedding"])
            case "order":
                data.reverse()
            case "duplicate":
                data[-1]["index"] = data[0]["index"]
            case "missing":
                del data[-1]
            case "extra":
                data.append(data[-1] | {"index": len(data)})
            case "range":
                data[-1]["index"] = len(data)
            case "width":
                data[-1]["embedding"].append(0.5)
            case "nan":
                data[-1]["embedding"][0] = float("nan")
            case "huge":
                data[-1]["embedding"][0] = 1e39
            case "null":
                data[-1]["embedding"][0] = None
            case "string":
                data[-1]["embedding"] = "AAAA"
        content = json.dumps(answer).encode()
        if fault == "truncated":
            headers = {"content-length": str(len(content))}
            content = content[: len(content) // 2]
        elif fault == "half":
            content = content[: len(content) // 2]
        elif fault in ("ok", "order", "no index"):
            self.answered.update(text for text in body["input"] if text != PROBE and text not in self.of_texts)
        return Response(content, media_type="application/json", headers=headers)

    def embed(self, body: dict) -> dict:
        """The answer to a request."""
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        width = self.width_of(body["model"], body.get("dimensions"))
        data = [
            {"object": "embedding", "index": index, "embedding": vector_of(text, body["model"] + self.weights, width)}
            for index, text in enumerate(texts)
        ]
        tokens = sum(max(1, len(text) // 4) for text in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "data": data, "model": body["model"], "usage": usage}


def wrong_with(body: dict) -> str | None:
    """Why OpenAI's server would refuse the request."""
    texts = body.get("input")
    if not isinstance(texts, list) or not 1 <= len(texts) <= 2048:
        return "'input' is not a list of 1 to 2048 texts"
    if not all(isinstance(text, str) and text for text in texts):
        return "'input' holds an empty text"
    if body.get("encoding_format") != "float":
        return "'encoding_format' is not float"
    return None


def failure(status: int, message: str, headers: dict[str, str] | None = None, code: str | None = None) -> Response:
    error = {"message": message, "type": code or "invalid_request_error", "code": code or str(status)}
    return JSONResponse({"error": error}, status_code=status, headers=headers)


@contextlib.contextmanager
def running_server(**options):
    """A `Server` in a thread of this process, its address in `url`."""
    server = Server(**options)
    program = uvicorn.Server(uvicorn.Config(server.app, port=0, log_level="critical", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=program.run, daemon=True)
    thread.start()
    while not program.started:
        time.sleep(0.005)
    server.url = f"http://127.0.0.1:{program.servers[0].sockets[0].getsockname()[1]}/v1"
    yield server
    program.should_exit = program.force_exit = True
    thread.join(10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before every answer")
    parser.add_argument("--key", help="the only key that is let in")
    parser.add_argument("--faults", default="", help="of the first requests, as in 429,ok,500,reset,half")
    parser.add_argument("--always", default="ok", help="the fault of all after those")
    options = parser.parse_args()
    server = Server(delay=options.delay, key=options.key)
    server.faults.extend(filter(None, options.faults.split(",")))
    server.always = options.always
    uvicorn.run(server.app, port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
