"""The process: HTTP in one thread, the device in another, and signals in the main one."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from typing import NoReturn

import uvicorn

from lrd_jax.errors import UserError, quoted
from lrd_jax.serve.app import State, build_app
from lrd_jax.serve.batching import Batcher
from lrd_jax.serve.flags import ServeFlags
from lrd_jax.serve.metrics import Metrics
from lrd_jax.serve.reload import Current
from lrd_jax.serve.served import Served
from lrd_jax.serve.signals import Signals
from lrd_jax.terminal.lines import say

_SECONDS_TO_STOP = 30


def serve(flags: ServeFlags) -> None:
    """Serves until SIGTERM or Ctrl-C, then finishes what is in flight.

    Raises:
      SystemExit: 130 or 143, after a second signal that ended this.
      UserError: the address cannot be listened on, or the run cannot be loaded.
    """
    listening = _bind(flags.host, flags.port)
    served = Served.load(flags.run, flags.data)
    metrics = Metrics(lambda: len(batches))
    batches = Batcher(flags.queue, flags.max_wait_ms / 1000, metrics.batch)
    metrics.load(served.run.epoch)
    current = Current(served, lambda: Served.load(flags.run, flags.data), metrics.load)
    state = State(current, batches, Batcher(flags.queue), metrics, flags.queue)
    server = uvicorn.Server(
        uvicorn.Config(
            build_app(state),
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=_SECONDS_TO_STOP,
        )
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="http", daemon=True)
    thread.start()
    served.warm_up()
    signals = Signals((signal.SIGHUP, signal.SIGTERM, signal.SIGINT))
    state.status = "ready"
    host, port = listening.getsockname()[:2]
    say(f"{quoted(flags.run)} at http://{f'[{host}]' if ':' in host else host}:{port}, API at /docs; Ctrl-C stops it")
    while thread.is_alive() and (number := signals.next(1.0)) in (None, signal.SIGHUP):
        if number == signal.SIGHUP:
            current.reload()
    state.status = "stopping"
    say("stopping: requests in flight are answered first")
    server.should_exit = True
    while thread.is_alive():
        if (number := signals.next(0.05)) in (signal.SIGTERM, signal.SIGINT):
            _end(128 + number)
    batches.close()
    if current.loading:
        _end(0)


def _end(code: int) -> NoReturn:
    """Ends the process at once: threads that still compute would be torn down with what they compute on."""
    sys.stdout.flush()
    os._exit(code)


def _bind(host: str, port: int) -> socket.socket:
    """A socket at an address, not listening yet."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        problem = f"cannot listen on {host}, port {port}: {error.strerror or error}"
        raise UserError(problem, field="--port", remedy="Choose another --port, or --host") from error
    return bound
