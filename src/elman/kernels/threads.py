"""How many threads the native kernels use: ``ELMAN_NUM_THREADS``, or the cores that this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path
from types import ModuleType

from elman import checks

MOST = 1024  # more than any machine has, and few enough to start
_set_up = False


def set_num_threads(count: int) -> None:
    """Let the native kernels use up to `count` threads. Results do not depend on it; small work stays on one thread.

    Raises ValueError or TypeError unless it is an int from 1 to 1024. The NumPy twin leaves threads to NumPy's BLAS.
    """
    from elman.kernels import native_module

    checks.positive("set_num_threads", count=count)
    checks.in_range("set_num_threads", "count", count, 1, MOST)
    try:
        native_module().set_threads(int(count))
    except ImportError:
        return


def get_num_threads() -> int:
    """Return how many threads the native kernels may use; 1 where there are none."""
    from elman.kernels import native_module

    try:
        return int(native_module().threads())
    except ImportError:
        return 1


def usable_cores() -> int:
    """Return how many cores affinity and the container's quota leave to this process, at least 1."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _quota())))


def _quota() -> float:
    """Return the cores that the control group of this process allows, or infinity."""
    try:  # version 2
        quota, per = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return math.inf if quota == "max" else int(quota) / int(per)
    except (OSError, ValueError, ZeroDivisionError):
        pass
    try:  # version 1
        allowed, period = (
            int(Path(f"/sys/fs/cgroup/cpu/cpu.cfs_{name}_us").read_text(encoding="ascii"))
            for name in ("quota", "period")
        )
        return allowed / period if allowed > 0 and period > 0 else math.inf
    except (OSError, ValueError):
        return math.inf


def set_up(native: ModuleType) -> None:
    """Set the number of threads and the instruction set of the native module, once."""
    global _set_up
    if _set_up:
        return
    asked = os.environ.get("ELMAN_NUM_THREADS")
    if asked is not None and not (asked.isdecimal() and 1 <= int(asked) <= MOST):
        raise ValueError(f"ELMAN_NUM_THREADS must be a whole number from 1 to {MOST}, got {asked!r}")
    isa = os.environ.get("ELMAN_ISA")
    if isa is not None and isa not in native.instruction_sets():
        known = ", ".join(native.instruction_sets())
        raise ValueError(f"ELMAN_ISA must be one of {known} on this machine, got {isa!r}")
    native.set_threads(usable_cores() if asked is None else int(asked))
    if isa is not None:
        native.use_instruction_set(isa)
    _set_up = True
