"""The documentation: the site builds, loads nothing from the network, and its tutorials and options are as written."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lrd_jax.config.schema import Config

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").rglob("*.md"))
TUTORIALS = [f"tutorials/{name}.md" for name in ("first-run", "own-data", "own-text", "own-model")]
SUBCOMMANDS = {
    "lrd_jax.prepare": "table movielens amazon-2014 amazon-2023 recbole rechorus ml-100k",
    "lrd_jax.study": "table ablation sensitivity sweep",
    "lrd_jax.interop": "import export parity",
    "benchmarks.results_table": "show collect write check report",
}
COMMANDS = "lrd_jax.train lrd_jax.evaluate lrd_jax.embed lrd_jax.recommend lrd_jax.similar lrd_jax.serve lrd_jax.export"
COMMANDS += " benchmarks.train_epoch benchmarks.full_ranking benchmarks.seeds benchmarks.sampling benchmarks.profile"
COMMANDS += " benchmarks.prepare benchmarks.peers benchmarks.picture benchmarks.serve benchmarks.export"
COMMANDS += " benchmarks.recommend"
OTHERS_OPTIONS = {"--no-deps", "--strict", "--num_layers", "--num_heads", "--history_max", "--include_val", "--dist"}
"""Of pip, mkdocs, pytest and the published code."""


def slow_process(test):
    """Marks a test that takes long and starts processes."""
    return pytest.mark.slow(pytest.mark.process(test))


def blocks(page):
    """The (language, file, code) of the blocks of a page that are to be executed or saved, in order."""
    found = re.findall(
        r'(<!-- not executed: [^>]+ -->\n)?```(python|sh|toml)(?: title="(.*?)")?\n(.*?)```', page.read_text(), re.S
    )
    return [block for passed_over, *block in found if not passed_over]


def execute(page, folder, names):
    """Runs a page's blocks in a folder; Python blocks share their names, every line of a shell block is a command.

    A block whose title is a file is saved there.
    """
    for language, file, code in blocks(page):
        if file.endswith((".py", ".toml")):
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_text(code)
        elif language == "python":
            exec(compile(code, str(page), "exec"), names)
        elif code == "pip install -e .\n":
            install(folder)
        else:
            for line in code.replace("\\\n", " ").splitlines():
                program, *arguments = shlex.split(line)
                assert program == "python", line
                done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True)
                assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


def install(folder):
    """Makes a package known to Python that runs in its folder, as `pip install -e .` does."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    about = folder / f"{project['name']}-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    groups = [
        [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
        for group, points in project["entry-points"].items()
    ]
    (about / "entry_points.txt").write_text("\n".join(line for group in groups for line in group))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site."""
    pytest.importorskip("material", reason="the site needs pip install -e '.[docs]'")
    pytest.importorskip("mkdocstrings", reason="the site needs pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


class Loaded(HTMLParser):
    """Collects what a page makes the browser load."""

    def __init__(self):
        super().__init__()
        self.addresses = []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "video", "audio"):
            self.addresses += [attributes[name] for name in ("src", "srcset") if attributes.get(name)]
        if tag == "link" and attributes.get("rel") in ("stylesheet", "icon", "preconnect", "preload"):
            self.addresses.append(attributes["href"])


@slow_process
def test_the_site_loads_nothing_from_the_network(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(PAGES) - 2
    for page in pages:
        loaded = Loaded()
        loaded.feed(page.read_text())
        assert loaded.addresses
        assert not [address for address in loaded.addresses if re.match(r"(https?:)?//", address)], page


@slow_process
def test_the_site_has_every_option(site):
    page = (site / "reference/options.html").read_text()
    for section, field in Config.model_fields.items():
        for option in field.annotation.model_fields:
            assert f'id="{section}.{option}"' in page


@slow_process
def test_equations_are_drawn_by_the_browser(site):
    page = (site / "explanation/method.html").read_text()
    assert page.count("<math") > 20 and "arithmatex" not in page


@slow_process
def test_help_is_on_the_page_of_commands(site):
    page = (site / "reference/commands.html").read_text()
    assert "[[help" not in page and "--drop-users-with-too-few-negatives" in page and "--assume-published" in page


@slow_process
@pytest.mark.nightly
def test_tutorials_do_what_they_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "tutorial"}
    for page in (*TUTORIALS, "how-to/notebook.md"):
        execute(ROOT / "docs" / page, tmp_path, names)
    for model in ("kda", "fading"):
        assert (tmp_path / f"runs/music-{model}-seed0/evaluation-test-full.parquet").exists()
    assert names["run"].results["model"] == "kda"


@pytest.fixture(scope="module")
def options():
    """Every option of every command, as --help lists them."""
    calls = [[command] for command in COMMANDS.split()]
    calls += [[command, word] for command, words in SUBCOMMANDS.items() for word in words.split()]

    def listed(call):
        environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
        command = [sys.executable, "-m", *call, "--help"]
        done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, encoding="utf-8")
        return set(re.findall(r"--[a-z][\w.-]*", done.stdout))

    with ThreadPoolExecutor(2) as pool:
        return set().union(*pool.map(listed, calls)) | OTHERS_OPTIONS


@slow_process
@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.stem)
def test_options_exist(page, options):
    named = re.findall(r"(?<![\w-])--[a-z][\w.-]*\w", page.read_text())
    assert not sorted(set(named) - options)


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem != "notebook"], ids=lambda page: page.stem)
def test_options_written_as_keys_exist(page):
    """`section.option` as in a TOML file; in a notebook `run.params` is another thing."""
    keys = {
        f"{section}.{option}"
        for section, field in Config.model_fields.items()
        for option in field.annotation.model_fields
    }
    sections = "|".join(Config.model_fields)
    named = set(re.findall(rf"`((?:{sections})\.[a-z_0-9]+)", page.read_text()))
    assert not named - keys - {"text.npy"}


@pytest.mark.slow
def test_the_readmes_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    plays = [(f"u{n % 60}", f"i{random.integers(40)}", 60 * n) for n in range(900)]
    pl.DataFrame(plays, ["who", "what", "when"], orient="row").write_csv("log.csv")
    pl.DataFrame({"what": [f"i{n}" for n in range(40)], "brand": ["a", "b"] * 20}).write_csv("items.csv")
    ((_, _, code),) = [block for block in blocks(README) if block[0] == "python"]
    assert len(code.splitlines()) <= 25
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})


def test_the_readme_is_short():
    assert len(README.read_text().split()) <= 700


def test_the_pictures_of_the_readme_are_there():
    named = re.findall(r'(?:src|srcset)="([^"]+)"', README.read_text())
    assert len(named) == 2 and all((ROOT / path).stat().st_size > 1000 for path in named)
