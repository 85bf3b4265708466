"""``elman diagnose``: what it prints, writes and refuses."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import elman
from elman.cli import app
from elman.diagnose import gradient_flow
from elman.sequences import TokenWindows
from elman.tasks import memory
from elman.tasks.language import LanguageModel
from elman.tasks.vocabulary import Vocabulary

pytest.importorskip("matplotlib")
TEXT = "the cat sat on the mat and the dog sat on the log. " * 20


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Be in a folder with a language model, a text, and another model."""
    monkeypatch.chdir(tmp_path)
    lm = LanguageModel.build(Vocabulary.learn(TEXT), hidden_size=8, embedding_size=4, n_layers=2)
    lm.save("lm.elman")
    Path("text.txt").write_text(TEXT, encoding="utf-8")
    elman.Sequential(elman.GRU(3, 5), elman.Linear(5, 2)).init(seed=1).save("net.elman")
    return tmp_path


def run(*words, code=0):
    result = CliRunner().invoke(app, ["diagnose", *map(str, words)])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def refused(*words):
    """Run a command that fails, and return its one sentence."""
    result = run(*words, code=1)
    assert result.stdout == ""
    assert result.stderr.startswith("elman: ")
    assert "Traceback" not in result.output
    return result.stderr.removeprefix("elman: ").strip()


def test_language_model(here):
    result = run("lm.elman", "text.txt", "--steps", 20, "--rows", 4)
    lm = LanguageModel.load("lm.elman")
    flow = gradient_flow(lm.model, TokenWindows(lm.read("text.txt"), 4, 20).batch(0))
    assert result.stdout == f"{flow}\n"
    assert "1 LSTM" in result.stdout
    assert "2 LSTM" in result.stdout
    assert Path("gradient-flow.png").read_bytes().startswith(b"\x89PNG")
    assert result.stderr == "picture: gradient-flow.png\n"


def test_json(here):
    content = json.loads(run("lm.elman", "text.txt", "--json", "--out", "p.svg").stdout)
    assert content["n_rows"] == 8
    assert [layer["n_steps"] for layer in content["layers"]] == [100, 100]
    assert Path("p.svg").exists()
    assert not Path("gradient-flow.png").exists()


def test_a_short_text_gets_what_it_has(here):
    Path("short.txt").write_text("the cat", encoding="utf-8")
    content = json.loads(run("lm.elman", "short.txt", "--json", "--out", "p.svg").stdout)
    assert (content["n_rows"], content["layers"][0]["n_steps"]) == (1, 6)
    Path("shorter.txt").write_text("t", encoding="utf-8")
    assert refused("lm.elman", "shorter.txt").startswith("shorter.txt: has 1 tokens that the model knows")


def test_numbers(here):
    rng = np.random.default_rng(0)
    x, targets = rng.standard_normal((4, 9, 3)), rng.integers(2, size=(4, 9))
    np.save("x.npy", x)
    np.savez("batch.npz", x=x, targets=targets, lengths=[9, 3, 0, 7])
    model = elman.load("net.elman")
    assert run("net.elman", "x.npy", "--out", "p.svg").stdout == f"{gradient_flow(model, x)}\n"
    expected = gradient_flow(model, elman.Batch(x, targets, [9, 3, 0, 7]))
    assert run("net.elman", "batch.npz", "--out", "p.svg").stdout == f"{expected}\n"
    np.save("ids.npy", rng.integers(5, size=(2, 6)))
    assert "over up to 6 steps" in run("lm.elman", "ids.npy", "--out", "p.svg").stdout


def test_numbers_that_are_none(here):
    np.savez("wrong.npz", x=np.zeros((1, 2, 3)), y=np.zeros(2))
    assert refused("net.elman", "wrong.npz") == "wrong.npz: must hold x, and may hold targets and lengths, got x, y"
    Path("empty.npy").write_bytes(b"")
    assert refused("net.elman", "empty.npy").startswith("empty.npy: not a whole .npy file of numbers")
    Path("broken.npz").write_bytes(b"PK\x03\x04 nothing")
    assert refused("net.elman", "broken.npz").startswith("broken.npz: not a whole .npz file of numbers")
    np.save("shape.npy", np.zeros((2, 3, 7)))
    assert "x must be (B, T, 3) or (T, 3), got (2, 3, 7)" in refused("net.elman", "shape.npy")


def test_nothing_in_an_array_file_is_executed(here):
    class Trap:
        def __reduce__(self):
            return os.mkdir, ("sprung",)

    np.save("trap.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    assert refused("net.elman", "trap.npy").startswith("trap.npy: not a whole .npy file of numbers")
    assert not Path("sprung").exists()


def test_what_it_refuses(here):
    assert refused("lm.elman") == "name a model and a file: elman diagnose MODEL FILE; or see elman diagnose --compare"
    assert refused() == refused("lm.elman")
    assert "nofile.txt: no such file" in refused("lm.elman", "nofile.txt")
    assert "nomodel.elman: no such file" in refused("nomodel.elman", "text.txt")
    assert refused("net.elman", "text.txt").startswith("net.elman: not a language model, so text.txt must be numbers")
    assert "must end in .png" in refused("lm.elman", "text.txt", "--out", "p.gif")
    assert refused("lm.elman", "text.txt", "--out", "no/p.png") == "no/p.png: there is no folder no"
    assert "leave MODEL and FILE out" in refused("lm.elman", "--compare")
    Path("other.txt").write_text("the @", encoding="utf-8")
    assert "--unknown skip" in refused("lm.elman", "other.txt")
    assert "over up to 3 steps" in run("lm.elman", "other.txt", "--unknown", "skip").stdout


def test_it_never_replaces_what_it_reads(here):
    Path("text.svg").write_text(TEXT, encoding="utf-8")
    Path("model.svg").write_bytes(Path("lm.elman").read_bytes())
    assert "text.svg is the file to read" in refused("lm.elman", "text.svg", "--out", "./text.svg")
    assert "model.svg is the file to read" in refused("model.svg", "text.txt", "--out", "model.svg")
    assert Path("text.svg").read_text(encoding="utf-8") == TEXT
    for content in ("my notes", "[1]", '{"task": 1}'):
        Path("c.json").write_text(content)
        said = refused("--compare", "--train", 0, "--out", "c.png")
        assert said == "c.json, where the numbers would go, holds something else; give --out another name"
        assert Path("c.json").read_text() == content


def test_a_model_with_an_unknown_token_takes_it(here):
    LanguageModel.build(Vocabulary.learn(TEXT, max_size=5), hidden_size=8).save("few.elman")
    run("few.elman", "text.txt", "--steps", 9)
    assert "--unknown unk" in refused("few.elman", "text.txt", "--unknown", "error")


def test_without_matplotlib(here, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    sentence = "pictures need matplotlib, which is not installed: pip install elman[plot]"
    assert refused("lm.elman", "text.txt") == sentence
    assert refused("--compare") == sentence  # at once, not after all the training


def test_compare(here):
    result = run("--compare", "--steps-back", 8, "--train", 2, "--out", "c.png")
    assert result.stdout.startswith("Name the first of 8 symbols after 8 steps of noise")
    assert Path("c.png").read_bytes().startswith(b"\x89PNG")
    content = json.loads(Path("c.json").read_text())
    assert content["task"]["steps_back"] == 8
    assert len(content["contenders"]) == 5
    assert len(content["taming"]["norms"]) == 2
    assert result.stderr == "picture: c.png, numbers: c.json\n"


def test_compare_without_training(here):
    result = run("--compare", "--steps-back", 8, "--train", 0, "--seed", 5, "--json", "--out", "c.pdf")
    content = json.loads(result.stdout)
    assert content["task"]["seed"] == 5
    assert content["taming"] is None
    assert json.loads(Path("c.json").read_text()) == content


def test_an_interrupt_ends_it_quietly(here, monkeypatch):
    done = []

    def interrupted(*_, **options):
        done.extend(options["track"](iter(range(3)), "label"))
        raise KeyboardInterrupt

    monkeypatch.setattr(memory, "compare", interrupted)
    result = run("--compare", code=130)
    assert done == [0, 1, 2]
    assert result.stdout == ""
    assert result.stderr.strip() == "Stopped."
    assert not Path("compare.png").exists()
    assert not Path("compare.json").exists()
