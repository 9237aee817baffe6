"""Computes the cost of embedding a dataset: `python -m lrd_jax.embed DATASET --encoder openai --dry-run`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from lrd_jax.text.openai.batch_records import BatchRecords
from lrd_jax.text.openai.embeddings import OpenAIEncoder, told_price
from lrd_jax.text.openai.packing import load_tokenizer
from lrd_jax.text.openai.probe import current_generation
from lrd_jax.text.openai.requests import already_there
from lrd_jax.text.openai.vector_cache import Database, cache_path


def dry_run(texts: Sequence[str], encoder: OpenAIEncoder) -> Table:
    """Items, tokens, requests and price, in total and without cached texts and unfinished batches. Sends no request.

    Args:
      texts: texts of items 1.., without padding.
      encoder: the model and its request options.
    """
    there: set[bytes] = set()
    under_way: frozenset[bytes] = frozenset()
    if cache_path().exists():
        with Database(cache_path()) as database:
            asked = encoder.plan(texts, current_generation(database, encoder.identity))
            if not encoder.ask_all:
                there = set(already_there(database, asked, encoder.dimensions))
            under_way = BatchRecords(database, encoder.url).under_way() - there
    else:
        asked = encoder.plan(texts)
    tokenizer = load_tokenizer(encoder.model)
    unit = f"tokens ({tokenizer.unit})" if tokenizer.exact else "tokens at most (UTF-8 bytes)"
    packed = "files" if encoder.by_batch else "requests"
    table = Table(title=f"{encoder.name} {encoder.model} of {encoder.url}", caption=told_price(encoder.price))
    for column in ("", "texts", unit, packed, "cost" if tokenizer.exact else "cost, at most"):
        table.add_column(column, justify="right" if column else "left")

    places = range(len(asked.texts))
    parts = {
        "distinct texts": list(places),
        "in the cache": [place for place in places if asked.keys[place] in there],
        "in unfinished batches": [place for place in places if asked.keys[place] in under_way],
        "to request": [place for place in places if asked.keys[place] not in there | under_way],
    }
    table.add_row("items", f"{len(texts):,}", "", "", "")
    blank = sum(not text.strip() for text in texts)
    if blank:
        table.add_row("blank, never sent", f"{blank:,}", "", "", "")
    if asked.num_cut:
        table.add_row(f"cut at {encoder.server.max_tokens:,}", f"{asked.num_cut:,}", "", "", "")
    for name, part in parts.items():
        if name == "in unfinished batches" and not part:
            continue
        tokens = sum(asked.tokens[place] for place in part)
        free = name in ("in the cache", "in unfinished batches")
        number = "" if free else f"{len(encoder.requests(asked, part)):,}"
        table.add_row(name, f"{len(part):,}", f"{tokens:,}", number, "" if free else encoder.price.told(tokens))
    return table
