"""The key is sent to the server, and is found nowhere else: not on disk, not on stdout or stderr."""

import base64
import subprocess
import sys
from pathlib import Path

import pytest

import lrd_jax
from tests.text.conftest import KEY, write_dataset
from tests.text.server import running_server

PASSWORD = "hunter2-in-the-address"


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Runs the command with everything that it could write below `tmp_path`; collects what it prints."""
    for variable in ("HOME", "TMPDIR", "XDG_CACHE_HOME"):
        (tmp_path / variable).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setenv("OPENAI_LOG", "debug")
    monkeypatch.setenv("PYTHONPATH", str(Path(lrd_jax.__file__).parents[1]))  # the command runs elsewhere
    printed = []

    def run(*arguments):
        command = [sys.executable, "-m", "lrd_jax.embed", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, cwd=tmp_path)
        printed.append(done.stdout + done.stderr)
        return done

    run.printed = printed
    return run


def test_no_trace_of_the_key(offline, told, tmp_path):
    folder = write_dataset(tmp_path / "films", [f"film {n}" for n in range(6)])
    with running_server(key=KEY) as server:
        options = [folder, "--encoder", "openai", "--model", "m", "--base-url", server.url, "--max-retries", "1"]
        batch = [
            folder,
            "--encoder",
            "openai-batch",
            "--model",
            "b",
            "--base-url",
            server.url,
            "--poll-seconds",
            "0.02",
        ]
        for fault, code in (("400", 2), ("401", 2), ("500", 2), ("reset", 2), ("ok", 0)):
            server.always = fault
            assert told(*options).returncode == code, fault
        assert b"[key]" in told.printed[0]  # the server did repeat it
        server.batches.outcomes.extend(["rows refused", "ok"])
        assert told(*batch).returncode == 2
        assert b"Row of [key] is not to be had" in told.printed[-1]
        assert told(*batch).returncode == 0
        assert told(*options, "--dry-run").returncode == 0
        server.key = "sk-another"  # so that ours is refused and repeated
        assert told(*options, "--force", "--dimensions", "4").returncode == 2
        assert server.sent_keys == {f"Bearer {KEY}"}
        with_password = server.url.replace("//", f"//me:{PASSWORD}@")
    assert told(folder, "--encoder", "openai", "--base-url", with_password).returncode == 2
    assert told(*options, "--force", "--dimensions", "4").returncode == 2  # nobody listens any more

    assert (folder / "text_openai-m.npy").exists() and (tmp_path / "cache" / "text" / "openai.sqlite").exists()
    written = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(written) > 5
    needles = [KEY.encode(), KEY[3:].encode(), base64.b64encode(KEY.encode())[:-4], PASSWORD.encode()]
    for needle in needles:
        for place, content in [*written.items(), *enumerate(told.printed)]:
            assert needle not in content, place
    assert not any(b"Traceback" in printed for printed in told.printed)
