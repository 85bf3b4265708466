"""Chooses which twin of the kernels computes, and says which and why.

``ELMAN_KERNELS=auto|reference|native`` chooses at the first use; `use_kernels` chooses for a block of code. ``auto``
takes the native twin where it is installed and the reference otherwise.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from elman.kernels import reference
from elman.kernels.spec import Kernels

CHOICES = ("auto", "reference", "native")
_chosen: Kernels | None = None


def _load(name: str) -> Kernels:
    if name not in CHOICES:
        raise ValueError(f"kernels must be one of {', '.join(CHOICES)}, got {name!r}")
    if name == "native":
        raise ImportError("elman has no native kernels in this version; use ELMAN_KERNELS=auto or reference")
    return reference


def active() -> Kernels:
    """Return the twin that computes now, a module with the functions that spec.py describes."""
    global _chosen
    if _chosen is None:
        _chosen = _load(os.environ.get("ELMAN_KERNELS", "auto"))
    return _chosen


@contextmanager
def use_kernels(name: str) -> Iterator[None]:
    """Compute with the twin `name` ("auto", "reference" or "native") inside a ``with`` block.

    Raises ImportError if that twin cannot be loaded, ValueError if there is no twin of that name.
    """
    global _chosen
    before, _chosen = _chosen, _load(name)
    try:
        yield
    finally:
        _chosen = before


def show_config() -> None:
    """Print which kernels compute, and the versions and the machine they compute on."""
    twin = "reference" if active() is reference else "native"
    print(f"kernels   {twin} (asked for: {os.environ.get('ELMAN_KERNELS', 'auto')}); native: not in this version")
    print(f"numpy     {np.__version__}")
    print(f"python    {sys.version.split()[0]} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores")
