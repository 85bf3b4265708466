"""The READMEs say what was measured, and nothing is left to be filled in."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_tables_are_what_the_results_say():
    command = [sys.executable, ROOT / "scripts" / "readme_tables.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_is_left_to_be_filled_in():
    for name in ("README.md", "README.zh-CN.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert "{{" not in text
        assert "| after 1500 steps" in text or "1500 步之后" in text


def test_the_papers_on_series_are_what_the_results_say():
    command = [sys.executable, ROOT / "scripts" / "series_tables.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
