"""Sequential recommendation with latent relations from language models, in JAX (SIGIR 2024).

Dimension letters, used in every shape comment and docstring of this package:
B batch, C candidates, H history, R relations (virtual, item-item, attribute, latent, in this order),
A attribute relations, V values of an item per attribute, K latent relations, D embedding, T text embedding,
F frequencies, I items, U users, E entities (items, then attribute values; id 0 is padding), N rows of any other kind.
"""

from typing import TYPE_CHECKING

from lrd_jax.version import __version__ as __version__

if TYPE_CHECKING:
    from lrd_jax.api.dataset import Dataset as Dataset
    from lrd_jax.api.dataset import dataset_from_frame as dataset_from_frame
    from lrd_jax.api.dataset import load_dataset as load_dataset
    from lrd_jax.api.evaluation import Evaluation as Evaluation
    from lrd_jax.api.evaluation import ListEvaluation as ListEvaluation
    from lrd_jax.api.fitting import fit as fit
    from lrd_jax.api.fitting import refit as refit
    from lrd_jax.api.fitting import setup as setup
    from lrd_jax.api.run import Run as Run
    from lrd_jax.api.run import load_run as load_run
    from lrd_jax.config.schema import Config as Config
    from lrd_jax.config.toml_file import load_config as load_config
    from lrd_jax.data.new_items import read_new_items as read_new_items
    from lrd_jax.errors import UserError as UserError
    from lrd_jax.exported import Exported as Exported

_PUBLIC = {
    **dict.fromkeys(("Dataset", "dataset_from_frame", "load_dataset"), "lrd_jax.api.dataset"),
    **dict.fromkeys(("Evaluation", "ListEvaluation"), "lrd_jax.api.evaluation"),
    **dict.fromkeys(("Run", "load_run"), "lrd_jax.api.run"),
    **dict.fromkeys(("fit", "refit", "setup"), "lrd_jax.api.fitting"),
    "Config": "lrd_jax.config.schema",
    "Exported": "lrd_jax.exported",
    "load_config": "lrd_jax.config.toml_file",
    "read_new_items": "lrd_jax.data.new_items",
    "UserError": "lrd_jax.errors",
}
"""The public names and the module that defines each; imported at first use (PEP 562)."""

__all__ = sorted([*_PUBLIC, "__version__"])


def __getattr__(name: str) -> object:
    """Import a public name."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'lrd_jax' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return __all__
