"""Who is measured: one class a library, each with the fastest ways that library offers for the work.

A contestant is given a `Problem` and returns its ways to compute it, by name: none where it cannot. Inputs are
converted, weights packed and graphs compiled here, outside of what is timed. Opponents get their inputs in the
order that suits them, time-major; ours gets (B, T, I), as its users have it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks.speed.problem import Problem, Results


@dataclass(frozen=True)
class Run:
    """One way to do the work.

    Parameters
    ----------
    call : what is timed
    results : computes once the same way and returns what comes out, to be compared
    context : is entered around a series of calls, not around each
    keeps : arrays that the library knows by their address only, so that they live as long as this
    """

    call: Callable[[], Any]
    results: Callable[[], Results]
    context: Callable[[], AbstractContextManager[Any]] = nullcontext
    keeps: Any = None


class Contestant(Protocol):
    """A library."""

    def __init__(self, threads: int) -> None: ...

    def inference(self, problem: Problem) -> dict[str, Run]:
        """Whole sequences from a state of zeros."""

    def training(self, problem: Problem) -> dict[str, Run]:
        """Forward, and backward to the gradients of x and of the weights."""

    def step(self, problem: Problem) -> dict[str, Run]:
        """One step of a stream, with the state carried on."""


OURS = "elman"
OPPONENTS = ("torch", "onnxruntime", "openvino", "jax")
NEEDS = {"onnxruntime": ("onnxruntime", "onnx"), "openvino": ("openvino", "onnx")}


def missing(name: str) -> list[str]:
    """Return the packages that a contestant needs and that are not installed."""
    return [package for package in NEEDS.get(name, (name,)) if importlib.util.find_spec(package) is None]


def contestant(name: str, threads: int) -> Contestant:
    """Return a library, set to a number of threads."""
    if name == "elman":
        from benchmarks.speed.contestants.ours import Elman

        return Elman(threads)
    if name == "torch":
        from benchmarks.speed.contestants.pytorch import Torch

        return Torch(threads)
    if name == "onnxruntime":
        from benchmarks.speed.contestants.onnx import OnnxRuntime

        return OnnxRuntime(threads)
    if name == "openvino":
        from benchmarks.speed.contestants.onnx import OpenVino

        return OpenVino(threads)
    if name == "jax":
        from benchmarks.speed.contestants.jax import Jax

        return Jax(threads)
    raise ValueError(f"no such contestant: {name!r}; there are {OURS}, {', '.join(OPPONENTS)}")
