"""How long all random draws of one training epoch take, batch after batch, as training makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.options import BatchOptions, parse_options
from benchmarks.peak import timed
from benchmarks.report import Measurement, report, timed_compilation
from benchmarks.workload import Workload, build_workload
from lrd_jax.command_line.parse import run_command
from lrd_jax.data.batch import Batch
from lrd_jax.data.device import Arrays
from lrd_jax.training.epoch import draw_batch, draw_edges, stream_key


def main() -> None:
    """Times each kind of draw by itself."""
    workload = build_workload(parse_options(BatchOptions, "sampling", __doc__))
    report("sampling", workload, list(measure_draws(workload)))


def measure_draws(workload: Workload) -> Iterator[Measurement]:
    """One measurement for each kind of draw that the model's losses need, then one of whole batches."""
    arrays, terms = workload.run.arrays, workload.run.system.loss_weights
    parts: dict[str, Callable[[Batch], Any]] = {"negatives": lambda batch: batch.candidates}
    if "lrd" in terms:
        parts["histories"] = lambda batch: batch.negative_history
    if "kg" in terms:
        parts["triples"] = lambda batch: batch.triples
    parts["batches"] = lambda batch: batch
    for part, select in parts.items():
        draw = jax.jit(_epoch_of_draws(workload, select))
        compiled, compile_seconds = timed_compilation(draw, arrays, 0)
        yield Measurement(
            timed(lambda compiled=compiled: compiled(arrays, 0), workload.options.repeat),
            part=part,
            compile_seconds=compile_seconds,
            examples=len(arrays.examples),
            shapes={"B": workload.run.config.optim.batch_size, "examples": len(arrays.examples)},
        )


def _epoch_of_draws(workload: Workload, select: Callable[[Batch], Any]) -> Callable[[Arrays, jax.Array], Any]:
    """(arrays, epoch) → what `select` takes of every batch, stacked; XLA leaves out the draws of all else."""
    config, corpus, terms = workload.run.config, workload.run.corpus, workload.run.system.loss_weights
    size = config.optim.batch_size

    def epoch_of_draws(arrays: Arrays, epoch: jax.Array):
        steps = -(-len(arrays.examples) // size)
        keys = {name: stream_key(config.run.seed, name, epoch) for name in ("shuffle", "triples", "negatives")}
        order = jax.random.permutation(keys["shuffle"], len(arrays.examples))
        order = jnp.pad(order, (0, steps * size - len(order)))

        def draw(inputs: tuple):
            rows, edges, key = inputs
            return select(
                draw_batch(
                    arrays,
                    rows,
                    edges,
                    jnp.ones(size),
                    key,
                    num_items=corpus.num_items,
                    num_negatives=config.loss.num_negatives,
                    history_length=config.data.history_length,
                    uses_triples="kg" in terms,
                    uses_text="lrd" in terms,
                )
            )

        edges = draw_edges(keys["triples"], arrays.sampler, steps * size)
        shape = (steps, size)
        inputs = arrays.examples[order].reshape(shape), edges.reshape(shape), jax.random.split(keys["negatives"], steps)
        return jax.lax.map(draw, inputs)

    return epoch_of_draws


if __name__ == "__main__":
    run_command(main)
