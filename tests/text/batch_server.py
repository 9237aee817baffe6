"""The /v1/files and /v1/batches of the server for tests."""

from __future__ import annotations

import asyncio
import json
from collections import deque

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


class Batches:
    """Files and batches, and what happens to them.

    Attributes:
      outcomes: of the next batches, in turn: "ok", "expired" (half the rows), "failed", "cancelled" (half the rows),
        "rows fail" (every third, with status 500), "rows refused" (every third, with status 400), "wrong rows" (a
        duplicate, a foreign one, one that is no JSON, one of another width, one of none).
      creating: what the next requests to create a batch meet: "ok", "lost" (made, but the connection breaks), "hang"
        (made, but no answer comes), "stall" (not made, and no answer comes), "500" and "429" (not made).
      reading: what the next requests for a file's content meet: "ok", "broken off" (half of it comes), "gone" (404).
      looks: how often a batch is looked at before it has finished.
    """

    def __init__(self, server) -> None:
        self._server = server
        self.files: dict[str, bytes] = {}
        self.names: dict[str, str] = {}
        self.batches: dict[str, dict] = {}
        self.outcomes: deque[str] = deque()
        self.creating: deque[str] = deque()
        self.reading: deque[str] = deque()
        self.looks = 1
        self.stalled = False
        self._outcome: dict[str, str] = {}
        self._looked: dict[str, int] = {}

    def routes(self) -> list[Route]:
        return [
            Route("/v1/files", self._upload, methods=["POST"]),
            Route("/v1/files/{id}/content", self._content),
            Route("/v1/batches", self._create, methods=["POST"]),
            Route("/v1/batches", self._list),
            Route("/v1/batches/{id}", self._retrieve),
        ]

    async def _upload(self, request: Request) -> Response:
        if (refusal := self._server.count(request)) is not None:
            return refusal
        async with request.form() as form:
            assert form["purpose"] == "batch"
            content, name = await form["file"].read(), form["file"].filename
        return JSONResponse(self._file(content, name))

    def _file(self, content: bytes, name: str) -> dict:
        file_id = f"file-{len(self.files)}"
        self.files[file_id], self.names[file_id] = content, name
        return {
            "id": file_id,
            "object": "file",
            "bytes": len(content),
            "created_at": 0,
            "filename": name,
            "purpose": "batch",
            "status": "processed",
        }

    async def _content(self, request: Request) -> Response:
        if (refusal := self._server.count(request)) is not None:
            return refusal
        from tests.text.server import failure

        content = self.files[request.path_params["id"]]
        fault = self.reading.popleft() if self.reading else "ok"
        if fault == "gone":
            return failure(404, "No such File object")
        headers = {"content-length": str(len(content))}
        if fault == "broken off":
            content = content[: len(content) // 2]
        return Response(content, media_type="application/octet-stream", headers=headers)

    async def _create(self, request: Request) -> Response:
        from tests.text.server import failure

        if (refusal := self._server.count(request)) is not None:
            return refusal
        body = await request.json()
        assert body["endpoint"] == "/v1/embeddings" and body["completion_window"] == "24h"
        fault = self.creating.popleft() if self.creating else "ok"
        if fault == "stall":
            self.stalled = True
            await asyncio.sleep(3600)
        if fault == "500":
            return failure(500, "The server had an error")
        if fault == "429":
            return failure(429, "Rate limit reached", {"retry-after": "0.1"})
        rows = [json.loads(line) for line in self.files[body["input_file_id"]].splitlines()]
        assert len({row["custom_id"] for row in rows}) == len(rows) <= 50_000
        self._server.asked.update(row["body"]["input"] for row in rows)
        batch_id = f"batch_{len(self.batches)}"
        self._outcome[batch_id] = self.outcomes.popleft() if self.outcomes else "ok"
        self._looked[batch_id] = 0
        self.batches[batch_id] = {
            "id": batch_id,
            "object": "batch",
            "endpoint": body["endpoint"],
            "input_file_id": body["input_file_id"],
            "completion_window": "24h",
            "status": "validating",
            "created_at": len(self.batches),
            "metadata": body.get("metadata"),
            "request_counts": {"total": len(rows), "completed": 0, "failed": 0},
        }
        if fault == "hang":
            await asyncio.sleep(3600)
        if fault == "lost":
            request.receive.__self__.transport.abort()
            return Response()
        return JSONResponse(self.batches[batch_id])

    async def _list(self, request: Request) -> Response:
        if (refusal := self._server.count(request)) is not None:
            return refusal
        newest = list(self.batches.values())[::-1]
        after = request.query_params.get("after")
        start = next((i + 1 for i, batch in enumerate(newest) if batch["id"] == after), 0)
        limit = min(int(request.query_params.get("limit", 20)), 2)  # small pages, so that paging is needed
        page = newest[start : start + limit]
        more = start + limit < len(newest)
        return JSONResponse(
            {"object": "list", "data": page, "has_more": more, "last_id": page[-1]["id"] if page else None}
        )

    async def _retrieve(self, request: Request) -> Response:
        from tests.text.server import failure

        if (refusal := self._server.count(request)) is not None:
            return refusal
        batch = self.batches.get(request.path_params["id"])
        if batch is None:
            return failure(404, "No such batch")
        self._looked[batch["id"]] += 1
        if batch["status"] in ("validating", "in_progress"):
            batch["status"] = "in_progress"
            if self._looked[batch["id"]] > self.looks:
                self._finish(batch)
        return JSONResponse(batch)

    def _finish(self, batch: dict) -> None:
        outcome = self._outcome[batch["id"]]
        if outcome == "failed":
            batch["status"] = "failed"
            batch["errors"] = {
                "object": "list",
                "data": [{"code": "token_limit_exceeded", "message": "Too many tokens"}],
            }
            return
        rows = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        done, failed = [], []
        for number, row in enumerate(rows):
            if outcome in ("expired", "cancelled") and number % 2:
                error = {"code": f"batch_{outcome}", "message": f"This request was {outcome}."}
                failed.append({"custom_id": row["custom_id"], "response": None, "error": error})
            elif outcome in ("rows fail", "rows refused") and number % 3 == 0:
                status = 500 if outcome == "rows fail" else 400
                body = {"error": {"message": f"Row of {self._server.key or 'nobody'} is not to be had"}}
                response = {"status_code": status, "body": body}
                failed.append({"custom_id": row["custom_id"], "response": response, "error": None})
            elif (status := self._server.of_texts.get(row["body"]["input"], "")).isdecimal():
                response = {"status_code": int(status), "body": {"error": {"message": "This was filtered"}}}
                failed.append({"custom_id": row["custom_id"], "response": response, "error": None})
            else:
                body = self._server.embed(row["body"])
                if status == "zeros":
                    body["data"][0]["embedding"] = [0.0] * len(body["data"][0]["embedding"])
                self._server.answered[row["body"]["input"]] += 1
                response = {"status_code": 200, "request_id": "r", "body": body}
                done.append({"id": "x", "custom_id": row["custom_id"], "response": response, "error": None})
        lines = [json.dumps(row) for row in done[::-1]]  # never in the order of the input
        if outcome == "wrong rows":
            foreign = json.loads(lines[0]) | {"custom_id": "00" * 32}
            narrow = json.loads(lines[1])
            narrow["response"]["body"]["data"][0]["index"] = 1
            lines[1:3] = [json.dumps(narrow), lines[0], json.dumps(foreign), "{half a row", '{"custom_id": 3}', "[]"]
        batch["status"] = outcome if outcome in ("expired", "cancelled") else "completed"
        batch["output_file_id"] = self._file("\n".join(lines).encode() + b"\n", "output")["id"] if done else None
        failures = "\n".join(map(json.dumps, failed)).encode()
        batch["error_file_id"] = self._file(failures, "errors")["id"] if failed else None
        batch["request_counts"] |= {"completed": len(done), "failed": len(failed)}
