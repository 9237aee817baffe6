"""Many runs and what follows from them: `python -m lrd_jax.study table --systems kda,kda_lrd --datasets office ...`."""

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
    """One word of values with commas between them."""
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
    """Where a study reads and writes, and what all of its runs have in common."""

    workdir: Path
    """Folder of the study; the run of a seed is in DATASET/ROW/seedN below it."""
    data: Annotated[Words, tyro.conf.arg(metavar="NAME=FOLDER ...")] = ()
    """Where datasets lie that do not lie where their configuration says."""
    options: Annotated[Words, tyro.conf.arg(name="set", metavar="SECTION.OPTION=VALUE ...")] = ()
    """Options of every run, as in a configuration; they override everything else."""
    configs: Path | None = None
    """Folder of DATASET/SYSTEM.toml. None: configs here, else those that come with the package."""

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
    """Which runs a row has, and how they are trained."""

    seeds: Annotated[tuple[int, ...], SEEDS] = (0, 1, 2)
    """Of every row."""
    claim: int | None = None
    """Seeds of a row to train at a time; fewer leave the others to studies that run beside this one. None: all."""
    only_report: tyro.conf.FlagCreatePairsOff[bool] = False
    """Train nothing; report what has finished."""


InPlace = tyro.conf.OmitArgPrefixes[Place]
WithRuns = tyro.conf.OmitArgPrefixes[Runs]


def table(
    datasets: Names, place: InPlace, systems: Names = (), variants: Path | None = None, runs: WithRuns = Runs()
) -> None:
    """Train what is missing of systems × datasets × seeds, and compare: table.md and table.json (Table 3).

    Args:
      datasets: Folders of configs, each with a file per system.
      place: Where.
      systems: Rows of the table; NAME_lrd is compared with NAME.
      variants: TOML file of further rows: tables [variants.NAME] with system, its options, and perhaps base, the name
        of the row to compare with.
      runs: Which.
    """
    chosen = system_variants(systems) + (read_variants(variants) if variants is not None else [])
    if not chosen:
        raise UserError("the table has no rows", remedy="Give --systems or --variants")

    def derive(outcomes: Sequence[Outcome], _: dict[str, Any]) -> dict[str, Any]:
        from lrd_jax.study.popularity import by_popularity

        found = by_popularity(outcomes)
        for dataset, reason in found["skipped"].items():
            print(f"no slices by popularity of {dataset}: {reason}")
        return {"by_popularity": found}

    _run_and_report(place.cells(datasets, chosen), place, runs, "table", derive=derive)


def ablation(dataset: str, place: InPlace, system: str = "kda_lrd", runs: WithRuns = Runs()) -> None:
    """A system without language model, without knowledge-graph loss and without LRD: table and figure (Figure 2).

    Args:
      dataset: Folder of configs.
      place: Where; runs that `table` made in the same folder are taken.
      system: With latent relations.
      runs: Which.
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
      dataset: Folder of configs.
      place: Where.
      system: With latent relations.
      latent: Numbers of latent relations.
      weights: Weights of the latent-relation loss.
      runs: Which.
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
    """Search hyperparameters by dev NDCG@5; the test split is not looked at. Writes best.toml and a table of trials.

    Args:
      dataset: Folder of configs.
      system: To search for.
      place: Where; everything is in sweep-DATASET-SYSTEM below the folder.
      trials: In all, those of earlier calls included; a trial that was killed goes on.
      space: paper, the paper's grid, or a TOML file with a table [space].
      seed: Of every trial and of the search.
    """
    if not 0 <= seed <= MAX_SEED:
        raise UserError(f"must be from 0 to {MAX_SEED}, not {seed}", field="--seed")
    (cell,) = place.cells([dataset], system_variants([system]))
    config = cell.config.for_seed(seed)
    from lrd_jax.runs.folder import write_atomically
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
    """Trains what is missing, then writes and shows what has finished.

    Args:
      cells: of the study.
      place, runs: as told.
      name: of the files of the report.
      derive: what else follows from the outcomes and the report.
      plot: draws it, given the path of the files without their ending.

    Raises:
      UserError: runs have failed; told when everything else is done.
    """
    if runs.claim is not None and runs.claim < 1:
        raise UserError(f"expected an integer >= 1, got {runs.claim}", field="--claim")
    from lrd_jax.runs.locks import locked
    from lrd_jax.study.grids import show
    from lrd_jax.study.outcomes import read_outcomes
    from lrd_jax.study.report import build_report, report_grids, write_report
    from lrd_jax.study.runner import run_missing

    failures = {} if runs.only_report else run_missing(cells, runs.seeds, seeds_at_once=runs.claim)
    # Of several processes the last to come here sees the runs of all.
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
        print(f"not finished: {len(missing)}" + ("" if runs.only_report else ", which other processes have"))
    if failures:
        told = "\n".join(f"  {error}" for error in dict.fromkeys(map(str, failures.values())))
        raise UserError(f"the report is not complete, since {len(failures)} failed:\n{told}".rstrip("."))


def _command() -> str:
    return shlex.join(["python", "-m", "lrd_jax.study", *sys.argv[1:]])


def main() -> None:
    """Parse the command line and run the study."""
    commands: dict[str, Callable[..., None]] = {
        "table": table,
        "ablation": ablation,
        "sensitivity": sensitivity,
        "sweep": sweep,
    }
    tyro.extras.subcommand_cli_from_dict(commands, prog="python -m lrd_jax.study", description=__doc__.split(":")[0])


if __name__ == "__main__":
    run_command(main)
