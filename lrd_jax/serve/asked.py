"""What requests hold, with their limits, and what answers hold; the OpenAPI page is made of these."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

MOST_HISTORY = 1000
MOST_K = 100
MOST_SCORED = 100
MOST_EXPLAINED = 16
MOST_QUERY = 200
MOST_FOUND = 50
MOST_BODY = 1 << 20
"""Bytes of a request's body."""
_LATEST = 1e11


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Id = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=256), BeforeValidator(_as_text, str | int)]
"""An id of the source, a string or an integer."""
Seconds = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-_LATEST, le=_LATEST)]
K = Annotated[int, Field(strict=True, ge=1, le=MOST_K, description="How many items the list has.")]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Person(_Asked):
    """A known user with all their interactions, or anybody with a history."""

    user: Id | None = Field(None, description="Id of a known user. Give either a user or a history.")
    history: Annotated[list[Id], Field(min_length=1, max_length=MOST_HISTORY)] | None = Field(
        None, description="Item ids, oldest first."
    )
    times: Annotated[list[Seconds], Field(max_length=MOST_HISTORY)] | None = Field(
        None, description="Of the history's items, in seconds, ascending. Without: all at once."
    )


class RecommendRequest(Person):
    """Asks for the k best items."""

    k: K = 10
    exclude_seen: Annotated[bool, Field(strict=True)] = Field(True, description="Leave out the items of the history.")


class ScoreRequest(Person):
    """Asks for the scores of items."""

    items: Annotated[list[Id], Field(min_length=1, max_length=MOST_SCORED)]


class ExplainRequest(Person):
    """Asks why items have their scores."""

    items: Annotated[list[Id], Field(min_length=1, max_length=MOST_EXPLAINED)]


class SimilarRequest(_Asked):
    """Asks for the items most similar to one."""

    item: Id
    by: Annotated[str, StringConstraints(strict=True, max_length=200)] = Field(
        "vectors", description="vectors, text, or a relation that /health lists."
    )
    k: K = 10


class ScoredItem(BaseModel):
    """An item of a list."""

    rank: int | None = Field(None, description="From 1; lists that are not sorted have none.")
    item: str
    title: str | None
    score: float


class ItemList(BaseModel):
    """Items with scores; of one list only, scores compare."""

    items: list[ScoredItem]


class Reason(BaseModel):
    """What one item of the history adds to a score."""

    item: str
    title: str | None
    place: int = Field(description="1 is the newest interaction.")
    contribution: float
    relations: dict[str, float] = Field(description="Its parts by relation; empty for models without relations.")


class Explanation(BaseModel):
    """Why an item has its score; for models with relations, baseline + contributions = score."""

    item: str
    title: str | None
    score: float
    baseline: float | None
    reasons: list[Reason]


class Explanations(BaseModel):
    """One explanation for each item."""

    items: list[Explanation]


class FoundItem(BaseModel):
    """An item whose title is like the query."""

    item: str
    title: str | None
    similarity: float = Field(description="Of titles, 0 to 100; 100 where it holds the query.")


class FoundItems(BaseModel):
    """The most similar first."""

    items: list[FoundItem]


class Health(BaseModel):
    """What is served, and whether it is ready."""

    status: str = Field(description="warming up, ready or stopping; with 503 where it is not ready.")
    run: str
    model: str
    dataset: str
    epoch: int
    items: int
    users: int
    relations: list[str]
    loads: int = Field(description="How often the run has been loaded, 1 at the start.")
    waiting: int = Field(description="Requests in the queue.")
    queue: int = Field(description="How many may wait.")


class Failure(BaseModel):
    """What is wrong with a request."""

    error: str
    field: str | None = Field(description="The field that holds it, such as history.3.")
