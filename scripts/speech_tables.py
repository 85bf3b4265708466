"""Write the measured numbers of speech into both papers, between their markers; --check only compares."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from scripts.papers import refresh  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
PAPERS = {
    "docs/en/speech.md": {
        "head": "what | ours | published",
        "an4": "AN4, word / character error rate, no language model",
        "an4_lm": "the same with a word 3-gram of the training texts",
        "minutes": "its training: minutes of processor time (one thread), {parameters:,} parameters",
        "official": "spoken digits, official split, accuracy",
        "speakers": "spoken digits, one speaker left out, mean accuracy",
        "strings": "strings of digits, word error rate",
        "live": "the same, live, in pieces of 100 ms",
        "cost": "live: processor time over real time; latency of a piece, median / 99 %",
        "ctc": "CTC loss and gradient, one thread, beside PyTorch's",
        "beam": "prefix beam search of width 50, times real time",
        "times": "{:.1f} times as fast",
    },
    "docs/zh/speech.md": {
        "head": "项目 | 本项目 | 已发表",
        "an4": "AN4，词错误率 / 字符错误率，不用语言模型",
        "an4_lm": "同上，加上由训练文本学来的 3 元词模型",
        "minutes": "它的训练：处理器时间（单线程，分钟），{parameters:,} 个参数",
        "official": "数字，官方划分，准确率",
        "speakers": "数字，留出一位说话人，平均准确率",
        "strings": "数字串，词错误率",
        "live": "同上，实时，每段 100 毫秒",
        "cost": "实时：处理器时间占实际时长的比例；每段的延迟，中位数 / 99 %",
        "ctc": "CTC 损失与梯度，单线程，与 PyTorch 相比",
        "beam": "宽度 50 的前缀束搜索，实际时长的倍数",
        "times": "快 {:.1f} 倍",
    },
}


def load(name: str) -> dict[str, Any]:
    """Return a result, {} where nothing was measured yet."""
    path = RESULTS / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def table(words: dict[str, str]) -> str:
    """Return the table of all that was measured, from the committed results."""
    an4, an4_lm, speed = load("accuracy-an4"), load("accuracy-an4-lm"), load("ctc-speed")
    fsdd = load("accuracy-fsdd") | load("accuracy-fsdd-speakers")
    rows = []
    if an4:
        greedy = an4["greedy"]
        rows.append((words["an4"], f"{greedy['wer']:.2f} / {greedy['cer']:.2f} %", "10.52 / 4.78 %"))
        if an4_lm:
            (best,) = an4_lm["word_3gram"]
            rows.append((words["an4_lm"], f"{best['wer']:.2f} / {best['cer']:.2f} %", ""))
        rows.append((words["minutes"].format(**an4), f"{an4['cpu_minutes']:.1f}", ""))
    if "official" in fsdd:
        rows.append((words["official"], f"{fsdd['official']['accuracy']:.2f} %", ""))
    if "speakers" in fsdd:
        rows.append((words["speakers"], f"{fsdd['speakers']['mean']:.2f} %", ""))
    if "strings" in fsdd:
        rows.append((words["strings"], f"{fsdd['strings']['wer']:.2f} %", ""))
    if "live" in fsdd:
        live = fsdd["live"]
        rows.append((words["live"], f"{live['wer']:.2f} %", ""))
        latency = live["latency_ms"]
        cost = f"{live['percent_of_real_time_processor']:.2f} %; {latency['median']:.2f} / {latency['p99']:.2f} ms"
        rows.append((words["cost"], cost, ""))
    if speed:
        rows.append((words["ctc"], words["times"].format(speed["loss"]["one_thread"]["ratio"]), ""))
        rows.append((words["beam"], f"{speed['beam']['times_real_time']:.0f}", ""))
    return "\n".join([f"| {words['head']} |", "| --- | --- | --- |", *(f"| {' | '.join(row)} |" for row in rows)])


if __name__ == "__main__":
    sys.exit(refresh("speech_tables.py", {"speech": table}, PAPERS))
