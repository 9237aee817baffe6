"""From a benchmark's options to the run that it measures, and how much arithmetic that run needs."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from benchmarks.options import Options
from benchmarks.scale import generate_corpus, parse_scale
from lrd_jax.config.schema import WORDLLAMA_DIMENSIONS, Config, EncoderConfig
from lrd_jax.config.toml_file import load_config
from lrd_jax.data.corpus import Corpus, Split
from lrd_jax.data.rechorus import read_corpus, read_texts
from lrd_jax.devices import available_cores, set_up_devices
from lrd_jax.models.system import RelationalSystem
from lrd_jax.text.naming import text_path
from lrd_jax.text.store import load_embeddings
from lrd_jax.training.setup import Setup, assemble_corpus

CONFIGS = Path(__file__).parents[1] / "configs"
# (user, candidate) pairs that are scored at once, so that a repetition on a CPU takes half a minute at most.
CPU_PAIRS, ACCELERATOR_PAIRS = 500_000, 20_000_000


class Workload(NamedTuple):
    """What a benchmark measures.

    Attributes:
      options: of the command line.
      scale: name of the dataset.
      run: assembled on the devices.
    """

    options: Options
    scale: str
    run: Setup

    @property
    def pair_flop(self) -> int | None:
        """Floating-point operations of one (user, candidate) forward; None for a model without a formula.

        4·H·R·D for the history through each relation and L·(10·R·D² + 4·R²·D) for the passes; what is done once per
        user or per item is left out.
        """
        if not isinstance(self.run.system, RelationalSystem):
            return None
        scorer = self.run.system.scorer
        h, r, d = self.run.config.data.history_length, scorer.num_relations, scorer.embedding_dim
        return 4 * h * r * d + scorer.num_layers * (10 * r * d**2 + 4 * r**2 * d)

    @property
    def shapes(self) -> dict[str, int]:
        """The sizes that decide how much work there is, by the dimension letters of `lrd_jax`, L for passes."""
        config, corpus, system = self.run.config, self.run.corpus, self.run.system
        sizes = {"H": config.data.history_length, "D": config.model.embedding_dim}
        if isinstance(system, RelationalSystem):
            sizes |= {"R": system.scorer.num_relations, "L": system.scorer.num_layers}
            sizes["K"] = system.scorer.num_latent_relations
        text = self.run.arrays.tables.text
        if text is not None:
            sizes["T"] = text.shape[1]
        return sizes | {"U": corpus.num_users, "I": corpus.num_items, "E": corpus.num_entities}


def build_workload(options: Options) -> Workload:
    """Sets up the devices, makes or reads the dataset and assembles the run.

    Raises:
      UserError: an unknown scale, or bad data.
    """
    name = options.data.resolve().name if options.data is not None else options.scale or "office"
    scale = parse_scale(name) if options.data is None else None
    config = _published_config(options, name)
    set_up_devices(options.cpu_devices or available_cores())
    corpus = read_corpus(options.data) if scale is None else generate_corpus(scale)
    text = _text(options.data, corpus, config.text) if config.uses_text else None
    return Workload(options, name, assemble_corpus(config, corpus, text))


def _published_config(options: Options, name: str) -> Config:
    folder = name if (CONFIGS / name).is_dir() else "office"
    config = load_config(CONFIGS / folder / f"{options.model}.toml")
    asked = {name: getattr(options, name) for name in ("batch_size", "update") if hasattr(options, name)}
    optim = config.optim.model_copy(update=asked)
    model = config.model.model_copy(update={"precision": options.dtype})
    return config.model_copy(update={"optim": optim, "model": model})


def _text(folder: Path | None, corpus: Corpus, config: EncoderConfig) -> np.ndarray:
    """The dataset's text embeddings where it has them, else random ones, which cost the same; float32 [I + 1, T]."""
    if folder is not None and text_path(folder, config).exists():
        return load_embeddings(folder, read_texts(folder, corpus.num_items), config)
    width = config.known_dimensions or WORDLLAMA_DIMENSIONS
    text = np.random.default_rng(0).standard_normal((corpus.num_items + 1, width), np.float32)
    text[0] = 0
    return text


def rows_to_score(split: Split, candidates_per_row: int, users_per_block: int) -> np.ndarray:
    """Evenly spaced rows of a split, as many as make the pairs of one repetition; all where there are fewer."""
    on_cpu = jax.default_backend() == "cpu"
    block = users_per_block * jax.device_count()  # rows of full blocks: padding would be timed, not counted
    wanted = (CPU_PAIRS if on_cpu else ACCELERATOR_PAIRS) // candidates_per_row
    number = min(len(split.rows), max(block, wanted // block * block))
    return np.linspace(0, len(split.rows) - 1, number).astype(np.int64)
