"""Measures cells in one process with a fixed number of threads, and writes each to the result as it is done."""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.records import write_json
from benchmarks.speed import character, probes, problem
from benchmarks.speed.contestants import OURS, Contestant, Run, contestant
from benchmarks.speed.grid import KINDS, Cell
from benchmarks.speed.measure import Plan, fastest, interleaved
from benchmarks.speed.results import FULL


class Field:
    """Who takes part in a cell, with the way that each takes, and who does not and why."""

    def __init__(self, plan: Plan) -> None:
        self.runs: dict[str, Run] = {}
        self.ways: dict[str, str] = {}
        self.deviations: dict[str, float] = {}
        self.left_out: dict[str, str] = {}
        self._plan = plan

    def add(self, name: str, way: str, run: Run) -> None:
        """Let someone take part whose results were compared already, or are none."""
        self.runs[name], self.ways[name] = run, way

    def enter(self, name: str, ways: dict[str, Run], expected: problem.Results) -> None:
        """Let a library take part on its fastest way, unless its results are wrong.

        Raises ValueError where they are ours.
        """
        if not ways:
            return
        try:
            off = max(problem.deviation(_results(run), expected) for run in ways.values())
        except ValueError as error:
            if name == OURS:
                raise
            self.left_out[name] = str(error)
            return
        way = fastest(ways, self._plan)
        self.add(name, way, ways[way])
        self.deviations[name] = off


def _results(run: Run) -> problem.Results:
    with run.context():
        return run.results()


def prepare(cell: Cell, contestants: dict[str, Contestant], plan: Plan) -> tuple[Field, dict[str, Any]]:
    """Return who takes part in a cell, ready to be timed, and what the result says of the cell besides times."""
    field = Field(plan)
    record: dict[str, Any] = {"cell": dataclasses.asdict(cell), "share": 1.0}
    if cell.kind not in KINDS:
        runs, off = character.runs(cell, list(contestants))
        for name, run in runs.items():
            field.add(name, "training step", run)
            field.deviations[name] = off
        return field, record
    given = problem.make(cell)
    expected = given.expected()
    for name, side in contestants.items():
        field.enter(name, getattr(side, cell.work)(given), expected)
    if cell.ragged:
        record["share"] = given.share
        full = given.without_lengths()
        expected = full.expected()
        for name in list(field.runs):
            field.enter(name + FULL, getattr(contestants[name], cell.work)(full), expected)
    elif cell.work == "step":
        field.add("read", *probes.read(cell.weight_bytes))
    else:
        record["sgemm_flops"] = probes.SGEMM_FLOPS
        field.add("sgemm", *probes.sgemm())
        if found := probes.peak():
            *peak, record["peak_flops"] = found
            field.add("peak", *peak)
    return field, record


def measure(cell: Cell, contestants: dict[str, Contestant], plan: Plan) -> dict[str, Any]:
    """Return all that the result says of a cell."""
    start, load = time.perf_counter(), os.getloadavg()[0]
    field, record = prepare(cell, contestants, plan)
    samples = interleaved(field.runs, plan)
    if "read" in samples:
        samples["read"] = [seconds / probes.READS for seconds in samples["read"]]
    entrants = {
        name: {
            "way": field.ways[name],
            "median_s": statistics.median(times),
            "samples_s": times,
            **({"deviation": field.deviations[name]} if name in field.deviations else {}),
        }
        for name, times in samples.items()
    }
    took = time.perf_counter() - start
    return {**record, "entrants": entrants, "left_out": field.left_out, "load": load, "seconds": round(took, 1)}


def work(threads: int, cells: list[Cell], opponents: list[str], plan: Plan, out: Path) -> int:
    """Measure the cells that the result at `out` does not have yet; return 1 where our own results were wrong."""
    if hasattr(os, "sched_setaffinity"):
        # Also what takes no number of threads, such as JAX, then takes as many as the others.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    result = json.loads(out.read_text(encoding="utf-8"))
    done = result["cells"].setdefault(str(threads), {})
    waiting = [cell for cell in cells if cell.name not in done]
    contestants = {name: contestant(name, threads) for name in (OURS, *opponents)} if waiting else {}
    code, start = 0, time.perf_counter()
    try:
        for k, cell in enumerate(waiting):
            left = (
                f", about {(time.perf_counter() - start) / k * (len(waiting) - k) / 60:.0f} minutes left" if k else ""
            )
            _say(f"{threads} thread{'s' * (threads > 1)}, cell {k + 1} of {len(waiting)}{left}: {cell.name}")
            try:
                done[cell.name] = measure(cell, contestants, plan)
            except ValueError as error:
                _say(f"{cell.name}: our results are wrong, so it is not measured: {error}\n")
                code = 1
                continue
            write_json(out, result)
    except KeyboardInterrupt:
        code = 130
    _say("")
    return code


def _say(text: str) -> None:
    """Show what is going on, in one line that the next overwrites."""
    print(f"\r\033[K{text}" if sys.stderr.isatty() else text, end="" if sys.stderr.isatty() else "\n", file=sys.stderr)
    sys.stderr.flush()
