"""Exports a run's weights as a state dict of the published code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np

from lrd_jax.config.schema import Config
from lrd_jax.config.toml_file import flatten
from lrd_jax.errors import UserError
from lrd_jax.interop.infer_sizes import untold_options
from lrd_jax.interop.parameter_names import PUBLISHED, TEXT, state_of
from lrd_jax.interop.state_file import check_can_write, write_arrays
from lrd_jax.training.load import load_trained


def export_run(folder: Path, out: Path) -> dict[str, Any]:
    """Writes the weights of a run's best epoch with the published names and layouts.

    Args:
      folder: the run folder.
      out: .npz, .safetensors or, if torch is installed, .pt; the published code can load the state dict directly.

    Returns:
      The options that affect ranks but do not follow from the file's shapes, {"section.option": value}.

    Raises:
      UserError: there is no run, its dataset is missing or has changed, the published code has no such model, or the
        file exists or cannot be written.
    """
    check_can_write(out, "--out")
    trained = load_trained(folder)
    config = trained.config
    _refuse_unpublished(config, folder)
    state = state_of(config.model.name, jax.device_get(trained.params))
    if config.uses_text:
        state[TEXT] = np.asarray(trained.run.arrays.tables.text, np.float32)
    write_arrays(out, state)
    values = flatten(config)
    return {
        option: values[option] for option in untold_options(config.model.name, {n: x.shape for n, x in state.items()})
    }


def _refuse_unpublished(config: Config, folder: Path) -> None:
    """Rejects models that the published code does not have."""
    model = config.model
    if model.name not in PUBLISHED:
        remedy = f"Choose a run of one of {', '.join(PUBLISHED)}"
        raise UserError(f"the published code has no model {model.name}", file=folder, remedy=remedy)
    remedy = "Export a run without it"
    if config.uses_classifier and model.classifier_input != "text":
        problem = f"the published code has no classifier_input {model.classifier_input}"
        raise UserError(problem, file=folder, field="model.classifier_input", remedy=remedy)
    if model.discovers_relations and model.relation_prior != "none":
        problem = "the published code has no relation_prior, so the ranks would differ"
        raise UserError(problem, file=folder, field="model.relation_prior", remedy=remedy)
