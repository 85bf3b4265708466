"""The papers: every Python block runs, shows exactly what it prints, and both languages say the same in the same order.

The convention: a block marked ``python`` runs, in order, in one namespace a file, with warnings as errors. A block
marked ``text`` right after it is, to the letter, what it prints; a block that prints must be followed by one.
"""

from __future__ import annotations

import ast
import contextlib
import io
import re
import shlex
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from typer.main import get_command

from elman.cli import app

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs"
TUTORIALS = [FOLDER / "en" / "tutorial.md", FOLDER / "zh" / "tutorial.md"]
SPEECH = [FOLDER / "en" / "speech.md", FOLDER / "zh" / "speech.md"]
SERIES = [FOLDER / "en" / "series.md", FOLDER / "zh" / "series.md"]
TRANSLATION = [FOLDER / "en" / "translation.md", FOLDER / "zh" / "translation.md"]
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
PAGES = [*TUTORIALS, *TRANSLATION, *SPEECH, *SERIES]
PAPERS = [*PAGES, FOLDER / "equations.md", FOLDER / "conventions.md", *READMES]

FENCE = re.compile(r"^```([\w-]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    language: str
    text: str
    line: int  # of its first line, from 1
    output: str  # of a Python block: what is shown after it


def blocks(text: str) -> list[Block]:
    found = list(FENCE.finditer(text))
    result = []
    for fence, after in zip(found, [*found[1:], None], strict=True):
        output = ""
        if after is not None and after[1] == "text" and not text[fence.end() : after.start()].strip():
            output = after[2]
        result.append(Block(fence[1], fence[2], text[: fence.start(2)].count("\n") + 1, output))
    return result


def run(text: str, name: str, namespace: dict[str, object]) -> None:
    """Run the Python blocks of a paper and compare what they print with what it shows."""
    for block in blocks(text):
        if block.language != "python":
            continue
        code = compile("\n" * (block.line - 1) + block.text, name, "exec", dont_inherit=True)
        printed = io.StringIO()
        with warnings.catch_warnings(), contextlib.redirect_stdout(printed):
            warnings.simplefilter("error")
            exec(code, namespace)
        assert printed.getvalue() == block.output, f"{name}, line {block.line}: the output shown is another"


def readme_names() -> dict[str, object]:
    """What the short example of the README takes for granted."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(65, size=(3, 7))
    return {"tokens": tokens, "targets": np.roll(tokens, -1, axis=1), "lengths": [7, 0, 4]}


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_blocks_run_and_print_what_is_shown(path, tmp_path, monkeypatch):
    if path in SERIES:
        pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    run(path.read_text(encoding="utf-8"), str(path), readme_names() if "README" in path.name else {})


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    """Files and pictures exist, and so do the headings that a link names."""
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", path.read_text(encoding="utf-8"))):
        if target.startswith(("https://", "http://")):
            continue
        name, _, heading = target.partition("#")
        file = path.parent / name if name else path
        assert file.exists(), f"{path.name} points to {target}, which is not there"
        if heading:
            titles = re.findall(r"^#+ (.*)$", FENCE.sub("", file.read_text(encoding="utf-8")), re.MULTILINE)
            assert heading in map(anchor, titles), f"{path.name} points to {target}, where there is no such heading"


def anchor(title: str) -> str:
    """Return the name that a heading has in a link."""
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("path", [*PAGES, *READMES], ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_exist(path):
    text = "\n".join(block.text for block in blocks(path.read_text("utf-8")) if block.language == "sh")
    for line in text.splitlines():
        if line.startswith("elman "):
            check_command(line)


def check_command(line: str) -> None:
    """Walk down the tree of commands and look for each option."""
    command = get_command(app)
    words = shlex.split(line, comments=True)[1:]
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    assert not hasattr(command, "commands"), f"no such command: {line}"
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    for word in words:
        if word.startswith("--"):
            assert word.split("=")[0] in options, f"no such option {word}: {line}"


@pytest.mark.parametrize("pair", [TUTORIALS, TRANSLATION, SPEECH, SERIES, READMES])
def test_both_languages_say_the_same(pair):
    english, chinese = (path.read_text(encoding="utf-8") for path in pair)
    ours, theirs = blocks(english), blocks(chinese)
    assert [block.language for block in ours] == [block.language for block in theirs]
    for one, other in zip(ours, theirs, strict=True):
        if one.language == "python":
            same = ast.dump(ast.parse(one.text)) == ast.dump(ast.parse(other.text))
            assert same, f"code of line {one.line} and line {other.line} differs"
            assert one.output == other.output
    pictures = [re.findall(r"!\[[^]]*\]\(([^)]+)\)", text.replace(".zh.png", ".png")) for text in (english, chinese)]
    levels = [re.findall(r"^(#+) ", FENCE.sub("", text), re.MULTILINE) for text in (english, chinese)]
    assert pictures[0] == pictures[1]
    assert levels[0] == levels[1]


# ------------------------------------------------------------------------------- the checks above are seen to fail


@pytest.mark.parametrize(
    ("paper", "error"),
    [
        ("```python\nprint(1)\n```\n\n```text\n2\n```\n", AssertionError),
        ("```python\nprint(1)\n```\nwords\n```text\n1\n```\n", AssertionError),
        ("```python\nassert 1 + 1 == 3\n```\n", AssertionError),
        ("```python\nimport warnings\nwarnings.warn('old')\n```\n", UserWarning),
        ("```python\nimport numpy as np\nnp.exp(np.float64(1000))\n```\n", RuntimeWarning),
    ],
)
def test_a_paper_that_lies_is_found_out(paper, error):
    with pytest.raises(error):
        run(paper, "paper.md", {})


@pytest.mark.parametrize(
    ("true", "false"),
    [
        ("d_a = d_h * (1 - h * h)", "d_a = d_h * (1 - h)"),
        ("+ np.where(valid[t], 0, a)", ""),
        ("carry_c + d_h * o * (1 - tanh_c**2)", "d_h * o * (1 - tanh_c**2)"),
        ("d_a_n = d_h * (1 - z) * (1 - n * n)\n    d_u", "d_a_n = d_h * z * (1 - n * n)\n    d_u"),
        ("d_a_n.T @ (r * h_before)", "d_a_n.T @ h_before"),
        ("d_state.h.sum(axis=0)", "d_state.h.mean(axis=0)"),
        ("- np.eye(7)[targets]", ""),
    ],
)
def test_a_wrong_derivation_is_found_out(true, false):
    text = (FOLDER / "equations.md").read_text(encoding="utf-8")
    assert text.count(true) == 1
    with pytest.raises(AssertionError):
        run(text.replace(true, false), "equations.md", {})


def test_a_paper_that_is_right_passes():
    run("```python\nx = 1\n```\nwords\n```python\nprint(x)\n```\n\n```text\n1\n```\n", "paper.md", {})
