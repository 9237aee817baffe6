"""The parallel requests of one `encode` of `openai`: stores answers as they arrive, and finds rejected texts."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lrd_jax.errors import UserError
from lrd_jax.terminal.lines import Bar, warn
from lrd_jax.text.openai.answers import ZEROS, Answer, ServerError, UnusableAnswer, read_answer
from lrd_jax.text.openai.probe import PROBE
from lrd_jax.text.openai.requests import Asked
from lrd_jax.text.openai.service import Service, may_be_the_texts
from lrd_jax.text.openai.vector_cache import Database
from lrd_jax.text.options import MAX_REQUEST_INPUTS

if TYPE_CHECKING:
    import openai

    from lrd_jax.text.openai.prices import Price
    from lrd_jax.text.options import RequestOptions, ServerOptions

UNUSABLE_ANSWERS = 2
"""Maximum number of unusable answers to the same request, because each of them may cost money."""
REFUSALS_IN_A_ROW = 16
"""After this many rejected texts in a row, the test text is sent again, because the texts may not be the reason."""
LONGEST_PAUSE = 8.0


@dataclasses.dataclass(frozen=True)
class Refusal:
    """A request that the server rejected, perhaps because of one of its texts.

    Attributes:
      words: status and the server's message.
      status: status of the answer.
    """

    words: str
    status: int


class _Encoder(Protocol):
    """The part of `OpenAIEncoder` that this module uses."""

    model: str
    dimensions: int | None
    stated_dimensions: int | None
    server: ServerOptions
    request_options: RequestOptions
    price: Price
    _dimensions: int | None


class Asking:
    """The requests of one `encode`, and their results so far.

    Attributes:
      num_texts: number of texts that have a vector now.
      num_answers: number of answered requests.
      tokens: number of tokens of the answered requests.
    """

    def __init__(self, encoder: _Encoder, service: Service, database: Database, bar: Bar) -> None:
        """Stores the parts; `bar` counts tokens."""
        self._encoder, self._service, self._database, self._bar = encoder, service, database, bar
        self._failure: UserError | None = None
        self._refused: dict[int, str] = {}  # by position among the distinct texts
        self._most = MAX_REQUEST_INPUTS
        self._in_a_row = 0
        self.tokens = self.num_texts = self.num_answers = 0

    async def probe(self) -> np.ndarray:
        """The vector of the test text, [T].

        Raises:
          UserError: the server rejects the request, cannot be reached, or does not embed.
        """
        import openai

        vector = None
        async with self._service.client(openai.AsyncOpenAI, self._encoder.server) as client:
            with self._keeping_failure():
                vector = await self._probe(client)
        if self._failure is not None:
            raise self._failure
        assert vector is not None
        return vector

    async def ask(self, asked: Asked, requests: Sequence[list[int]]) -> dict[int, str]:
        """Makes all requests; returns the reasons why texts were rejected, by position.

        After a failure that is not caused by the texts, it makes no new requests, but waits for those in progress,
        because they cost money.

        Args:
          asked: the texts.
          requests: for each request, the positions of its texts.

        Raises:
          UserError: a failure that is not caused by the texts.
        """
        import openai

        self._asked = asked
        async with self._service.client(openai.AsyncOpenAI, self._encoder.server) as client:
            waiting = iter(requests)
            workers = self._encoder.request_options.concurrency
            await asyncio.gather(*(self._work(client, waiting) for _ in range(workers)))
        if self._failure is not None:
            raise self._failure
        if self._most < MAX_REQUEST_INPUTS:
            warn(
                "the server rejected requests that it answered in parts, so they were too large. Use"
                f" --request-inputs {self._most} next time"
            )
        return self._refused

    async def _work(self, client: openai.AsyncOpenAI, waiting: Iterator[list[int]]) -> None:
        for places in waiting:
            with self._keeping_failure():
                await self._settle(client, places)

    @contextlib.contextmanager
    def _keeping_failure(self) -> Iterator[None]:
        """Keeps the first error, so that it is raised without the client's own error, which contains the request."""
        import openai

        try:
            yield
        except openai.OpenAIError as error:
            self._failure = self._failure or self._service.explain(error)
        except UserError as error:
            self._failure = self._failure or error

    async def _settle(self, client: openai.AsyncOpenAI, places: list[int], *, again: bool = False) -> None:
        """Requests texts; if the server rejects them, requests each half, until the rejected text is found.

        Args:
          client: client of the server.
          places: positions of the texts.
          again: whether they had an unusable answer before.
        """
        if self._failure is not None:
            return
        outcome = None
        if len(places) <= self._most:
            texts = [self._asked.texts[place] for place in places]
            outcome = await self._answer(client, texts, self._encoder.dimensions)
            if isinstance(outcome, Answer):
                await self._keep(client, places, outcome, again=again)
                return
            if outcome.status >= 500 or self._in_a_row >= REFUSALS_IN_A_ROW:
                # Its failure ends the run, because then the server is the reason, not the text.
                client = client.with_options(max_retries=min(2, self._encoder.server.max_retries))
                await self._probe(client)
                self._in_a_row = 0
            if len(places) == 1:
                self._refuse(places[0], outcome.words)
                return
        half = (len(places) + 1) // 2
        for part in (places[:half], places[half:]):
            await self._settle(client, part, again=again)
        if outcome is not None and self._failure is None and not self._refused.keys() & set(places):
            self._most = min(self._most, half)  # the number of texts was the reason, not a text

    async def _keep(self, client: openai.AsyncOpenAI, places: list[int], answer: Answer, *, again: bool) -> None:
        """Stores an answer in the cache; requests texts with unusable vectors once more."""
        estimate = sum(self._asked.tokens[place] for place in places)
        self.tokens += estimate if answer.tokens is None else answer.tokens
        self.num_answers += 1
        if answer.vectors:
            self._in_a_row = 0
            self._encoder.dimensions = len(next(iter(answer.vectors.values())))
            keys = [self._asked.keys[places[index]] for index in answer.vectors]
            self._database.put(keys, np.stack(list(answer.vectors.values())))
        self.num_texts += len(answer.vectors)
        self._bar.set_postfix_str(f"{self.num_texts:,} texts, {self._encoder.price.told(self.tokens)}", refresh=False)
        self._bar.update(sum(self._asked.tokens[places[index]] for index in answer.vectors))
        unusable = []
        for index, problem in answer.problems.items():
            if again or problem == ZEROS:  # zeros depend on the text, so repeating does not help
                self._refuse(places[index], f"the server returned {problem}")
            else:
                unusable.append(places[index])
        if unusable:
            await self._settle(client, unusable, again=True)

    def _refuse(self, place: int, reason: str) -> None:
        self._refused[place] = reason
        self._in_a_row += 1
        self._bar.update(self._asked.tokens[place])

    async def _probe(self, client: openai.AsyncOpenAI) -> np.ndarray:
        """The vector of the test text; raises the server's error unchanged."""
        for _ in range(UNUSABLE_ANSWERS):
            answer = await self._answer(client, [PROBE], self._encoder.stated_dimensions, may_refuse=False)
            assert isinstance(answer, Answer)
            if answer.vectors:
                self._encoder.dimensions = len(answer.vectors[0])
                return answer.vectors[0]
            problem = answer.problems[0]
            if problem == ZEROS:
                break
        raise UserError(
            f"the server {self._service.url} returned {problem} for the test text {PROBE!r}",
            remedy="It cannot embed texts with this model: check --model and the server's log",
        )

    async def _answer(
        self, client: openai.AsyncOpenAI, texts: list[str], width: int | None, *, may_refuse: bool = True
    ) -> Answer | Refusal:
        """Repeats a request until there is an answer or a reason to give up.

        Raises:
          UserError: the answers are unusable or an error, and the texts are not the reason.
          openai.OpenAIError: an error of the client.
        """
        import openai

        dimensions = self._encoder._dimensions
        optional: dict[str, Any] = {} if dimensions is None else {"dimensions": dimensions}
        for attempt in itertools.count(1):
            try:
                # Use the bytes, not the client's object, so that `read_answer` checks everything.
                raw = await client.embeddings.with_raw_response.create(
                    model=self._encoder.model, input=texts, encoding_format="float", **optional
                )
            except openai.APIStatusError as error:
                if may_refuse and may_be_the_texts(error.status_code, error.body):
                    return Refusal(self._service.reason(error), error.status_code)
                raise
            failed: UnusableAnswer | ServerError
            try:
                try:
                    body = json.loads(raw.http_response.content)
                except ValueError as error:
                    raise UnusableAnswer("the answer does not parse as JSON") from error
                return read_answer(body, len(texts), width)
            except (UnusableAnswer, ServerError) as error:
                failed = error
            if isinstance(failed, ServerError):
                status = failed.status or 400
                if may_refuse and not failed.retry and may_be_the_texts(status, failed.error):
                    return Refusal(self._service.redact(failed.words), status)
                problem = f"answered with an error: {self._service.redact(failed.words)}"
                attempts = self._encoder.server.max_retries + 1 if failed.retry else 1
            else:
                problem, attempts = f"gave {UNUSABLE_ANSWERS} unusable answers: {failed}", UNUSABLE_ANSWERS
            if attempt >= attempts:
                break
            await asyncio.sleep(min(0.25 * 2**attempt, LONGEST_PAUSE))
        raise UserError(
            f"the server {self._service.url} {problem}",
            remedy="Earlier answers are stored. Check --model, --base-url and the server's log, then run the"
            " command again",
        )
