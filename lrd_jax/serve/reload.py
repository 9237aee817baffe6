"""The run that is served, and its replacement by what its folder holds later."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable

from lrd_jax.errors import UserError
from lrd_jax.serve.served import Served
from lrd_jax.terminal.lines import say, warn


class Current:
    """What is served now; a request takes `served` once and keeps it, so that a replacement does not concern it.

    Attributes:
      served: the run, warm.
      loads: how often it has been loaded.
      loading: whether it is being loaded again.
    """

    def __init__(self, served: Served, load: Callable[[], Served], loaded: Callable[[int | None], None]) -> None:
        """Starts a thread that waits to be asked.

        Args:
          served: what is served at first.
          load: loads the run again.
          loaded: told the epoch after each load, None where it failed.
        """
        self.served, self.loads, self.loading = served, 1, False
        self._load, self._loaded = load, loaded
        self._asked = threading.Event()
        threading.Thread(target=self._run, name="reload", daemon=True).start()

    def reload(self) -> None:
        """Loads the run again in the background; once more where that has begun already."""
        self._asked.set()

    def _run(self) -> None:
        while self._asked.wait():
            self._asked.clear()
            self.loading = True
            try:
                served = self._load()
                served.warm_up()
            except Exception as error:  # whatever it is, the old one goes on
                if not isinstance(error, UserError):
                    traceback.print_exc()
                warn(f"the run could not be loaded again, so the one of before is served: {error}")
                self._loaded(None)
                continue
            finally:
                self.loading = False
            self.served = served
            self.loads += 1
            self._loaded(served.run.epoch)
            say(f"loaded again: epoch {served.run.epoch}")
