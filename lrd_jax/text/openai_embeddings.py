"""`openai`: embeddings of OpenAI's API, or of any server that speaks it (vLLM, Ollama, TEI, LiteLLM)."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
from collections.abc import Iterator, Sequence

import numpy as np
from tqdm import tqdm

from lrd_jax.display import say
from lrd_jax.errors import UserError
from lrd_jax.text.asked import Asked, already_there, unit_length, warn_of_estimate, what_to_ask
from lrd_jax.text.batch_records import BatchRecords, sole_asker
from lrd_jax.text.openai_answers import UnusableAnswer, read_answer
from lrd_jax.text.openai_service import (
    DEFAULT_MODEL,
    OPENAI_URL,
    Service,
    asked_dimensions,
    find_service,
    own_width,
    resolve_url,
    scope_of,
)
from lrd_jax.text.options import RequestOptions, ServerOptions
from lrd_jax.text.packing import load_tokenizer, pack
from lrd_jax.text.prices import Price, find_price
from lrd_jax.text.vector_cache import Database, cache_path

UNUSABLE_ANSWERS = 3
"""How often the same request may be answered unusably: each such answer may have to be paid for."""


class OpenAIEncoder:
    """`lrd_jax.text.encoders.Encoder` over /v1/embeddings, with every answer in the SQLite cache.

    Attributes:
      url: base URL of the server.
      server: how it is asked.
      price: of a million tokens.
      dimensions: T; None until the first answer of a model that is not OpenAI's own.
    """

    name = "openai"
    by_batch = False
    pooling = "unknown"
    normalised = True

    def __init__(
        self,
        model: str | None = None,
        dimensions: int | None = None,
        server: ServerOptions | None = None,
        requests: RequestOptions | None = None,
    ) -> None:
        """Check everything that can be checked without a key and without the network.

        Args:
          model: None: text-embedding-ada-002.
          dimensions: None: the model's own.
          server: which one, and how it is asked.
          requests: how texts are put into requests.

        Raises:
          UserError: the address or the prices cannot be used, or the model does not come in this width.
        """
        self.server = server or ServerOptions()
        self.request_options = requests or RequestOptions()
        self.model = model or DEFAULT_MODEL
        self.version = f"openai {importlib.metadata.version('openai')}"
        self.dimensions = own_width(self.model, dimensions)
        self._dimensions = asked_dimensions(self.model, dimensions)
        self.url = resolve_url(self.server.base_url)
        at_home = self.url == OPENAI_URL
        self.price = find_price(self.model, batch=self.by_batch, own_address=at_home, file=self.server.prices)

    @property
    def origin(self) -> dict[str, str]:
        """The server, and how long a text may be."""
        unit = load_tokenizer(self.model).unit
        return {"server": self.url, "text_limit": f"{self.server.max_tokens} tokens, counted as {unit}"}

    def plan(self, texts: Sequence[str]) -> Asked:
        """What these texts come to; no request is made. Warns on stderr where tokens can only be estimated."""
        tokenizer = load_tokenizer(self.model)
        warn_of_estimate(tokenizer, self.server.max_tokens)
        return what_to_ask(
            texts,
            tokenizer,
            model=self.model,
            dimensions=self._dimensions,
            service=scope_of(self.url),
            max_tokens=self.server.max_tokens,
        )

    def requests(self, asked: Asked, places: Sequence[int]) -> list[list[int]]:
        """Places of texts to ask for, packed into requests."""
        tokens = [asked.tokens[place] for place in places]
        runs = pack(tokens, self.request_options.request_inputs, self.request_options.request_tokens)
        return [[places[index] for index in run] for run in runs]

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Ask for what the cache does not have, then take all from it: float32 [N, T].

        Raises:
          UserError: no key, the server refuses or cannot be reached, or its answers are wrong. What was answered until
            then is kept.
        """
        asked = self.plan(texts)
        with Database(cache_path()) as database:
            if self.server.abandon_batches:
                BatchRecords(database, self.url).abandon(frozenset(asked.keys))
            if self._missing(database, asked):
                self._obtain(database, asked)
            else:
                say(f"all {len(asked.texts):,} distinct texts are in the cache: nothing is asked")
            if self.dimensions is None:  # another process may have obtained all of it
                self._agree_on_width(already_there(database, asked, None))
            if self.dimensions is None:
                problem = "no text is left to embed, so the width of this model's vectors is not known"
                raise UserError(problem, field="--dimensions", remedy="State it")
            return asked.spread(unit_length(database.read(asked.keys, self.dimensions)))

    def _agree_on_width(self, there: dict[bytes, int]) -> None:
        """Take the width of a model that is not OpenAI's own from what it answered before."""
        widths = sorted(set(there.values()))
        if len(widths) > 1:
            raise UserError(
                f"vectors of {self.model} have the widths {', '.join(map(str, widths))}: the server has changed",
                file=cache_path(),
                remedy="Give the models different names, or state --dimensions",
            )
        if widths:
            self.dimensions = widths[0]

    def _missing(self, database: Database, asked: Asked) -> list[int]:
        """Places of the texts that the cache lacks."""
        there = already_there(database, asked, self.dimensions)
        self._agree_on_width(there)
        return asked.missing(there)

    def _obtain(self, database: Database, asked: Asked) -> None:
        """Ask for what the cache lacks and put the answers into it."""
        service = find_service(self.url)
        with sole_asker(database, self.url):
            if places := self._missing(database, asked):  # another process may have been at it meanwhile
                self._ask(service, database, asked, places)

    def _ask(self, service: Service, database: Database, asked: Asked, places: list[int]) -> None:
        under_way = BatchRecords(database, self.url).under_way() & {asked.keys[place] for place in places}
        if under_way:
            raise UserError(
                f"{len(under_way):,} of these texts are in batches under way, and would be paid for twice",
                remedy="Collect them with --encoder openai-batch, or ask for them again with --abandon-batches",
            )
        requests = self.requests(asked, places)
        total = sum(asked.tokens[place] for place in places)
        with tqdm(total=total, desc=self.model, unit="tok", unit_scale=True, dynamic_ncols=True, disable=None) as bar:
            asking = _Asking(self, service, database, asked, bar)
            try:
                asyncio.run(asking.ask(requests))
            finally:
                say(
                    f"{asking.num_texts:,} of {len(places):,} texts answered in {asking.num_answers:,} of"
                    f" {len(requests):,} requests: {asking.tokens:,} tokens, cost {self.price.told(asking.tokens)};"
                    f" {len(asked.texts) - len(places):,} were in the cache"
                )


class _Asking:
    """The requests of one `encode`, several at once, and what they have come to so far."""

    def __init__(self, encoder: OpenAIEncoder, service: Service, database: Database, asked: Asked, bar: tqdm) -> None:
        self._encoder, self._service, self._database = encoder, service, database
        self._asked, self._bar = asked, bar
        self._failure: UserError | None = None
        self.tokens = self.num_texts = self.num_answers = 0

    async def ask(self, requests: Sequence[list[int]]) -> None:
        """Make all requests; after a failure no new ones, but those under way are waited for, being paid for."""
        import openai

        workers = self._encoder.request_options.concurrency
        async with self._service.client(openai.AsyncOpenAI, self._encoder.server) as client:
            waiting = iter(requests)
            await asyncio.gather(*(self._work(client, waiting) for _ in range(workers)))
        if self._failure is not None:
            raise self._failure

    async def _work(self, client, waiting: Iterator[list[int]]) -> None:
        import openai

        for places in waiting:
            if self._failure is not None:
                return
            try:
                await self._request(client, places)
            except openai.OpenAIError as error:
                self._failure = self._failure or self._service.explain(error)
            except UserError as error:
                self._failure = self._failure or error

    async def _request(self, client, places: list[int]) -> None:
        texts = [self._asked.texts[place] for place in places]
        vectors, tokens = await self._usable_answer(client, texts)
        self._encoder.dimensions = vectors.shape[1]
        self._database.put([self._asked.keys[place] for place in places], vectors)
        estimate = sum(self._asked.tokens[place] for place in places)
        self.tokens += estimate if tokens is None else tokens
        self.num_texts += len(places)
        self.num_answers += 1
        self._bar.set_postfix_str(f"{self.num_texts:,} texts, {self._encoder.price.told(self.tokens)}", refresh=False)
        self._bar.update(estimate)

    async def _usable_answer(self, client, texts: list[str]) -> tuple[np.ndarray, int | None]:
        dimensions = self._encoder._dimensions
        optional = {} if dimensions is None else {"dimensions": dimensions}
        for attempt in range(1, UNUSABLE_ANSWERS + 1):
            # The bytes, not the client's object: whatever they hold is to be checked by `read_answer`.
            answer = await client.embeddings.with_raw_response.create(
                model=self._encoder.model, input=texts, encoding_format="float", **optional
            )
            try:
                try:
                    body = json.loads(answer.http_response.content)
                except ValueError as error:
                    raise UnusableAnswer("the answer does not parse as JSON") from error
                return read_answer(body, len(texts), self._encoder.dimensions)
            except UnusableAnswer as error:
                problem = str(error)
            await asyncio.sleep(0.25 * attempt)
        raise UserError(
            f"the server {self._service.url} answered {UNUSABLE_ANSWERS} times unusably: {problem}",
            remedy="Nothing of it was kept; look at the server, and run the command again",
        )


def told_price(price: Price) -> str:
    """Price and where it is from, in words."""
    if price.usd is None:
        return "price unknown (--prices FILE states it)"
    return f"${price.usd:g} per million tokens ({price.source}, {price.date})"
