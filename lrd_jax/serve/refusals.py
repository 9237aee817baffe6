"""Every mistake of a client as {"error": ..., "field": ...}, in plain words; none shows a traceback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from lrd_jax.errors import UserError, printable
from lrd_jax.serve.batching import QueueFull


class Refused(Exception):
    """A request that cannot be answered.

    Attributes:
      status: of HTTP.
      message: what is wrong and what to do.
      field: of the request, such as "history.3".
    """

    def __init__(self, status: int, message: str, field: str | None = None) -> None:
        """Takes the parts."""
        super().__init__(message)
        self.status, self.message, self.field = status, printable(message), field


def failure(status: int, message: str, field: str | None = None, headers: Mapping[str, str] | None = None) -> Any:
    """An answer that says what is wrong."""
    return JSONResponse({"error": message, "field": field}, status_code=status, headers=dict(headers or {}))


def add_handlers(app: FastAPI) -> None:
    """Makes an app answer mistakes this way."""
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(UserError, _user_error)
    app.add_exception_handler(QueueFull, _queue_full)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


async def _refused(request: Request, error: Refused) -> Any:
    return failure(error.status, error.message, error.field, {"Retry-After": "5"} if error.status == 503 else None)


async def _user_error(request: Request, error: UserError) -> Any:
    """Without the file, which is the server's."""
    message = f"{error.problem}. {error.remedy}." if error.remedy else f"{error.problem}."
    return failure(422, printable(message), error.field)


async def _queue_full(request: Request, error: QueueFull) -> Any:
    message = f"Too many requests wait. Try again in {error.retry_after} s."
    return failure(503, message, headers={"Retry-After": str(error.retry_after)})


async def _invalid(request: Request, error: RequestValidationError) -> Any:
    message, field = _explained(error.errors())
    return failure(422, message, field)


async def _http(request: Request, error: HTTPException) -> Any:
    match error.status_code:
        case 400:
            return failure(422, "The body is not JSON.", "body")
        case 404:
            return failure(404, "There is no such page. /docs lists what there is.")
        case 405:
            allowed = (error.headers or {}).get("Allow", "another")
            return failure(405, f"This page takes {allowed} only.", headers=error.headers)
    return failure(error.status_code, str(error.detail))


async def _unexpected(request: Request, error: Exception) -> Any:
    """The traceback goes to the server's own log, since starlette raises the exception again."""
    return failure(500, "The server failed; its log says why.")


def _explained(details: Sequence[Mapping[str, Any]]) -> tuple[str, str | None]:
    """The first mistake that pydantic found: what is wrong, and the field; unknown fields come first."""
    first = next((detail for detail in details if detail["type"] == "extra_forbidden"), details[0])
    where, kind, limits = [str(part) for part in first["loc"]], first["type"], first.get("ctx", {})
    if kind == "json_invalid":
        return "The body is not JSON.", "body"
    if where == ["body"]:
        return "The body is not a JSON object; send one with Content-Type: application/json.", "body"
    field = ".".join(where[1:])
    match kind:
        case "missing":
            problem = "is missing"
        case "extra_forbidden":
            problem = "is no field of this request"
        case "finite_number":
            problem = "is not a finite number"
        case "too_short":
            problem = f"is empty; give {limits['min_length']} or more"
        case "too_long":
            problem = f"has too many; give {limits['max_length']} or fewer"
        case "string_type":
            problem = "is no id; give a string or an integer" if field not in ("by", "query") else "is no text"
        case _:
            problem = str(first["msg"]).replace("Input should be", "should be").replace("String should", "should")
    return printable(f"{field} {problem}."), field
