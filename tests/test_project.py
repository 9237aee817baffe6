"""What the project's own files say, against each other."""

import configparser
import importlib.metadata
import re
from pathlib import Path

import lrd_jax

ROOT = Path(__file__).parents[1]


def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def test_one_version():
    assert setup()["metadata"]["version"] == "attr: lrd_jax.version.__version__"
    assert importlib.metadata.version("lrd_jax") == lrd_jax.__version__
    citation = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.M)
    assert citation[1] == lrd_jax.__version__
    assert f"\n## [{lrd_jax.__version__}] - " in (ROOT / "CHANGELOG.md").read_text()


def test_one_licence():
    assert setup()["metadata"]["license"] == "Apache-2.0"
    assert "\nlicense: Apache-2.0\n" in (ROOT / "CITATION.cff").read_text()
    assert "Apache License\n                           Version 2.0, January 2004" in (ROOT / "LICENSE").read_text()


def test_configurations_are_in_the_package():
    inside = Path(lrd_jax.__file__).parent / "configs"
    files = sorted(file.relative_to(ROOT / "configs") for file in (ROOT / "configs").rglob("*.toml"))
    assert files == sorted(file.relative_to(inside) for file in inside.rglob("*.toml"))
    assert len(files) > 40


def test_files_that_documents_name_exist():
    for document in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"):
        for target in re.findall(r"\]\((?!https?://)([^)#]+)", (ROOT / document).read_text()):
            assert (ROOT / target).exists(), f"{document}: {target}"
    workflow = (ROOT / ".github/workflows/ci.yml").read_text()
    for script in re.findall(r"run: (\.ci/\w+)", workflow):
        assert (ROOT / script).stat().st_mode & 0o111, script
    assert all(re.fullmatch(r"v\d+\.\d+\.\d+", version) for version in re.findall(r"uses: .*@(.*)", workflow))
