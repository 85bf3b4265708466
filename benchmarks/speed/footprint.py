"""What a library costs before it computes: the time of its import and the disk that it takes."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

TIMED = "import time, numpy; start = time.perf_counter(); import {name}; print(time.perf_counter() - start)"


def import_seconds(names: Iterable[str], rounds: int) -> dict[str, list[float]]:
    """Return the seconds that `import name` adds to `import numpy`, each in fresh processes, in turn.

    The first import of each is not counted: it may compile the sources and fills the file cache.
    """
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    samples: dict[str, list[float]] = {name: [] for name in names}
    for k in range(rounds + 1):
        for name, times in samples.items():
            command = [sys.executable, "-c", TIMED.format(name=name)]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            if k:
                times.append(float(done.stdout.split()[-1]))
    return samples


def requirements(name: str) -> set[str]:
    """Return the installed distributions that one needs without extras, itself included."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        name = _normal(waiting.pop())
        if name in found:
            continue
        try:
            lines = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # of another platform or Python
        found.add(name)
        waiting += [re.split(r"[^\w.-]", line)[0] for line in lines if "extra ==" not in line]
    return found


def installed_bytes(name: str) -> int:
    """Return the bytes of the files of one distribution, without compiled Python and without what it needs."""
    folder = _editable_folder(name)
    if folder is not None:
        paths: Iterable[Path] = folder.rglob("*")
    else:
        paths = (Path(file.locate()) for file in importlib.metadata.files(name) or [])
    return sum(path.stat().st_size for path in paths if path.suffix != ".pyc" and path.is_file())


def _editable_folder(name: str) -> Path | None:
    """Return the folder of the package where the distribution only points to it, as an editable installation does."""
    files = importlib.metadata.files(name) or []
    if any(file.name == "__init__.py" and file.parts[0] == name for file in files):
        return None
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def footprint(names: Iterable[str], rounds: int) -> dict[str, Any]:
    """Return import times and sizes of libraries by name."""
    found = {}
    for name, samples in import_seconds(names, rounds).items():
        parts = {part: installed_bytes(part) for part in requirements(name)}
        found[name] = {
            "import_s": samples,
            "import_median_s": statistics.median(samples),
            "own_bytes": parts[_normal(name)],
            "bytes_with_requirements": sum(parts.values()),
        }
    return found
