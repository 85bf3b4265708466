"""What the measured numbers say: rows, geometric means, targets, tables. It reads a result, and measures nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.speed.grid import KINDS, Cell

RESULTS = Path(__file__).resolve().parents[1] / "results"
OURS = "elman"
FULL = " full"  # after the name of who ran a ragged batch with all of its rows full
TITLES = {"torch": "PyTorch", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "jax": "JAX", OURS: "Elman"}


def newest(folder: Path = RESULTS) -> dict[str, Any] | None:
    """Return the latest of the results speed-DATE.json with all cells of a number of threads, and of others nothing.

    None where there is none.
    """
    for path in sorted(folder.glob("speed-*.json"), reverse=True):
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if result["complete"]:
            result["cells"] = {threads: result["cells"][threads] for threads in map(str, result["complete"])}
            return result
    return None


def geometric_mean(values: Iterable[float]) -> float:
    """Return exp(mean(log(values))); NaN of nothing."""
    logs = [math.log(value) for value in values]
    return math.exp(math.fsum(logs) / len(logs)) if logs else math.nan


@dataclass(frozen=True)
class Row:
    """One cell at one number of threads. Times are medians in seconds a call."""

    cell: Cell
    threads: int
    ours_s: float
    others_s: dict[str, float]  # of the opponents
    full_s: dict[str, float]  # of a ragged batch's computation with all rows full
    share: float  # valid steps of all steps
    sgemm_gflops: float | None
    peak_gflops: float | None  # of one core, in registers
    read_s: float | None  # of reading the weights once

    @property
    def best(self) -> str | None:
        """Who of the opponents is fastest; None without opponents."""
        return min(self.others_s, key=self.others_s.__getitem__, default=None)

    @property
    def ratio(self) -> float:
        """How many times as fast as the best opponent we are; NaN without one."""
        return self.others_s[self.best] / self.ours_s if self.best else math.nan

    @property
    def gflops(self) -> float | None:
        """Our rate, in 1e9 multiplications and additions a second."""
        return self.cell.flops / self.ours_s / 1e9 if self.cell.flops else None

    @property
    def sgemm_percent(self) -> float | None:
        """Our rate as a part of the product's, both of this cell's rounds."""
        return 100 * self.gflops / self.sgemm_gflops if self.gflops and self.sgemm_gflops else None

    @property
    def peak_percent(self) -> float | None:
        """Our rate as a part of what the cores can multiply and add at most, measured in this cell's rounds."""
        return 100 * self.gflops / (self.peak_gflops * self.threads) if self.gflops and self.peak_gflops else None

    @property
    def ragged_cost(self) -> dict[str, float]:
        """By name: the time of the ragged batch, over its share of valid steps of the time of the full batch."""
        times = {OURS: self.ours_s, **self.others_s}
        return {name: times[name] / (full * self.share) for name, full in self.full_s.items()}

    @property
    def read_ratio(self) -> float | None:
        """The time of a step less 1 us, over that of reading its weights once."""
        return (self.ours_s - 1e-6) / self.read_s if self.read_s else None


def rows(result: dict[str, Any]) -> list[Row]:
    """Return the measured cells in which we took part, one after another for each number of threads."""
    found = []
    for threads, cells in result["cells"].items():
        for record in cells.values():
            times = {name: entrant["median_s"] for name, entrant in record["entrants"].items()}
            if OURS not in times:
                continue
            sgemm, peak = times.pop("sgemm", None), times.pop("peak", None)
            found.append(
                Row(
                    cell=Cell(**record["cell"]),
                    threads=int(threads),
                    ours_s=times.pop(OURS),
                    full_s={name.removesuffix(FULL): times.pop(name) for name in list(times) if name.endswith(FULL)},
                    share=record["share"],
                    sgemm_gflops=record["sgemm_flops"] / sgemm / 1e9 if sgemm else None,
                    peak_gflops=record["peak_flops"] / peak / 1e9 if peak else None,
                    read_s=times.pop("read", None),
                    others_s=times,
                )
            )
    return found


# ------------------------------------------------------------------------------------------------------------ targets


@dataclass(frozen=True)
class Verdict:
    """A target beside what was measured."""

    what: str
    measured: float
    limit: float
    at_least: bool = True

    @property
    def met(self) -> bool:
        """Whether it is reached."""
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        return f"{'met  ' if self.met else 'SHORT'} {self.what}: {self.measured:.3g} (target {sign} {self.limit:g})"


MEANS = {
    "inference": {"LSTM": 1.4, "GRU": 1.5, "RNN": 1.7},
    "training": {"LSTM": 1.5, "GRU": 4.0, "RNN": 3.0},
}
STEP_RATIOS = ((128, 6.0), (256, 3.0), (math.inf, 1.3))  # up to so many hidden units
IMPORT_SECONDS = 0.06


def verdicts(result: dict[str, Any]) -> list[Verdict]:
    """Return every target of which something was measured; those of means only where all cells were."""
    found = [verdict for row in rows(result) for verdict in _of_cell(row)]
    if result["complete"]:
        found += [
            Verdict(f"geometric mean, {kind} {work}, {_threads(threads)}, times {whom}", mean, MEANS[work][kind])
            for whom, ratios in (("the best opponent", means(result)), ("torch", means(result, "torch")))
            for threads, work, kind, mean, _, _ in ratios
            if work in MEANS
        ]
    if OURS in result.get("footprint", {}):
        seconds = result["footprint"][OURS]["import_median_s"]
        found.append(Verdict("import elman over import numpy, seconds", seconds, IMPORT_SECONDS, at_least=False))
    return found


def _of_cell(row: Row) -> list[Verdict]:
    cell = row.cell
    found = []

    def add(what: str, measured: float | None, limit: float, *, at_least: bool = True) -> None:
        if measured is not None and not math.isnan(measured):
            found.append(Verdict(f"{cell.name}, {_threads(row.threads)}, {what}", measured, limit, at_least))

    if cell.ragged:
        add("its cost over its share of steps", row.ragged_cost.get(OURS), 1.1, at_least=False)
    elif cell.kind not in KINDS:
        add("times PyTorch", row.others_s["torch"] / row.ours_s if "torch" in row.others_s else None, 1.5)
    elif cell.work == "step":
        add(f"times {row.best}", row.ratio, next(limit for size, limit in STEP_RATIOS if size >= cell.H))
        add("less 1 us, over reading its weights once", row.read_ratio, 1.3, at_least=False)
    elif cell.work == "inference":
        add(f"times {row.best}", row.ratio, 1.0)
    elif "torch" in row.others_s:
        add("times torch", row.others_s["torch"] / row.ours_s, 1.0)
    if cell.is_large:
        add("percent of the rate of a product of 2048^3", row.sgemm_percent, 85)
    return found


def means(result: dict[str, Any], opponent: str | None = None) -> list[tuple[int, str, str, float, float, float]]:
    """Return (threads, work, kind, geometric mean, least, largest) of the ratios to the best of each cell, or to one.

    Ragged batches and the character model do not count.
    """
    ratios: dict[tuple[str, int, str], list[float]] = {}
    for row in rows(result):
        whom = opponent or row.best
        if row.cell.kind in KINDS and not row.cell.ragged and whom in row.others_s:
            ratios.setdefault((row.cell.work, row.threads, row.cell.kind), []).append(row.others_s[whom] / row.ours_s)
    return [
        (threads, work, kind, geometric_mean(found), min(found), max(found))
        for work in ("step", "inference", "training")
        for threads in sorted({row[1] for row in ratios})
        for kind in KINDS
        if (found := ratios.get((work, threads, kind)))
    ]


# ------------------------------------------------------------------------------------------------------------- tables


def duration(seconds: float) -> str:
    """Return a time with three digits, in us, ms or s."""
    for unit, size in (("s", 1), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size or unit == "us":
            value = seconds / size
            return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f} {unit}" if value > 0 else f"0 {unit}"
    raise AssertionError


def _threads(threads: int) -> str:
    return f"{threads} thread{'s' * (threads != 1)}"


HEAD = ("cell", "threads", "ours", "best opponent", "", "ratio", "GFLOP/s", "% of sgemm", "% of peak", "note")


def table(chosen: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return the cells of a table, head first: a line for each measured cell."""
    lines = [HEAD]
    for row in chosen:
        if row.cell.ragged:
            costs = ", ".join(f"{name} {cost:.2f}" for name, cost in sorted(row.ragged_cost.items()))
            note = f"cost over share of steps: {costs}"
        elif row.read_s is not None:
            note = f"weights read once: {duration(row.read_s)}"
        elif row.cell.kind not in KINDS:
            note = f"{row.cell.B * row.cell.T / row.ours_s:,.0f} tokens/s"
        else:
            note = ""
        lines.append(
            (
                row.cell.name,
                str(row.threads),
                duration(row.ours_s),
                TITLES.get(row.best, row.best) if row.best else "",
                duration(row.others_s[row.best]) if row.best else "",
                f"{row.ratio:.2f}" if row.best else "",
                f"{row.gflops:.1f}" if row.gflops else "",
                f"{row.sgemm_percent:.0f}" if row.sgemm_percent else "",
                f"{row.peak_percent:.0f}" if row.peak_percent else "",
                note,
            )
        )
    return lines


def plain(lines: Sequence[tuple[str, ...]]) -> str:
    """Return a table in columns."""
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    left = {0, 3, len(widths) - 1}
    return "\n".join(
        "  ".join(f"{word:{'<' if k in left else '>'}{widths[k]}}" for k, word in enumerate(line)).rstrip()
        for line in lines
    )


def markdown(lines: Sequence[tuple[str, ...]]) -> str:
    """Return a table in Markdown."""
    head, *body = lines
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ("---",) * len(head), *body))


def report(result: dict[str, Any]) -> str:
    """Return all that a result says, as text: cells, means, footprint, targets, and who was left out where."""
    parts = [plain(table(rows(result)))]
    mean_lines = [
        (f"{kind} {work}", str(threads), f"{mean:.2f}", f"{least:.2f} to {most:.2f}")
        for threads, work, kind, mean, least, most in means(result)
    ]
    if mean_lines:
        parts.append(plain([("times the best opponent, geometric mean", "threads", "mean", "cells"), *mean_lines]))
    if result.get("footprint"):
        parts.append(plain(footprint_lines(result, ("", "import over numpy", "installed", "with what it needs"))))
    parts.append("\n".join(map(str, verdicts(result))))
    failures = [
        f"left out: {name} in {cell}, {_threads(int(threads))}: {reason}"
        for threads, cells in result["cells"].items()
        for cell, record in cells.items()
        for name, reason in record["left_out"].items()
    ]
    return "\n\n".join(part for part in (*parts, "\n".join(failures)) if part)


def footprint_lines(result: dict[str, Any], head: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the table of imports and sizes, ours first."""
    return [
        head,
        *(
            (
                f"{TITLES[name]} {result['about']['versions'][name]}",
                duration(one["import_median_s"]),
                f"{one['own_bytes'] / 1e6:,.1f} MB",
                f"{one['bytes_with_requirements'] / 1e6:,.0f} MB",
            )
            for name, one in result["footprint"].items()
        ),
    ]


def summary_lines(
    result: dict[str, Any], head: str, names: dict[str, str], threads_words: Callable[[int], str]
) -> list[tuple[str, ...]]:
    """Return the table of the geometric means, with the least and the largest ratio, a column for each kind of layer.

    `head` is the first word of the head; `names` and `threads_words` say what works and so many threads are called.
    """
    by_line: dict[tuple[str, int], dict[str, str]] = {}
    for threads, work, kind, mean, least, most in means(result):
        by_line.setdefault((work, threads), {})[kind] = f"{mean:.2f} ({least:.2f} – {most:.2f})"
    return [
        (head, *KINDS),
        *(
            (f"{names[work]}{threads_words(threads)}", *(line.get(kind, "") for kind in KINDS))
            for (work, threads), line in by_line.items()
        ),
    ]


def character_lines(result: dict[str, Any], threads_words: Callable[[int], str]) -> list[tuple[str, ...]]:
    """Return, a line for each number of threads, the tokens a second of the character model, ours and PyTorch's."""
    lines = []
    for row in rows(result):
        if row.cell.kind not in KINDS and "torch" in row.others_s:
            tokens, torch_s = row.cell.B * row.cell.T, row.others_s["torch"]
            sizes = f"B {row.cell.B}, T {row.cell.T}{threads_words(row.threads)}"
            lines.append(
                (sizes, f"{tokens / row.ours_s:,.0f}", f"{tokens / torch_s:,.0f}", f"{torch_s / row.ours_s:.2f}")
            )
    return lines
