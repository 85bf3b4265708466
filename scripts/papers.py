"""Tables in papers, each between ``<!-- NAME -->`` and ``<!-- end -->``: made anew from results, or only compared."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def updated(name: str, tables: Mapping[str, Callable[[Any], str]], words: Any) -> str:
    """Return a paper with its tables made anew, in its words (of a language, say)."""
    return re.sub(
        rf"(<!-- ({'|'.join(tables)}) -->\n).*?(<!-- end -->)",
        lambda match: f"{match[1]}{tables[match[2]](words)}\n{match[3]}",
        (ROOT / name).read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )


def refresh(script: str, tables: Mapping[str, Callable[[Any], str]], papers: Mapping[str, Any]) -> int:
    """Write the tables into papers (names to words), or with --check return 1 where a paper does not say the same."""
    new = {name: updated(name, tables, words) for name, words in papers.items()}
    stale = [name for name, text in new.items() if text != (ROOT / name).read_text(encoding="utf-8")]
    for name in stale:
        if "--check" in sys.argv:
            print(f"{name} does not say what benchmarks/results say; run python scripts/{script}")
        else:
            (ROOT / name).write_text(new[name], encoding="utf-8")
    return int("--check" in sys.argv and bool(stale))
