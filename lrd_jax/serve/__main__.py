"""Serve a trained run over HTTP: `python -m lrd_jax.serve RUN`."""

from __future__ import annotations

if __name__ == "__main__":
    import signal

    # Before any thread starts: a SIGHUP that comes while the run is loaded waits, and then loads it again.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    from lrd_jax.command_line.begin import begin

    begin()

import importlib.util

from lrd_jax.command_line.parse import run_command
from lrd_jax.errors import UserError
from lrd_jax.serve.flags import parse_flags


def main() -> None:
    """Parse the command line, serve; jax is imported only after that, so that --help answers at once.

    Raises:
      UserError: the extra `serve` is not installed, the port is taken, or the run cannot be loaded.
    """
    flags = parse_flags()
    for package in ("fastapi", "uvicorn", "prometheus_client"):
        if importlib.util.find_spec(package) is None:
            raise UserError(f"serve needs {package}", remedy="Install it: pip install 'lrd_jax[serve]'")
    from lrd_jax.command_line.jax_setup import set_up_jax
    from lrd_jax.serve.process import serve
    from lrd_jax.training.load import check_holds_run

    check_holds_run(flags.run)
    set_up_jax(None)
    serve(flags)


if __name__ == "__main__":
    run_command(main)
