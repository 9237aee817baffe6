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
        "filter": conditions(run.dataset.facts, flags.filter) if flags.filter else None,
        "retrieve": flags.retrieve,
        "by": flags.by,
    }
    finder = run.dataset.finder
    changes: dict[str, Any] = {"remove": named_items(finder, flags.remove), "add": named_items(finder, flags.add)}
    if flags.output is not None:
        whose = [_of_one(run, flags)] if flags.input is None else map(_of_part, read_requests(flags.input))
        frames = (run.recommend(**each, **options, **changes, explain=flags.explain) for each in whose)
        say(f"{write_parts(flags.output, frames):,} rows in {quoted(flags.output)}")
        return
    one = _of_one(run, flags)
    changed = bool(flags.remove or flags.add)
    before = run.recommend(**one, **{**options, "k": run.dataset.corpus.num_items}) if changed else None
    title = f"{run.config.model_title} for " + (f"user {flags.user}" if flags.user is not None else "this history")
    print_lists(run.recommend(**one, **options, **changes), title, before)
    if flags.explain:
        print_reasons(run.recommend(**one, **options, **changes, explain=True))


def _of_one(run: Run, flags: RecommendFlags) -> dict[str, Any]:
    """The user or the history that the flags name, as `Run.recommend` takes them."""
    from lrd_jax.data.find_items import named_items

    if flags.user is not None:
        return {"users": [flags.user]}
    return {"histories": [named_items(run.dataset.finder, flags.history)]}


def _of_part(part: pl.DataFrame) -> dict[str, Any]:
    """The users or histories of a part of a file, as `Run.recommend` takes them."""
    if "user" in part.columns:
        return {"users": part["user"]}
    times = {"times": part["times"].to_list()} if "times" in part.columns else {}
    return {"histories": part["history"].to_list(), **times}


if __name__ == "__main__":
    run_command(main)
