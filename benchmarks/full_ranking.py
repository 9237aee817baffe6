"""How long it takes to rank each user's target among all items that the user has not seen, as `evaluate` does it."""

from __future__ import annotations

import jax

from benchmarks.options import Options, parse_options
from benchmarks.report import report
from benchmarks.score import measure_evaluation
from benchmarks.workload import build_workload, rows_to_score
from lrd_jax.command_line.parse import run_command
from lrd_jax.devices import data_mesh
from lrd_jax.ranking.on_device import build_counts
from lrd_jax.ranking.protocols.full import Full


def main() -> None:
    """Times as many dev users as make the pairs of one repetition; padding for what was seen counts too."""
    workload = build_workload(parse_options(Options, "full_ranking", __doc__))
    run, num_items = workload.run, workload.run.corpus.num_items
    rows = run.corpus.dev.rows[rows_to_score(run.corpus.dev, num_items, run.system.users_per_block)]
    history_length = run.config.data.history_length
    candidates = Full().candidates(run.corpus, "dev")
    evaluate = build_counts(run.system, data_mesh(), candidates, history_length=history_length)
    split = (jax.device_put(rows, run.arrays.examples.sharding),)
    report("full_ranking", workload, [measure_evaluation(workload, evaluate, split, num_items)])


if __name__ == "__main__":
    run_command(main)
