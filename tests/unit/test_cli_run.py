"""``elman text train`` and its neighbours where people are careless: what is kept, what is refused, what is shown."""

from __future__ import annotations

import fcntl
import json
import math
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import elman
from elman import storage
from elman.cli import app, run
from elman.tasks.language import LanguageModel, Recipe, digest
from elman.tasks.vocabulary import Vocabulary
from elman.train import Record

TEXT = "the cat sat on the mat and the dog sat on the log.\n" * 40
SMALL = ["--hidden", 8, "--embedding", 4, "--batch", 4, "--window", 8]
SHOWN = r"loss \d+\.\d{3} +val (-|\d+\.\d{3}) +grad \d+\.\d\d→\d+\.\d\d +[\d,]+ tok/s +[\d:]+ left"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Be in a folder with a text and a language model."""
    monkeypatch.chdir(tmp_path)
    Path("t.txt").write_text(TEXT, encoding="utf-8")
    LanguageModel.build(Vocabulary.learn(TEXT), hidden_size=8, embedding_size=4).save("m.elman")
    return tmp_path


def elman_text(*words, code=0):
    result = CliRunner().invoke(app, ["text", *map(str, words)])
    assert result.exit_code == code, (result.output, result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def refused(*words):
    """Run a command that fails, and return its one sentence."""
    said = elman_text(*words, code=1).stderr
    assert said.startswith("elman: ")
    assert len(said.strip().splitlines()) == 1
    return said.removeprefix("elman: ").strip()


# --------------------------------------------------------------------------------------------------- what is kept


def test_the_text_is_never_the_model_to_write(here):
    Path("link.elman").symlink_to("t.txt")
    os.link("t.txt", "hard.elman")
    for out in ("t.txt", "./t.txt", "link.elman", "hard.elman"):
        assert "is the file to read, which would be lost" in refused("train", "t.txt", "--out", out, "--overwrite")
    assert Path("t.txt").read_text(encoding="utf-8") == TEXT


def test_overwrite_replaces_models_only(here):
    Path("notes.txt").write_text("mine, and of more than eight bytes", encoding="utf-8")
    Path("empty").write_bytes(b"")
    for out in ("notes.txt", "empty"):
        sentence = refused("train", "t.txt", "--out", out, "--overwrite")
        assert sentence == f"{out} is not an .elman file; give --out another name"
    assert Path("notes.txt").read_text(encoding="utf-8").startswith("mine")
    elman_text("train", "t.txt", "--out", "m.elman", "--overwrite", *SMALL, "--steps", 2)


def test_a_model_is_not_the_text_of_its_own_training(here):
    lm = LanguageModel.build(Vocabulary.learn(TEXT, "byte"), hidden_size=8, embedding_size=4)
    ids = lm.read("t.txt")
    run.Run(lm, ids, Recipe(n_steps=1), Path("b.elman"), {"history": []}, lm.training(ids, Recipe(n_steps=1))).start()
    before = Path("b.elman").read_bytes()
    said = refused("train", "b.elman", "--resume", "b.elman", "--steps", 1)
    assert said.startswith("b.elman is the file to read")
    assert Path("b.elman").read_bytes() == before


def test_a_finished_model_remembers_the_encoding(here):
    Path("g.txt").write_bytes(("春眠不覺曉，處處聞啼鳥。" * 40).encode("gbk"))
    elman_text("train", "g.txt", "--encoding", "gbk", "--out", "g.elman", *SMALL, "--steps", 2)
    elman_text("train", "g.txt", "--resume", "g.elman", "--steps", 2)


def test_a_diverged_run_keeps_its_weights_and_says_how_to_go_on(here, monkeypatch):
    def fail(training):
        if training.step == 3:
            raise FloatingPointError("train: step 4: the loss is nan")
        return go_on(training)

    go_on = run.Training.__next__
    monkeypatch.setattr(run.Training, "__next__", fail)
    said = elman_text("train", "t.txt", "--out", "d.elman", *SMALL, "--steps", 9, code=1).stderr.splitlines()[-1]
    assert said.startswith("elman: train: step 4: the loss is nan; the weights after step 3 are saved in d.elman")
    assert "train anew with --rate 0.0003, and --overwrite or another --out" in said
    model, about, _ = elman.model.load_all("d.elman")
    assert about["training"]["step"] == 3
    fresh = LanguageModel.build(Vocabulary.learn(TEXT), hidden_size=8, embedding_size=4).model
    assert not np.array_equal(model.params.flat, fresh.params.flat)


# ------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--epochs", "inf"], "--epochs must be above 0 and finite, got inf"),
        (["--epochs", "nan"], "--epochs must be above 0 and finite, got nan"),
        (["--epochs", "1e300"], "--epochs 1e+300 makes "),
        (["--steps", "10000000000"], "n_steps must be at most 1,000,000,000"),
        (["--minutes", "1e300"], "--minutes 1e+300 makes "),
        (["--rate", "inf"], "learning_rate must be finite"),
        (["--level", "byte", "--encoding", "gbk"], "leave --encoding gbk out"),
        (["--level", "byte", "--max-vocabulary", "9"], "leave --max-vocabulary out"),
        (["--encoding", "hex"], "encoding 'hex' is not one of text"),
        (["--encoding", "rot13"], "encoding 'rot13' is not one of text"),
    ],
)
def test_options_that_cannot_be(here, words, sentence):
    said = elman_text("train", "t.txt", "--out", "new.elman", *SMALL, *words, code=1).stderr
    assert sentence in said.splitlines()[-1]
    assert not Path("new.elman").exists()


def test_bytes_have_no_encoding_in_eval_either(here):
    LanguageModel.build(Vocabulary.learn(TEXT, "byte"), hidden_size=8).save("b.elman")
    assert "leave --encoding gbk out" in refused("eval", "b.elman", "t.txt", "--encoding", "gbk")


def test_a_temperature_without_bound(here):
    assert "temperature must be finite, got inf" in refused("generate", "m.elman", "--temperature", "inf")


def stopped(path):
    """Return the tensors and the JSON of a run that was stopped after its first save."""
    lm = LanguageModel.load("m.elman")
    ids, recipe = lm.read("t.txt"), Recipe(n_steps=4)
    about = {"file": "t.txt", "encoding": "utf-8", "digest": digest(ids), "history": []}
    run.Run(lm, ids, recipe, Path(path), about, lm.training(ids, recipe))._save()
    return storage.read(path)


@pytest.mark.parametrize("part", ["vocabulary", "training"])
@pytest.mark.parametrize("value", [[], "x", 3, None])
def test_info_of_a_hostile_file(here, part, value):
    tensors, about = storage.read("m.elman")
    storage.write("bad.elman", tensors, {**about, part: value})
    result = CliRunner().invoke(app, ["info", "bad.elman"])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"elman: bad.elman: damaged: its {part} must be an object")


DAMAGE = [
    ({"run": {"history": [1]}}, "a validation must be [step, nats, loss], got 1"),
    ({"run": {"history": [[1, "x", 2.0]]}}, "a validation must be [step, nats, loss]"),
    ({"run": {"history": None}}, "does not say how it was trained"),
    ({"run": {"recipe": None}}, "damaged recipe"),
    ({"run": {"recipe": {"seed": "x"}}}, "seed must be an int"),
    ({"run": {"recipe": {"learning_rate": "x"}}}, "damaged recipe"),
    ({"run": {"recipe": {"n_steps": 10**400}}}, "n_steps must be at most"),
    ({"run": 3}, "does not say how it was trained"),
    ({"training": 3}, "its training must be at a step of 0 to 4, got None"),
    ({"training": {"step": -1}}, "its training must be at a step of 0 to 4, got -1"),
    ({"training": {"step": 5}}, "its training must be at a step of 0 to 4, got 5"),
    ({"training": {"seconds": math.inf}}, "must say its seconds"),
    ({"vocabulary": {"counts": [-1]}}, "vocabulary"),
    ({"vocabulary": {"counts": [10**400]}}, "vocabulary"),
]


def merged(whole, change):
    if not isinstance(whole, dict) or not isinstance(change, dict):
        return change
    return {**whole, **{name: merged(whole.get(name), value) for name, value in change.items()}}


@pytest.mark.parametrize(("damage", "sentence"), DAMAGE)
def test_resume_of_a_hostile_file(here, damage, sentence):
    tensors, about = stopped("whole.elman")
    if "counts" in damage.get("vocabulary", {}):
        damage = {"vocabulary": {"counts": damage["vocabulary"]["counts"] * len(about["vocabulary"]["tokens"])}}
    storage.write("bad.elman", tensors, merged(about, damage))
    said = refused("train", "--resume", "bad.elman")
    assert said.startswith("bad.elman: ")
    assert sentence in said
    elman_text("train", "--resume", "whole.elman")


def test_counts_of_zero_still_begin_a_text(here):
    tensors, about = storage.read("m.elman")
    about["vocabulary"]["counts"] = [0] * len(about["vocabulary"]["tokens"])
    storage.write("zero.elman", tensors, about)
    assert len(elman_text("generate", "zero.elman", "--tokens", 5, "--seed", 1).stdout) == 6


def test_a_prompt_of_bytes_that_are_no_text(here):
    LanguageModel.build(Vocabulary.learn(TEXT, "byte"), hidden_size=8).save("b.elman")
    elman_text("generate", "b.elman", "--prompt", os.fsdecode(b"caf\xe9"), "--tokens", 3)


# ---------------------------------------------------------------------------------------------------- what is said


def test_eval_takes_the_unknown_token_and_says_what_it_hides(here):
    Path("other.txt").write_text("the cat sat on the zebra\n" * 30, encoding="utf-8")
    for level in ("char", "word"):
        vocabulary = Vocabulary.learn(TEXT, level, max_size=9)
        LanguageModel.build(vocabulary, hidden_size=8).save(f"{level}.elman")
        result = elman_text("eval", f"{level}.elman", "other.txt", "--json")
        assert "tokens are unknown to the model" in result.stderr
        assert "hides its spelling" in result.stderr
        assert json.loads(result.stdout)["nats_per_char"] > 0
    assert "--unknown unk" in refused("eval", "char.elman", "other.txt", "--unknown", "error")
    skipped = elman_text("eval", "char.elman", "other.txt", "--unknown", "skip")
    assert "left out" in skipped.stderr
    Path("zebra.txt").write_text("zebra", encoding="utf-8")
    assert "the model does not know 'z' at position 0" in refused("eval", "m.elman", "zebra.txt")


@pytest.mark.parametrize("rows", [1, 3, 7])
def test_eval_counts_the_characters_of_unknown_words(here, rows):
    text = "the cat sat on the zebra, quietly\n" * 30
    Path("other.txt").write_text(text, encoding="utf-8")
    vocabulary = Vocabulary.learn(TEXT, "word")
    LanguageModel.build(vocabulary, hidden_size=8).save("w.elman")
    score = json.loads(elman_text("eval", "w.elman", "other.txt", "--rows", rows, "--json").stdout)
    words = vocabulary.encode_lengths(text)[1]
    part = (len(words) - 1) // rows * rows
    assert score["tokens"] == part
    assert score["characters"] == words[1 : part + 1].sum()
    assert score["characters"] == len(text) - words[0] - words[part + 1 :].sum()
    assert score["nats_per_char"] * score["characters"] == pytest.approx(score["nats_per_token"] * part)


def test_perplexities_in_few_digits():
    assert run.show_perplexity(1.0) == "2.7183"
    assert run.show_perplexity(20.0) == "4.852e+08"
    assert run.show_perplexity(700.0) == "1.014e+304"
    assert run.show_perplexity(5000.0) == "exp(5000)"
    assert run.show_perplexity(math.nan) == "nan"
    assert run.show_number(1.676e30) == "1.676e+30"


def test_a_model_that_diverged_is_measured_without_warnings(here):
    lm = LanguageModel.load("m.elman")
    lm.model.params.flat[:] = 1e38
    lm.save("far.elman")
    assert json.loads(elman_text("eval", "far.elman", "t.txt", "--json").stdout)["nats_per_token"] is None
    assert "its training may have diverged" in elman_text("generate", "far.elman", code=1).stderr


def finished(history):
    lm = LanguageModel.load("m.elman")
    ids, recipe = lm.read("t.txt"), Recipe(n_steps=3)
    return run.Run(lm, ids, recipe, Path("f.elman"), {"history": history}, lm.training(ids, recipe))._finish


def test_overfitting_is_told_only_where_the_training_went_on_to_improve(here, capsys):
    finished([[1, 2.0, 1.9], [2, 2.5, 1.2]])()
    assert "It was 2.0000 at step 1: the model overfits" in capsys.readouterr().err
    finished([[1, 2.0, 1.9], [2, 2.5, 2.4]])()
    assert "It was 2.0000 at step 1: the training became worse too" in capsys.readouterr().err
    finished([[1, 2.0, 1.9], [2, 2.01, 1.2]])()
    assert "It was" not in capsys.readouterr().err


def test_a_long_held_out_text_is_cut_and_that_is_said(here, monkeypatch):
    said = elman_text("train", "t.txt", "--out", "d.elman", *SMALL, "--steps", 2).stderr
    assert "204 held out; 2 steps" in said
    monkeypatch.setattr(run, "VALIDATION_TOKENS", 50)
    said = elman_text("train", "t.txt", "--out", "c.elman", *SMALL, "--steps", 2).stderr
    assert "204 held out, the first 50 of them for validations" in said


# --------------------------------------------------------------------------------------------------- what is shown


def test_the_log_shows_loss_validation_gradient_speed_and_time_left(here, monkeypatch):
    monkeypatch.setattr(run, "LOG_EVERY_SECONDS", -1)
    said = elman_text("train", "t.txt", "--out", "l.elman", *SMALL, "--steps", 20, "--clip", 0.01).stderr
    lines = [line for line in said.splitlines() if line.startswith("step ")]
    assert len(lines) == 20
    for k, line in enumerate(lines, start=1):
        assert re.fullmatch(rf"step {k}/20  {SHOWN}", line)
    assert "→0.01 " in lines[0]
    assert "val - " in lines[0]
    assert "val -" not in lines[-1]
    assert lines[-1].endswith("0:00 left")


def test_the_loss_of_the_log_is_smoothed(here):
    lm = LanguageModel.load("m.elman")
    ids, recipe = lm.read("t.txt"), Recipe(n_steps=3)
    shown = run.Run(lm, ids, recipe, Path("s.elman"), {"history": []}, lm.training(ids, recipe))
    for loss in (4.0, 2.0):
        shown._smooth(Record(1, loss, 1.0, 1.0, 0.1, 10, 0.1, 100 * loss))
    assert shown.loss == pytest.approx(3.8)
    assert shown.speed == pytest.approx(380)


@pytest.mark.parametrize("columns", [80, 140])
def test_the_bar_of_a_terminal_shows_the_same(here, columns):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    words = ["text", "train", "t.txt", "--out", "p.elman", *map(str, SMALL), "--steps", "60"]
    env = {**os.environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        env.pop(name, None)
    process = subprocess.Popen(
        [sys.executable, "-m", "elman", *words], stdin=theirs, stdout=theirs, stderr=theirs, env=env
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # how a terminal says that its last writer is gone
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert process.wait(timeout=60) == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert re.search(rf"60/60 {SHOWN}", plain), plain
    assert ("━" in plain) == (columns >= 100)
    assert "Trained 60 steps" in plain
