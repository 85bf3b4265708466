"""How fast Elman is beside PyTorch, ONNX Runtime, OpenVINO and JAX on this machine.

    python -m benchmarks.speed.run                          # everything: make bench
    python -m benchmarks.speed.run --quick                  # ten cells in under a minute: make bench-quick
    python -m benchmarks.speed.run --cells "LSTM step" "GRU training H256" --threads 1
    python -m benchmarks.speed.run --table benchmarks/results/speed-2026-01-31.json

Results are written cell by cell to benchmarks/results/speed-DATE.json, and the same command goes on where an earlier
one of that day was stopped. With --quick they are written to build/speed-quick.json, always anew.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.records import cpu_name, write_json
from benchmarks.speed import grid, results
from benchmarks.speed.contestants import NEEDS, OPPONENTS, OURS, missing
from benchmarks.speed.measure import Plan

ROOT = Path(__file__).resolve().parents[2]
QUICK_OUT = ROOT / "build" / "speed-quick.json"
QUICK_PLAN = Plan(samples=5, seconds=0.05)
FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile", "asimd", "sve")
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "ELMAN_NUM_THREADS")
BUSY = 0.7  # processes that run before we do
SLOWS_NUMPY = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # where they are set


def cores() -> list[int]:
    """Return the cores that this process may use, or their numbers where the system does not say."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def about(opponents: list[str]) -> dict[str, Any]:
    """Return what the numbers depend on: machine, versions, commit."""
    from importlib.metadata import version

    packages = dict.fromkeys([OURS, "numpy", *(package for name in opponents for package in NEEDS.get(name, (name,)))])
    cpuinfo = Path("/proc/cpuinfo")
    known = set(re.findall(r"\w+", cpuinfo.read_text())) if cpuinfo.exists() else set()
    caches = sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"))
    return {
        "cpu": cpu_name(),
        "cores": len(cores()),
        "instruction_set": [flag for flag in FLAGS if flag in known],
        "caches": {
            f"L{(c / 'level').read_text().strip()} {(c / 'type').read_text().strip()}": (c / "size").read_text().strip()
            for c in caches
        },
        "system": platform.platform(),
        "elman": _output([sys.executable, "-c", "import elman; elman.show_config()"]).splitlines(),
        "commit": _commit(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
    }


def _commit() -> str:
    """Return the last commit of what is measured, with a star where files differ from it."""
    parts = ["src", "native", "pyproject.toml", "benchmarks/speed"]
    git = ["git", "-C", str(ROOT)]
    changed = _output([*git, "status", "--porcelain", "--", *parts])
    return _output([*git, "log", "-1", "--format=%h", "--", *parts]) + "*" * bool(changed)


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def begin(out: Path, fresh: bool, header: dict[str, Any]) -> dict[str, Any]:
    """Return the result to go on with, or a new one; ValueError where the file at `out` is of other circumstances."""
    if fresh or not out.exists():
        return {**header, "complete": [], "cells": {}, "footprint": {}}
    result = json.loads(out.read_text(encoding="utf-8"))
    for name in ("about", "plan"):
        if result[name] != header[name]:
            different = sorted(key for key in header[name] if header[name][key] != result[name].get(key))
            raise ValueError(
                f"{out} was measured with another {', '.join(different)}; "
                "use --fresh to measure all of it anew, or --out for another file"
            )
    return result


def environment(threads: int) -> dict[str, str]:
    """Return the environment of a process whose libraries use so many threads: some read it when they are loaded."""
    kept = {name: value for name, value in os.environ.items() if name not in SLOWS_NUMPY}
    return kept | dict.fromkeys(THREAD_VARIABLES, str(threads)) | {"JAX_PLATFORMS": "cpu"}


def arguments_of(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed.run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="ten cells with all cores, in under a minute")
    parser.add_argument(
        "--cells", nargs="+", default=[], metavar="WORDS", help="only cells with these words in the name"
    )
    parser.add_argument("--threads", nargs="+", type=int, help="numbers of threads (default: 1 and 2, as cores allow)")
    parser.add_argument("--opponents", nargs="*", choices=OPPONENTS, help="default: those that are installed")
    parser.add_argument("--samples", type=int, help=f"of each side and cell (default {Plan.samples})")
    parser.add_argument("--seconds", type=float, help=f"that a sample takes at least (default {Plan.seconds})")
    parser.add_argument("--out", type=Path, help="JSON to write")
    parser.add_argument("--fresh", action="store_true", help="do not go on with what the file already has")
    parser.add_argument("--no-footprint", action="store_true", help="leave out import times and sizes")
    parser.add_argument("--list", action="store_true", help="print the names of the cells and end")
    parser.add_argument("--table", type=Path, metavar="JSON", help="print what a result says and end")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)  # threads of this process
    chosen = parser.parse_args(argv)
    plan = QUICK_PLAN if chosen.quick else Plan()
    given = {name: getattr(chosen, name) for name in ("samples", "seconds") if getattr(chosen, name) is not None}
    if any(value <= 0 for value in given.values()) or any(n < 1 for n in chosen.threads or []):
        parser.error("--samples, --seconds and --threads must be greater than 0")
    chosen.plan = dataclasses.replace(plan, **given)
    chosen.threads = chosen.threads or ([min(2, len(cores()))] if chosen.quick else [1, 2][: len(cores())])
    if max(chosen.threads) > len(cores()):
        parser.error(f"--threads: this process may use {len(cores())} cores")
    if chosen.opponents is None:
        chosen.opponents = [name for name in OPPONENTS if not missing(name)]
    for name in chosen.opponents:
        if missing(name):
            parser.error(f"{name} needs the package {missing(name)[0]}: pip install {missing(name)[0]}")
    today = datetime.date.today().isoformat()
    chosen.out = (chosen.out or (QUICK_OUT if chosen.quick else results.RESULTS / f"speed-{today}.json")).absolute()
    try:
        chosen.selected = grid.select(grid.QUICK if chosen.quick else grid.FULL, chosen.cells)
    except ValueError as error:
        parser.error(str(error))
    return chosen


def main(argv: list[str] | None = None) -> int:
    chosen = arguments_of(argv)
    if chosen.list:
        print("\n".join(cell.name for cell in chosen.selected))
        return 0
    if chosen.table is not None:
        print(results.report(json.loads(chosen.table.read_text(encoding="utf-8"))))
        return 0
    if chosen.worker is not None:
        from benchmarks.speed.worker import work

        return work(chosen.worker, chosen.selected, chosen.opponents, chosen.plan, chosen.out)
    header = {
        "benchmark": "speed",
        "date": datetime.date.today().isoformat(),
        "about": about(chosen.opponents),
        "plan": dataclasses.asdict(chosen.plan),
    }
    try:
        result = begin(chosen.out, chosen.fresh or chosen.quick, header)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if hasattr(os, "getloadavg") and (load := os.getloadavg()[0]) > BUSY:
        print(f"other programs are running (load {load:.1f}), so times will be too long and uneven", file=sys.stderr)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(chosen.out, result)
    code = 0
    try:
        for threads in chosen.threads:
            command = [sys.executable, "-m", "benchmarks.speed.run", *(sys.argv[1:] if argv is None else argv)]
            command += ["--out", str(chosen.out), "--worker", str(threads)]
            code = max(code, subprocess.run(command, check=False, env=environment(threads), cwd=ROOT).returncode)
        result = json.loads(chosen.out.read_text(encoding="utf-8"))
        if not (chosen.quick or chosen.no_footprint or result["footprint"]):
            from benchmarks.speed.footprint import footprint

            print("import times and sizes", file=sys.stderr)
            result["footprint"] = footprint([OURS, *chosen.opponents], chosen.plan.samples)
        result["complete"] = [
            int(threads) for threads, cells in result["cells"].items() if all(c.name in cells for c in grid.FULL)
        ]
        write_json(chosen.out, result)
    except KeyboardInterrupt:
        print(f"\nstopped; {chosen.out} has the cells so far, and the same command goes on from there", file=sys.stderr)
        return 130
    print(results.report(result))
    print(f"\nwritten to {chosen.out}")
    return code


if __name__ == "__main__":
    sys.exit(main())
