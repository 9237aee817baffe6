"""The command line of `python -m lrd_jax.recommend`."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Annotated

import tyro

from lrd_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class RecommendFlags:
    """Recommend items with a trained run: for a user with all interactions, for a history, or for a file of them.

    Items are named by id or by title; a title that is not exact is matched to the most similar one, and the match is
    printed."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder of `train`."""
    user: str | None = None
    """Id of a user of the dataset, as the source has it."""
    history: tuple[str, ...] = ()
    """Items of anybody's history, oldest first."""
    input: Path | None = None
    """CSV, Parquet or JSON-lines file with a column user, or a column history and perhaps times (in CSV with | between
    the items)."""
    output: Path | None = None
    """CSV, Parquet or JSON-lines file for the lists. None: a table on the terminal."""
    k: int = 10
    """How many items a list has."""
    keep_seen: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Recommend items of the history too."""
    filter: tuple[str, ...] = ()
    """FIELD=VALUE: only items that have this value in this field, such as genre=Comedy; several must all hold."""
    candidates: tuple[str, ...] = ()
    """Only these items."""
    retrieve: int | None = None
    """Rank only this many items, those that --by puts first: for large catalogues. None: rank all."""
    by: str = "item_knn"
    """What retrieves: item_knn, text, or the folder of a run of a sequence model."""
    explain: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Say what each item of the history adds to the score, through each relation for RCF and KDA."""
    remove: tuple[str, ...] = ()
    """What if these items were not in the history? The ranks with them are shown too."""
    add: tuple[str, ...] = ()
    """What if these items had come last in the history? The ranks without them are shown too."""
    new_items: Path | None = None
    """CSV, Parquet or JSON-lines file of items without interactions to recommend too: item, text, attributes."""
    data: Annotated[Path | None, tyro.conf.arg(name="data.path", metavar="FOLDER")] = None
    """Where the run's dataset is now, for one that was moved. None: where it was in training."""

    def check(self) -> None:
        """Refuses flags that do not fit together.

        Raises:
          UserError: of the first mistake.
        """
        from lrd_jax.data.requests import check_kind

        given = [self.user is not None, bool(self.history), self.input is not None]
        if sum(given) != 1:
            problem = "nobody to recommend for" if not any(given) else "several of --user, --history and --input"
            raise UserError(problem, remedy="Give one of --user ID, --history ITEM ..., --input FILE")
        if self.input is not None:
            check_kind(self.input, "--input")
            if self.output is None:
                raise UserError("no file for the lists", field="--output", remedy="Name one, such as lists.csv")
        if self.output is not None:
            check_kind(self.output, "--output")
            if not self.output.absolute().parent.is_dir():
                remedy = "Name a file in a folder that exists"
                raise UserError("the folder does not exist", file=self.output, field="--output", remedy=remedy)
        for value, option in ((self.k, "--k"), (1 if self.retrieve is None else self.retrieve, "--retrieve")):
            if value < 1:
                raise UserError(f"expected a number from 1, got {value}", field=option)
        for condition in self.filter:
            if not condition.partition("=")[2]:
                raise UserError(f"expected FIELD=VALUE, got {condition!r}", field="--filter")


def parse_flags() -> RecommendFlags:
    """Read the command line of the process.

    Raises:
      UserError: flags that do not fit together.
      SystemExit: after --help (0), or after tyro has explained a misspelt or malformed argument on stderr (2).
    """
    description = inspect.getdoc(RecommendFlags)
    flags = tyro.cli(RecommendFlags, prog="python -m lrd_jax.recommend", description=description)
    flags.check()
    return flags
