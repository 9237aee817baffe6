"""Sets up the jax devices of this process, before the first array is made."""

from __future__ import annotations

import os
from typing import Any

import jax

from lrd_jax.errors import UserError
from lrd_jax.terminal.lines import warn


def available_cores() -> int:
    """Number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_up_devices(cpu_devices: int) -> None:
    """Splits the CPU into this many single-threaded devices and starts them; call it before jax uses a device.

    The passes over relation tokens are small matrix products that fit in the cache of one core, so two
    single-threaded devices are about twice as fast as one device with two threads.

    Accelerators are not affected.

    Raises:
      UserError: an environment variable names a device that jax cannot find.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if cpu_devices > 1 and "xla_cpu_multi_thread_eigen" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
    if "xla_force_host_platform_device_count" not in flags:
        jax.config.update("jax_num_cpu_devices", cpu_devices)
    start_devices()


def start_devices() -> None:
    """Starts the devices that jax is configured to use; by default, all that it finds.

    Switches jit on if JAX_DISABLE_JIT has switched it off, because an epoch is one compiled program and would take
    hours without jit.

    Raises:
      UserError: jax does not find the configured device.
    """
    options: Any = jax.config  # whose attributes are made at run time
    if options.jax_disable_jit:
        warn("JAX_DISABLE_JIT is set but ignored: an epoch would take hours without jit")
        jax.config.update("jax_disable_jit", False)
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        for name in ("JAX_PLATFORMS", "JAX_PLATFORM_NAME"):
            if value := os.environ.get(name):
                remedy = f"Unset {name}, or set it to cpu; to use a GPU, run pip install 'lrd_jax[cuda]'"
                raise UserError(f"{name}={value}, but jax finds no such device here", remedy=remedy) from error
        raise


def data_mesh() -> jax.sharding.Mesh:
    """A mesh of all devices of this process with one axis, "data", over which batches and users are split."""
    # jax.make_mesh defaults to explicit axes, under which every operation would need an explicit sharding.
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
