"""`openai-batch`: embeddings of OpenAI's Batch API, at half the price within a day.

A row's custom_id is its text's key in the cache, so a result needs nothing but itself to be put where it belongs.
Format: https://platform.openai.com/docs/api-reference/batch.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from lrd_jax.display import say
from lrd_jax.errors import UnderWay, UserError
from lrd_jax.text.asked import Asked, already_there
from lrd_jax.text.batch_records import BatchRecords, OpenBatch, sole_asker
from lrd_jax.text.batch_results import Results, read_results
from lrd_jax.text.openai_embeddings import OpenAIEncoder
from lrd_jax.text.openai_service import Service, find_service
from lrd_jax.text.options import BatchOptions, ServerOptions
from lrd_jax.text.packing import pack
from lrd_jax.text.vector_cache import Database

if TYPE_CHECKING:
    import openai
    from openai.types import Batch

MAX_FILE_INPUTS = 50_000
MAX_FILE_BYTES = 200_000_000
ROUNDS = 3
"""How often rows are handed in that failed or expired for reasons that may pass."""
CREATE_ATTEMPTS = 5
FIRST_POLL_SECONDS = 5.0
UPLOAD_SECONDS = 900.0
_FINISHED = ("completed", "expired", "cancelled", "failed")


class OpenAIBatchEncoder(OpenAIEncoder):
    """`openai` by the Batch API, with the same cache: what either has asked, the other finds."""

    name = "openai-batch"
    by_batch = True

    def __init__(
        self,
        model: str | None = None,
        dimensions: int | None = None,
        server: ServerOptions | None = None,
        batches: BatchOptions | None = None,
    ) -> None:
        """As `OpenAIEncoder`, and how batches are waited for."""
        super().__init__(model, dimensions, server)
        self.batch_options = batches or BatchOptions()

    def requests(self, asked: Asked, places: Sequence[int]) -> list[list[int]]:
        """Places of texts to ask for, packed into files."""
        sizes = [len(self._line(asked, place)) for place in places]
        return [[places[index] for index in run] for run in pack(sizes, MAX_FILE_INPUTS, MAX_FILE_BYTES)]

    def _line(self, asked: Asked, place: int) -> bytes:
        body: dict[str, Any] = {"model": self.model, "input": asked.texts[place], "encoding_format": "float"}
        if self._dimensions is not None:
            body["dimensions"] = self._dimensions
        row = {"custom_id": asked.keys[place].hex(), "method": "POST", "url": "/v1/embeddings", "body": body}
        return json.dumps(row).encode() + b"\n"

    def _obtain(self, database: Database, asked: Asked) -> None:
        import openai

        service = find_service(self.url)
        failure = None
        with service.client(openai.OpenAI, self.server) as client:
            try:
                _Batches(self, service, client, database, asked).obtain()
            except openai.OpenAIError as error:
                failure = service.explain(error)
        if failure is not None:
            raise failure


class _Batches:
    """The batches of one `encode`."""

    def __init__(
        self, encoder: OpenAIBatchEncoder, service: Service, client: openai.OpenAI, database: Database, asked: Asked
    ) -> None:
        self._encoder, self._service, self._client = encoder, service, client
        self._database, self._asked = database, asked
        self._records = BatchRecords(database, encoder.url)
        self._wanted = frozenset(asked.keys)

    def obtain(self) -> None:
        """Hand in what is missing and not under way, wait, collect; again for what failed in passing."""
        failures: Counter[str] = Counter()
        for _ in range(ROUNDS):
            with sole_asker(self._database, self._encoder.url):
                self._settle()
                self._submit()
            results = self._collect_all()
            failures = results.failures
            missing = self._missing()
            if not missing:
                return
            if results.for_good:
                break
            say(f"{len(missing):,} texts have no embedding yet: {_reasons(failures)}")
        raise UserError(
            f"{len(self._missing()):,} of {len(self._asked.texts):,} texts got no embedding: {_reasons(failures)}",
            remedy="The others are kept; once that is mended, the same command asks for these alone",
        )

    def _missing(self) -> list[int]:
        return self._asked.missing(already_there(self._database, self._asked, self._encoder.dimensions))

    def _settle(self) -> None:
        """Find out whether batches of which we do not know it reached the server; we were killed as they were made."""
        for batch in self._records.open():
            if batch.batch_id is None:
                if (batch_id := self._find(batch.marker)) is None:
                    self._records.close(batch.marker)
                else:
                    self._records.handed_in(batch.marker, batch_id)

    def _find(self, marker: str) -> str | None:
        for batch in self._client.batches.list(limit=100):
            if (batch.metadata or {}).get("lrd_jax") == marker:
                return batch.id
        return None

    def _submit(self) -> None:
        under_way = self._records.under_way()
        places = [place for place in self._missing() if self._asked.keys[place] not in under_way]
        for part in self._encoder.requests(self._asked, places):
            marker = self._records.plan([self._asked.keys[place] for place in part])
            batch_id = self._create(marker, part)
            self._records.handed_in(marker, batch_id)
            tokens = sum(self._asked.tokens[place] for place in part)
            cost = self._encoder.price.told(tokens)
            say(f"batch {batch_id} handed in: {len(part):,} texts, {tokens:,} tokens, cost {cost}")

    def _create(self, marker: str, places: Sequence[int]) -> str:
        import openai

        with tempfile.TemporaryFile(dir=self._database.path.parent) as file:
            file.writelines(self._encoder._line(self._asked, place) for place in places)
            file.seek(0)
            patient = self._client.with_options(timeout=UPLOAD_SECONDS)
            uploaded = patient.files.create(file=(f"lrd_jax-{marker}.jsonl", file), purpose="batch")
        # The client would repeat a request whose answer was lost, and so make a second batch.
        once = self._client.with_options(max_retries=0)
        for attempt in range(1, CREATE_ATTEMPTS + 1):
            try:
                return once.batches.create(
                    input_file_id=uploaded.id,
                    endpoint="/v1/embeddings",
                    completion_window="24h",
                    metadata={"lrd_jax": marker},
                ).id
            except (openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError) as error:
                if attempt == CREATE_ATTEMPTS:
                    raise
                time.sleep(_pause(error, attempt))
                if (found := self._find(marker)) is not None:
                    return found
        raise AssertionError("unreachable")

    def _collect_all(self) -> Results:
        """Wait for every batch that holds a text of ours, and put what it brings into the cache."""
        waiting = [batch for batch in self._records.open() if batch.keys & self._wanted]
        options = self._encoder.batch_options
        total, failures, for_good = Counter(), Counter(), False
        pause = min(FIRST_POLL_SECONDS, options.poll_seconds)
        num_rows = sum(len(batch.keys) for batch in waiting)
        bar = tqdm(total=num_rows, desc="batches", unit="text", dynamic_ncols=True, disable=None)
        with bar:
            while True:
                unfinished = []
                for batch in waiting:
                    state = self._retrieve(batch)
                    counts = state.request_counts
                    total[batch.marker] = counts.completed + counts.failed if counts else 0
                    if state.status in _FINISHED:
                        results = self._collect(batch, state)
                        failures += results.failures
                        for_good = for_good or results.for_good
                        total[batch.marker] = len(batch.keys)
                    else:
                        unfinished.append(batch)
                bar.n = total.total()
                bar.refresh()
                waiting = unfinished
                if not waiting:
                    return Results(failures, for_good)
                if not options.wait:
                    under_way = ", ".join(str(batch.batch_id) for batch in waiting)
                    raise UnderWay(f"batches under way: {under_way}; the same command later goes on from here")
                time.sleep(pause)
                pause = min(2 * pause, options.poll_seconds)

    def _retrieve(self, batch: OpenBatch) -> Batch:
        import openai

        assert batch.batch_id is not None
        with contextlib.suppress(openai.NotFoundError):
            return self._client.batches.retrieve(batch.batch_id)
        raise self._unknown(f"the batch {batch.batch_id}")

    def _unknown(self, what: str) -> UserError:
        return UserError(
            f"the server {self._service.url} does not know {what} (any more)",
            remedy="Use the key of the account that handed it in, or pay for its texts anew with --abandon-batches",
        )

    def _collect(self, batch: OpenBatch, state: Batch) -> Results:
        """Put the answers of a finished batch into the cache and close it; after a kill in between, once more."""
        import openai

        failures: Counter[str] = Counter()
        for_good = state.status in ("failed", "cancelled")
        if for_good:
            errors = (state.errors.data if state.errors else None) or []
            told = "; ".join(self._service.redact(error.message or error.code or "") for error in errors[:3])
            failures[f"batch {state.id} {state.status}" + (f": {told}" if told else "")] += 1
        for file_id in (state.output_file_id, state.error_file_id):
            if file_id is not None:
                results = None
                with contextlib.suppress(openai.NotFoundError):
                    lines = self._lines(file_id)
                    results = read_results(lines, batch.keys, self._encoder, self._database, self._service.redact)
                if results is None:
                    raise self._unknown(f"the results of batch {state.id}")
                failures += results.failures
                for_good = for_good or results.for_good
        self._records.close(batch.marker)
        return Results(failures, for_good)

    def _lines(self, file_id: str) -> Iterator[bytes]:
        """The lines of a result file as they arrive: one of 50,000 rows is larger than a gigabyte."""
        import openai

        patient = self._client.with_options(timeout=UPLOAD_SECONDS)
        with patient.files.with_streaming_response.content(file_id) as response:
            rest = b""
            try:
                for block in response.iter_bytes():  # the client's own lines would also end at U+2028 and the like
                    *lines, rest = (rest + block).split(b"\n")
                    yield from lines
            except Exception:  # the HTTP library's own, for here the client no longer makes it one of its own
                raise openai.APIConnectionError(request=response.http_request) from None
            yield rest


def _pause(error: openai.APIError, attempt: int) -> float:
    response = getattr(error, "response", None)
    try:
        return min(max(float(response.headers["retry-after"]), 0.1), 120.0)
    except (AttributeError, KeyError, ValueError):
        return float(2 ** (attempt - 1))


def _reasons(failures: Counter[str]) -> str:
    if not failures:
        return "the server gave no reason"
    return "; ".join(
        f"{reason} ({count:,} times)" if count > 1 else reason for reason, count in failures.most_common(3)
    )
