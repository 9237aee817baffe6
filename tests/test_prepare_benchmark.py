"""`python -m benchmarks.prepare` as a user's script calls it. No test looks at a time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[1]


def run(*arguments):
    command = [sys.executable, "-m", "benchmarks.prepare", "--scale", "tiny", "--json", "-", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180)


def test_a_line_for_each_time_and_the_dump_is_kept_where_it_was_asked_for(tmp_path):
    done = run("--dump", tmp_path / "dump", "--repeat", 2)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(records) == 2
    for record in records:
        assert record["sizes"] == {"users": 120, "items": 240, "interactions": 1500}
        assert record["seconds"] > 0 and record["peak_bytes"] > 2**20
        assert set(record["triples"]) == {"complement", "substitute", "category", "brand"}
        assert record["dump_bytes"] == {file.name: file.stat().st_size for file in (tmp_path / "dump").iterdir()}

    (tmp_path / "dump" / "meta_Electronics.json.gz").write_bytes(b"")
    done = run("--dump", tmp_path / "dump")
    assert done.returncode == 2 and "the file is empty" in done.stderr and not done.stdout
