"""How long one compiled training epoch and one evaluation take, in units of a 2048³ float32 matrix product.

`python -m benchmarks.train_epoch --config configs/office/kda.toml --data.path DIR` takes the options of
`python -m lrd_jax.train` and writes one JSON line.
"""

from __future__ import annotations

import json
import time

from lrd_jax.cli import parse_config, run_command

REPEAT = 5


def main() -> None:
    """Time epochs and evaluations of the configured run, then the matrix product in the same process."""
    config, _ = parse_config()
    import jax

    from benchmarks.peak import best_seconds, matmul_seconds
    from lrd_jax.assemble import assemble

    run = assemble(config)
    state, seconds = run.init(), []
    for epoch in range(1 + REPEAT):
        started = time.perf_counter()
        state, losses = run.train_epoch(state, epoch)
        jax.block_until_ready((state, losses))
        seconds.append(time.perf_counter() - started)
    evaluation = best_seconds(lambda: run.rank_targets(state.params, "dev"), REPEAT)
    matmul = matmul_seconds()
    record = {
        "benchmark": "train_epoch",
        "model": config.model.name,
        "dataset": run.corpus.name,
        "examples": len(run.arrays.examples),
        "first_epoch_seconds": seconds[0],
        "epoch_seconds": min(seconds[1:]),
        "evaluation_seconds": evaluation,
        "matmul_2048_seconds": matmul,
        "epoch_in_matmuls": min(seconds[1:]) / matmul,
        "evaluation_in_matmuls": evaluation / matmul,
        "device_kind": jax.devices()[0].device_kind,
        "device_count": jax.device_count(),
        "jax": jax.__version__,
    }
    print(json.dumps({key: round(value, 4) if isinstance(value, float) else value for key, value in record.items()}))


if __name__ == "__main__":
    run_command(main)
