"""Figures of a report, as PNG and SVG; matplotlib is imported only here."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrd_jax.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BAR_METRICS = ("HR@5", "NDCG@5")


def check_matplotlib() -> None:
    """Raises a `UserError` if matplotlib is missing; called before hours of training."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("the figure needs matplotlib", remedy="Run pip install 'lrd_jax[plots]'")


def plot_bars(cells: list[dict[str, Any]], stem: Path) -> None:
    """Plots a bar per variant with finished runs: the test mean, with the standard deviation over seeds (Figure 2).

    Args:
      cells: cells of a report, of one dataset.
      stem: path of the files without extension.
    """
    figure, cells = _figure(), [cell for cell in cells if cell["test"]]
    for axes, metric in zip(figure.subplots(1, len(BAR_METRICS)), BAR_METRICS, strict=True):
        values = [cell["test"][metric] for cell in cells]
        names = [cell["title"].replace("-", "\n", 1) for cell in cells]
        bars = axes.bar(
            names, [value["mean"] for value in values], yerr=[value["std"] or 0.0 for value in values], capsize=4
        )
        axes.bar_label(bars, fmt="%.4f", label_type="center", color="white")
        axes.set_ylabel(f"{metric}, test")
        axes.tick_params(axis="x", labelsize=7)
    _save(figure, stem)


def plot_averages(averages: dict[str, list[dict[str, Any]]], stem: Path) -> None:
    """Plots a line per option: test NDCG@5 by its value (Figure 6).

    Args:
      averages: result of `sensitivity.averages`.
      stem: path of the files without extension.
    """
    figure = _figure()
    for axes, (option, rows) in zip(figure.subplots(1, len(averages)), averages.items(), strict=True):
        rows = [row for row in rows if row["test"] is not None]
        axes.plot([f"{row['value']:g}" for row in rows], [row["test"] for row in rows], marker="o")
        axes.set_xlabel(option)
        axes.set_ylabel("NDCG@5, test")
    _save(figure, stem)


def _figure() -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(9, 3.5), layout="constrained")


def _save(figure: Figure, stem: Path) -> None:
    for ending in ("png", "svg"):
        figure.savefig(stem.with_name(f"{stem.name}.{ending}"), dpi=150)
