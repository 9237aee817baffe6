"""What /metrics tells, in Prometheus's text format."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counts of one server."""

    def __init__(self, waiting: Callable[[], int]) -> None:
        """Takes what tells how many requests wait."""
        self._registry = registry = CollectorRegistry()
        self._requests = Counter("lrd_jax_requests", "Requests answered.", ["path", "status"], registry=registry)
        self._seconds = Histogram(
            "lrd_jax_request_seconds", "From the request to its answer.", ["path"], buckets=_SECONDS, registry=registry
        )
        self._sizes = Histogram("lrd_jax_batch_size", "Requests in a batch.", buckets=_SIZES, registry=registry)
        self._batches = Histogram("lrd_jax_batch_seconds", "Of a batch.", buckets=_SECONDS, registry=registry)
        self._loads = Counter("lrd_jax_loads", "Loads of the run.", ["outcome"], registry=registry)
        self._epoch = Gauge("lrd_jax_epoch", "Epoch of the parameters that are served.", registry=registry)
        Gauge("lrd_jax_waiting", "Requests that wait.", registry=registry).set_function(waiting)

    def request(self, path: str, status: int, seconds: float) -> None:
        """Counts an answer."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def batch(self, size: int, seconds: float) -> None:
        """Counts a batch."""
        self._sizes.observe(size)
        self._batches.observe(seconds)

    def load(self, epoch: int | None) -> None:
        """Counts a load of the run and tells its epoch; None: it failed."""
        self._loads.labels("failed" if epoch is None else "loaded").inc()
        if epoch is not None:
            self._epoch.set(epoch)

    def text(self) -> bytes:
        """All of it."""
        return bytes(generate_latest(self._registry))
