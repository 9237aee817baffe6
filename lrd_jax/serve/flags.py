"""The command line of `python -m lrd_jax.serve`."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from lrd_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class ServeFlags:
    """Answer requests with a trained run over HTTP: recommendations, scores, reasons and similar items as JSON, and a
    page to try them. SIGHUP loads the run folder again; SIGTERM or Ctrl-C finishes the requests in flight and stops."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder of `train`."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 is all of this machine's. There are no passwords: let no stranger reach it."""
    port: int = 8000
    """Port to listen on; 0 takes a free one, which the first line tells."""
    queue: int = 256
    """How many requests may wait; those beyond are answered with 503 and Retry-After."""
    max_wait_ms: float = 0.0
    """How long a request may wait for others to share its batch while the device is idle, in milliseconds."""
    data: Annotated[Path | None, tyro.conf.arg(name="data.path", metavar="FOLDER")] = None
    """Where the dataset of the run is now, for one that was moved or renamed. None: where it was in training."""

    def check(self) -> None:
        """Refuses values out of range.

        Raises:
          UserError: of the first of them.
        """
        if not 0 <= self.port <= 65535:
            raise UserError(f"{self.port} is no port", field="--port", remedy="Give 0 to 65535")
        if self.queue < 1:
            raise UserError(f"the queue has {self.queue} places", field="--queue", remedy="Give 1 or more")
        if not 0 <= self.max_wait_ms <= 1000:
            raise UserError(f"{self.max_wait_ms} ms is no wait", field="--max-wait-ms", remedy="Give 0 to 1000")


def parse_flags(argv: Sequence[str] | None = None) -> ServeFlags:
    """Read the command line; that of the process by default.

    Raises:
      UserError: a value out of range.
      SystemExit: after --help (0), or after tyro has explained a misspelt or malformed argument on stderr (2).
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    flags = tyro.cli(ServeFlags, prog="python -m lrd_jax.serve", args=argv, description=inspect.getdoc(ServeFlags))
    flags.check()
    return flags
