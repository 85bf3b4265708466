"""The examples: each runs as a user runs it, in a process of its own, with warnings as errors, and prints its say."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
TEXT = "To be, or not to be, that is the question.\n" * 300

# Name: arguments that make it quick, and what it then has to print.
RUNS = {
    "01_memory": (["memory.png"], ["h (20, 10)", "agree", "second call gives the same answer", "words 4\n"]),
    "02_gradients": (["flow.png", "--steps", "30"], ["8.881784e-16", "1.173909e+02", "5.153775e-03", "vanishing"]),
    "03_text": (["text.txt", "--units", "24", "--steps", "30"], ["held out", "perplexity", "seconds\n\nTo be"]),
    "04_ragged": (["--epochs", "2"], ["epoch 2", "all NaN, change nothing", "zigzag"]),
    "05_translate": (
        ["--quick", "--steps", "14", "look.png"],
        ["17,037 pairs to learn from", "tok:char", "I like music."],
    ),
    "06_speech": (["--quick"], ["60 strings", "word error rate", "listening to", "of real time", "aligned: "]),
    "07_series": (["forecast.png", "--epochs", "100"], ["seasonal naive", "80 % interval", "month after month"]),
    "07_series_search": (["--trials", "4", "--epochs", "3"], ["4 trials", "held-out third", "of 370 utterances"]),
}


NEEDS = {"07_series": ["sklearn"], "07_series_search": ["sklearn", "optuna"]}


def run(program: Path, *arguments: str, folder: Path, timeout: float = 120) -> str:
    """Return what a program prints; it must end well and complain of nothing."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
    command = [sys.executable, str(program), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=timeout)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path, tmp_path):
    arguments, expected = RUNS[path.stem]
    for name in NEEDS.get(path.stem, ()):
        pytest.importorskip(name)
    if any(argument.endswith(".png") for argument in arguments):
        pytest.importorskip("matplotlib")
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    printed = run(path, *arguments, folder=tmp_path)
    for words in expected:
        assert words in printed
    for name in arguments:
        if name.endswith(".png"):
            assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_every_run_has_an_example():
    assert [path.stem for path in EXAMPLES] == list(RUNS)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 100


def test_the_ragged_example_learns(tmp_path):
    printed = run(ROOT / "examples" / "04_ragged.py", folder=tmp_path)
    last = printed.split("epoch 8: ")[1].splitlines()[0]
    assert float(last.split(", ")[1].split(" %")[0]) > 90


@pytest.mark.slow
def test_the_quick_translator_learns_to_translate(tmp_path):
    start = time.monotonic()
    printed = run(ROOT / "examples" / "05_translate.py", "--quick", folder=tmp_path, timeout=400)
    assert time.monotonic() - start < 180
    assert float(printed.split("beam 5: BLEU ")[1].split()[0]) > 28
    sentences = dict(line.split("  ", 1) for line in printed.splitlines() if "(or: " in line)
    assert sentences["I like music."].split()[0] == "我喜欢音乐。"
    assert sentences["Do you speak English?"].split()[0] in ("你说英语吗？", "你会说英语吗？", "你讲英语吗？")


def test_the_pictures_of_the_papers_can_be_drawn_again(tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    run(ROOT / "scripts" / "make_pictures.py", str(tmp_path), folder=tmp_path)
    drawn = {path.name for path in tmp_path.glob("*.png")}
    kept = {path.name for path in (ROOT / "docs" / "pictures").glob("*.png")}
    apart = {"unrolled.zh.png", "attention.png", "posteriors.png"}  # two need a Chinese font, one a trained recogniser
    assert kept - apart <= drawn
    assert all(path.stat().st_size < 150_000 for path in (ROOT / "docs" / "pictures").glob("*.png"))
