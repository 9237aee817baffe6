"""The README's picture, of finished runs: `python -m benchmarks.picture RUN [RUN ...] --out docs/images`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import tyro

from lrd_jax.command_line.parse import run_command
from lrd_jax.errors import UserError
from lrd_jax.study.paper_results import paper_metrics
from lrd_jax.study.plots import check_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRIC = "NDCG@5"
NAMES = {"kda": "KDA", "kda_lrd": "KDA_LRD", "rcf": "RCF", "rcf_lrd": "RCF_LRD", "caser": "Caser", "gru4rec": "GRU4Rec"}
NAMES |= {"sasrec": "SASRec", "tisasrec": "TiSASRec", "popularity": "Popularity", "item_knn": "ItemKNN"}


@dataclasses.dataclass(frozen=True)
class Scheme:
    """The colours of one picture; its ground stays transparent."""

    text: str
    faint: str
    paper: str
    runs: tuple[str, ...]


SCHEMES = {
    "light": Scheme("#1f2328", "#d0d7de", "#b6bec8", ("#0969da", "#bc4c00", "#1a7f37", "#8250df")),
    "dark": Scheme("#e6edf3", "#3d444d", "#656c76", ("#58a6ff", "#f0883e", "#3fb950", "#bc8cff")),
}


@dataclasses.dataclass(frozen=True)
class PictureFlags:
    """Draw NDCG@5 on dev over the epochs of runs, and on test beside the paper's, for light and dark pages."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN ...]")]
    """Run folders of `train`, finished."""
    out: Path = Path("docs/images")
    """Folder for learning-light.svg and learning-dark.svg."""


class Learned(NamedTuple):
    """What is drawn of a run.

    Attributes:
      name: of the model.
      dev: on dev after each epoch.
      best_epoch: the epoch that was tested.
      test: its figure on test.
      paper: the paper's; None where it has none.
    """

    name: str
    dev: list[float]
    best_epoch: int
    test: float
    paper: float | None


def main() -> None:
    """Parse the command line and write both pictures."""
    flags = tyro.cli(PictureFlags, prog="python -m benchmarks.picture")
    if not 1 <= len(flags.runs) <= len(SCHEMES["light"].runs):
        raise UserError("the picture takes one to four runs", field="RUN", remedy="Name their folders")
    check_matplotlib()
    runs = [read_run(folder) for folder in flags.runs]
    flags.out.mkdir(parents=True, exist_ok=True)
    for name, scheme in SCHEMES.items():
        path = flags.out / f"learning-{name}.svg"
        save(draw(runs, scheme), path)
        print(path)


def read_run(folder: Path) -> Learned:
    """What is drawn of the run in a folder.

    Raises:
      UserError: the run has not finished.
    """
    try:
        results = json.loads((folder / "results.json").read_bytes())
        lines = (folder / "metrics.jsonl").read_text().splitlines()
    except OSError as error:
        remedy = "Name the folder of a finished run"
        raise UserError("there is no finished run", file=folder, remedy=remedy) from error
    dev = [json.loads(line)["dev"][METRIC] for line in lines]
    return Learned(
        name=NAMES.get(results["model"], results["model"]),
        dev=dev,
        best_epoch=results["best_epoch"],
        test=results["test"][METRIC],
        paper=(paper_metrics(results["dataset"]["name"], results["model"]) or {}).get(METRIC),
    )


def draw(runs: list[Learned], scheme: Scheme) -> Figure:
    """Both panels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    curves, bars = figure.subplots(1, 2, width_ratios=(3, 2))
    draw_curves(curves, runs, scheme)
    draw_bars(bars, runs, scheme)
    for axes in (curves, bars):
        axes.patch.set_alpha(0)
        axes.tick_params(colors=scheme.text, length=0)
        axes.spines[:].set_visible(False)
    figure.patch.set_alpha(0)
    return figure


def draw_curves(axes: Axes, runs: list[Learned], scheme: Scheme) -> None:
    """NDCG@5 on dev over the epochs, the tested epoch marked."""
    for run, colour in zip(runs, scheme.runs, strict=False):
        epochs = range(1, len(run.dev) + 1)
        axes.plot(epochs, run.dev, color=colour, linewidth=2, label=run.name)
        axes.plot(run.best_epoch, run.dev[run.best_epoch - 1], "o", color=colour, markersize=7)
    axes.set_title("NDCG@5 on dev, by epoch; the dot is the epoch that is tested", **_title(scheme))
    axes.grid(axis="y", color=scheme.faint, linewidth=0.8)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False, labelcolor=scheme.text, loc="lower right")


def draw_bars(axes: Axes, runs: list[Learned], scheme: Scheme) -> None:
    """NDCG@5 on test, ours above the paper's."""
    places: list[float] = []
    for number, (run, colour) in enumerate(zip(runs, scheme.runs, strict=False)):
        pair = [("", run.test, colour), ("paper ", run.paper, scheme.paper)]
        for place, (label, value, shade) in enumerate(pair):
            if value is None:
                continue
            bar = axes.barh(number + 0.4 * place, value, height=0.36, color=shade)
            axes.bar_label(bar, [f"{label}{value:.4f}"], padding=4, color=scheme.text, fontsize=9)
        places.append(number + (0.2 if run.paper is not None else 0.0))
    axes.set_yticks(places, [run.name for run in runs])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.45 * max(value for run in runs for value in (run.test, run.paper or 0.0)))
    axes.set_xticks([])
    axes.set_title("NDCG@5 on test, one seed, and the paper's", **_title(scheme))


def _title(scheme: Scheme) -> dict[str, Any]:
    return {"color": scheme.text, "fontsize": 10, "loc": "left"}


def save(figure: Figure, path: Path) -> None:
    """Write an SVG: the same bytes for the same runs."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "lrd_jax"}):
        figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    run_command(main)
