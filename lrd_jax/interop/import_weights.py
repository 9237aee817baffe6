"""Imports weights of the published code: turns a state dict into a run folder like that of a trained run."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lrd_jax.config.schema import Config
from lrd_jax.config.toml_file import config_of, stated_options
from lrd_jax.data.corpus import Corpus
from lrd_jax.data.rechorus import read_corpus
from lrd_jax.data.sources.movielens import ensure_ml_100k
from lrd_jax.errors import UserError, told_of
from lrd_jax.interop.infer_sizes import Shapes, as_words, contradictions, options_of_sizes, size, untold_options
from lrd_jax.interop.parameter_names import BIAS, PUBLISHED, TEXT, from_published
from lrd_jax.interop.score_check import check_scores
from lrd_jax.interop.state_file import read_arrays
from lrd_jax.runs.folder import TEXT_FILE, check_run_folder, holds_run
from lrd_jax.runs.locks import held
from lrd_jax.terminal.lines import say
from lrd_jax.training.seed_run import SeedRun
from lrd_jax.training.setup import assemble, resolve


def import_state(
    path: Path, config: Config, *, assume_published: bool = False, check: Path | None = None
) -> dict[str, Any]:
    """Makes a run folder from a state dict and tests it; its weights become the run's best epoch, number 0.

    The frozen text embeddings of an LRD model are stored in the run folder (text.npy), with encoder "file", because the
    weights were trained with them, whatever the dataset's texts and encoder.

    Args:
      path: .npz, .safetensors, .pt or .pth, with the parameter names of the published code.
      config: configuration of the run. Options that follow from the shapes may be left out; those of `untold_options`
        are required.
      assume_published: use the published values of required options that are not set, and print them.
      check: scores and ranks of the published code that the model's must equal (`check_scores`); if they differ,
        nothing is written.

    Returns:
      "dev", "test" and "best_epoch" of results.json.

    Raises:
      UserError: the file cannot be read; a parameter is unknown, missing, not finite, or has a shape that does not fit
        the dataset; the configuration contradicts the shapes, or lacks a required option; a score differs from
        `check`; or the run folder already has a run or cannot be written.
    """
    folder, model = resolve(config).run_folder, config.model.name
    if model not in PUBLISHED:
        remedy = f"Choose one of {', '.join(PUBLISHED)}"
        raise UserError(f"the published code has no model {model}", field="model.name", remedy=remedy)
    if holds_run(folder):
        remedy = "Choose another folder with --run.workdir"
        raise UserError("the folder already holds a run", file=folder, field="run.workdir", remedy=remedy)
    check_run_folder(folder, resolve(config), resume=False)
    with held(folder):
        return _import(path, config, assume_published, check)


def _import(path: Path, config: Config, assume_published: bool, check: Path | None) -> dict[str, Any]:
    """`import_state` in a locked run folder."""
    model, state = config.model.name, read_arrays(path)
    with told_of(path):
        state = {name: _checked(name, value) for name, value in state.items()}
        config = _completed(config, {name: value.shape for name, value in state.items()}, assume_published)
        data_folder = config.data.path if config.data.path is not None else ensure_ml_100k()
        config = resolve(_fitted(config, state, read_corpus(data_folder), data_folder))
    text = state.pop(TEXT, None) if config.model.discovers_relations else None
    run = assemble(config, text=text)
    if BIAS in state:
        state[BIAS] = state[BIAS][: run.corpus.num_items + 1]  # the paper's code has an extra row
    with told_of(path):
        params = from_published(model, state, jax.eval_shape(run.init).params)
    if check is not None:
        checked = check_scores(check, run, jax.device_put(params, run.arrays.examples.sharding))
        if not checked.agrees:
            untold = ", ".join(untold_options(model, {name: value.shape for name, value in state.items()}))
            remedy = "No run folder was made" + (
                f"; try other values of the options that do not follow from the shapes: {untold}" if untold else ""
            )
            raise UserError(str(checked), file=check, field="--check", remedy=remedy)
        say(f"check: {checked}")
    if text is not None:
        assert run.config.text.file is not None  # see `_fitted`
        _write_text(run.config.text.file, text)
    with contextlib.closing(SeedRun(run.config, run, resume=False, params=params)) as seed:
        seed.adopt()
        return seed.tested


def _checked(name: str, value: np.ndarray) -> np.ndarray:
    """A parameter as float32."""
    if value.dtype.kind != "f" and value.dtype.name != "bfloat16":
        raise UserError(f"expected floating-point numbers, got {value.dtype}", field=name)
    value = value.astype(np.float32)
    if not np.isfinite(value).all():
        raise UserError("it contains NaN or infinity", field=name)
    return value


def _completed(config: Config, shapes: Shapes, assume_published: bool) -> Config:
    """The configuration with the options that follow from the shapes, and with the others, given or assumed."""
    model = config.model.name
    options = options_of_sizes(model, shapes)
    if TEXT in shapes and config.model.discovers_relations:
        options |= {"text.scale": 1.0, "model.classifier_input": "text"}
    _refuse_contradictions(config, options)
    stated = stated_options(config)
    untold = {option: value for option, value in untold_options(model, shapes).items() if option not in stated}
    if untold and not assume_published:
        problem = f"options that do not follow from the weights of {model} are missing; published: {as_words(untold)}"
        remedy = "Give each of them, or use the published values with --assume-published"
        raise UserError(problem, remedy=remedy)
    if untold:
        say(f"assumed as published: {as_words(untold)}")
    return config_of(options | untold, config)


def _fitted(config: Config, state: dict[str, np.ndarray], corpus: Corpus, data: Path) -> Config:
    """The configuration with the options that follow from shapes and dataset; checks that the two fit."""
    shapes = {name: value.shape for name, value in state.items()}
    options: dict[str, Any] = {}
    discovers = config.model.discovers_relations
    _check_rows(shapes, corpus, data, has_latent=discovers)
    if discovers:
        number = size(shapes, "relation_embeddings.weight", 0) - corpus.num_defined_relations
        options = {"model.num_latent_relations": number}
        _refuse_contradictions(config, options)
    if TEXT in state and discovers:
        if state[TEXT][0].any():
            raise UserError("row 0 (padding) is not zero", field=TEXT)
        options |= {"text.encoder": "file", "text.model": None, "text.file": config.run_folder / TEXT_FILE}
    return config_of(options, config)


def _refuse_contradictions(config: Config, options: dict[str, Any]) -> None:
    if problems := contradictions(config, options):
        remedy = "Leave these options out, or choose the matching state file"
        raise UserError(f"the options contradict the weights: {'; '.join(problems)}", remedy=remedy)


def _check_rows(shapes: dict[str, tuple[int, ...]], corpus: Corpus, data: Path, *, has_latent: bool) -> None:
    """Rejects tables whose numbers of rows differ from the dataset's users, items, entities and relations."""
    users, items = corpus.num_users + 1, corpus.num_items + 1
    expected = {
        "user_embeddings.weight": (users,),
        "u_embeddings.weight": (users,),
        "i_embeddings.weight": (items,),
        TEXT: (items,),
        BIAS: (items, items + 1),
        "entity_embeddings.weight": (corpus.num_entities,),
    }
    counts = f"{corpus.num_users} users, {corpus.num_items} items, {corpus.num_entities} entities and padding"
    for name, rows in expected.items():
        if name in shapes and shapes[name][:1] not in {(number,) for number in rows}:
            wanted = (rows[0], *shapes[name][1:])
            problem = f"it has shape {shapes[name]}, but {data} ({counts}) needs {wanted}"
            raise UserError(problem, field=name, remedy="Give the dataset that the weights were trained on")
    name, defined = "relation_embeddings.weight", corpus.num_defined_relations
    num_latent = shapes[name][0] - defined if name in shapes else None
    if num_latent is not None and (num_latent < 1 if has_latent else num_latent != 0):
        more = ", and there is at least one latent one" if has_latent else ""
        problem = f"it has shape {shapes[name]}, but {data} defines {defined} relations with the virtual one{more}"
        raise UserError(problem, field=name, remedy="Give the dataset that the weights were trained on")


def _write_text(path: Path, text: np.ndarray) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, text[1:], allow_pickle=False)
    except OSError as error:
        problem = f"the run folder cannot be written ({error.strerror})"
        raise UserError(problem, file=path.parent, remedy="Choose another with --run.workdir") from error
