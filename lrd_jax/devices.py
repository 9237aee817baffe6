"""The devices of this process, set up before the first array is made."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
from pathlib import Path

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


def keep_compiled(folder: Path) -> None:
    """Keeps what is compiled in a folder, from which later processes take it: seconds become tenths of a second.

    A place that the user has given jax (JAX_COMPILATION_CACHE_DIR) stands; JAX_ENABLE_COMPILATION_CACHE=0 turns it off.
    """
    if jax.config.jax_compilation_cache_dir is not None:
        return
    # Programs for a CPU use what this very one can do; a folder may be shared between machines.
    processor = platform.processor() + platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor += "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    folder /= hashlib.sha256(processor.encode()).hexdigest()[:12]
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def data_mesh() -> jax.sharding.Mesh:
    """All devices of this process in a row, the axis "data" that batches and users are split over."""
    # jax.make_mesh defaults to explicit axes, under which every operation would need its sharding told.
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
