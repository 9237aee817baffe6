"""The cells of a study: each is one configuration on one dataset, trained with every seed."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lrd_jax.config.schema import Config
from lrd_jax.config.toml_file import load_config, read_toml, with_options
from lrd_jax.errors import UserError

CONFIGS = Path(__file__).parents[1] / "configs"
"""The files of configs/ in a checkout, which the installed package includes."""

_NAME = re.compile(r"\w[\w.+=-]*")
_BY_STUDY = {
    "model.name": "Choose the system instead",
    "data.path": "Use --data NAME=FOLDER instead",
    "run.seed": "Use --seeds instead",
    "run.workdir": "Use --workdir instead",
}


@dataclasses.dataclass(frozen=True)
class Variant:
    """A system with certain options.

    Attributes:
      name: its name in tables and on disk.
      system: the system; its file in configs/DATASET/ is the starting point.
      options: {"section.option": value} that differ from that file.
      base: name of the variant to compare with.
      file, text: the file with the options and its text, for messages.
    """

    name: str
    system: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    base: str | None = None
    file: Path | None = None
    text: str = ""


@dataclasses.dataclass(frozen=True)
class Cell:
    """A variant on a dataset.

    Attributes:
      dataset, variant: their names.
      base: name of the variant to compare with on the same dataset.
      config: configuration of all seeds; run.workdir contains their run folders.
    """

    dataset: str
    variant: str
    base: str | None
    config: Config

    @property
    def title(self) -> str:
        """The variant's name for tables. If the test set leaks into training, the name includes the leak."""
        leak = self.config.leak
        return f"{self.variant} ({leak})" if leak else self.variant

    def runs(self, seeds: Sequence[int]) -> list[Config]:
        """The configuration of each seed's run."""
        return [self.config.for_seed(seed) for seed in seeds]


def system_variants(systems: Sequence[str]) -> list[Variant]:
    """Each system as configured; one with latent relations is compared with the one without, if present."""
    variants = []
    for system in systems:
        base = system.removesuffix("_lrd")
        variants.append(Variant(system, system, base=base if base != system and base in systems else None))
    return variants


def ablation_variants(system: str) -> list[Variant]:
    """The paper's Figure 2: a system with LRD, without the language model, without the KG loss, and without LRD.

    Raises:
      UserError: the system has no latent relations.
    """
    without_lrd = _without_lrd(system)
    return [
        Variant(system, system),
        Variant(f"{system}-without-llm", system, {"model.classifier_input": "id"}, base=system),
        Variant(f"{system}-without-kge", system, {"loss.kg_weight": 0.0}, base=system),
        Variant(without_lrd, without_lrd, base=system),
    ]


def sensitivity_variants(system: str, latent: Sequence[int], weights: Sequence[float]) -> list[Variant]:
    """The paper's Figure 6: every number of latent relations with every weight λ; weights vary fastest.

    Raises:
      UserError: the system has no latent relations.
    """
    _without_lrd(system)
    return [
        Variant(
            f"{system}-latent{number}-weight{weight:g}",
            system,
            {"model.num_latent_relations": number, "loss.lrd_weight": weight},
        )
        for number in latent
        for weight in weights
    ]


def _without_lrd(system: str) -> str:
    if not system.endswith("_lrd"):
        raise UserError(f"{system} has no latent relations", field="--system", remedy=f"Perhaps you mean {system}_lrd")
    return system.removesuffix("_lrd")


def read_variants(path: Path) -> list[Variant]:
    """Reads variants from a TOML file: tables [variants.NAME] with `system`, optional `base`, and options.

    Raises:
      UserError: the file cannot be read, or is not a file of variants.
    """
    values, text = read_toml(path)
    tables = values.pop("variants", None)
    if values or not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        remedy = 'Write a table [variants.NAME] for each, with system = "kda_lrd" and its options'
        raise UserError("expected only tables of variants", file=path, remedy=remedy)
    variants = []
    for name, table in tables.items():
        system, base = table.pop("system", None), table.pop("base", None)
        if not isinstance(system, str):
            remedy = 'Add, for example, system = "kda_lrd"'
            raise UserError("the system is missing", file=path, field=f"variants.{name}.system", remedy=remedy)
        if base is not None and not isinstance(base, str):
            raise UserError("expected the name of a variant", file=path, field=f"variants.{name}.base")
        variants.append(Variant(name, system, _flat(table), base, path, text))
    return variants


def make_cells(
    datasets: Sequence[str],
    variants: Sequence[Variant],
    workdir: Path,
    *,
    folders: Mapping[str, Path],
    options: Mapping[str, Any],
    configs: Path | None,
) -> list[Cell]:
    """Every variant on every dataset.

    Args:
      datasets: names of folders in configs/.
      variants: variants with different names.
      workdir: folder of the study.
      folders: dataset folders that differ from those in the configurations.
      options: {"section.option": value} for every run; they override the variants' options.
      configs: folder with DATASET/SYSTEM.toml; None: configs/ in the current directory, else the package's.

    Raises:
      UserError: a name is repeated or cannot be a folder name, or a base, dataset, system or option is unknown.
    """
    names = [variant.name for variant in variants]
    for kind, chosen in (("dataset", datasets), ("variant", names)):
        for name in chosen:
            if not _NAME.fullmatch(name):
                raise UserError(f"{name!r} is not a {kind} name", remedy="Use letters, digits and . _ + = -")
            if chosen.count(name) > 1:
                raise UserError(f"the {kind} {name!r} is given twice", remedy="Give each once")
    for variant in variants:
        if variant.base is not None and variant.base not in names:
            raise UserError(
                f"{variant.name} has the base {variant.base!r}, which is not in the study",
                file=variant.file,
                remedy=f"Choose among {', '.join(names)}, or add it with --systems",
            )
    if unused := [name for name in folders if name not in datasets]:
        raise UserError(f"--data names {unused[0]!r}, which is not among --datasets", remedy="Fix one of them")
    cells = []
    for dataset in datasets:
        for variant in variants:
            for option in (*options, *variant.options):
                if option in _BY_STUDY:
                    raise UserError("this option cannot be set in a study", field=option, remedy=_BY_STUDY[option])
            config = load_config(_config_file(dataset, variant.system, configs))
            table = f"variants.{variant.name}."
            config = with_options(config, variant.options, file=variant.file, text=variant.text, table=table)
            config = with_options(config, options)
            data = config.data.model_copy(update={"path": folders.get(dataset, config.data.path)})
            run = config.run.model_copy(update={"workdir": workdir / dataset / variant.name})
            config = config.model_copy(update={"data": data, "run": run})
            cells.append(Cell(dataset, variant.name, variant.base, config))
    return cells


def parse_folders(words: Sequence[str]) -> dict[str, Path]:
    """Parses ["office=/data/office"] to {"office": Path("/data/office")}."""
    return {name: Path(folder) for name, folder in _assignments(words, "--data", "NAME=FOLDER")}


def parse_options(words: Sequence[str]) -> dict[str, Any]:
    """Parses ["run.epochs=3"] to {"run.epochs": 3}; a value that is not TOML is a text."""
    options = {}
    for key, text in _assignments(words, "--set", "section.option=value"):
        if not re.fullmatch(r"\w+\.\w+", key.replace("-", "_")):
            raise UserError(f"{key!r} is not an option", field="--set", remedy="Write section.option=value")
        try:
            options[key.replace("-", "_")] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            options[key.replace("-", "_")] = text
    return options


def _assignments(words: Sequence[str], option: str, form: str) -> list[tuple[str, str]]:
    pairs = [word.partition("=") for word in words]
    for word, (name, equals, value) in zip(words, pairs, strict=True):
        if not (name and equals and value):
            raise UserError(f"cannot read {word!r}", field=option, remedy=f"Write {form}")
        if [other for other, _, _ in pairs].count(name) > 1:
            raise UserError(f"{name} is given twice", field=option, remedy="Give each once")
    return [(name, value) for name, _, value in pairs]


def _config_file(dataset: str, system: str, configs: Path | None) -> Path:
    """The path of a system's configuration for a dataset."""
    places = [configs] if configs is not None else [Path("configs"), CONFIGS]
    for place in places:
        if (file := place / dataset / f"{system}.toml").exists():
            return file
    known = sorted(file.stem for place in places for file in (place / dataset).glob("*.toml"))
    if known:
        remedy = f"Choose one of {', '.join(dict.fromkeys(known))}"
    else:
        datasets = sorted({file.parent.name for place in places for file in place.glob("*/*.toml")})
        remedy = f"The datasets are {', '.join(datasets) or '(none)'}; set --configs to choose another folder"
    raise UserError(f"there is no configuration of {system} on {dataset}", file=file, remedy=remedy)


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens a table with nested tables or dotted keys to {"model.name": ...}."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
