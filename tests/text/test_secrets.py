"""The key is sent to the server, and is found nowhere else: not on disk, not on stdout or stderr."""

import base64
import io
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import lrd_jax
from lrd_jax.command_line.parse import run_command
from lrd_jax.embed import main
from tests.text.conftest import KEY, write_dataset
from tests.text.server import running_server

pytestmark = pytest.mark.process

PASSWORD = "hunter2-in-the-address"


@pytest.fixture
def embed(tmp_path, monkeypatch, capfd):
    """Runs the command; all that it could write to is below `tmp_path`, what it prints is in `embed.printed`."""
    for variable in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "working folder"):
        (tmp_path / variable).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.chdir(tmp_path / "working folder")
    monkeypatch.setenv("PYTHONPATH", str(Path(lrd_jax.__file__).parents[1]))
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    monkeypatch.setattr(logging.getLogger(), "level", logging.DEBUG)
    printed = []

    def run(*arguments, process=False):
        arguments = list(map(str, arguments))
        if process:
            command = [sys.executable, "-m", "lrd_jax.embed", *arguments]
            done = subprocess.run(command, capture_output=True, env=os.environ | {"OPENAI_LOG": "debug"})
            printed.append(done.stdout + done.stderr)
            return done.returncode
        monkeypatch.setattr(sys, "argv", ["embed", *arguments])
        try:
            run_command(main)
            code = 0
        except SystemExit as ended:
            code = ended.code
        printed.append("".join((*capfd.readouterr(), log.getvalue())).encode())
        log.seek(0)
        log.truncate()
        return code

    run.printed = printed
    yield run
    logging.getLogger().removeHandler(handler)


def test_no_trace_of_the_key(offline, embed, tmp_path):
    folder = write_dataset(tmp_path / "films", [f"film {n}" for n in range(6)])
    with running_server(key=KEY) as server:
        asking = [folder, "--model", "m", "--base-url", server.url, "--max-retries", "1", "--encoder", "openai"]
        batch = [*asking, "--encoder", "openai-batch", "--model", "b", "--poll-seconds", "0.02"]
        server.always = "400"
        assert embed(*asking, process=True) == 2
        assert b"[key]" in embed.printed[-1]  # the server did repeat it
        for fault in ("401", "500", "reset", "missing"):
            server.always = fault
            assert embed(*asking) == 2, fault
            assert b"HTTP Request" in embed.printed[-1] or fault == "reset"  # logging is on
        server.always = "ok"
        assert embed(*asking, process=True) == 0
        assert b"DEBUG" in embed.printed[-1]  # logging was on
        server.batches.outcomes.append("rows refused")
        assert embed(*batch) == 2
        assert b"Row of [key] is not to be had" in embed.printed[-1]
        assert embed(*batch) == 0
        assert embed(*asking, "--dry-run") == 0
        server.key = "sk-another"  # so that ours is refused and repeated
        assert embed(*asking, "--force", "--dimensions", "4") == 2
        assert embed(*batch, "--force", "--dimensions", "4") == 2
        assert server.sent_keys == {f"Bearer {KEY}"}
        with_password = server.url.replace("//", f"//me:{PASSWORD}@")
    assert embed(folder, "--encoder", "openai", "--base-url", with_password) == 2
    assert embed(*asking, "--force", "--dimensions", "4") == 2  # nobody listens any more

    assert (folder / "text_openai-m.npy").exists() and (tmp_path / "cache" / "text" / "openai.sqlite").exists()
    written = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(written) > 5
    for needle in (KEY.encode(), KEY[3:].encode(), base64.b64encode(KEY.encode())[:-4], PASSWORD.encode()):
        for place, content in [*written.items(), *enumerate(embed.printed)]:
            at = content.find(needle)
            assert at < 0, (place, content[max(0, at - 300) : at + 80])
    assert not any(b"Traceback" in printed for printed in embed.printed)
