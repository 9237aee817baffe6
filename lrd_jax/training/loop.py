"""A whole run: trains one seed, or several at once, with early stopping, and tests the best epoch of each."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

import jax

from lrd_jax.config.schema import Config
from lrd_jax.config.toml_file import config_difference, load_config
from lrd_jax.models.system import Params
from lrd_jax.runs.folder import check_run_folders
from lrd_jax.runs.locks import held
from lrd_jax.terminal.lines import Bar, epoch_progress, losses_text, say
from lrd_jax.training import multi_seed
from lrd_jax.training.announce import announce, failure_of, seed_names, show_results
from lrd_jax.training.epoch import TrainState
from lrd_jax.training.load import check_dataset_is_there, load_params
from lrd_jax.training.seed_run import AfterEpoch, SeedRun
from lrd_jax.training.setup import Setup, assemble, resolve

Metrics = dict[str, dict[str, float]]


def train_and_evaluate(config: Config, *, resume: bool = False) -> Metrics:
    """Trains with early stopping on dev, tests the best epoch, and writes everything to the run folder.

    Args:
      config: all options.
      resume: continue the run in the run folder.

    Returns:
      {"dev": {"HR@5": ...}, "test": {...}} of the best epoch; {} for a refit, of which nothing is evaluated.

    Raises:
      UserError: the input is bad, the run folder is not writable or has another run, or the loss is not finite.
    """
    return train_seeds([config], resume=resume)[0]


def train_without_test(config: Config, *, resume: bool, after_epoch: AfterEpoch) -> tuple[int, float]:
    """Trains with early stopping on dev, without the test split, to choose among configurations.

    The caller must hold the lock of the run folder (`locks.claimed`).

    Args:
      config: all options.
      resume: continue the run in the run folder.
      after_epoch: see `SeedRun`; an exception from it ends the run, which can be resumed.

    Returns:
      The best epoch and its dev NDCG@5.

    Raises:
      UserError: as for `train_and_evaluate`.
    """
    config = resolve(config)
    (resumed,) = check_run_folders([config], resume)
    run = assemble(config)
    config = run.config  # with the width of the text embeddings
    with contextlib.closing(SeedRun(config, run, resume=resumed, params=_start(run), after_epoch=after_epoch)) as seed:
        announce(run)
        _train(run, [seed])
    if seed.failure is not None:
        raise seed.failure
    return seed.best


def train_seeds(configs: Sequence[Config], *, resume: bool = False) -> list[Metrics]:
    """`train_and_evaluate` with several seeds, as many at once as fit in memory.

    Each run folder gets the same contents as a run with only this seed, up to rounding of sums.

    Args:
      configs: one per seed; they differ only in seed and run folder.
      resume: continue the runs in the run folders; seeds without a run start one, but at least one must have a run.

    Returns:
      The metrics of each seed.

    Raises:
      UserError: as for `train_and_evaluate`; if a seed fails during training, this is raised after the others finish.
    """
    configs = [resolve(config) for config in configs]
    if any(check_run_folders(configs, resume)):  # before a folder is made
        check_dataset_is_there(configs[0])
    with contextlib.ExitStack() as locks:
        for config in configs:
            locks.enter_context(held(config.run_folder))
        return train_held_seeds(configs, resume=resume)


def train_held_seeds(configs: Sequence[Config], *, resume: bool = False) -> list[Metrics]:
    """`train_seeds` for a caller that holds the locks of the run folders (`locks.claimed`)."""
    configs = [resolve(config) for config in configs]
    resumed = check_run_folders(configs, resume)
    run = assemble(configs[0])
    configs = [config.model_copy(update={"text": run.config.text}) for config in configs]  # with the width
    width = max(len(str(config.run.seed)) for config in configs)
    start, seeds = _start(run), []  # also for resumed runs, which may have been killed before their first checkpoint
    with contextlib.ExitStack() as opened:
        for config, resumes in zip(configs, resumed, strict=True):
            label = f"seed {config.run.seed:>{width}}  " if len(configs) > 1 else ""
            seed = SeedRun(config, run, resume=resumes, label=label, params=start)
            seeds.append(opened.enter_context(contextlib.closing(seed)))

        if going := [seed for seed in seeds if seed.results is None]:
            announce(run)
            at_once = _seeds_at_once(run, sum(seed.goes_on for seed in going))
            for first in range(0, len(going), at_once):
                group = going[first : first + at_once]
                _train(run, group)
                _finish(group)

    show_results(seeds)
    if failed := [seed for seed in seeds if seed.failure is not None]:
        raise failure_of(seeds, failed)
    return [{split: seed.tested[split] for split in ("dev", "test") if split in seed.tested} for seed in seeds]


def _start(run: Setup) -> Params | None:
    """The parameters of run.init_from; None if it is not set."""
    folder = run.config.run.init_from
    if folder is None:
        return None
    params = load_params(folder, jax.eval_shape(run.init).params)
    changes = config_difference(load_config(folder / "config.toml"), run.config)
    changed = [f"{key} {before} -> {now}" for key, before, now in changes if key.startswith("model.")]
    say(f"starting from the best parameters of {folder}" + (f"; now {', '.join(changed)}" if changed else ""))
    return params


def _train(run: Setup, seeds: Sequence[SeedRun]) -> None:
    """Trains several seeds at once, each until it stops."""
    epochs, done = sum(seed.config.run.epochs for seed in seeds), sum(seed.epoch for seed in seeds)
    with epoch_progress(epochs, done) as bar:
        if going := [seed for seed in seeds if seed.goes_on]:
            states = multi_seed.stack(run, [seed.take_state() for seed in going])
        while going:
            states = _train_epoch(run, going, states, bar)
            going = [seed for seed in going if seed.goes_on]


def _finish(seeds: Sequence[SeedRun]) -> None:
    """Tests the best epoch of each seed that has not failed."""
    for seed in seeds:
        if seed.failure is None:
            with seed.or_fail():
                seed.finish()


def _train_epoch(run: Setup, seeds: Sequence[SeedRun], states: TrainState, bar: Bar) -> TrainState:
    """Trains seeds for their next epoch and evaluates them on dev; returns the states of those that continue."""
    started = time.perf_counter()
    numbers, epochs = [seed.seed for seed in seeds], [seed.epoch + 1 for seed in seeds]
    states, losses = multi_seed.train_epoch(run, states, numbers, epochs)
    counts = multi_seed.evaluate(run, states.params, "dev", len(seeds))
    results = multi_seed.unstack(jax.device_get((states, losses, counts)), len(seeds))
    seconds = (time.perf_counter() - started) / len(seeds)
    for seed, (state, losses, counts) in zip(seeds, results, strict=True):
        with seed.or_fail():
            totalled, line = seed.record(state, losses, counts, seconds)
            say(line)
            bar.set_postfix_str(seed.label + losses_text(totalled))
            bar.update()
    kept = [n for n, seed in enumerate(seeds) if seed.goes_on]
    if len(kept) in (0, len(seeds)):
        return states
    stopped, others = [seed for seed in seeds if not seed.goes_on], [seeds[n] for n in kept]
    say(f"{seed_names(stopped)} stopped; the next epoch includes compilation for {seed_names(others)}.")
    return multi_seed.stack(run, [results[n][0] for n in kept])


def _seeds_at_once(run: Setup, number: int) -> int:
    """How many of `number` seeds to train at once, by the memory that the compiled programs need."""
    if number <= 1:
        say("The first epoch includes compilation.")
        return 1
    started = time.perf_counter()
    needed, available = multi_seed.bytes_needed(run, number), multi_seed.bytes_available()
    at_once = multi_seed.seeds_at_once(number, needed, available)
    if available is None or at_once == number:
        how = f"All {number} seeds at once, compiled in {time.perf_counter() - started:.1f} s;"
    else:
        memory = f"{needed / 1e9:.2f} GB of memory and {available / 1e9:.2f} GB are free"
        how = f"{number} seeds would take {memory}: {at_once} at once;"
    say(f"{how} an epoch's seconds are divided among them.")
    return at_once
