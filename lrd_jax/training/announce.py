"""Training's terminal output other than epochs: the model and dataset, the results, and failures."""

from __future__ import annotations

from collections.abc import Sequence

import jax
from rich.markup import escape

from lrd_jax.config.schema import Config
from lrd_jax.errors import UserError, quoted
from lrd_jax.terminal.lines import results_table, say, summary_table, warn
from lrd_jax.terminal.tables import print_table
from lrd_jax.training.seed_run import SeedRun
from lrd_jax.training.setup import Setup


def announce(run: Setup) -> None:
    """Prints one line with model and dataset, then the notices about the dataset."""
    say(_describe(run))
    for notice in run.notices:
        warn(notice["text"])


def _describe(run: Setup) -> str:
    corpus, device = run.corpus, jax.devices()[0].device_kind
    num_params = sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(run.init).params))
    return (
        f"{run.config.model_title} on {corpus.name}: {corpus.num_users:,} users, {corpus.num_items:,} items, "
        f"{len(corpus.sequence_items):,} interactions; {num_params:,} parameters; {jax.device_count()} x {device}"
    )


def show_results(seeds: Sequence[SeedRun]) -> None:
    """Prints the table of each finished seed; for several seeds, also their mean and standard deviation."""
    finished = [seed for seed in seeds if seed.results is not None]
    for seed in finished:
        which = f", {seed_names([seed])}" if len(seeds) > 1 else ""
        title = f"{_title(seed.config)}{which}, best epoch {seed.tested['best_epoch']}"
        if seed.config.untestable:
            say(f"{_title(seed.config)}{which}, {seed.config.untestable}")
        else:
            print_table(results_table(seed.tested["dev"], seed.tested["test"], title=escape(title)))
        say(f"results in {quoted(seed.config.run_folder)}")
    if len(finished) > 1 and not finished[0].config.untestable:
        title = f"{_title(seeds[0].config)}, {seed_names(finished)}"
        splits = {split: [seed.tested[split] for seed in finished] for split in ("dev", "test")}
        print_table(summary_table(**splits, title=escape(title)))


def failure_of(seeds: Sequence[SeedRun], failed: Sequence[SeedRun]) -> UserError:
    """The error that ends the command: the failure of the only seed, or all failures of several in one message."""
    if len(seeds) == 1:
        failure = failed[0].failure
        assert failure is not None
        return failure
    told = " ".join(f"{seed_names([seed]).capitalize()}: {seed.failure}" for seed in failed)
    return UserError(f"{len(failed)} of {len(seeds)} seeds failed, {seed_names(failed)}. {told}".rstrip("."))


def seed_names(seeds: Sequence[SeedRun]) -> str:
    """The seeds in words, such as "seeds 0, 2"."""
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(str(seed.seed) for seed in seeds)}"


def _title(config: Config) -> str:
    return f"{config.model_title} on {config.dataset_name}"
