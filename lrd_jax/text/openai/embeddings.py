"""`openai`: embeddings from OpenAI's API or any compatible server (vLLM, Ollama, TEI, LiteLLM)."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.metadata
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from lrd_jax.errors import UserError
from lrd_jax.terminal.lines import say, warn
from lrd_jax.text.openai.asking import Asking
from lrd_jax.text.openai.batch_records import BatchRecords, sole_asker
from lrd_jax.text.openai.packing import load_tokenizer, pack
from lrd_jax.text.openai.prices import Price, find_price
from lrd_jax.text.openai.probe import Identity, compare, current_generation, keep
from lrd_jax.text.openai.refused import TextsRefused
from lrd_jax.text.openai.requests import Asked, already_there, unit_length, warn_of_estimate, what_to_ask
from lrd_jax.text.openai.service import (
    DEFAULT_MODEL,
    OPENAI_URL,
    Service,
    asked_dimensions,
    find_service,
    own_width,
    resolve_url,
    scope_of,
)
from lrd_jax.text.openai.vector_cache import Database, cache_path, vector_key
from lrd_jax.text.options import RequestOptions, ServerOptions


class OpenAIEncoder:
    """`lrd_jax.text.encoders.Encoder` over /v1/embeddings, with every answer in the SQLite cache.

    Attributes:
      url: base URL of the server.
      server: server options.
      price: price of a million tokens.
      ask_all: whether to request cached texts again.
      stated_dimensions: T, if known without a request.
      dimensions: T; None until the first answer, for models that are not OpenAI's.
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
        *,
        force: bool = False,
        ask_all: bool = False,
    ) -> None:
        """Checks everything that can be checked without a key and without the network.

        Args:
          model: name of the model. None: text-embedding-ada-002.
          dimensions: width of the vectors. None: the model's own.
          server: server options.
          requests: how texts are grouped into requests.
          force: whether vectors of an earlier model of the same name may be replaced.
          ask_all: whether to request cached texts again.

        Raises:
          UserError: the address or the prices cannot be used, or the model does not support this width.
        """
        self.server = server or ServerOptions()
        self.request_options = requests or RequestOptions()
        self.force, self.ask_all = force, ask_all
        self.model = model or DEFAULT_MODEL
        self.version = f"openai {importlib.metadata.version('openai')}"
        self.dimensions = self.stated_dimensions = own_width(self.model, dimensions)
        self._dimensions = asked_dimensions(self.model, dimensions)
        self.url = resolve_url(self.server.base_url)
        at_home = self.url == OPENAI_URL
        self.price = find_price(self.model, batch=self.by_batch, own_address=at_home, file=self.server.prices)

    @property
    def origin(self) -> dict[str, str]:
        """The server and the length limit of texts."""
        unit = load_tokenizer(self.model).unit
        return {"server": self.url, "text_limit": f"{self.server.max_tokens} tokens, counted as {unit}"}

    @property
    def identity(self) -> Identity:
        """Identifies the model of these vectors in the cache."""
        return {"model": self.model, "dimensions": self._dimensions, "service": scope_of(self.url)}

    def plan(self, texts: Sequence[str], generation: int = 0) -> Asked:
        """Prepares the texts without any request. Warns on stderr if tokens can only be estimated.

        Args:
          texts: N texts.
          generation: generation of the model, see `lrd_jax.text.openai.probe`.
        """
        tokenizer = load_tokenizer(self.model)
        warn_of_estimate(tokenizer, self.server.max_tokens)
        return what_to_ask(texts, tokenizer, **self.identity, generation=generation, max_tokens=self.server.max_tokens)

    def requests(self, asked: Asked, places: Sequence[int]) -> list[list[int]]:
        """Positions of the texts to request, packed into requests."""
        tokens = [asked.tokens[place] for place in places]
        runs = pack(tokens, self.request_options.request_inputs, self.request_options.request_tokens)
        return [[places[index] for index in run] for run in runs]

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Requests the vectors that the cache lacks, then reads all from the cache: float32 [N, T].

        Raises:
          TextsRefused: the server embeds some texts but rejects others. The vectors of the others are stored.
          UserError: there is no key, the server rejects requests or cannot be reached, its answers are wrong, or its
            model has changed. Earlier answers are stored.
        """
        with Database(cache_path()) as database:
            asked = self.plan(texts, current_generation(database, self.identity))
            if self.server.abandon_batches:
                BatchRecords(database, self.url).abandon(frozenset(asked.keys))
            reasons: dict[int, str] = {}
            if self._to_ask(database, asked):
                asked, reasons = self._obtain(database, asked)
            else:
                say(f"all {len(asked.texts):,} distinct texts are in the cache: no requests needed")
            if reasons:
                first = {int(place): index for index, place in reversed(list(enumerate(asked.rows)))}
                raise TextsRefused(texts, {first[place]: reason for place, reason in reasons.items()})
            if self.dimensions is None:  # another process may have obtained all vectors
                self._agree_on_width(already_there(database, asked, None))
            if self.dimensions is None:
                problem = "no text is left to embed, so the width of this model's vectors is unknown"
                raise UserError(problem, field="--dimensions", remedy="Set it")
            return asked.spread(unit_length(database.read(asked.keys, self.dimensions)))

    def _agree_on_width(self, there: dict[bytes, int]) -> None:
        """Sets the width of a model that is not OpenAI's from its earlier answers."""
        widths = sorted(set(there.values()))
        if len(widths) > 1:
            raise UserError(
                f"vectors of {self.model} have the widths {', '.join(map(str, widths))}: the server has changed",
                file=cache_path(),
                remedy="Request all texts again with --force, give the models different names, or set --dimensions",
            )
        if widths:
            self.dimensions = widths[0]

    def _missing(self, database: Database, asked: Asked) -> list[int]:
        """Positions of the texts that are not in the cache."""
        there = already_there(database, asked, self.dimensions)
        self._agree_on_width(there)
        return asked.missing(there)

    def _to_ask(self, database: Database, asked: Asked) -> list[int]:
        """Positions of the texts to request: those that are not in the cache; with `ask_all`, all."""
        return list(range(len(asked.texts))) if self.ask_all else self._missing(database, asked)

    def _obtain(self, database: Database, asked: Asked) -> tuple[Asked, dict[int, str]]:
        """Requests texts and stores the answers in the cache.

        Returns:
          The texts with the keys of their vectors, and why texts were rejected, by position.
        """
        service = find_service(self.url)
        with sole_asker(database, self.url):
            if not self._to_ask(database, asked):  # another process may have requested them meanwhile
                return asked, {}
            under_way = BatchRecords(database, self.url).under_way() & {
                asked.keys[place] for place in self._to_ask(database, asked)
            }
            if under_way:
                raise UserError(
                    f"{len(under_way):,} of these texts are in unfinished batches and would be paid for twice",
                    remedy="Collect them with --encoder openai-batch, or request them again with --abandon-batches",
                )
            return self._ask(service, database, asked)

    def _ask(self, service: Service, database: Database, asked: Asked) -> tuple[Asked, dict[int, str]]:
        with tqdm(desc=self.model, unit="tok", unit_scale=True, dynamic_ncols=True, disable=None) as bar:
            asking = Asking(self, service, database, bar)
            asked = self._of_this_model(database, asked, asyncio.run(asking.probe()))
            places = self._to_ask(database, asked)
            bar.total = sum(asked.tokens[place] for place in places)
            try:
                return asked, asyncio.run(asking.ask(asked, self.requests(asked, places)))
            finally:
                say(
                    f"{asking.num_texts:,} of {len(places):,} texts answered in {asking.num_answers:,} requests:"
                    f" {asking.tokens:,} tokens, cost {self.price.told(asking.tokens)};"
                    f" {len(asked.texts) - len(places):,} were in the cache"
                )

    def _of_this_model(self, database: Database, asked: Asked, vector: np.ndarray) -> Asked:
        """The texts with the keys of the model that gave this vector for the test text.

        Raises:
          UserError: the cache has vectors of another model, and they would be mixed.
        """
        generation = current_generation(database, self.identity)
        asked = self._rekeyed(asked, generation)  # another process may have found that the model has changed
        difference = compare(database, self.identity, generation, vector)
        if difference is None:
            return asked
        changed = f"the model {self.model} of {self.url} has changed ({difference})"
        num_old = len(already_there(database, asked, None))
        if num_old and not self.force:
            raise UserError(
                f"{changed}, and {num_old:,} of these {len(asked.texts):,} texts have vectors of the earlier model",
                remedy="Request all texts again with --force, or give the two models different names",
            )
        warn(f"{changed}. Vectors of the earlier model are no longer used: embed other datasets again with --force")
        keep(database, self.identity, generation + 1, vector)
        return self._rekeyed(asked, generation + 1)

    def _rekeyed(self, asked: Asked, generation: int) -> Asked:
        keys = [vector_key(text, **self.identity, generation=generation) for text in asked.texts]
        return dataclasses.replace(asked, keys=keys)


def told_price(price: Price) -> str:
    """The price and its source, in words."""
    if price.usd is None:
        return "price unknown (set it with --prices FILE)"
    return f"${price.usd:g} per million tokens ({price.source}, {price.date})"
