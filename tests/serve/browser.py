"""A real headless Chromium: one that is there, Playwright's own, or Debian's, which installs itself as root."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def _installed() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


def _of_playwright(playwright) -> str | None:
    path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


@functools.cache
def _install() -> str:
    """Debian's chromium; what apt said where that fails."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        return "no apt-get as root"
    quiet = {"env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, "capture_output": True, "text": True}
    subprocess.run(["apt-get", "update"], **quiet)
    packages = ["chromium", "fonts-dejavu-core"]
    done = subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", *packages], **quiet)
    return done.stderr[-500:]


@contextlib.contextmanager
def chromium() -> Iterator:
    """A browser of Playwright. Where none can be installed, the test is skipped."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = _installed() or _of_playwright(playwright)
        if path is None:
            said = _install()
            path = _installed()
        if path is None:
            pytest.skip(f"no Chromium, nor could it be installed: {said}. Run: python -m playwright install chromium")
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # which Chromium as root needs
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            yield browser
        finally:
            browser.close()
