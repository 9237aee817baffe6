"""Evaluations from Python: runs by any protocol, and anybody's lists."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from lrd_jax import plugins
from lrd_jax.api.frames import frames_named, to_parquet
from lrd_jax.data.corpus import Corpus
from lrd_jax.data.device import put_corpus
from lrd_jax.devices import data_mesh
from lrd_jax.errors import UserError
from lrd_jax.evaluate.evaluate_lists import Data, evaluate_lists
from lrd_jax.evaluate.flags import make_protocol
from lrd_jax.evaluate.lists import Evaluated, lists_frame
from lrd_jax.evaluate.others_lists import read_lists
from lrd_jax.evaluate.ranks import Subject, results_frame
from lrd_jax.evaluate.report import summarise
from lrd_jax.evaluate.run_protocol import build_listing, build_ranking
from lrd_jax.evaluate.show import summarise_all
from lrd_jax.ranking.protocols import Protocol, SplitName, TieRule
from lrd_jax.training.load import Trained


class Evaluation(NamedTuple):
    """What `Run.evaluate` returns.

    Attributes:
      metrics: one row: HR@K, NDCG@K, MRR@K and MRR, means over all targets.
      slices: the same metrics by the target's popularity, by the history's length and, if any target is repeated, for
        repeated and new targets.
      rows: one row per target: user, item, rank and the other columns that `evaluate` writes to Parquet.
    """

    metrics: pl.DataFrame
    slices: pl.DataFrame
    rows: pl.DataFrame


class ListEvaluation(NamedTuple):
    """What `Run.evaluate_lists` and `Dataset.evaluate_lists` return.

    Attributes:
      metrics: one row for each system: HR@K, NDCG@K and MRR@K, then the metrics of lists, such as "Coverage@10"; see
        docs/how-to/evaluate.md.
      lists: one row for each item of each list: row, user, rank, item, score, is_target and what else
        `evaluate --lists` writes to Parquet.
      rows: one row per target, as in `Evaluation`.
    """

    metrics: pl.DataFrame
    lists: pl.DataFrame
    rows: pl.DataFrame


def evaluate(
    folder: Path,
    trained: Trained,
    protocol: str,
    split: SplitName,
    ties: TieRule,
    at: Sequence[int],
    options: dict[str, Any],
) -> Evaluation:
    """See `Run.evaluate`."""
    chosen = _protocol(protocol, options)
    counts = build_ranking(trained.run, split, chosen)(trained.params)
    rows = results_frame(folder, trained, split, chosen, ties, counts)
    summary = summarise(rows, tuple(at))
    slices = [
        {"slice": column, "bin": part["bin"], "rows": part["rows"], **(part["metrics"] or {})}
        for column, parts in summary["slices"].items()
        for part in parts
    ]
    metrics = pl.DataFrame([{"rows": summary["rows"], **summary["metrics"]}])
    return Evaluation(metrics, pl.DataFrame(slices, infer_schema_length=None), rows)


def evaluate_lists_of_run(
    folder: Path,
    trained: Trained,
    protocol: str,
    split: SplitName,
    ties: TieRule,
    at: Sequence[int],
    options: dict[str, Any],
) -> ListEvaluation:
    """See `Run.evaluate_lists`."""
    chosen = _protocol(protocol, options)
    counts, lists = build_listing(trained.run, split, chosen, max(at))(trained.params)
    rows = results_frame(folder, trained, split, chosen, ties, counts)
    return _list_evaluation([Evaluated(Subject.of_run(folder, trained), rows, lists)], split, at)


def evaluate_anybodys_lists(
    corpus: Corpus,
    folder: Path,
    lists: Any,
    protocol: str,
    split: SplitName,
    at: Sequence[int],
    options: dict[str, Any],
) -> ListEvaluation:
    """See `Dataset.evaluate_lists`."""
    chosen, length = _protocol(protocol, options), max(at)
    data = Data(corpus, put_corpus(corpus, None, data_mesh()), folder)
    with tempfile.TemporaryDirectory() as temporary, frames_named(Path(temporary)):
        file = Path(lists) if isinstance(lists, str | Path) else to_parquet(lists, Path(temporary), "lists")
        given = read_lists(file, corpus, folder, split)
    done = [evaluate_lists(one, data, split, chosen, "average", length) for one in given]
    return _list_evaluation(done, split, at)


def _list_evaluation(done: Sequence[Evaluated], split: SplitName, at: Sequence[int]) -> ListEvaluation:
    metrics = [
        {"run": one["run"], "model": one["model"], "rows": one["rows"], **one["metrics"], **one["list_metrics"]}
        for one in summarise_all(done, split, tuple(at))
    ]
    lists = [lists_frame(one.subject, one.ranks, one.lists) for one in done if one.lists is not None]
    return ListEvaluation(pl.DataFrame(metrics), pl.concat(lists), pl.concat([one.ranks for one in done]))


def _protocol(name: str, options: dict[str, Any]) -> Protocol:
    known = plugins.names(plugins.PROTOCOLS)
    if name not in known:
        raise UserError(f"there is no protocol {name!r}", remedy=f"Choose one of {', '.join(known)}")
    protocol = plugins.load(plugins.PROTOCOLS, name)
    for option in options:
        if option not in protocol.model_fields:
            remedy = f"Its options are {', '.join(protocol.model_fields)}" if protocol.model_fields else "It has none"
            raise UserError(f"the protocol {name} has no option {option!r}", remedy=remedy)
    return make_protocol(protocol, options)
