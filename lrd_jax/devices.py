"""The devices of this process, set up before the first array is made."""

from __future__ import annotations

import os
from typing import Any

import jax

from lrd_jax.errors import UserError
from lrd_jax.runs.terminal import warn


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_up_devices(cpu_devices: int) -> None:
    """Makes the CPU appear as so many single-threaded devices and starts them; call it before jax touches a device.

    The passes over relation tokens are small matrix products that one core runs out of its own cache, so two
    single-threaded devices do them about twice as fast as one with two threads.

    Accelerators are left as they are.

    Raises:
      UserError: jax was told to use a device that is not there.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if cpu_devices > 1 and "xla_cpu_multi_thread_eigen" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
    if "xla_force_host_platform_device_count" not in flags:
        jax.config.update("jax_num_cpu_devices", cpu_devices)
    start_devices()


def start_devices() -> None:
    """Starts the devices that jax is configured to use, all it can find by default.

    Jit is switched on where JAX_DISABLE_JIT has switched it off: an epoch is one program, which would take hours
    without.

    Raises:
      UserError: there is no such device.
    """
    options: Any = jax.config  # whose attributes are made at run time
    if options.jax_disable_jit:
        warn("JAX_DISABLE_JIT is set, but without jit an epoch would take hours, so it is not followed")
        jax.config.update("jax_disable_jit", False)
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        for name in ("JAX_PLATFORMS", "JAX_PLATFORM_NAME"):
            if value := os.environ.get(name):
                remedy = f"Unset {name}, or set it to cpu; a GPU takes pip install 'lrd_jax[cuda]'"
                raise UserError(f"{name}={value}, but jax finds no such device here", remedy=remedy) from error
        raise


def data_mesh() -> jax.sharding.Mesh:
    """All devices of this process in a row, the axis "data" that batches and users are split over."""
    # jax.make_mesh defaults to explicit axes, under which every operation would need its sharding told.
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
