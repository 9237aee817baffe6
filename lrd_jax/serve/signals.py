"""Signals of a server: they wait in a pipe until the main thread reads them, whatever the other threads do."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterable


class Signals:
    """From now on these signals do nothing but wait to be read; one that the parent has ignored stays ignored.

    They no longer end the process as `command_line.interrupts` has it.
    """

    def __init__(self, numbers: Iterable[signal.Signals]) -> None:
        """Takes the signals; to be called in the main thread."""
        self._read, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in numbers:
            if number == signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # see serve/__main__.py

    def next(self, seconds: float) -> signal.Signals | None:
        """The next signal; None where none comes for so many seconds."""
        if not select.select([self._read], [], [], seconds)[0]:
            return None
        return signal.Signals(os.read(self._read, 1)[0])
