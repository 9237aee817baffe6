"""What docs/extending.md shows works: as a package of its own, and as one file and one line here; bad packages too."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lrd_jax import plugins
from lrd_jax.data.rechorus import read_corpus
from lrd_jax.data.synthetic import write_synthetic
from lrd_jax.runs.folder import read_results

ROOT = Path(__file__).parents[1]
KINDS = {kind.group: kind for kind in (plugins.MODELS, plugins.ENCODERS, plugins.SOURCES, plugins.PROTOCOLS)}
PAGE = (ROOT / "docs/extending.md").read_text()
BLOCKS = re.findall(r'```(\w+) title="([^"]+)"\n(.*?)```', PAGE, re.S)
FILES = {title: code for _, title, code in BLOCKS if re.fullmatch(r"[\w/]+\.(py|toml)", title)}
LINES = {title.split()[0]: code for _, title, code in BLOCKS if title.endswith(" in lrd_jax/plugins.py")}
COMMANDS = [shlex.split(line) for language, _, code in BLOCKS if language == "sh" for line in code.splitlines()]
QUICK = "--data.path ml-100k --model.embedding-dim 8 --run.epochs 2 --optim.batch-size 128".split()


def install(site, name, version, entry_points, files):
    """Puts a package into a folder, as pip does: its modules, and a .dist-info with its entry points."""
    for file, code in files.items():
        (site / file).parent.mkdir(parents=True, exist_ok=True)
        (site / file).write_text(code)
    about = site / f"{name}-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    groups = [
        f"[{group}]\n" + "".join(f"{n} = {v}\n" for n, v in named.items()) for group, named in entry_points.items()
    ]
    (about / "entry_points.txt").write_text("\n".join(groups))


def run(folder, site, *arguments):
    """Python in a process of its own that finds the packages in `site`."""
    environment = os.environ | {"PYTHONPATH": f"{site}{os.pathsep}{ROOT}", "JAX_PLATFORMS": "cpu", "COLUMNS": "200"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def refused(done):
    """The message of a command that ended with exit code 2."""
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The page's package in `site`, a dataset and a file of sessions."""
    place = tmp_path_factory.mktemp("extending")
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    modules = {"my_lrd/__init__.py": ""} | {name: code for name, code in FILES.items() if name.endswith(".py")}
    install(place / "site", project["name"], project["version"], project["entry-points"], modules)
    write_synthetic(place / "ml-100k", num_users=40, num_items=80, num_negatives=20)
    sessions = [
        {"user": f"u{n % 5}", "time": 1_600_000_000 + 900 * n, "items": [f"i{7 * n % 30}", f"i{(11 * n + 3) % 30}"]}
        for n in range(40)
    ]
    titles = {f"i{n}": f"lamp number {n}" for n in range(30)}
    (place / "shop.json").write_text(json.dumps({"sessions": sessions, "titles": titles}))
    return place


def test_the_page_names_every_kind():
    assert set(tomllib.loads(FILES["pyproject.toml"])["project"]["entry-points"]) == set(KINDS)
    assert set(LINES) == {"MODELS", "ENCODERS", "SOURCES", "PROTOCOLS"}
    assert {command[2] for command in COMMANDS} == {
        f"lrd_jax.{name}" for name in ("train", "embed", "prepare", "evaluate")
    }


@pytest.mark.process
def test_every_command_of_the_page(place):
    """Each as it is there, training with options that make it quick."""
    for command in COMMANDS:
        options = QUICK if command[2] == "lrd_jax.train" else []
        done = run(place, place / "site", *command[1:], *options)
        assert done.returncode == 0, done.stderr
    for model in ("place-mean", "kda_lrd"):
        results = read_results(place / f"runs/ml-100k-{model}-seed0")
        assert results["model"] == model and 0 < results["test"]["HR@5"] <= 1
    assert '"encoder": "hashed-words"' in (place / "ml-100k/text_hashed-words-64d.json").read_text()
    assert np.load(place / "ml-100k/text_hashed-words-64d.npy").shape == (80, 64)
    shop = read_corpus(place / "shop")
    assert (shop.num_users, shop.dev.negatives.shape[1]) == (5, 10)
    assert "lamp number" in (place / "shop/item_text.tsv").read_text()


@pytest.mark.process
def test_ranks_of_the_protocol(place):
    """Compares with the run's scores by the protocol "full", which has these candidates and more."""
    folder = place / "ranked"
    done = run(
        place, place / "site", "-m", "lrd_jax.train", "--model.name", "popularity", "--run.workdir", folder, *QUICK
    )
    assert done.returncode == 0, done.stderr
    for options in (["full"], ["popular", "--negatives", "7"]):
        done = run(place, place / "site", "-m", "lrd_jax.evaluate", folder, "--protocol", *options)
        assert done.returncode == 0, done.stderr
    assert "the 7 most popular items not seen before" in done.stdout
    few, full = (pl.read_parquet(folder / f"evaluation-test-{name}.parquet") for name in ("popular-7", "full"))
    assert few["protocol"].unique().to_list() == ["popular-7"] and few["candidates"].unique().to_list() == [8]
    assert few["greater"].to_list() == [min(greater, 7) for greater in full["greater"]]  # the best scored are these


@pytest.mark.process
def test_help_lists_the_names_and_imports_no_package(place, tmp_path):
    shutil.copytree(place / "site", tmp_path / "site")
    for module in (tmp_path / "site/my_lrd").glob("*.py"):
        module.write_text("raise SystemExit('imported')")
    named = {"train": ("place-mean", "hashed-words"), "embed": ("hashed-words",), "evaluate": ("popular",)}
    named["prepare"] = ("sessions", "A source of the package my_lrd 1.0.")
    for command, names in named.items():
        done = run(tmp_path, tmp_path / "site", "-m", f"lrd_jax.{command}", "--help")
        assert done.returncode == 0, done.stderr
        for name in names:
            assert name in done.stdout


@pytest.mark.process
def test_help_of_what_is_chosen(place):
    shown = run(place, place / "site", "-m", "lrd_jax.prepare", "sessions", "--help").stdout
    assert "The sessions, and a title for every item." in shown and "--negatives" in shown
    shown = run(place, place / "site", "-m", "lrd_jax.evaluate", "--protocol", "popular", "--help").stdout
    assert (
        "popular: The most popular items of training" in shown and "popular, sampled: How many for each row." in shown
    )


ODD_PROTOCOL = """
from my_lrd.popular import Popular
from pydantic import Field

class Odd(Popular):
    "Odd."
    {option}
    "Mine."
"""


@pytest.mark.process
@pytest.mark.parametrize(
    ("option", "arguments", "expected"),
    [
        ("seed: int = Field(7, ge=5)", ["--help"], "odd: Mine. (default: 7)"),  # another seed than that of `sampled`
        ("seed: int = Field(7, ge=5)", ["--seed", "4"], "field '--seed': expected an integer >= 5, got 4."),
        ("seed: int = Field(7, ge=5)", ["--keep-seen"], "field '--keep-seen': means nothing with --protocol odd"),
        ("split: int = 7", [], "field '--split': the protocol 'odd' has an option of this name"),
        ("seed: int", [], "field '--seed': the option of the protocol 'odd' has no default"),
    ],
)
def test_options_of_a_protocol(option, arguments, expected, tmp_path):
    code = ODD_PROTOCOL.format(option=option)
    modules = {"odd_package.py": code, "my_lrd/popular.py": FILES["my_lrd/popular.py"]}
    install(tmp_path, "odd_package", "0.3", {"lrd_jax.protocols": {"odd": "odd_package:Odd"}}, modules)
    done = run(tmp_path, tmp_path, "-m", "lrd_jax.evaluate", "runs/none", "--protocol", "odd", *arguments)
    assert expected in (done.stdout if arguments == ["--help"] else refused(done))


@pytest.mark.process
def test_names_that_are_not_there(place, tmp_path):
    done = run(place, place / "site", "-m", "lrd_jax.train", "--model.name", "place-maen", *QUICK)
    assert "'place-mean'" in refused(done)
    (tmp_path / "run.toml").write_text('[model]\nname = "place-maen"\n')
    done = run(place, place / "site", "-m", "lrd_jax.train", "--config", tmp_path / "run.toml")
    assert "line 2" in refused(done) and "Perhaps you mean 'place-mean'." in done.stderr
    (tmp_path / "run.toml").write_text('[model]\nname = "transducer"\n')  # of a package that has been uninstalled
    done = run(place, place / "site", "-m", "lrd_jax.train", "--config", tmp_path / "run.toml")
    assert "If another package adds this model, install that package." in refused(done)


USES = {
    "lrd_jax.models": ["-m", "lrd_jax.train", "--model.name", "odd", *QUICK],
    "lrd_jax.encoders": ["-m", "lrd_jax.embed", "ml-100k", "--encoder", "odd"],
    "lrd_jax.sources": ["-m", "lrd_jax.prepare", "odd"],
    "lrd_jax.protocols": ["-m", "lrd_jax.evaluate", "runs/none", "--protocol", "odd"],
}


@pytest.mark.process
@pytest.mark.parametrize("group", USES)
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import missing_module", "cannot be loaded (ModuleNotFoundError: No module named 'missing_module')"),
        ("thing = 3", None),
    ],
    ids=["does not import", "is something else"],
)
def test_packages_that_do_not_work(group, code, reason, place, tmp_path):
    install(tmp_path, "odd_package", "0.3", {group: {"odd": "odd_package:thing"}}, {"odd_package.py": code})
    message = refused(run(place, tmp_path, *USES[group]))
    kind = KINDS[group]
    lacks = {"__call__": "is not a function or class"}.get(kind.needs[0], f"has no attribute {kind.needs[0]!r}")
    what = f"the {kind.word} 'odd' of the package odd_package 0.3 (odd_package:thing) {reason or lacks}."
    assert message == f"error: field {kind.option!r}: {what} Repair the package, or choose another {kind.word}.\n"


@pytest.mark.process
def test_an_encoder_that_lacks_something(place, tmp_path):
    install(
        tmp_path,
        "odd_package",
        "0.3",
        {"lrd_jax.encoders": {"odd": "odd_package:Odd", "other": "my_lrd.hashed_words:HashedWords"}},
        {"odd_package.py": "class Odd:\n    name = 'odd'\n    def __init__(self, config): pass\n"}
        | {name: code for name, code in FILES.items() if name.endswith(".py")},
    )
    message = refused(run(place, tmp_path, *USES["lrd_jax.encoders"]))
    assert "'odd' of the package odd_package 0.3 has no model, version, dimensions, pooling" in message
    message = refused(run(place, tmp_path, "-m", "lrd_jax.embed", "ml-100k", "--encoder", "other"))
    assert "'other' of the package odd_package 0.3 has the attribute name='hashed-words'" in message


TAKEN = """
from lrd_jax import plugins
from lrd_jax.config.schema import Config
from lrd_jax.errors import UserError
from lrd_jax.prepare.__main__ import commands
from lrd_jax.evaluate.flags import parse_flags
from lrd_jax.models import build_system
from lrd_jax.text.encoders import build_encoder

def told(call):
    try:
        call()
    except UserError as error:
        print(error)
    else:
        print("fine")

for name in ("kda_lrd", "sasrec", "twice", "rcf", "a b"):
    told(lambda: Config.model_validate({"model": {"name": name}}))
for name in ("file", "model2vec"):
    told(lambda: Config.model_validate({"text": {"encoder": name}}))
for name in ("table", "recbole"):
    told(lambda: commands(name))
for name in ("full", "sampled"):
    told(lambda: parse_flags(["runs/none", "--protocol", name]))
told(lambda: build_system(Config(), None, has_triples=False))  # which is kda_lrd by default
told(lambda: build_encoder(Config().text))  # wordllama
"""


@pytest.mark.process
def test_names_that_two_packages_use(tmp_path):
    """Only those who choose such a name are refused, with the packages' names."""
    mine = {
        "lrd_jax.models": ["kda_lrd", "sasrec", "twice", "a b"],
        "lrd_jax.encoders": ["file", "wordllama"],
        "lrd_jax.sources": ["table"],
        "lrd_jax.protocols": ["full"],
    }
    points = {group: dict.fromkeys(names, "nowhere:nothing") for group, names in mine.items()}
    install(tmp_path, "first", "1.0", points, {})
    install(tmp_path, "second", "2.0", {"lrd_jax.models": {"twice": "nowhere:nothing"}}, {})
    done = run(tmp_path, tmp_path, "-c", TAKEN)
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    remedy = "Rename it in one of them, or uninstall"
    ours = "lrd_jax and first 1.0 both have the"
    assert told[0] == f"field 'model.name': {ours} model 'kda_lrd'. {remedy} first 1.0."
    assert told[1].startswith(f"field 'model.name': {ours} model 'sasrec'.")
    assert "first 1.0 and second 2.0 both have the model 'twice'" in told[2] or "second 2.0 and first 1.0" in told[2]
    assert told[3] == "fine"
    assert "first 1.0 (nowhere:nothing) has a name that cannot be part of a file name" in told[4]
    assert told[5:7] == [f"field 'text.encoder': {ours} encoder 'file'. {remedy} first 1.0.", "fine"]
    assert told[7:9] == [f"field 'prepare': {ours} source 'table'. {remedy} first 1.0.", "fine"]
    assert told[9:11] == [f"field '--protocol': {ours} protocol 'full'. {remedy} first 1.0.", "fine"]
    assert told[11] == told[0] and "both have the encoder 'wordllama'" in told[12]


@pytest.mark.process
def test_one_file_and_one_line_here(place, tmp_path):
    """The page's files and lines in a copy of lrd_jax, where no package is installed."""
    shutil.copytree(ROOT / "lrd_jax", tmp_path / "lrd_jax", ignore=shutil.ignore_patterns("__pycache__"))
    table = (tmp_path / "lrd_jax/plugins.py").read_text()
    for kind, line in LINES.items():
        module = re.search(r'"([\w.]+):', line)[1]
        name = module.rpartition(".")[2]
        (tmp_path / module.replace(".", "/")).with_suffix(".py").write_text(FILES[f"my_lrd/{name}.py"])
        before, begin, after = table.partition(f"\n{kind} = Kind(")
        head, brace, rest = after.partition("    {\n")
        table = before + begin + head + brace + line + rest
    (tmp_path / "lrd_jax/plugins.py").write_text(table)
    options = [*"-m lrd_jax.train --model.name place-mean --run.workdir here".split(), *QUICK]
    done = run(place, tmp_path, *options)
    assert done.returncode == 0, done.stderr
    assert read_results(place / "here")["model"] == "place-mean"
    loads = "from lrd_jax.plugins import *\nprint([load(kind, n).__name__ for kind, n in ((MODELS, 'place-mean'),"
    loads += " (ENCODERS, 'hashed-words'), (SOURCES, 'sessions'), (PROTOCOLS, 'popular'))])"
    assert run(tmp_path, tmp_path, "-c", loads).stdout == "['PlaceMean', 'HashedWords', 'sessions', 'Popular']\n"


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.word)
def test_ours_are_where_the_table_says(kind):
    for name, found in plugins.load_ours(kind).items():
        assert plugins.load(kind, name) is found
        assert all(hasattr(found, attribute) for attribute in kind.needs), name
