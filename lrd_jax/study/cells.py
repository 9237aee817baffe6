"""What a study is to run: cells, each a configuration of one dataset to be trained with every seed."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lrd_jax
from lrd_jax.config.schema import Config
from lrd_jax.config.toml_file import load_config, read_toml, with_options
from lrd_jax.errors import UserError

CONFIGS = Path(lrd_jax.__file__).parent / "configs"
"""The files of configs/ in a checkout, which an installed package brings along."""

_NAME = re.compile(r"\w[\w.+=-]*")
_BY_STUDY = {
    "model.name": "The system says it",
    "data.path": "--data NAME=FOLDER says it",
    "run.seed": "--seeds says it",
    "run.workdir": "--workdir says it",
}


@dataclasses.dataclass(frozen=True)
class Variant:
    """A system under some options.

    Attributes:
      name: what it is called in tables and on disk.
      system: whose file in configs/DATASET/ it starts from.
      options: {"section.option": value} that differ from that file.
      base: name of the variant that it is compared with.
      file, text: where the options were read from, for messages.
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
      base: name of the variant that it is compared with on the same dataset.
      config: of all seeds; run.workdir holds their run folders.
    """

    dataset: str
    variant: str
    base: str | None
    config: Config

    @property
    def title(self) -> str:
        """The variant's name for tables, with the leak where there is one: such figures are never shown without it."""
        leak = self.config.leak
        return f"{self.variant} ({leak})" if leak else self.variant

    def runs(self, seeds: Sequence[int]) -> list[Config]:
        """The configuration of each seed's run."""
        return [self.config.for_seed(seed) for seed in seeds]


def system_variants(systems: Sequence[str]) -> list[Variant]:
    """Each system as it is configured; one with latent relations is compared with the one without, where present."""
    variants = []
    for system in systems:
        base = system.removesuffix("_lrd")
        variants.append(Variant(system, system, base=base if base != system and base in systems else None))
    return variants


def ablation_variants(system: str) -> list[Variant]:
    """The paper's Figure 2: a system with LRD, and it without language model, without KG loss and without LRD.

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
    """The paper's Figure 6: every number of latent relations with every weight λ, weights changing fastest.

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
    """Variants from a TOML file: tables [variants.NAME] with `system`, perhaps `base`, and options as in a config.

    Raises:
      UserError: the file cannot be read, or is no file of variants.
    """
    values, text = read_toml(path)
    tables = values.pop("variants", None)
    if values or not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        remedy = 'Write a table [variants.NAME] for each, with system = "kda_lrd" and its options'
        raise UserError("expected tables of variants and nothing else", file=path, remedy=remedy)
    variants = []
    for name, table in tables.items():
        system, base = table.pop("system", None), table.pop("base", None)
        if not isinstance(system, str):
            remedy = 'Add, for example, system = "kda_lrd"'
            raise UserError("the system is missing", file=path, field=f"variants.{name}.system", remedy=remedy)
        if base is not None and not isinstance(base, str):
            raise UserError("expected a variant's name", file=path, field=f"variants.{name}.base")
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
      variants: names differ.
      workdir: of the study.
      folders: where datasets lie that do not lie where their configuration says.
      options: {"section.option": value} for every run; they override the variants'.
      configs: holds DATASET/SYSTEM.toml; None: configs/ here, else the package's.

    Raises:
      UserError: a name that cannot be a folder's or that is there twice, an unknown base, dataset, system or option.
    """
    names = [variant.name for variant in variants]
    for kind, chosen in (("dataset", datasets), ("variant", names)):
        for name in chosen:
            if not _NAME.fullmatch(name):
                raise UserError(f"{name!r} is no name for a {kind}", remedy="Use letters, digits and . _ + = -")
            if chosen.count(name) > 1:
                raise UserError(f"the {kind} {name!r} is there twice", remedy="Give each once")
    for variant in variants:
        if variant.base is not None and variant.base not in names:
            raise UserError(
                f"{variant.name} is to be compared with {variant.base!r}, which is not in the study",
                file=variant.file,
                remedy=f"Choose among {', '.join(names)}, or add it with --systems",
            )
    if unused := [name for name in folders if name not in datasets]:
        raise UserError(f"--data names {unused[0]!r}, which is not among --datasets", remedy="Correct one of them")
    cells = []
    for dataset in datasets:
        for variant in variants:
            for option in (*options, *variant.options):
                if option in _BY_STUDY:
                    raise UserError(
                        "not an option to set in a study", field=option, remedy=_BY_STUDY[option].capitalize()
                    )
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
    """{"office": Path("/data/office")} of ["office=/data/office"]."""
    return {name: Path(folder) for name, folder in _assignments(words, "--data", "NAME=FOLDER")}


def parse_options(words: Sequence[str]) -> dict[str, Any]:
    """{"run.epochs": 3} of ["run.epochs=3"]; what is no TOML value is a text."""
    options = {}
    for key, text in _assignments(words, "--set", "section.option=value"):
        if not re.fullmatch(r"\w+\.\w+", key.replace("-", "_")):
            raise UserError(f"{key!r} is no option", field="--set", remedy="Write section.option=value")
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
            raise UserError(f"{name} is there twice", field=option, remedy="Give each once")
    return [(name, value) for name, _, value in pairs]


def _config_file(dataset: str, system: str, configs: Path | None) -> Path:
    """Where a dataset's configuration of a system is."""
    places = [configs] if configs is not None else [Path("configs"), CONFIGS]
    for place in places:
        if (file := place / dataset / f"{system}.toml").exists():
            return file
    known = sorted(file.stem for place in places for file in (place / dataset).glob("*.toml"))
    if known:
        remedy = f"There are {', '.join(dict.fromkeys(known))}"
    else:
        datasets = sorted({file.parent.name for place in places for file in place.glob("*/*.toml")})
        remedy = f"The datasets are {', '.join(datasets) or '(none)'}; name another folder with --configs"
    raise UserError(f"there is no configuration of {system} on {dataset}", file=file, remedy=remedy)


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"model.name": ...} of a table, its options nested or with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
