"""Where the time of a training step goes, by part of the model, from a trace of one epoch."""

from __future__ import annotations

import collections
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import jax
from jax.profiler import ProfileData
from rich.console import Console
from rich.table import Table

from benchmarks.options import TrainingOptions, parse_options, write_lines
from benchmarks.peak import timed
from benchmarks.report import compile_epochs, rounded, surroundings
from benchmarks.workload import build_workload
from lrd_jax.command_line.parse import run_command

# The innermost of these scopes in an operation's name says to which part it belongs.
PARTS = {
    "attention": "block: attention",
    "feed_forward": "block: feed-forward",
    "layer_norm": "block: layer normalisation",
    "block": "block: residual sums, copies",
    "_over_pairs": "history through each relation",
    "pool": "pooling",
    "RelationalModel": "embeddings and scores",
    "triple_scores": "knowledge-graph loss",
    "RelationClassifier": "latent-relation loss",
    "lrd_loss": "latent-relation loss",
    "draw_batch": "histories, negatives, triples",
    "lazy_rows": "rows that are looked up",
    "psum": "sum over devices",
    "optimizer": "Adam",
}
REST = "shuffle, other losses, loop"


class Operation(NamedTuple):
    """An instruction of the compiled program.

    Attributes:
      part: of `PARTS`, or `REST`.
      direction: "forward", "backward" or "".
      is_product: whether it holds a matrix product.
    """

    part: str
    direction: str
    is_product: bool


def main() -> None:
    """Traces one epoch after one that warms up and one that is timed untraced."""
    options = parse_options(TrainingOptions, "profile", __doc__)
    workload = build_workload(options)
    next_epoch, compiled, _ = compile_epochs(workload)
    (untraced,) = timed(next_epoch, 1)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(next_epoch())
        events = list(_events(Path(folder)))
    num_steps = -(-len(workload.run.arrays.examples) // options.batch_size)
    # Every device runs the same program, so an operation's time is summed over them.
    busy = attribute(events, read_operations(compiled.as_text()), num_steps * jax.device_count())
    _report(workload, busy, untraced / num_steps)


def read_operations(program: str) -> dict[str, Operation]:
    """The instructions of an optimized HLO program by name, without those that only contain others."""
    computations: dict[str, str] = {}
    for match in re.finditer(r"^(?:ENTRY )?%?([\w.\-]+) \(.*?\{\n(.*?)^\}", program, re.M | re.S):
        computations[match[1]] = match[2]
    operations = {}
    for line in program.splitlines():
        match = re.match(r"\s+(?:ROOT )?%?([\w.\-]+) = .*?[\]})] ([\w\-]+)\(", line)
        if match is None or match[2] in ("while", "call", "conditional", "async-start", "async-done"):
            continue
        called = re.search(r"calls=%?([\w.\-]+)", line)
        body = computations.get(called[1], "") if called else ""
        is_product = match[2] in ("dot", "convolution") or " dot(" in body or "gemm" in line or "matmul" in line
        scope = re.search(r'op_name="([^"]*)"', line)
        operations[match[1]] = Operation(*_place(scope[1] if scope else ""), is_product)
    return operations


def _place(scope: str) -> tuple[str, str]:
    """Part and direction of an operation from its name, such as "jit(epoch)/transpose(jvp(RelationalModel))/block"."""
    if "psum" in scope:
        return PARTS["psum"], ""
    direction = "backward" if "transpose(jvp" in scope else "forward" if "jvp(" in scope else ""
    names = re.findall(r"\w+", scope)
    innermost = next((name for name in reversed(names) if name in PARTS), None)
    return PARTS.get(innermost, REST), direction


def _events(folder: Path) -> Iterable[tuple[str, float]]:
    """(instruction, seconds) of everything in a trace."""
    (file,) = folder.rglob("*.xplane.pb")
    for plane in ProfileData.from_file(str(file)).planes:
        for line in plane.lines:
            for event in line.events:
                # On an accelerator the event is a kernel, and names its instruction beside it.
                name = next((value for key, value in event.stats if key == "hlo_op"), event.name)
                yield str(name), event.duration_ns / 1e9


def attribute(
    events: Iterable[tuple[str, float]], operations: dict[str, Operation], repetitions: int
) -> dict[tuple[str, str], tuple[float, float]]:
    """(part, direction) → seconds per repetition, of all operations and of those with a matrix product."""
    seconds: dict = collections.defaultdict(lambda: [0.0, 0.0])
    for name, duration in events:
        if name in operations:
            part, direction, is_product = operations[name]
            seconds[part, direction][0] += duration / repetitions
            seconds[part, direction][1] += duration / repetitions * is_product
    return {place: tuple(both) for place, both in seconds.items()}


def _report(workload, busy: dict[tuple[str, str], tuple[float, float]], step: float) -> None:
    """Prints the table and writes a line per row; what a step takes beyond its operations is waiting and dispatch."""
    waiting = step - sum(total for total, _ in busy.values())
    rows = sorted(busy.items(), key=lambda row: -row[1][0]) + [(("waiting, dispatch", ""), (max(waiting, 0.0), 0.0))]
    records = [
        {
            "benchmark": "profile",
            "part": part,
            "direction": direction,
            **surroundings(workload),
            "step_seconds": step,
            "seconds": total,
            "product_seconds": products,
            "share_of_step": total / step,
        }
        for (part, direction), (total, products) in rows
    ]
    to_stdout = workload.options.json == "-"
    title = f"a training step of {workload.options.model} at scale {workload.scale}: {step * 1e3:.2f} ms untraced"
    table = Table(title=title)
    for heading in ("part", "", "ms", "in products", "share"):
        table.add_column(heading, justify="left" if heading in ("part", "") else "right", no_wrap=True)
    for record in records:
        milliseconds = (f"{record[key] * 1e3:.2f}" for key in ("seconds", "product_seconds"))
        table.add_row(record["part"], record["direction"], *milliseconds, f"{record['share_of_step']:.1%}")
    Console(stderr=to_stdout).print(table)
    write_lines([rounded(record) for record in records], workload.options.json)


if __name__ == "__main__":
    run_command(main)
