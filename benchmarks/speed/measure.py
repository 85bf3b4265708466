"""Timing: everybody in turn, round after round, in one process, so that whatever the machine does meets them all."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat

from benchmarks.speed.contestants import Run


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    samples: int = 7  # rounds, one sample of everybody in each
    seconds: float = 0.1  # that a sample takes at least
    settle_seconds: float = 0.01  # of rest before a sample: threads of the one before stop spinning


def seconds_per_call(run: Run, calls: int) -> float:
    """Return the mean time of so many calls in a row, after one that is not counted where there are many."""
    call = run.call
    with run.context():
        if calls > 1:
            call()
        start = time.perf_counter()
        for _ in repeat(None, calls):
            call()
        return (time.perf_counter() - start) / calls


def calls_for(run: Run, seconds: float) -> int:
    """Return how many calls take so long, from tries that grow; the first call ever is not judged by."""
    calls, took = 1, min(seconds_per_call(run, 1) for _ in range(2))
    while took < seconds:
        calls = max(2 * calls, math.ceil(1.1 * calls * seconds / max(took, seconds / 100)))
        took = seconds_per_call(run, calls) * calls
    return calls


def fastest(ways: Mapping[str, Run], plan: Plan) -> str:
    """Return the name of the way that is fastest in a short trial."""
    if len(ways) == 1:
        return next(iter(ways))
    trials = {name: calls_for(run, plan.seconds / 10) for name, run in ways.items()}
    return min(ways, key=lambda name: min(seconds_per_call(ways[name], trials[name]) for _ in range(3)))


def interleaved(runs: Mapping[str, Run], plan: Plan) -> dict[str, list[float]]:
    """Return the samples of each run, in seconds a call: one of each a round, beginning with another one each time."""
    calls = {name: calls_for(run, plan.seconds) for name, run in runs.items()}
    samples: dict[str, list[float]] = {name: [] for name in runs}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for k in range(plan.samples):
            for name in rotated(list(runs), k):
                time.sleep(plan.settle_seconds)
                samples[name].append(seconds_per_call(runs[name], calls[name]))
            gc.collect()
    finally:
        if collecting:
            gc.enable()
    return samples


def rotated(names: Sequence[str], k: int) -> list[str]:
    """Return the names from number k on, and then those before."""
    k %= len(names) or 1
    return [*names[k:], *names[:k]]
