"""How long it takes to rank each user's target among all items, with the scorer and the chunks of the evaluation."""

from __future__ import annotations

import numpy as np

from benchmarks.options import Options, parse_options
from benchmarks.report import report
from benchmarks.score import measure_evaluation
from benchmarks.workload import build_workload, rows_to_score
from lrd_jax.cli import run_command


def main() -> None:
    """Times as many dev users as make the pairs of one repetition."""
    workload = build_workload(parse_options(Options, "full_ranking", __doc__))
    corpus = workload.run.corpus
    rows = corpus.dev.rows[rows_to_score(corpus.dev, corpus.num_items)]
    others = np.arange(1, corpus.num_items, dtype=np.int32)
    negatives = others + (others >= corpus.sequence_items[rows][:, None])  # every item but the target, [N, I - 1]
    report("full_ranking", workload, [measure_evaluation(workload, rows, negatives.astype(np.int32))])


if __name__ == "__main__":
    run_command(main)
