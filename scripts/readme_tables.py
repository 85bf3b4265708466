"""Write the measured numbers of benchmarks/results into both READMEs, between their markers; --check only compares."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

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
    """Return the README with its tables made anew."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.sub(
        r"(<!-- accuracy -->\n).*?(<!-- end -->)",
        lambda match: match[1] + accuracy_table(name) + "\n" + match[2],
        text,
        flags=re.DOTALL,
    )


def main() -> int:
    """Write, or with --check return 1 where a README does not say what the results say."""
    stale = [name for name in WORDS if updated(name) != (ROOT / name).read_text(encoding="utf-8")]
    for name in stale:
        if "--check" in sys.argv:
            print(f"{name} does not say what benchmarks/results say; run python scripts/readme_tables.py")
        else:
            (ROOT / name).write_text(updated(name), encoding="utf-8")
    return int("--check" in sys.argv and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
