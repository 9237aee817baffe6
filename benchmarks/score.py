"""How long it takes to rank each user's target among the given candidates, 100 in all, of the dev split."""

from __future__ import annotations

import jax
import numpy as np

from benchmarks.options import Options, parse_options
from benchmarks.peak import timed
from benchmarks.report import Measurement, report, timed_compilation
from benchmarks.workload import Workload, build_workload, rows_to_score
from lrd_jax.arrays import put_split
from lrd_jax.cli import run_command
from lrd_jax.data.corpus import Split
from lrd_jax.devices import data_mesh


def main() -> None:
    """Times the evaluation that training runs."""
    workload = build_workload(parse_options(Options, "score", __doc__))
    dev = workload.run.corpus.dev
    some = rows_to_score(dev, 1 + dev.negatives.shape[1])
    report("score", workload, [measure_evaluation(workload, dev.rows[some], dev.negatives[some])])


def measure_evaluation(workload: Workload, rows: np.ndarray, negatives: np.ndarray) -> Measurement:
    """Ranks the targets of rows int32 [N] among themselves and negatives int32 [N, n]."""
    run = workload.run
    args = (run.init().params, run.arrays, *put_split(Split(rows, negatives), data_mesh()))
    compiled, compile_seconds = timed_compilation(run.evaluation_on_device, *args)
    seconds = timed(lambda: compiled(*args), workload.options.repeat)
    if not jax.device_get(compiled(*args)[1]).all():
        raise FloatingPointError("some scores are not finite")
    users, candidates = len(rows), 1 + negatives.shape[1]
    return Measurement(
        seconds,
        compile_seconds=compile_seconds,
        examples=users,
        pairs=users * candidates,
        flop=None if workload.pair_flop is None else users * candidates * workload.pair_flop,
        shapes={"C": candidates, "users": users},
    )


if __name__ == "__main__":
    run_command(main)
