"""Terminal output of a run: a progress bar over epochs, a line per evaluation, a table at the end."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn, TypeAlias

import numpy as np
from rich.table import Table
from tqdm import tqdm

from lrd_jax.errors import printable

Bar: TypeAlias = "tqdm[NoReturn]"  # only in its stubs does tqdm take arguments; this one iterates over nothing


def epoch_progress(total: int, done: int = 0) -> Bar:
    """A progress bar over epochs on stderr: `bar.update()` and `bar.set_postfix_str(losses_text(losses))` after each.

    If stderr is not a terminal, there is no bar, because it would fill a log; there, the lines of `say` show the
    progress.

    Args:
      total: maximum number of epochs.
      done: number of finished epochs of a resumed run.
    """
    return tqdm(total=total, initial=done, desc="epochs", unit="epoch", dynamic_ncols=True, leave=False, disable=None)


def row_progress(total: int, what: str) -> Bar:
    """A progress bar over the rows of an evaluation on stderr, if it is a terminal: `bar.update(number)`."""
    return tqdm(total=total, desc=what, unit="row", dynamic_ncols=True, leave=False, disable=None)


def say(line: str) -> None:
    """Prints a line on stdout, above the progress bar, if any."""
    tqdm.write(printable(line))
    sys.stdout.flush()


def warn(line: str) -> None:
    """Prints a warning line on stderr, above the progress bar, if any."""
    tqdm.write(printable(f"warning: {line}"), file=sys.stderr)


def losses_text(losses: Mapping[str, float]) -> str:
    """The parts of the loss in one line: "rec 0.4123  kg 0.6612  total 1.0735"."""
    return "  ".join(f"{name} {float(value):.4f}" for name, value in losses.items())


def epoch_line(
    epoch: int,
    losses: Mapping[str, float],
    dev: Mapping[str, float] | None,
    *,
    best_epoch: int,
    best_score: float,
    seconds: float,
) -> str:
    """Formats one evaluation as one line.

    Args:
      epoch: number of the epoch.
      losses: mean of each part of the training loss.
      dev: metrics on the dev split; None if it was not evaluated.
      best_epoch, best_score: the best epoch so far, possibly this one, and its dev NDCG@5.
      seconds: duration of the epoch and its evaluation.
    """
    if dev is None:
        return f"epoch {epoch:>3}  {losses_text(losses)}  {seconds:.1f} s"
    standing = "(best)" if best_epoch == epoch else f"(best {best_score:.4f}, epoch {best_epoch})"
    metrics = "  ".join(f"{name} {float(value):.4f}" for name, value in dev.items())
    return f"epoch {epoch:>3}  {losses_text(losses)}  dev {metrics} {standing}  {seconds:.1f} s"


def results_table(dev: Mapping[str, float], test: Mapping[str, float], title: str | None = None) -> Table:
    """The metrics of the best epoch as a table with one row per split, for `print_table`."""
    table = Table(title=title and printable(title))
    table.add_column("split")
    for name in test:
        table.add_column(name, justify="right")
    for split, metrics in (("dev", dev), ("test", test)):
        table.add_row(split, *(f"{float(metrics[name]):.4f}" for name in test))
    return table


def summary_table(
    dev: Sequence[Mapping[str, float]], test: Sequence[Mapping[str, float]], title: str | None = None
) -> Table:
    """Mean and standard deviation (dividing by n - 1) of the metrics of two or more seeds, one row for each and split.

    Args:
      dev, test: for every seed, the metrics of its best epoch.
      title: title of the table.
    """
    table = Table(title=title and printable(title))
    table.add_column("split")
    for name in test[0]:
        table.add_column(name, justify="right")
    for split, seeds in (("dev", dev), ("test", test)):
        values = np.array([[metrics[name] for name in test[0]] for metrics in seeds])  # [seeds, metrics]
        for statistic, row in (("mean", values.mean(axis=0)), ("standard deviation", values.std(axis=0, ddof=1))):
            table.add_row(f"{split}, {statistic}", *(f"{value:.4f}" for value in row))
    return table
