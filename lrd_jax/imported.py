"""Weights of the published code as a run: a state dict becomes a run folder like one that training leaves."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lrd_jax.assemble import assemble, resolve
from lrd_jax.config import Config
from lrd_jax.config_file import config_of
from lrd_jax.data.corpus import Corpus
from lrd_jax.data.movielens import ensure_ml_100k
from lrd_jax.data.rechorus import read_corpus
from lrd_jax.errors import UserError, told_of
from lrd_jax.locks import held
from lrd_jax.published import PUBLISHED, TEXT, from_published
from lrd_jax.published_sizes import contradictions, options_of_sizes
from lrd_jax.seed_run import SeedRun
from lrd_jax.state_file import read_arrays
from lrd_jax.writer import TEXT_FILE, check_run_folder

BIAS = "item_bias.weight"


def import_state(path: Path, config: Config) -> dict[str, Any]:
    """Makes a run folder of a state dict and tests it: its weights are the run's best epoch, numbered 0.

    The frozen text embeddings of an LRD model are kept in the run folder (text.npy), and the encoder is file: they are
    what the weights were trained with, whatever the dataset's own texts and encoder are.

    Args:
      path: .npz or .safetensors, by the names of the published code.
      config: of the run. What the shapes tell need not be stated; heads, passes and pooling cannot be told by shapes.

    Returns:
      What results.json holds of "dev", "test" and "best_epoch".

    Raises:
      UserError: the file cannot be read; a parameter is unknown, missing, of a shape that does not fit the dataset, or
        not finite; the configuration contradicts the shapes; the run folder holds a run or cannot be written.
    """
    folder, model = resolve(config).run_folder, config.model.name
    if model not in PUBLISHED:
        remedy = f"Choose one of {', '.join(PUBLISHED)}"
        raise UserError(f"no weights of {model} were published", field="model.name", remedy=remedy)
    check_run_folder(folder, resolve(config), resume=False)
    with held(folder):
        return _import(path, config)


def _import(path: Path, config: Config) -> dict[str, Any]:
    """`import_state` in a run folder that is held."""
    model, state = config.model.name, read_arrays(path)
    data_folder = config.data.path if config.data.path is not None else ensure_ml_100k()
    with told_of(path):
        state = {name: _checked(name, value) for name, value in state.items()}
        config = resolve(_with_sizes(config, state, read_corpus(data_folder), data_folder))
    text = state.pop(TEXT, None) if config.uses_text else None
    if text is not None:
        _write_text(config.text.file, text)
    run = assemble(config)
    if BIAS in state:
        state[BIAS] = state[BIAS][: run.corpus.num_items + 1]  # the published table has a row to spare
    with told_of(path):
        params = from_published(model, state, jax.eval_shape(run.init).params)
    with contextlib.closing(SeedRun(run.config, run, resume=False, params=params)) as seed:
        seed.adopt()
        return seed.results


def _checked(name: str, value: np.ndarray) -> np.ndarray:
    """A parameter as float32."""
    if value.dtype.kind != "f" and value.dtype.name != "bfloat16":
        raise UserError(f"expected floating-point numbers, got {value.dtype}", field=name)
    value = value.astype(np.float32)
    if not np.isfinite(value).all():
        raise UserError("it holds NaN or infinity", field=name)
    return value


def _with_sizes(config: Config, state: dict[str, np.ndarray], corpus: Corpus, data: Path) -> Config:
    """The configuration with what the state's shapes tell, once these have been found to fit the dataset."""
    model, shapes = config.model.name, {name: value.shape for name, value in state.items()}
    options = options_of_sizes(model, shapes)
    _check_rows(shapes, corpus, data, has_latent=config.model.discovers_relations)
    if config.model.discovers_relations:
        options["model.num_latent_relations"] = shapes["relation_embeddings.weight"][0] - corpus.num_defined_relations
        if state[TEXT][0].any():
            raise UserError("row 0, which is padding, is not zero", field=TEXT)
        options |= {"text.scale": 1.0, "model.classifier_input": "text"}
    if problems := contradictions(config, options):
        remedy = "Leave these options out, or choose the state that belongs to them"
        raise UserError(f"the options contradict the weights: {'; '.join(problems)}", remedy=remedy)
    if config.model.discovers_relations:
        options |= {"text.encoder": "file", "text.model": None, "text.file": config.run_folder / TEXT_FILE}
    return config_of(options, config)


def _check_rows(shapes: dict[str, tuple[int, ...]], corpus: Corpus, data: Path, *, has_latent: bool) -> None:
    """Refuses tables that have other numbers of rows than the dataset has users, items, entities and relations."""
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
            problem = f"it has shape {shapes[name]}, but {data} ({counts}) takes {wanted}"
            raise UserError(problem, field=name, remedy="Name the dataset that the weights were trained on")
    name, defined = "relation_embeddings.weight", corpus.num_defined_relations
    num_latent = shapes[name][0] - defined if name in shapes else None
    if num_latent is not None and (num_latent < 1 if has_latent else num_latent != 0):
        more = ", and there is at least one latent one" if has_latent else ""
        problem = f"it has shape {shapes[name]}, but {data} defines {defined} relations, the virtual one included{more}"
        raise UserError(problem, field=name, remedy="Name the dataset that the weights were trained on")


def _write_text(path: Path, text: np.ndarray) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, text[1:], allow_pickle=False)
    except OSError as error:
        problem = f"the run folder cannot be written ({error.strerror})"
        raise UserError(problem, file=path.parent, remedy="Choose another with --out") from error
