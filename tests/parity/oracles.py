"""The libraries that Elman is compared with, where they are installed."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

import pytest


def oracle(name: str) -> ModuleType:
    """Return a library; where it is absent skip the module, or fail if ELMAN_REQUIRE_PARITY=1."""
    if os.environ.get("ELMAN_REQUIRE_PARITY") == "1":
        return importlib.import_module(name)
    return pytest.importorskip(name, reason=f"{name} is not installed; ELMAN_REQUIRE_PARITY=1 makes this a failure")
