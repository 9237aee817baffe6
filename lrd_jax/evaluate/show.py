"""The tables of evaluations, on the terminal and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lrd_jax.errors import printable
from lrd_jax.evaluate.compare import compare
from lrd_jax.evaluate.files import write_summary
from lrd_jax.evaluate.flags import EvaluateFlags
from lrd_jax.evaluate.list_summary import ListFacts, list_facts, summarise_lists, text_vectors
from lrd_jax.evaluate.list_tables import comparison_tables, list_tables
from lrd_jax.evaluate.lists import Evaluated
from lrd_jax.evaluate.report import summarise, tables
from lrd_jax.ranking.protocols import Protocol, SplitName
from lrd_jax.terminal.lines import warn
from lrd_jax.terminal.tables import print_table


def show(done: Sequence[Evaluated], flags: EvaluateFlags, protocol: Protocol) -> None:
    """Prints the tables and the warnings, and writes the JSON.

    Args:
      done: the evaluations.
      flags, protocol: under what they were made.

    Raises:
      UserError: the file cannot be written.
    """
    summaries = summarise_all(done, flags.split, flags.at)
    comparisons = compare_all(done, flags.at)
    if flags.json is not None:
        write_summary(flags.json, flags.split, protocol, flags.ties, summaries, comparisons)
    made = tables(flags.split, protocol, flags.ties, summaries)
    if flags.wants_lists:
        made += list_tables(flags.split, protocol, summaries)
    for table in [*made, *comparison_tables(flags.split, protocol, comparisons)]:
        print_table(table)
    said = {f"{run['dataset']}: {notice['text']}": None for run in summaries for notice in run["warnings"]}
    for line in said:  # once where several runs are on one dataset
        warn(printable(line))


def summarise_all(done: Sequence[Evaluated], split_name: SplitName, cutoffs: Sequence[int]) -> list[dict[str, Any]]:
    """`summarise` of each evaluation, and under "list_metrics" `summarise_lists` where there are lists."""
    facts: dict[str, ListFacts] = {}
    summaries = []
    for one in done:
        summary = summarise(one.ranks, cutoffs)
        if one.lists is not None:
            corpus = one.corpus
            if corpus.content_hash not in facts:
                rows = getattr(corpus, split_name).rows
                facts[corpus.content_hash] = list_facts(corpus, rows, text_vectors(corpus, one.subject.data))
            summary["list_metrics"] = summarise_lists(one.lists.items, facts[corpus.content_hash], cutoffs)
        summaries.append(summary)
    return summaries


def compare_all(done: Sequence[Evaluated], cutoffs: Sequence[int]) -> list[dict[str, Any]]:
    """`compare` of the evaluations on each dataset, against the first of them."""
    by_dataset: dict[str, list[Evaluated]] = {}
    for one in done:
        by_dataset.setdefault(one.corpus.content_hash, []).append(one)
    return [
        found for of_dataset in by_dataset.values() for found in compare([one.ranks for one in of_dataset], cutoffs)
    ]
