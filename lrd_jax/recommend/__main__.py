"""Recommendations of a trained run: `python -m lrd_jax.recommend RUN --user 196`."""

from __future__ import annotations

if __name__ == "__main__":
    from lrd_jax.command_line.begin import begin

    begin()

from typing import TYPE_CHECKING, Any

from lrd_jax.command_line.parse import run_command
from lrd_jax.recommend.flags import RecommendFlags, parse_flags

if TYPE_CHECKING:
    import polars as pl

    from lrd_jax.api.run import Run


def main() -> None:
    """Parse the command line, recommend; jax is imported only after that, so that --help answers at once."""
    flags = parse_flags()
    from lrd_jax.command_line.jax_setup import set_up_jax

    set_up_jax(None)
    recommend(flags)


def recommend(flags: RecommendFlags) -> None:
    """Recommends for one user or history and prints a table, or for a file and writes a file.

    Raises:
      UserError: no run in the folder, an unknown user or item, or a file that cannot be read or written.
    """
    from lrd_jax.api.run import load_run
    from lrd_jax.data.find_items import named_items
    from lrd_jax.data.new_items import read_new_items
    from lrd_jax.data.requests import read_requests, write_parts
    from lrd_jax.errors import quoted
    from lrd_jax.ranking.frames import conditions
    from lrd_jax.terminal.lines import say
    from lrd_jax.terminal.lists import print_lists, print_reasons

    run = load_run(flags.run, data=flags.data)
    if flags.new_items is not None:
        run = run.with_new_items(read_new_items(flags.new_items))
    options: dict[str, Any] = {
        "k": flags.k,
        "exclude_seen": not flags.keep_seen,
        "candidates": named_items(run.dataset.finder, flags.candidates) if flags.candidates else None,
        "where": conditions(run.dataset.facts, flags.where) if flags.where else None,
        "retrieve": flags.retrieve,
        "by": flags.by,
    }
    changes = {
        "remove": named_items(run.dataset.finder, flags.remove),
        "add": named_items(run.dataset.finder, flags.add),
    }
    if flags.input is not None and flags.output is not None:
        parts = read_requests(flags.input)
        frames = (lists(run, _whose(part), options, changes, explain=flags.explain) for part in parts)
        rows = write_parts(flags.output, frames)
        say(f"{rows:,} rows in {quoted(flags.output)}")
        return
    whose = (
        {"users": [flags.user]}
        if flags.user is not None
        else {"histories": [named_items(run.dataset.finder, flags.history)]}
    )
    found = lists(run, whose, options, changes, explain=False)
    if flags.output is not None:
        frame = explained(run, found, whose, changes) if flags.explain else found
        say(f"{write_parts(flags.output, [frame]):,} rows in {quoted(flags.output)}")
        return
    before = None
    if flags.remove or flags.add:
        everything = {**options, "k": run.dataset.corpus.num_items}
        before = lists(run, whose, everything, {}, explain=False)
    title = f"{run.config.model_title} for " + (f"user {flags.user}" if flags.user is not None else "this history")
    print_lists(found, title, before)
    if flags.explain:
        print_reasons(explained(run, found, whose, changes))


def lists(
    run: Run, whose: dict[str, Any], options: dict[str, Any], changes: dict[str, Any], *, explain: bool
) -> pl.DataFrame:
    """The lists of users or histories, or the reasons of their items."""
    found = run.recommend(**whose, **options, **changes)
    return explained(run, found, whose, changes) if explain else found


def explained(run: Run, found: pl.DataFrame, whose: dict[str, Any], changes: dict[str, Any]) -> pl.DataFrame:
    """What `Run.explain` returns for the items of lists, with their ranks."""
    import polars as pl

    name = found.columns[0]
    number = len(next(iter(whose.values())))
    if name == "user":
        places = pl.DataFrame({"user": pl.Series(whose["users"], dtype=pl.String), "_place": range(number)})
        placed = found.join(places.unique("user", keep="first"), on="user", how="left", maintain_order="left")
    else:
        placed = found.with_columns(_place=pl.col("row"))
    by_place = dict(placed.group_by("_place").agg("item").iter_rows())
    reasons = run.explain(**whose, items=[by_place.get(place, []) for place in range(number)], **changes)
    ranks = found.select(name, "rank", candidate="item").unique([name, "candidate"], keep="first")
    return reasons.join(ranks, on=[name, "candidate"], how="left", maintain_order="left")


def _whose(part: pl.DataFrame) -> dict[str, Any]:
    if "user" in part.columns:
        return {"users": part["user"]}
    times = {"times": part["times"].to_list()} if "times" in part.columns else {}
    return {"histories": part["history"].to_list(), **times}


if __name__ == "__main__":
    run_command(main)
