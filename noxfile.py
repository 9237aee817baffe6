"""The tests under each Python and jax that setup.cfg allows: `nox`, or some: `nox -p 3.13 -- tests/test_cli.py`.

A Python that is not installed is skipped; pyenv's are found where they are on PATH.
"""

import nox

nox.options.default_venv_backend = "venv"
nox.options.sessions = ["tests"]
nox.options.error_on_missing_interpreters = False

VERSIONS = [(python, jax) for python in ("3.11", "3.12", "3.13") for jax in ("0.10", "0.11")]
VERSIONS.remove(("3.11", "0.11"))  # jax 0.11 needs Python 3.12


@nox.session
@nox.parametrize("python, jax", VERSIONS)
def tests(session: nox.Session, jax: str) -> None:
    """Every test, or what is named after --, under the newest release of one jax."""
    session.install("-e", ".[test]", f"jax=={jax}.*", f"jaxlib=={jax}.*")
    session.run("python", "-c", "import sys, jax; print('Python', sys.version, 'jax', jax.__version__)")
    session.run("python", "-m", "pytest", *(session.posargs or ("-n", "2", "--dist", "loadfile", "-m", "")))


@nox.session
def checks(session: nox.Session) -> None:
    """What pre-commit runs: ruff's lint and format, and mypy."""
    session.install("-e", ".[dev]")
    session.run("pre-commit", "run", "--all-files")
