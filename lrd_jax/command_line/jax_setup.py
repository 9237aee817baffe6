"""Sets up jax for commands; a program that only imports lrd_jax keeps its own settings."""

from __future__ import annotations

from lrd_jax.command_line.compiled import keep_compiled
from lrd_jax.data.cache import cache_dir
from lrd_jax.devices import available_cores, set_up_devices


def set_up_jax(cpu_devices: int | None) -> None:
    """Starts the devices and keeps compiled programs in the cache folder; call it before jax uses a device.

    Args:
      cpu_devices: see `RunConfig.cpu_devices`.

    Raises:
      UserError: an environment variable names a device that jax cannot find.
    """
    set_up_devices(cpu_devices or available_cores())
    keep_compiled(cache_dir() / "compiled")
