"""The commands and the program of docs/how-to/serve.md, asked of a server of this test."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

PAGE = (Path(__file__).parents[2] / "docs/how-to/serve.md").read_text()
ADDRESS = "http://127.0.0.1:8000"


def block(language):
    """Of the page, the one that is asked of a server."""
    (found,) = re.findall(rf'```{language} title="asked of a server"\n(.*?)```', PAGE, re.S)
    return found


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("command", block("sh").splitlines())
def test_commands(server, command):
    done = subprocess.run(["bash", "-c", command.replace(ADDRESS, server.url)], capture_output=True, timeout=60)
    answer = json.loads(done.stdout)
    assert answer.get("items", []) or answer["status"] == "ready"


def test_program(server, capsys):
    exec(compile(block("python").replace(ADDRESS, server.url), "serve.md", "exec"), {"__name__": "guide"})
    assert len(capsys.readouterr().out.splitlines()) == 3
