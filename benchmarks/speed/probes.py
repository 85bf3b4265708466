"""What the machine can do, measured in the same rounds: multiplying and adding, products, and reading memory once."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.speed.contestants import Run, missing

SGEMM_SIZE = 2048
SGEMM_FLOPS = 2 * SGEMM_SIZE**3
PEAK_ROUNDS = 100_000
READS = 64  # of the whole memory in one call, so that the cost of the call does not count


def sgemm() -> tuple[str, Run]:
    """Return who multiplies, PyTorch where it is installed, and a product of two float32 matrices of 2048 x 2048."""
    rng = np.random.default_rng(0)
    a, b, out = (rng.standard_normal((SGEMM_SIZE, SGEMM_SIZE), np.float32) for _ in range(3))
    if missing("torch"):
        return "numpy", Run(lambda: np.matmul(a, b, out=out), dict)
    import torch

    left, right, product = map(torch.from_numpy, (a, b, out))
    return "torch", Run(lambda: torch.mm(left, right, out=product), dict, torch.inference_mode)


def peak() -> tuple[str, Run, int] | None:
    """Return how, a call in which one core multiplies and adds numbers in registers, and how often it does.

    Nothing that computes with float32 is faster. None without a compiler.
    """
    library = _library()
    if library is None:
        return None
    return "C", Run(lambda: library.multiply_add(PEAK_ROUNDS), dict), PEAK_ROUNDS * library.multiply_add(0)


def read(n_bytes: int) -> tuple[str, Run]:
    """Return how, and a call that reads so many bytes READS times on one core.

    A few lines of C do it where there is a compiler, else the largest number is looked for, which NumPy does at nearly
    the speed of reading; its call costs about 2 us, and is counted.
    """
    lines = -(-n_bytes // 64)
    memory = np.ones(lines * 16 + 16, np.float32)
    start = -memory.ctypes.data % 64 // 4
    memory = memory[start : start + lines * 16]
    library = _library()
    if library is None:

        def largest() -> None:
            for _ in range(READS):
                memory.max()

        return "numpy", Run(largest, dict)
    address = ctypes.c_void_p(memory.ctypes.data)
    return "C", Run(lambda: library.read_lines(address, lines, READS), dict, keeps=memory)


@cache
def _library() -> ctypes.CDLL | None:
    """Return probes.c, compiled for this processor; None without a compiler."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probes.so"
        source = Path(__file__).with_name("probes.c")
        command = [compiler, "-O3", "-march=native", "-shared", "-fPIC", source, "-o", path]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return None
        library = ctypes.CDLL(str(path))
    library.read_lines.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_long]
    library.read_lines.restype = ctypes.c_longlong
    library.multiply_add.argtypes, library.multiply_add.restype = [ctypes.c_long], ctypes.c_long
    return library
