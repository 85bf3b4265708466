"""Write the measured numbers of benchmarks/results into the papers, between their markers; --check only compares.

A table stands between ``<!-- NAME -->`` and ``<!-- end -->``, where NAME is one of TABLES.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.accuracy import translation  # noqa: E402
from benchmarks.speed import results  # noqa: E402
from scripts.papers import refresh  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
PAPERS = {
    "README.md": "en",
    "README.zh-CN.md": "zh",
    "benchmarks/README.md": "en",
    "docs/en/translation.md": "en",
    "docs/zh/translation.md": "zh",
}
ACCURACY = {
    "en": (
        "nats a character, tinyshakespeare, last 10 % held out",
        "after {step} steps",
        "Elman {elman}",
        "PyTorch {torch}",
    ),
    "zh": (
        "每个字符的奈特数，tinyshakespeare，最后 10 % 留作检验",
        "{step} 步之后",
        "Elman {elman}",
        "PyTorch {torch}",
    ),
}
SPEED: dict[str, dict[str, Any]] = {
    "en": {
        "none": "`make bench` has not been run yet.",
        "machine": "On {cpu}, {cores} cores, {instructions}, {date}, against {opponents}:",
        "head": "times as fast as the best of them: geometric mean over sizes (least – most)",
        "works": {"step": "one step of a stream", "inference": "whole sequences", "training": "forward and backward"},
        "threads": lambda n: f", {n} thread{'s' * (n != 1)}",
        "footprint": ("", "import, over that of NumPy", "installed", "with what it needs"),
        "character": ("training a character model (LSTM 256), tokens a second", "Elman", "PyTorch", "ratio"),
    },
    "zh": {
        "none": "还没有运行过 `make bench`。",
        "machine": "处理器 {cpu}，{cores} 个核，{instructions}，{date}；比较对象是 {opponents}：",
        "head": "速度是其中最快者的多少倍：各种规模的几何平均（最小 – 最大）",
        "works": {"step": "流式的一步", "inference": "整段序列", "training": "前向加反向"},
        "threads": lambda n: f"，{n} 线程",
        "footprint": ("", "导入时间，NumPy 之外", "安装大小", "连同依赖"),
        "character": ("训练字符模型（LSTM 256），每秒字符数", "Elman", "PyTorch", "倍数"),
    },
}
TRANSLATION = {
    "en": (
        "nmt-tips, Japanese to English, 500 sentences: BLEU",
        {
            "tatoeba": "Tatoeba, English to Chinese, {} pairs, {} steps of both, {} seeds: BLEU by character",
            "tanaka": "Tanaka, English to Japanese, {} pairs, {} steps of both, {} seeds: BLEU by character",
        },
        "the same: nats a character",
        "training, tokens a second, one thread, with a lexicon / without",
        "search with a beam of 5, sentences a second, one thread, likewise",
        "published elsewhere: {}, of several models {}",
        "1",
        "{:.2f} / {:.2f} times",
    ),
    "zh": (
        "nmt-tips，日译英，500 句：BLEU",
        {
            "tatoeba": "Tatoeba，英译中，{} 对，双方各 {} 步，{} 个种子：按字的 BLEU",
            "tanaka": "Tanaka，英译日，{} 对，双方各 {} 步，{} 个种子：按字的 BLEU",
        },
        "同上：每字奈特数",
        "训练，每秒词元数，单线程，有词典 / 无词典",
        "束宽 5 的搜索，每秒句数，单线程，同上",
        "别处已发表：{}，多个模型 {}",
        "1",
        "{:.2f} / {:.2f} 倍",
    ),
}


def accuracy_table(language: str) -> str:
    """Return the table of the character model: ours beside PyTorch's, from the two committed results."""
    title, row, *heads = ACCURACY[language]
    ours, theirs = (
        json.loads((RESULTS / f"accuracy-tinyshakespeare-{side}.json").read_text(encoding="utf-8"))
        for side in ("elman", "torch")
    )
    versions = ours["versions"] | theirs["versions"]
    lines = [(title, *(head.format(**versions) for head in heads))]
    for step, nats in ours["validation_nats"].items():
        lines.append((row.format(step=step), f"{nats:.3f}", f"{theirs['validation_nats'][step]:.3f}"))
    return results.markdown(lines)


def speed_table(language: str, result: dict[str, Any] | None = None) -> str:
    """Return the summary of the newest speed result: means beside the best opponents, training, imports and sizes."""
    words, result = SPEED[language], result or results.newest()
    if result is None:
        return str(words["none"])
    about = result["about"]
    listed = " · ".join(
        f"{title} {about['versions'][name]}" for name, title in results.TITLES.items() if name in about["versions"]
    )
    machine = words["machine"].format(
        cpu=about["cpu"],
        cores=about["cores"],
        instructions=" ".join(about["instruction_set"]),
        date=result["date"],
        opponents=listed.removesuffix(f" · {results.TITLES['elman']} {about['versions']['elman']}"),
    )
    tables = [results.summary_lines(result, words["head"], words["works"], words["threads"])]
    title, *heads = words["character"]
    tables.append([(title, *heads), *results.character_lines(result, words["threads"])])
    if result["footprint"]:
        tables.append(results.footprint_lines(result, words["footprint"]))
    return "\n\n".join([machine, *map(results.markdown, tables)])


def cells_table(language: str, result: dict[str, Any] | None = None) -> str:
    """Return every cell of the newest speed result."""
    result = result or results.newest()
    return results.markdown(results.table(results.rows(result))) if result else str(SPEED[language]["none"])


def translation_table(language: str) -> str:
    """Return what translators reach, and how fast: BLEU beside published numbers and beside a twin in PyTorch."""
    tips, beside, nats, training, search, published, same, times = TRANSLATION[language]
    one, speed = (
        json.loads((RESULTS / f"accuracy-{name}.json").read_text(encoding="utf-8"))
        for name in ("nmt_tips", "translation-tatoeba-speed")
    )
    known = published.format(one["published"]["with 200 units"], one["published"]["ensemble"])
    lines = [("", "Elman", "PyTorch"), (tips, f"{one['test_bleu']:.2f}", known)]
    for task, words in beside.items():
        paths = [RESULTS / f"accuracy-translation-{task}-{side}.json" for side in ("elman", "torch")]
        sides = [translation.read(path) for path in paths]
        first = next(iter(sides[0].values()))
        what = words.format(first["pairs"]["test"], first["plan"]["steps"], len(sides[0]))
        ours, theirs = map(translation.means, sides)
        lines += [
            (what, f"{ours['bleu']:.2f}", f"{theirs['bleu']:.2f}"),
            (nats, f"{ours['nats_per_token']:.3f}", f"{theirs['nats_per_token']:.3f}"),
        ]
    return results.markdown(
        [
            *lines,
            *(
                (what, times.format(*(speed[name][f"{key}_ratio"] for name in ("lexicon", "no lexicon"))), same)
                for what, key in ((training, "training_tokens_per_second"), (search, "sentences_per_second"))
            ),
        ]
    )


TABLES: dict[str, Callable[[str], str]] = {
    "accuracy": accuracy_table,
    "speed": speed_table,
    "cells": cells_table,
    "translation": translation_table,
}


if __name__ == "__main__":
    sys.exit(refresh("readme_tables.py", TABLES, PAPERS))
