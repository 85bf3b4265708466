"""Write the measured numbers of series into docs/en/series.md and docs/zh/series.md; --check only compares."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from scripts.papers import refresh  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
WORDS = {
    "en": {
        "head": ("task", "measure", "Elman", "published"),
        "seeds": "mean of {n} seeds",
        "seed": "1 seed",
        "inside": "inside of 80 % intervals, %: split / adaptive",
        "values": "{n:,} values",
        "speed": (
            "Beside PyTorch {torch} on {threads} thread, H 16 to 64, geometric means over {n} cells: an epoch "
            "of a fit {fit:.1f} times as fast, labels of 320 sequences {predict:.1f} times, the label of one "
            "sequence {one:.1f} times. A live value takes {update:.0f} us in a forecaster, {detect:.0f} us in a "
            "detector, and in a call with 10,000 of them {many:.1f} us; a live series of a GRU with 32 units "
            "holds {held} bytes, and {index:.0f} in the table of ids."
        ),
    },
    "zh": {
        "head": ("任务", "度量", "Elman", "已发表的结果"),
        "seeds": "{n} 个种子的均值",
        "seed": "1 个种子",
        "inside": "落在 80 % 区间内，%：固定 / 自适应",
        "values": "{n:,} 个值",
        "speed": (
            "与 PyTorch {torch} 相比，{threads} 个线程，H 为 16 到 64，{n} 组的几何平均：训练一遍数据快 {fit:.1f} 倍，"
            "给 320 条序列打标签快 {predict:.1f} 倍，给一条序列打标签快 {one:.1f} 倍。"
            "读入一个值，预测器用 {update:.0f} 微秒，"
            "检测器用 {detect:.0f} 微秒；一次调用读入 10,000 个，平均每个 {many:.1f} 微秒。"
            "32 个单元的 GRU，每条延续的序列占 "
            "{held} 字节，id 的表另占 {index:.0f} 字节。"
        ),
    },
}
ROWS = (
    ("japanese_vowels", "Japanese Vowels, 270 / 370", "accuracy, %", ("accuracy",), "{:.1f}", "accuracy"),
    (
        "m4_hourly",
        "M4 hourly, 414 series, 48 ahead",
        "sMAPE / MASE",
        ("smape", "mase"),
        "{:.3f} / {:.3f}",
        "smape, mase",
    ),
    ("etth1", "ETTh1, 7 series, 24 ahead", "MSE / MAE", ("mse", "mae"), "{:.3f} / {:.3f}", "mse, mae"),
    ("nab", "Numenta Anomaly Benchmark", "standard score", ("standard",), "{:.1f}", "standard"),
    ("adding", "adding problem, 600 steps, GRU", "MSE", ("loss",), "{:.1e}", "mse"),
    ("copy", "copy memory, 1,000 blanks, LSTM that had fewer at first", "nats", ("loss",), "{:.4f}", "loss"),
    ("mnist", "sequential MNIST, GRU", "accuracy, %", ("accuracy",), "{:.1f}", "accuracy"),
)


def read(name: str) -> dict[str, Any] | None:
    """Return a result, None where it was not measured."""
    path = RESULTS / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def intervals() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield a task and what each seed's intervals held, where it was measured."""
    places = (
        ("m4_hourly", None, "M4 hourly, 48 ahead"),
        ("etth1", None, "ETTh1, 24 ahead"),
        ("univariate", "airline", "airline, 12 ahead"),
        ("univariate", "sunspots", "sunspots, 12 ahead"),
    )
    for name, part, task in places:
        seeds = list((read(f"accuracy-series-{name}.json") or {"seeds": {}})["seeds"].values())
        rows = [(seed[part] if part else seed).get("coverage") for seed in seeds]
        if rows and all(rows):
            yield task, rows


def table(language: str) -> str:
    """Return the table and the sentence on speed."""
    words = WORDS[language]
    lines = [f"| {' | '.join(words['head'])} |", "| --- | --- | --- | --- |"]
    for name, task, measure, keys, form, published in ROWS:
        result = read(f"accuracy-series-{name}.json")
        if result is None:
            continue
        seeds = [seed for seed in result["seeds"].values() if seed["complete"]]
        if not seeds:
            continue
        ours = form.format(*(statistics.fmean(seed[key] for seed in seeds) for key in keys))
        count = words["seeds"].format(n=len(seeds)) if len(seeds) > 1 else words["seed"]
        others = "; ".join(
            f"{who} {' / '.join(map(str, value)) if isinstance(value, list) else value}"
            for who, value in result["published"][published].items()
        )
        lines.append(f"| {task} | {measure} | **{ours}** ({count}) | {others} |")
    univariate = read("accuracy-series-univariate.json")
    for name in ("airline", "sunspots") if univariate else ():
        rows = [seed[name] for seed in univariate["seeds"].values()]
        ours, *naive = (statistics.fmean(row[key][1] for row in rows) for key in ("model", "naive", "seasonal_naive"))
        count = words["seeds"].format(n=len(rows)) if len(rows) > 1 else words["seed"]
        others = "naive {:.3f}; seasonal naive {:.3f}".format(*naive)
        lines.append(f"| {name}, 12 ahead | MASE | **{ours:.3f}** ({count}) | {others} |")
    for task, rows in intervals():
        count = words["seeds"].format(n=len(rows)) if len(rows) > 1 else words["seed"]
        ours = " / ".join(f"{100 * statistics.fmean(row[kind] for row in rows):.1f}" for kind in ("split", "adaptive"))
        values = words["values"].format(n=rows[0]["values"])
        lines.append(f"| {task} | {words['inside']} | **{ours}** ({count}) | {values} |")
    speed = read("series-speed.json")
    if speed and "comparison" in speed:
        live = speed["live"]
        lines += [
            "",
            words["speed"].format(
                torch=speed["comparison"]["torch"],
                threads=speed["threads"],
                n=len(speed["comparison"]["cells"]),
                **speed["comparison"]["geometric_means"],
                update=live["RecurrentForecaster"]["update_us"],
                detect=live["RecurrentDetector"]["update_us"],
                many=live["RecurrentForecaster"]["update_many_us_a_series"],
                held=live["RecurrentForecaster"]["bytes_a_series"],
                index=live["RecurrentForecaster"]["bytes_of_index_a_series"],
            ),
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(
        refresh("series_tables.py", {"series": table}, {f"docs/{language}/series.md": language for language in WORDS})
    )
