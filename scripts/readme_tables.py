"""Write the measured numbers of benchmarks/results into the papers, between their markers; --check only compares."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
WORDS = {
    "README.md": (
        "nats a character, tinyshakespeare, last 10 % held out",
        "after {step} steps",
        "Elman {elman}",
        "PyTorch {torch}",
    ),
    "README.zh-CN.md": (
        "每个字符的奈特数，tinyshakespeare，最后 10 % 留作检验",
        "{step} 步之后",
        "Elman {elman}",
        "PyTorch {torch}",
    ),
}


# Of the pages on translation: the head, and a row for nmt-tips, for BLEU beside the twin, and for both speeds.
PAGES = {
    "docs/en/translation.md": (
        "| | Elman | beside it |",
        "| nmt-tips, Japanese to English, 500 sentences: BLEU | {0} | published: {1} for one model, {2} for several |",
        "| Tatoeba, English to Chinese, {2} pairs, {3} steps: BLEU by character | {0} | PyTorch, the same plan: {1} |",
        "| the same: nats a character | {0} | {1} |",
        "| training, one thread: times the tokens a second | {0} | of PyTorch |",
        "| search with a beam of 5, one thread: times the sentences a second | {0} | of a loop in PyTorch |",
    ),
    "docs/zh/translation.md": (
        "| | Elman | 对照 |",
        "| nmt-tips，日译英，500 个测试句：BLEU | {0} | 已发表：单个模型 {1}，多个模型 {2} |",
        "| Tatoeba，英译中，{2} 个测试句对，{3} 步：按字的 BLEU | {0} | PyTorch，同样的方案：{1} |",
        "| 同上：每字奈特数 | {0} | {1} |",
        "| 训练，单线程：每秒词元数的倍数 | {0} | 相对 PyTorch |",
        "| 束宽 5 的搜索，单线程：每秒句数的倍数 | {0} | 相对 PyTorch 的循环 |",
    ),
}


def read(name: str) -> dict[str, Any]:
    """Return a committed result."""
    result: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return result


def translation_table(name: str) -> str:
    """Return the table of translation."""
    head, tips, beside, nats, training, search = PAGES[name]
    one = read("accuracy-nmt_tips")
    ours, theirs = (read(f"accuracy-translation-tatoeba-{side}") for side in ("elman", "torch"))
    speed = read("speed-translation-tatoeba")
    pairs, steps = ours["pairs"]["test"], ours["plan"]["steps"]
    return "\n".join(
        [
            head,
            "| --- | --- | --- |",
            tips.format(f"{one['test_bleu']:.2f}", one["published"]["with 200 units"], one["published"]["ensemble"]),
            beside.format(f"{ours['test']['bleu']:.2f}", f"{theirs['test']['bleu']:.2f}", pairs, steps),
            nats.format(*(f"{side['test']['nats_per_token']:.3f}" for side in (ours, theirs))),
            training.format(f"{speed['training_tokens_per_second_ratio']:.2f}"),
            search.format(f"{speed['sentences_per_second_ratio']:.2f}"),
        ]
    )


def accuracy_table(name: str) -> str:
    """Return the table of the character model: ours beside PyTorch's, from the two committed results."""
    title, row, *heads = WORDS[name]
    ours, theirs = (
        json.loads((RESULTS / f"accuracy-tinyshakespeare-{side}.json").read_text(encoding="utf-8"))
        for side in ("elman", "torch")
    )
    versions = ours["versions"] | theirs["versions"]
    lines = [f"| {title} | {' | '.join(head.format(**versions) for head in heads)} |", "| --- | --- | --- |"]
    for step, nats in ours["validation_nats"].items():
        lines.append(f"| {row.format(step=step)} | {nats:.3f} | {theirs['validation_nats'][step]:.3f} |")
    return "\n".join(lines)


def updated(name: str) -> str:
    """Return the paper with its table made anew."""
    text = (ROOT / name).read_text(encoding="utf-8")
    marker, table = ("accuracy", accuracy_table) if name in WORDS else ("translation", translation_table)
    return re.sub(
        rf"(<!-- {marker} -->\n).*?(<!-- end -->)",
        lambda match: match[1] + table(name) + "\n" + match[2],
        text,
        flags=re.DOTALL,
    )


def main() -> int:
    """Write, or with --check return 1 where a paper does not say what the results say."""
    stale = [name for name in (*WORDS, *PAGES) if updated(name) != (ROOT / name).read_text(encoding="utf-8")]
    for name in stale:
        if "--check" in sys.argv:
            print(f"{name} does not say what benchmarks/results say; run python scripts/readme_tables.py")
        else:
            (ROOT / name).write_text(updated(name), encoding="utf-8")
    return int("--check" in sys.argv and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
