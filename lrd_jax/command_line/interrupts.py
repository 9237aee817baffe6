"""Handles Ctrl-C and SIGTERM: prints one line and exits with code 130 or 143, whatever the process is doing."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections.abc import Iterator

_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
_SECONDS_TO_CLEAN_UP = 3.0

_telling = threading.RLock()
_received: int | None = None
_cleans_up = False  # whether the running main function has temporary files to remove


def listen() -> None:
    """Makes both signals end this process. A signal that the parent process set to be ignored (nohup) stays ignored.

    Python runs signal handlers only in the main thread and only between bytecode instructions, which may be minutes
    apart in compiled code. So a second thread watches too: it prints the line at once, and ends the process if it does
    not end by itself.
    """
    held = signal.pthread_sigmask(signal.SIG_BLOCK, _WORDS)
    watched, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(watched,), daemon=True).start()
    for number in _WORDS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handle)
    signal.pthread_sigmask(signal.SIG_SETMASK, held)


@contextlib.contextmanager
def cleaning_up() -> Iterator[None]:
    """Inside, a signal raises KeyboardInterrupt in the main thread, which has seconds to remove temporary files."""
    global _cleans_up
    _cleans_up = True
    try:
        yield
    except BaseException:
        if _received is not None:
            _end(_received)
        raise
    finally:
        _cleans_up = False


def _handle(number: int, frame: object) -> None:
    _announce(number)
    if not _cleans_up:
        _end(number)
    raise KeyboardInterrupt


def _watch(watched: int) -> None:
    number = os.read(watched, 1)[0]
    _announce(number)
    if _cleans_up:
        select.select([watched], [], [], _SECONDS_TO_CLEAN_UP)  # or until a second signal
    _end(number)


def _announce(number: int) -> None:
    """Prints the line once, and suppresses all later output."""
    global _received
    with _telling:
        if _received is not None:
            return
        _received = number
        line = f"{_WORDS[signal.Signals(number)]}\n"
        if os.isatty(2):
            line = f"\r\x1b[K\x1b[?25h{line}"  # in place of the progress bar, with the cursor that a spinner hides
        with contextlib.suppress(OSError):
            if select.select([], [2], [], 1)[1]:  # do not block on a full pipe that nobody reads
                os.write(2, line.encode())
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nowhere, stream)


def _end(number: int) -> None:
    os._exit(128 + number)
