"""The routes: JSON in and out, and the pages."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query
from fastapi.responses import FileResponse, JSONResponse, Response

from lrd_jax.serve import asked
from lrd_jax.serve.batching import Batcher, Work
from lrd_jax.serve.guard import App, Guard
from lrd_jax.serve.metrics import Metrics
from lrd_jax.serve.refusals import Refused, add_handlers
from lrd_jax.serve.reload import Current
from lrd_jax.serve.served import Asked, Served
from lrd_jax.version import __version__

PAGES = Path(__file__).parent / "page"
_FILES = {"/": "index.html", "/docs": "docs.html"}
_FILES |= {
    f"/page/{name}": name for name in ("app.js", "reasons.js", "combobox.js", "docs.js", "style.css", "icon.svg")
}
_FAILURES: dict[int, dict[str, Any]] = {
    404: {"model": asked.Failure, "description": "An unknown id."},
    413: {"model": asked.Failure, "description": "A body that is too large."},
    422: {"model": asked.Failure, "description": "A bad request; its field says where."},
    503: {"model": asked.Failure, "description": "The queue is full, or the server is not ready: see Retry-After."},
}
_QUERY_FAILURES = {status: _FAILURES[status] for status in (422, 503)}
_NOT_READY: dict[int, dict[str, Any]] = {503: {"model": asked.Health, "description": "The server is not ready."}}


@dataclasses.dataclass
class State:
    """What the routes share.

    Attributes:
      current: the run.
      batches: the thread that owns the device.
      searches: the thread that searches titles.
      metrics: the counts.
      queue: how many requests may wait.
      status: "warming up", "ready" or "stopping".
    """

    current: Current
    batches: Batcher
    searches: Batcher
    metrics: Metrics
    queue: int
    status: str = "warming up"

    async def answer(self, batcher: Batcher, work: Work, value: Any) -> Any:
        """Waits for the answer of a batch.

        Raises:
          QueueFull: too many requests wait.
          Refused: the server is not ready.
        """
        if self.status == "warming up":
            raise Refused(503, "The server is warming up. Try again in a few seconds.")
        return JSONResponse({"items": await asyncio.wrap_future(batcher.submit(work, value))})


class Routes:
    """One method for each."""

    def __init__(self, state: State) -> None:
        """Takes the state."""
        self._state = state

    async def recommend(self, body: asked.RecommendRequest) -> Any:
        """The k best items for a known user, or for a history of anybody."""
        served = self._state.current.served
        k = _within(body.k, served)
        one = Asked(served.catalogue.history(body), k=k, exclude_seen=body.exclude_seen)
        return await self._state.answer(self._state.batches, served.recommend(k), one)

    async def score(self, body: asked.ScoreRequest) -> Any:
        """The scores of some items, in the order in which they were given."""
        served = self._state.current.served
        one = Asked(served.catalogue.history(body), items=served.catalogue.items(body.items, "items"))
        return await self._state.answer(self._state.batches, served.score(len(one.items)), one)

    async def explain(self, body: asked.ExplainRequest) -> Any:
        """What each item of the history adds to the scores of some items."""
        served = self._state.current.served
        one = Asked(served.catalogue.history(body), items=served.catalogue.items(body.items, "items"))
        return await self._state.answer(self._state.batches, served.explain(), one)

    async def similar(self, body: asked.SimilarRequest) -> Any:
        """The k items most similar to an item."""
        served = self._state.current.served
        served.catalogue.items([body.item], "item")
        if body.by not in served.similar_by:
            raise Refused(422, f"Items cannot be compared by {body.by!r}; by {', '.join(served.similar_by)}.", "by")
        k = _within(body.k, served)
        return await self._state.answer(self._state.batches, served.similar(body.by, k), body.item)

    async def items(
        self,
        query: Annotated[
            str, Query(min_length=1, max_length=asked.MOST_QUERY, description="Part of a title, or an id.")
        ],
        limit: Annotated[int, Query(ge=1, le=asked.MOST_FOUND, description="How many at most.")] = 10,
    ) -> Any:
        """Items whose titles are like a text."""
        search = self._state.current.served.catalogue.search
        work = Work("search", 1, lambda values: [search(*values[0])])
        return await self._state.answer(self._state.searches, work, (query, limit))

    async def health(self) -> Any:
        """What is served, and whether it is ready."""
        state, served = self._state, self._state.current.served
        run, catalogue = served.run, served.catalogue
        about = asked.Health(
            status=state.status,
            run=run.folder.absolute().name,
            model=run.config.model.name,
            dataset=run.dataset.corpus.name,
            epoch=run.epoch,
            items=catalogue.num_items,
            users=catalogue.num_users,
            relations=list(run.relations),
            loads=state.current.loads,
            waiting=len(state.batches),
            queue=state.queue,
        )
        return JSONResponse(about.model_dump(), status_code=200 if state.status == "ready" else 503)

    async def metrics(self) -> Any:
        """Counts in Prometheus's text format."""
        return Response(self._state.metrics.text(), media_type="text/plain; version=0.0.4")


def build_app(state: State) -> App:
    """The ASGI app."""
    app = FastAPI(title="lrd_jax serve", version=__version__, docs_url=None, redoc_url=None)
    add_handlers(app)
    routes = Routes(state)
    for name, answer in (
        ("recommend", asked.ItemList),
        ("score", asked.ItemList),
        ("explain", asked.Explanations),
        ("similar", asked.ItemList),
    ):
        endpoint = getattr(routes, name)
        app.add_api_route(f"/{name}", endpoint, methods=["POST"], response_model=answer, responses=_FAILURES)
    app.add_api_route("/items", routes.items, response_model=asked.FoundItems, responses=_QUERY_FAILURES)
    app.add_api_route("/health", routes.health, response_model=asked.Health, responses=_NOT_READY)
    app.add_api_route("/metrics", routes.metrics, response_class=Response)
    for path, file in _FILES.items():
        app.add_api_route(path, _page(file), include_in_schema=False)
    paths = {"/recommend", "/score", "/explain", "/similar", "/items", "/health", "/metrics", "/openapi.json", *_FILES}
    return Guard(app, state.metrics, paths)


def _page(name: str) -> Any:
    async def page() -> Any:
        return FileResponse(PAGES / name)

    return page


def _within(k: int, served: Served) -> int:
    if k > served.catalogue.num_items:
        raise Refused(422, f"k is {k}, but there are {served.catalogue.num_items:,} items.", "k")
    return k
