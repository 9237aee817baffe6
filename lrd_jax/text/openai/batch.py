"""`openai-batch`: embeddings from OpenAI's Batch API, at half the price, within a day.

A row's custom_id is its text's key in the cache, so each result shows where it belongs.
Format: https://platform.openai.com/docs/api-reference/batch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from lrd_jax.errors import UnderWay, UserError
from lrd_jax.terminal.lines import say
from lrd_jax.text.openai.batch_records import BatchRecords, OpenBatch, sole_asker
from lrd_jax.text.openai.batch_results import Results, read_results
from lrd_jax.text.openai.embeddings import OpenAIEncoder
from lrd_jax.text.openai.packing import pack
from lrd_jax.text.openai.requests import Asked, already_there
from lrd_jax.text.openai.service import Service, find_service
from lrd_jax.text.openai.vector_cache import Database
from lrd_jax.text.options import BatchOptions, ServerOptions

if TYPE_CHECKING:
    import openai
    from openai.types import Batch

MAX_FILE_INPUTS = 50_000
MAX_FILE_BYTES = 200_000_000
ROUNDS = 3
"""How often rows are submitted that fail or expire for temporary reasons."""
CREATE_ATTEMPTS = 5
FIRST_POLL_SECONDS = 5.0
UPLOAD_SECONDS = 900.0
NO_REASON = "the server gave no reason"
_FINISHED = ("completed", "expired", "cancelled", "failed")


class OpenAIBatchEncoder(OpenAIEncoder):
    """`openai` through the Batch API; both encoders share the cache."""

    name = "openai-batch"
    by_batch = True

    def __init__(
        self,
        model: str | None = None,
        dimensions: int | None = None,
        server: ServerOptions | None = None,
        batches: BatchOptions | None = None,
        *,
        force: bool = False,
        ask_all: bool = False,
    ) -> None:
        """As `OpenAIEncoder`, with options for waiting for batches."""
        super().__init__(model, dimensions, server, force=force, ask_all=ask_all)
        self.batch_options = batches or BatchOptions()

    def requests(self, asked: Asked, places: Sequence[int]) -> list[list[int]]:
        """Positions of the texts to request, packed into files."""
        sizes = [len(self._line(asked, place)) for place in places]
        return [[places[index] for index in run] for run in pack(sizes, MAX_FILE_INPUTS, MAX_FILE_BYTES)]

    def _line(self, asked: Asked, place: int) -> bytes:
        body: dict[str, Any] = {"model": self.model, "input": asked.texts[place], "encoding_format": "float"}
        if self._dimensions is not None:
            body["dimensions"] = self._dimensions
        row = {"custom_id": asked.keys[place].hex(), "method": "POST", "url": "/v1/embeddings", "body": body}
        return json.dumps(row).encode() + b"\n"

    def _obtain(self, database: Database, asked: Asked) -> tuple[Asked, dict[int, str]]:
        import openai

        service = find_service(self.url)
        failure, reasons = None, {}
        with service.client(openai.OpenAI, self.server) as client:
            try:
                reasons = _Batches(self, service, client, database, asked).obtain()
            except openai.OpenAIError as error:
                failure = service.explain(error)
        if failure is not None:
            raise failure
        return asked, reasons


class _Batches:
    """The batches of one `encode`."""

    def __init__(
        self, encoder: OpenAIBatchEncoder, service: Service, client: openai.OpenAI, database: Database, asked: Asked
    ) -> None:
        self._encoder, self._service, self._client = encoder, service, client
        self._database, self._asked = database, asked
        self._records = BatchRecords(database, encoder.url)
        self._wanted = frozenset(asked.keys)

    def obtain(self) -> dict[int, str]:
        """Submits missing texts that are not in a batch yet, waits, collects results, and repeats temporary failures.

        Returns:
          Why texts have no vector, by position.

        Raises:
          UserError: a whole batch failed.
          UnderWay: batches are unfinished, and the options say not to wait.
        """
        results = Results()
        for number in range(ROUNDS):
            with sole_asker(self._database, self._encoder.url):
                self._settle()
                if number == 0 and self._encoder.ask_all and not self._records.under_way() & self._wanted:
                    self._submit(range(len(self._asked.texts)))
                else:
                    self._submit(self._missing())
            latest = self._collect_all()
            refused = results.refused | latest.refused
            results = dataclasses.replace(latest, by_text=results.by_text | latest.by_text, refused=refused)
            missing = self._missing()
            if results.ended or all(self._asked.keys[place] in refused for place in missing):
                break
            subject = "1 text has" if len(missing) == 1 else f"{len(missing):,} texts have"
            say(f"{subject} no embedding yet: {self._reasons(results, missing)}")
        missing = self._missing()
        if results.ended and missing:
            raise UserError(
                f"{len(missing):,} of {len(self._asked.texts):,} texts have no embedding:"
                f" {self._reasons(results, missing)}",
                remedy="The others are stored; run the same command to request only the missing ones",
            )
        unknown = next(iter(results.failures), NO_REASON)
        return {place: results.by_text.get(self._asked.keys[place], unknown) for place in missing}

    def _reasons(self, results: Results, missing: Sequence[int]) -> str:
        keys = [self._asked.keys[place] for place in missing]
        counts = results.failures + Counter(results.by_text[key] for key in keys if key in results.by_text)
        parts = [f"{reason} ({count:,} times)" if count > 1 else reason for reason, count in counts.most_common(3)]
        return "; ".join(parts) or NO_REASON

    def _missing(self) -> list[int]:
        return self._asked.missing(already_there(self._database, self._asked, self._encoder.dimensions))

    def _settle(self) -> None:
        """Checks whether batches reached the server if this process was killed while submitting them."""
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

    def _submit(self, wanted: Iterable[int]) -> None:
        """Submits the texts at these positions that are not in a batch yet; deletes their old vectors."""
        under_way = self._records.under_way()
        places = [place for place in wanted if self._asked.keys[place] not in under_way]
        for part in self._encoder.requests(self._asked, places):
            keys = [self._asked.keys[place] for place in part]
            marker = self._records.plan(keys)
            batch_id = self._create(marker, part)
            self._records.handed_in(marker, batch_id)
            self._database.forget(keys)
            tokens = sum(self._asked.tokens[place] for place in part)
            cost = self._encoder.price.told(tokens)
            say(f"batch {batch_id} submitted: {len(part):,} texts, {tokens:,} tokens, cost {cost}")

    def _create(self, marker: str, places: Sequence[int]) -> str:
        import openai

        with tempfile.TemporaryFile(dir=self._database.path.parent) as file:
            file.writelines(self._encoder._line(self._asked, place) for place in places)
            file.seek(0)
            patient = self._client.with_options(timeout=UPLOAD_SECONDS)
            uploaded = patient.files.create(file=(f"lrd_jax-{marker}.jsonl", file), purpose="batch")
        # The client would repeat a request after a lost answer, and so create a second batch.
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
        """Waits for every batch with one of these texts, and stores its results in the cache."""
        waiting = [batch for batch in self._records.open() if batch.keys & self._wanted]
        options = self._encoder.batch_options
        total: Counter[str] = Counter()
        results = Results()
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
                        results |= self._collect(batch, state)
                        total[batch.marker] = len(batch.keys)
                    else:
                        unfinished.append(batch)
                bar.n = total.total()
                bar.refresh()
                waiting = unfinished
                if not waiting:
                    return results
                if not options.wait:
                    under_way = ", ".join(str(batch.batch_id) for batch in waiting)
                    raise UnderWay(f"unfinished batches: {under_way}. Run the same command later to continue")
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
            remedy="Use the key of the account that submitted it, or pay for its texts again with --abandon-batches",
        )

    def _collect(self, batch: OpenBatch, state: Batch) -> Results:
        """Stores the answers of a finished batch in the cache, then closes it; repeated if killed in between."""
        import openai

        results = Results(ended=state.status in ("failed", "cancelled"))
        if results.ended:
            errors = (state.errors.data if state.errors else None) or []
            words = "; ".join(self._service.redact(error.message or error.code or "") for error in errors[:3])
            results.failures[f"batch {state.id} {state.status}" + (f": {words}" if words else "")] += 1
        for file_id in (state.output_file_id, state.error_file_id):
            if file_id is not None:
                read = None
                with contextlib.suppress(openai.NotFoundError):
                    lines = self._lines(file_id)
                    read = read_results(lines, batch.keys, self._encoder, self._database, self._service.redact)
                if read is None:
                    raise self._unknown(f"the results of batch {state.id}")
                results |= read
        self._records.close(batch.marker)
        return results

    def _lines(self, file_id: str) -> Iterator[bytes]:
        """The lines of a result file as they arrive, because a file of 50,000 rows exceeds a gigabyte."""
        import openai

        patient = self._client.with_options(timeout=UPLOAD_SECONDS)
        with patient.files.with_streaming_response.content(file_id) as response:
            rest = b""
            try:
                for block in response.iter_bytes():  # the client's line iterator would also split at U+2028 etc.
                    *lines, rest = (rest + block).split(b"\n")
                    yield from lines
            except Exception:  # an error of the HTTP library; while streaming, the client does not convert it
                raise openai.APIConnectionError(request=response.http_request) from None
            yield rest


def _pause(error: openai.APIError, attempt: int) -> float:
    response: Any = getattr(error, "response", None)
    try:
        return min(max(float(response.headers["retry-after"]), 0.1), 120.0)
    except (AttributeError, KeyError, ValueError):
        return float(2 ** (attempt - 1))
