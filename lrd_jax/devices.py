"""The devices of this process, set up before the first array is made."""

from __future__ import annotations

import os

import jax


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_up_devices(cpu_devices: int) -> None:
    """Makes the CPU appear as so many single-threaded devices; call it before jax touches a device.

    The passes over relation tokens are small matrix products that one core runs out of its own cache, so two
    single-threaded devices do them about twice as fast as one with two threads.

    Accelerators are left as they are.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if cpu_devices > 1 and "xla_cpu_multi_thread_eigen" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
    if "xla_force_host_platform_device_count" not in flags:
        jax.config.update("jax_num_cpu_devices", cpu_devices)


def data_mesh() -> jax.sharding.Mesh:
    """All devices of this process in a row, the axis "data" that batches and users are split over."""
    # jax.make_mesh defaults to explicit axes, under which every operation would need its sharding told.
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
