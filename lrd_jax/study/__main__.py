"""Train and compare many runs: `python -m lrd_jax.study table --systems kda,kda_lrd --datasets office ...`."""

from __future__ import annotations

if __name__ == "__main__":
    from lrd_jax.command_line.begin import begin

    begin()

import dataclasses
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from lrd_jax.command_line.parse import MAX_SEED, SEEDS, run_command
from lrd_jax.errors import UserError
from lrd_jax.study.cells import (
    Cell,
    Variant,
    ablation_variants,
    make_cells,
    parse_folders,
    parse_options,
    read_variants,
    sensitivity_variants,
    system_variants,
)

if TYPE_CHECKING:
    from lrd_jax.study.outcomes import Outcome


def _comma_list(convert: Callable[[str], Any], metavar: str) -> PrimitiveConstructorSpec[Any]:
    """A comma-separated list of values."""
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: tuple(convert(part) for part in words[0].split(",")),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda values: [",".join(map(str, values))],
    )


Names = Annotated[tuple[str, ...], _comma_list(str, "NAME,NAME,...")]
Integers = Annotated[tuple[int, ...], _comma_list(int, "N,N,...")]
Numbers = Annotated[tuple[float, ...], _comma_list(float, "X,X,...")]
Words = tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]]


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a study reads and writes, and the shared options of its runs."""

    workdir: Path
    """Folder of the study, with each seed's run in DATASET/ROW/seedN."""
    data: Annotated[Words, tyro.conf.arg(metavar="NAME=FOLDER ...")] = ()
    """Dataset folders that differ from those in the configurations."""
    options: Annotated[Words, tyro.conf.arg(name="set", metavar="SECTION.OPTION=VALUE ...")] = ()
    """Options for every run, as in a configuration; they override everything else."""
    configs: Path | None = None
    """Folder with DATASET/SYSTEM.toml. None: configs in the current directory, else those of the package."""

    def cells(self, datasets: Sequence[str], variants: Sequence[Variant]) -> list[Cell]:
        """Every variant on every dataset."""
        return make_cells(
            datasets,
            variants,
            self.workdir,
            folders=parse_folders([word for words in self.data for word in words]),
            options=parse_options([word for words in self.options for word in words]),
            configs=self.configs,
        )


@dataclasses.dataclass(frozen=True)
class Runs:
    """The runs of each row, and how to train them."""

    seeds: Annotated[tuple[int, ...], SEEDS] = (0, 1, 2)
    """Seeds of every row."""
    claim: int | None = None
    """Number of seeds of a row to train at once; with fewer, other processes of the same study can train the rest.
    None: all."""
    only_report: tyro.conf.FlagCreatePairsOff[bool] = False
    """Train nothing; report the finished runs."""


InPlace = tyro.conf.OmitArgPrefixes[Place]
WithRuns = tyro.conf.OmitArgPrefixes[Runs]


def table(
    datasets: Names, place: InPlace, systems: Names = (), variants: Path | None = None, runs: WithRuns = Runs()
) -> None:
    """Train the missing runs of systems × datasets × seeds, and compare: table.md and table.json (Table 3).

    Args:
      datasets: Subfolders of configs, each with a file per system.
      place: Where to read and write.
      systems: Rows of the table; NAME_lrd is compared with NAME.
      variants: TOML file of further rows: tables [variants.NAME] with system, its options, and optionally base, the
        name of the row to compare with.
      runs: Which runs.
    """
    chosen = system_variants(systems) + (read_variants(variants) if variants is not None else [])
    if not chosen:
        raise UserError("the table has no rows", remedy="Give --systems or --variants")

    def derive(outcomes: Sequence[Outcome], _: dict[str, Any]) -> dict[str, Any]:
        from lrd_jax.study.popularity import by_popularity

        found = by_popularity(outcomes)
        for dataset, reason in found["skipped"].items():
            print(f"no slices by popularity for {dataset}: {reason}")
        return {"by_popularity": found}

    _run_and_report(place.cells(datasets, chosen), place, runs, "table", derive=derive)


def ablation(dataset: str, place: InPlace, system: str = "kda_lrd", runs: WithRuns = Runs()) -> None:
    """A system without language model, without knowledge-graph loss and without LRD: table and figure (Figure 2).

    Args:
      dataset: Subfolder of configs.
      place: Where to read and write; runs that `table` made in the same folder are reused.
      system: A system with latent relations.
      runs: Which runs.
    """
    from lrd_jax.study.plots import check_matplotlib, plot_bars

    check_matplotlib()
    cells, name = place.cells([dataset], ablation_variants(system)), f"ablation-{dataset}-{system}"
    _run_and_report(cells, place, runs, name, plot=lambda report, stem: plot_bars(report["cells"], stem))


def sensitivity(
    dataset: str,
    place: InPlace,
    system: str = "kda_lrd",
    latent: Integers = (5, 6, 7, 8, 9, 10),
    weights: Numbers = (0.1, 1.0, 5.0, 10.0),
    runs: WithRuns = Runs(seeds=(0,)),
) -> None:
    """NDCG@5 by the number of latent relations and by λ, each averaged over the other: table and figure (Figure 6).

    Args:
      dataset: Subfolder of configs.
      place: Where to read and write.
      system: A system with latent relations.
      latent: Numbers of latent relations.
      weights: Weights of the latent-relation loss.
      runs: Which runs.
    """
    from lrd_jax.study.plots import check_matplotlib, plot_averages
    from lrd_jax.study.sensitivity import averages

    check_matplotlib()
    cells = place.cells([dataset], sensitivity_variants(system, latent, weights))
    _run_and_report(
        cells,
        place,
        runs,
        f"sensitivity-{dataset}-{system}",
        derive=lambda _, report: {"averages": averages(report["cells"], latent, weights)},
        plot=lambda report, stem: plot_averages(report["averages"], stem),
    )


def sweep(
    dataset: str, system: str, place: InPlace, trials: int, space: Path | Literal["paper"] = "paper", seed: int = 0
) -> None:
    """Search hyperparameters by dev NDCG@5, without the test split. Writes best.toml and a table of trials.

    Args:
      dataset: Subfolder of configs.
      system: The system to tune.
      place: Where to read and write; everything is in the subfolder sweep-DATASET-SYSTEM.
      trials: Total number of trials, including those of earlier calls; a killed trial is resumed.
      space: paper for the paper's grid, or a TOML file with a table [space].
      seed: Seed of every trial and of the search.
    """
    if not 0 <= seed <= MAX_SEED:
        raise UserError(f"expected a seed from 0 to {MAX_SEED}, got {seed}", field="--seed")
    (cell,) = place.cells([dataset], system_variants([system]))
    config = cell.config.for_seed(seed)
    from lrd_jax.files import write_atomically
    from lrd_jax.study.grids import show, to_markdown
    from lrd_jax.study.space import paper_space, read_space
    from lrd_jax.study.sweep import run_sweep, sweep_grid

    chosen = paper_space(config) if space == "paper" else read_space(space, config)
    folder = place.workdir / f"sweep-{dataset}-{system}"
    rows = run_sweep(config, chosen, folder, num_trials=trials, seed=seed)
    grid = sweep_grid(rows, f"{system} on {dataset}, best epoch on dev")
    write_atomically(folder / "trials.json", (json.dumps({"trials": rows, "command": _command()}, indent=2)).encode())
    write_atomically(folder / "trials.md", f"{to_markdown(grid)}\nCommand: `{_command()}`\n".encode())
    show(grid)
    print(f"the best: python -m lrd_jax.train --config {shlex.quote(str(folder / 'best.toml'))}")


def _run_and_report(
    cells: Sequence[Cell],
    place: Place,
    runs: Runs,
    name: str,
    *,
    derive: Callable[[Sequence[Outcome], dict[str, Any]], dict[str, Any]] = lambda outcomes, report: {},
    plot: Callable[[dict[str, Any], Path], None] = lambda report, stem: None,
) -> None:
    """Trains missing runs, then writes and prints a report of the finished ones.

    Args:
      cells: the cells of the study.
      place, runs: the options of the command.
      name: base name of the report's files.
      derive: computes further parts of the report from the outcomes and the report.
      plot: draws the figure; takes the report and the path of the files without extension.

    Raises:
      UserError: runs have failed; raised after everything else is done.
    """
    if runs.claim is not None and runs.claim < 1:
        raise UserError(f"expected an integer >= 1, got {runs.claim}", field="--claim")
    from lrd_jax.runs.locks import locked
    from lrd_jax.study.grids import show
    from lrd_jax.study.outcomes import read_outcomes
    from lrd_jax.study.report import build_report, report_grids, write_report
    from lrd_jax.study.runner import run_missing

    failures = {} if runs.only_report else run_missing(cells, runs.seeds, seeds_at_once=runs.claim)
    # With several processes, the last one to get here sees the runs of all.
    with locked(place.workdir / f".{name}.lock"):
        outcomes, unread = read_outcomes(cells, runs.seeds)
        report, incomparable = build_report(outcomes, runs.seeds, command=_command())
        report |= derive(outcomes, report)
        write_report(report, place.workdir, name)
        plot(report, place.workdir / name)
    for grid in report_grids(report):
        show(grid)
    print(f"report in {place.workdir / name}.md and .json")

    failures |= unread | incomparable
    missing = [
        cell.config.for_seed(seed)
        for cell, row in zip(cells, report["cells"], strict=True)
        for seed in row["missing"]
        if cell.config.for_seed(seed).run_folder not in failures
    ]
    if missing:
        print(f"not finished: {len(missing)}" + ("" if runs.only_report else " (other processes train them)"))
    if failures:
        told = "\n".join(f"  {error}" for error in dict.fromkeys(map(str, failures.values())))
        raise UserError(f"the report is incomplete, because {len(failures)} failed:\n{told}".rstrip("."))


def _command() -> str:
    return shlex.join(["python", "-m", "lrd_jax.study", *sys.argv[1:]])


def main() -> None:
    """Parses the command line and runs the study."""
    commands: dict[str, Callable[..., None]] = {
        "table": table,
        "ablation": ablation,
        "sensitivity": sensitivity,
        "sweep": sweep,
    }
    tyro.extras.subcommand_cli_from_dict(commands, prog="python -m lrd_jax.study", description=__doc__.split(":")[0])


if __name__ == "__main__":
    run_command(main)
