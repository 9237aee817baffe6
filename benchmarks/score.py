"""How long it takes to rank each user's target among the given candidates, 100 in all, of the dev split."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax

from benchmarks.options import Options, parse_options
from benchmarks.peak import timed
from benchmarks.report import Measurement, report, timed_compilation
from benchmarks.workload import Workload, build_workload, rows_to_score
from lrd_jax.command_line.parse import run_command
from lrd_jax.data.corpus import Split
from lrd_jax.data.device import put_split
from lrd_jax.devices import data_mesh
from lrd_jax.ranking.metrics import Counts


def main() -> None:
    """Times the evaluation that training runs."""
    workload = build_workload(parse_options(Options, "score", __doc__))
    dev = workload.run.corpus.dev
    some = rows_to_score(dev, 1 + dev.negatives.shape[1], workload.run.system.users_per_block)
    split = put_split(Split(dev.rows[some], dev.negatives[some]), data_mesh())
    candidates = 1 + dev.negatives.shape[1]
    report("score", workload, [measure_evaluation(workload, workload.run.evaluation_on_device, split, candidates)])


def measure_evaluation(
    workload: Workload, evaluate: Callable[..., Counts], split: Sequence[jax.Array], candidates: int
) -> Measurement:
    """Times evaluate(params, arrays, *split), split beginning with its rows int32 [N], each with so many candidates."""
    run, users = workload.run, len(split[0])
    args = (run.init().params, run.arrays, *split)
    compiled, compile_seconds = timed_compilation(evaluate, *args)
    seconds = timed(lambda: compiled(*args), workload.options.repeat)
    if not jax.device_get(compiled(*args).finite).all():
        raise FloatingPointError("some scores are not finite")
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
