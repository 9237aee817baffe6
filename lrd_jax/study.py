"""Many runs and what follows from them: `python -m lrd_jax.study table --systems kda,kda_lrd --datasets ml-100k ...`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from lrd_jax.cli import SEEDS, run_command
from lrd_jax.errors import UserError
from lrd_jax.studies.cells import Cell, make_cells, parse_folders, parse_options, read_variants, system_variants

Words = tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]]
Seeds = Annotated[tuple[int, ...], SEEDS]
Names = Annotated[
    tuple[str, ...],
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="NAME,NAME,...",
        instance_from_str=lambda words: tuple(words[0].split(",")),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda names: [",".join(names)],
    ),
]
Folders = Annotated[Words, tyro.conf.arg(metavar="NAME=FOLDER ...")]
Options = Annotated[Words, tyro.conf.arg(name="set", metavar="SECTION.OPTION=VALUE ...")]
OnlyReport = tyro.conf.FlagCreatePairsOff[bool]


def table(
    datasets: Names,
    workdir: Path,
    systems: Names = (),
    variants: Path | None = None,
    seeds: Seeds = (0, 1, 2),
    data: Folders = (),
    options: Options = (),
    configs: Path | None = None,
    claim: int | None = None,
    only_report: OnlyReport = False,
) -> None:
    """Train what is missing of systems × datasets × seeds, then write table.md and table.json.

    Args:
      datasets: Folders of configs/, each with a file per system.
      workdir: Folder of the study; the run of a seed is in DATASET/SYSTEM/seedN below it.
      systems: Systems to compare; NAME_lrd is compared with NAME.
      variants: TOML file of further rows: tables [variants.NAME] with system, options, and perhaps base, the name
        of the row to compare with.
      seeds: Of every row.
      data: Where datasets lie that do not lie where their configuration says.
      options: Options of every run; they override the configurations and the variants.
      configs: Folder of DATASET/SYSTEM.toml. None: configs here, else in the checkout.
      claim: Seeds of a row to train at a time; fewer leave the others to studies that run beside this one. None: all.
      only_report: Train nothing.
    """
    chosen = system_variants(systems) + (read_variants(variants) if variants is not None else [])
    if not chosen:
        raise UserError("nothing is to be trained", remedy="Give --systems or --variants")
    cells = _cells(datasets, chosen, workdir, data, options, configs)
    _run(cells, seeds, workdir, "table", claim=claim, only_report=only_report)


def _cells(datasets, variants, workdir, data, options, configs) -> list[Cell]:
    return make_cells(
        datasets,
        variants,
        workdir,
        folders=parse_folders([word for words in data for word in words]),
        options=parse_options([word for words in options for word in words]),
        configs=configs,
    )


def _run(
    cells: Sequence[Cell], seeds: Sequence[int], workdir: Path, name: str, *, claim: int | None, only_report: bool
) -> None:
    """Trains, reports, and fails in the end if anything has failed."""
    from lrd_jax.studies.report import write_report
    from lrd_jax.studies.runner import run_missing

    failures = {} if only_report else run_missing(cells, seeds, seeds_at_once=claim)
    report, unread = write_report(cells, seeds, workdir, name, command=_command())
    failures |= unread
    print(f"written: {workdir / name}.md and .json")
    waiting = sum(len(cell["missing"]) for cell in report["cells"]) - len(failures)
    if waiting and not only_report:
        print(f"{waiting} runs are another process's, whose report will have them")
    if failures:
        told = "\n".join(f"  {error}" for error in dict.fromkeys(map(str, failures.values())))
        raise UserError(f"{len(failures)} of {len(cells) * len(seeds)} runs failed:\n{told}".rstrip("."))


def _command() -> str:
    return shlex.join(["python", "-m", "lrd_jax.study", *sys.argv[1:]])


def main() -> None:
    """Parse the command line and run the study."""
    tyro.extras.subcommand_cli_from_dict(
        {"table": table}, prog="python -m lrd_jax.study", description="Many runs, and tables of them."
    )


if __name__ == "__main__":
    run_command(main)
