"""Chooses which twin of the kernels computes, and says which and why.

``ELMAN_KERNELS=auto|reference|native`` chooses at the first use; `use_kernels` chooses for a block of code. ``auto``
takes the native twin where it is installed and the reference otherwise, with one warning.
"""

from __future__ import annotations

import os
import platform
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import numpy as np

from elman.kernels import reference
from elman.kernels.spec import Kernels

CHOICES = ("auto", "reference", "native")
_chosen: Kernels | None = None


def native_module() -> ModuleType:
    """Return the compiled module, set up by ``ELMAN_ISA`` and ``ELMAN_NUM_THREADS`` at its first use.

    Raises ImportError where it was not built or cannot be loaded, ValueError for an environment variable that is wrong.
    """
    from elman import _native
    from elman.kernels import threads

    threads.set_up(_native)
    return _native


def _load(name: str) -> Kernels:
    if name not in CHOICES:
        raise ValueError(f"kernels must be one of {', '.join(CHOICES)}, got {name!r}")
    if name == "reference":
        return reference
    try:
        native_module()
    except ImportError as error:
        if name == "native":
            raise ImportError(
                f"elman has no native kernels here ({error}); use ELMAN_KERNELS=auto or reference"
            ) from error
        warnings.warn(
            f"elman computes with NumPy, more slowly, for its native kernels cannot be loaded: {error}", stacklevel=3
        )
        return reference
    from elman.kernels import native

    return native


def active() -> Kernels:
    """Return the twin that computes now, a module with the functions that spec.py describes."""
    global _chosen
    if _chosen is None:
        _chosen = _load(os.environ.get("ELMAN_KERNELS", "auto"))
    return _chosen


@contextmanager
def use_kernels(name: str) -> Iterator[None]:
    """Compute with the twin `name` ("auto", "reference" or "native") inside a ``with`` block.

    The choice is the whole process's: do not overlap such blocks in several threads.

    Raises ImportError if that twin cannot be loaded, ValueError if there is no twin of that name.
    """
    global _chosen
    before, _chosen = _chosen, _load(name)
    try:
        yield
    finally:
        _chosen = before


def show_config() -> None:
    """Print which kernels compute, their instruction set and threads, the versions and the machine."""
    twin = "reference" if active() is reference else "native"
    try:
        module = native_module()
        native = f"{module.instruction_set()} of {', '.join(module.instruction_sets())}; {module.threads()} threads"
    except ImportError as error:
        native = f"cannot be loaded: {error}"
    print(f"kernels   {twin} (asked for: {os.environ.get('ELMAN_KERNELS', 'auto')})")
    print(f"native    {native}")
    print(f"numpy     {np.__version__}")
    print(f"python    {sys.version.split()[0]} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores")
