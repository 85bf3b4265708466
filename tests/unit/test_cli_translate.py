"""``elman translate`` as people run it: in processes of its own, with careless input and interruptions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

import elman
from command import run
from elman import storage
from elman.cli import app
from elman.cli import translate as cli
from elman.cli.translate_run import TranslateRun
from elman.layers.attention import KINDS
from elman.tasks.translate import Recipe, Translator, read_pairs, split_pairs
from elman.tasks.translate.search import NORMS
from elman.tasks.translate.tokens import LEVELS

pytest.importorskip("sacrebleu")

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SMALL = ["--hidden", 32, "--embedding", 16, "--dropout", 0.1, "--rate", 0.01, "--batch", 32, "--min-count", 1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with pairs of spoken digits, English and Chinese, in two files and in one, and a model of them."""
    path = tmp_path_factory.mktemp("translate")
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 10, rng.integers(1, 5)) for _ in range(400)]
    english = [" ".join(NAMES[k] for k in row) for row in rows]
    chinese = ["".join("零一二三四五六七八九"[k] for k in row) for row in rows]
    (path / "a.en").write_bytes("\r\n".join(english).encode())  # Windows line ends
    (path / "a.zh").write_text("\n".join(chinese) + "\n", encoding="utf-8")
    (path / "a.tsv").write_text("".join(f"{a}\t{b}\tx\n" for a, b in zip(english, chinese, strict=True)), "utf-8")
    done = run("translate", "train", "a.en", "a.zh", "--out", "m.elman", *SMALL, "--steps", 400, cwd=path)
    assert "Trained 400 steps" in done.stderr
    assert "Held-out translations: " in done.stderr
    assert "step 400: " in done.stderr  # samples
    assert "→" in done.stderr
    assert "elman translate run m.elman" in done.stderr
    stop_at_once(path)
    return path


def stop_at_once(path):
    """Write stopped.elman: a training of a.tsv that was stopped after 4 of 40 steps."""
    words = ("translate", "train", path / "a.tsv", "--out", path / "stopped.elman", *SMALL, "--steps", 40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TranslateRun, "_validate", lambda self, step: setattr(self, "enough", step == 4))
        patch.setattr(TranslateRun, "_finish", TranslateRun._save)
        assert CliRunner().invoke(app, [str(word) for word in words]).exit_code == 0


def test_run_translates_line_by_line(folder):
    lines = "one two\r\n\r\nthree\n" + " ".join(["four"] * 500) + "\n猫 ONE\nfive"
    printed = run("translate", "run", "m.elman", cwd=folder, input=lines).stdout.split("\n")
    assert printed[:3] == ["一二", "", "三"]
    assert printed[5:] == ["五", ""]
    assert printed[3]
    assert len(printed) == 7


def piped(folder, *words, **options):
    """Return a process ``elman translate run m.elman WORDS`` with pipes of bytes."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    words = [sys.executable, "-m", "elman", "translate", "run", "m.elman", *map(str, words)]
    return subprocess.Popen(words, cwd=folder, **{**pipes, **options})


def test_a_pipe_gets_utf8_whatever_the_locale(folder):
    with piped(folder, env={**os.environ, "PYTHONIOENCODING": "cp1252"}) as process:
        printed, _ = process.communicate(b"one two\n", timeout=60)
    assert printed.decode("utf-8").split() == ["一二"]


def test_each_line_is_translated_as_it_comes(folder):
    with piped(folder, "--beam", 1) as process:
        for line, expected in (("one two\n", "一二"), ("three\r\nfo", "三"), ("ur\n", "四")):
            process.stdin.write(line.encode())
            process.stdin.flush()
            assert process.stdout.readline().decode("utf-8") == expected + "\n"  # or waits for ever
        process.stdin.close()
        assert process.wait(timeout=60) == 0


def test_a_bad_byte_is_told_by_its_line_after_the_lines_before_it(folder):
    with piped(folder, "--beam", 1) as process:
        printed, told = process.communicate(b"\xef\xbb\xbfone\n" * 1 + b"two\n" * 299 + b"caf\xe9\nthree\n", timeout=60)
    assert printed.decode("utf-8").split() == ["一"] + ["二"] * 299
    assert process.returncode == 1
    assert b"line 301 of the standard input is not UTF-8" in told


def test_many_lines_are_read_in_blocks(monkeypatch):
    reads, writes = os.pipe()
    text = "".join(f"line {k} 猫\r\n" for k in range(1500)) + "\r\nlast"
    with open(reads, encoding="latin-1") as stream, open(writes, "wb", buffering=0) as out:
        monkeypatch.setattr(sys, "stdin", stream)
        out.write(text.encode())
        out.close()
        blocks = list(cli._piped())
    assert [line for block in blocks for line in block] == [*(f"line {k} 猫" for k in range(1500)), "", "last"]
    assert [len(block) for block in blocks][:5] == [256] * 5


def test_n_best_and_greedy(folder):
    printed = run("translate", "run", "m.elman", "--nbest", 3, cwd=folder, input="one two\n").stdout.split("\n")
    rows = [line.split("\t") for line in printed[:3]]
    assert rows[0][1] == "一二"
    assert [float(row[0]) for row in rows] == sorted((float(row[0]) for row in rows), reverse=True)
    assert printed[3:] == ["", ""]
    options = ("--beam", 1, "--norm", "gnmt", "--alpha", 0.6)
    assert run("translate", "run", "m.elman", *options, cwd=folder, input="one two\n").stdout == "一二\n"


def test_attention_is_drawn(folder):
    pytest.importorskip("matplotlib")
    run("translate", "run", "m.elman", "--attention", "look.png", cwd=folder, input="one two\nthree\n")
    for name in ("look.png", "look-2.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    for name, words in (("look.txt", "must end in .png, .svg, .pdf"), ("no/look.png", "there is no folder no")):
        done = run("translate", "run", "m.elman", "--attention", name, cwd=folder, input="one\n", code=1)
        assert words in done.stderr
        assert not done.stdout


def test_translations_are_printed_before_they_are_drawn(folder, monkeypatch):
    pytest.importorskip("matplotlib")
    (folder / "taken.png").mkdir()
    done = run("translate", "run", "m.elman", "--attention", "taken.png", cwd=folder, input="one\ntwo\n", code=1)
    assert done.stdout == "一\n二\n"


def test_eval_prints_the_same_numbers_in_both_forms(folder):
    shown = run("translate", "eval", "m.elman", "a.en", "a.zh", "--beam", 2, cwd=folder).stdout
    numbers = json.loads(run("translate", "eval", "m.elman", "a.tsv", "--beam", 2, "--json", cwd=folder).stdout)
    assert numbers["pairs"] == 400
    assert numbers["bleu"] > 60
    assert "tok:char" in numbers["signature"]
    assert f"BLEU            {numbers['bleu']:.2f}\n" in shown
    assert numbers["signature"] in shown


def test_a_bad_tokeniser_is_told_before_the_work(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(elman.tasks.translate.Translator, "translate", None)
    done = CliRunner().invoke(app, ["translate", "eval", "m.elman", "a.tsv", "--tokenize", "verse"])
    assert done.exit_code == 1
    assert "the tokeniser verse is not known to sacrebleu" in done.stderr


def test_han_text_and_a_tokeniser_by_blanks(folder):
    done = subprocess.run(
        [sys.executable, "-m", "elman", "translate", "eval", "m.elman", "a.tsv", "--tokenize", "13a", "--beam", "1"],
        cwd=folder, capture_output=True, encoding="utf-8", check=True,
    )  # fmt: skip
    assert "use tokenize='char'" in done.stderr
    assert "UserWarning" not in done.stderr  # a sentence, without a place in the source


def test_pairs_that_are_left_out_are_counted(folder):
    """Too long or with an empty side: they are named, and an epoch is made of the others."""
    rows = ["one\t一"] * 40 + ["one two three four five\t一二三四五"] * 24 + ["\t二", "two\t"]
    (folder / "some.tsv").write_text("\n".join(rows), "utf-8")
    (folder / "held.tsv").write_text("\n".join(rows[38:42]), "utf-8")
    words = ("--max-tokens", 4, "--epochs", 2, "--batch", 8, "--dev", "held.tsv", "--out", "left.elman")
    done = run("translate", "train", "some.tsv", *SMALL[:-4], *words, "--min-count", 1, cwd=folder)
    assert "some.tsv: 2 pairs left out: an empty side\n" in done.stderr
    assert "\n24 pairs left out: more than 4 tokens (--max-tokens)\n" in done.stderr
    assert "held out: 2 pairs left out: more than 4 tokens (--max-tokens)\n" in done.stderr
    assert "40 pairs to train on, 2 for validations; 10 steps" in done.stderr


def test_info_says_what_it_reads_and_writes(folder):
    shown = run("info", "m.elman", cwd=folder).stdout
    assert "task: translate" in shown
    assert "reads: 13 tokens, level word" in shown
    assert "writes: 13 tokens, level char" in shown


def test_the_finished_file_holds_the_model_only(folder):
    _, about, tensors = elman.model.load_all(folder / "m.elman")
    assert not tensors
    assert "training" not in about
    assert not {"files", "dev", "digest"} & about["run"].keys()


def test_a_run_that_is_interrupted_goes_on_to_the_same_bits(folder):
    whole = ("translate", "train", "a.tsv", *SMALL, "--steps", 300, "--seed", 5, "--dropout", 0.2)
    run(*whole, "--out", "whole.elman", cwd=folder)
    words = [sys.executable, "-m", "elman", *map(str, whole), "--out", "part.elman"]
    with subprocess.Popen(words, cwd=folder, stderr=subprocess.PIPE, encoding="utf-8") as process:
        while "step 30:" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 130, rest
    assert "Go on with:  elman translate train --resume part.elman" in rest
    assert "training: unfinished" in run("info", "part.elman", cwd=folder).stdout
    assert "leave out --rate" in run(
        "translate", "train", "--resume", "part.elman", "--rate", 1, cwd=folder, code=1
    ).stderr  # fmt: skip
    run("translate", "train", "--resume", "part.elman", cwd=folder)
    first, second = ((folder / name).read_bytes() for name in ("whole.elman", "part.elman"))
    assert first == second  # weights, lexicon, and what validations found


def test_resume_needs_the_same_pairs(folder):
    text = (folder / "a.tsv").read_text("utf-8")
    (folder / "other.tsv").write_text(text.replace("one", "two", 1), "utf-8")
    done = run("translate", "train", "--resume", "stopped.elman", "other.tsv", cwd=folder, code=1)
    assert "other.tsv: not the pairs that the run began with" in done.stderr


@pytest.mark.parametrize("files", [None, [], 3, ["a", 1], ["a", "b", "c"]])
def test_resume_of_a_damaged_description_is_refused(folder, files):
    tensors, about = storage.read(folder / "stopped.elman")
    about = {name: value for name, value in about.items() if name != "format"}
    about["run"] = {k: v for k, v in {**about["run"], "files": files}.items() if v is not None}
    storage.write(folder / "damaged.elman", tensors, about)
    done = run("translate", "train", "--resume", "damaged.elman", cwd=folder, code=1)
    assert "damaged.elman: damaged: it does not say what it was trained on" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="closes a file by its number")
@pytest.mark.parametrize(("number", "name"), [(0, "input"), (1, "output")])
def test_a_closed_input_or_output_is_told(folder, number, name):
    with piped(folder, preexec_fn=lambda: os.close(number)) as process:
        _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"there is no standard {name}".encode() in told
    assert told.count(b"\n") == 1


def test_patience_ends_early_and_keeps_the_best(folder):
    """With such a rate it learns and then forgets."""
    words = ("--steps", 400, "--patience", 2, "--validation", 0.2, "--rate", 0.3, "--clip", 100)
    done = run("translate", "train", "a.tsv", "--out", "early.elman", *SMALL[:-6], *words, "--batch", 32, cwd=folder)
    trained = int(done.stderr.split("Trained ")[1].split(" steps")[0])
    history = elman.model.load_all(folder / "early.elman")[1]["run"]["history"]
    best = min(range(len(history)), key=lambda k: history[k][1])
    assert trained == history[-1][0] < 400
    assert len(history) - 1 - best == 2
    assert history[-1][1] > history[best][1]
    translator = Translator.load(folder / "early.elman")
    _, held_out = split_pairs(read_pairs(folder / "a.tsv"), 0.2)
    assert translator.evaluate(translator.encode(held_out)) == pytest.approx(history[best][1], rel=1e-6)


def test_joint_vocabulary_subwords_and_dev_files(folder):
    pytest.importorskip("tokenizers")
    words = ("--joint", "--target-level", "bpe", "--max-vocabulary", 60, "--steps", 3)
    run("translate", "train", "a.tsv", "--dev", "a.en", "--dev", "a.zh", "--out", "j.elman", *SMALL, *words, cwd=folder)
    about = elman.model.load_all(folder / "j.elman")[1]
    assert str(folder) not in json.dumps(about)
    assert about["tokens"]["source"] == about["tokens"]["target"]
    assert about["tokens"]["source"]["level"] == "bpe"
    assert "zero" in "".join(about["tokens"]["source"]["texts"])
    assert run("translate", "run", "j.elman", "--beam", 1, cwd=folder, input="one\n").stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("source", "target", "joint", "expected"),
    [
        (None, None, False, ("word", "char")),
        (None, None, True, ("char", "char")),
        ("bpe", None, False, ("bpe", "char")),
        (None, "word", True, ("word", "word")),
        ("space", "space", True, ("space", "space")),
    ],
)
def test_levels_by_the_text_or_as_told(source, target, joint, expected):
    wanted = (cli.Level(source) if source else None, cli.Level(target) if target else None)
    assert cli._levels(*wanted, joint, [("one two", "一二"), ("three four", "三四")]) == expected


def test_options_offer_all_that_there_is():
    for offered, kinds in ((cli.Level, LEVELS), (cli.Attends, (*KINDS, "none")), (cli.Norm, NORMS)):
        assert {one.value for one in offered} == set(kinds)


def test_swap_reads_the_second_column(folder):
    run("translate", "train", "a.tsv", "--swap", "--out", "s.elman", *SMALL, "--steps", 2, cwd=folder)
    assert "reads: 13 tokens, level char" in run("info", "s.elman", cwd=folder).stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["train"], "name the pairs to learn from: elman translate train FILE [FILE]"),
        (["train", "a.en", "a.zh", "a.tsv"], "give two files, or one with tabs, got 3"),
        (["train", "a.en", "short"], "a.en has 400 lines, short has 1: line k of one must be"),
        (["train", "a.en"], "a.en: line 1 has no tab between a line and its translation"),
        (["train", "nothing", "a.zh"], "nothing: no such file or directory"),
        (["train", "empty", "empty"], "empty: the file is empty"),
        (["train", "latin", "a.zh"], "latin: not utf-8 at byte"),
        (["train", "a.tsv", "--out", "m.elman"], "m.elman exists; give --out another name"),
        (["train", "a.tsv", "--out", "a.tsv"], "a.tsv is the file to read, which would be lost"),
        (["train", "a.tsv", "--out", "a.en", "--overwrite"], "a.en is not an .elman file"),
        (["train", "a.tsv", "--steps", 1, "--epochs", 1, "--out", "x"], "give only one of --steps, --epochs"),
        (["train", "a.tsv", "--hidden", 33, "--out", "x"], "hidden_size must be even"),
        (["train", "a.tsv", "--epochs", "nan", "--out", "x"], "--epochs must be above 0 and finite"),
        (["train", "a.tsv", "--max-tokens", 1, "--out", "x", "--source-level", "char"], "no pair to train on"),
        (["train", "a.tsv", "--lexicon", "--attention", "none", "--out", "x"], "--lexicon is read by attention"),
        (["train", "one.tsv", "--validation", 0.9, "--out", "x"], "no pair to train on: --validation 0.9"),
        (
            ["train", "a.tsv", "--joint", "--source-level", "char", "--target-level", "word", "--out", "x"],
            "--joint has one vocabulary, but two levels are asked for: char and word",
        ),
        (["train", "one.tsv", "--patience", 2, "--out", "x"], "--patience 2 needs held-out pairs; give --dev"),
        (["train", "a.tsv", "--patience", 2, "--validation", 0, "--out", "x"], "--patience 2 needs held-out pairs"),
        (["train", "--resume", "m.elman"], "m.elman has finished its training"),
        (["run", "a.tsv"], "a.tsv: not"),
        (["run", "text.elman"], "text.elman: holds a model, but not one that translates"),
        (["run", "m.elman", "--nbest", 9], "--nbest 9 needs a --beam of at least that, got 5"),
        (["run", "m.elman", "--alpha", 1000], "alpha must be at least 0 and at most 10, got 1000"),
        (["run", "m.elman", "--alpha", "inf"], "alpha must be at least 0 and at most 10, got inf"),
        (["train", "--resume", "stopped.elman", "a.en", "a.zh", "a.tsv"], "give two files, or one with tabs, got 3"),
        (["eval", "m.elman"], "name the pairs to measure on"),
        (["eval", "m.elman", "a.en", "short"], "line k of one must be the translation"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_in_one_sentence(folder, words, sentence):
    (folder / "short").write_text("一\n", encoding="utf-8")
    (folder / "one.tsv").write_text("one\t一\n", encoding="utf-8")
    (folder / "empty").write_bytes(b"")
    (folder / "latin").write_bytes(b"caf\xe9\n")
    elman.GRU(2, 3).init().save(folder / "text.elman")
    done = run("translate", *words, cwd=folder, input="", code=1)
    assert sentence in " ".join(done.stderr.split())
    assert done.stderr.count("\n") == 1
    assert not (folder / "x").exists()


def test_a_prompt_where_somebody_types(folder):
    """On a terminal each line is translated as it comes, and the end of the input ends it."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "elman", "translate", "run", "m.elman", "--beam", "1"]
    pipes = {"stdin": theirs, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, cwd=folder, encoding="utf-8", **pipes) as process:
        os.write(ours, b"one two\n")
        line = process.stdout.readline()
        os.write(ours, b"\x04")
        assert process.wait(timeout=60) == 0
        told = process.stderr.read()
    assert "Ctrl-D ends" in told
    assert told.endswith("> > ")
    assert line == "一二\n"
    os.close(ours)
    os.close(theirs)


def test_pairs_of_words_that_are_too_rare_are_refused_or_said(tmp_path):
    (tmp_path / "rare.tsv").write_text("ein Haus\ta house\nzwei Katzen\ttwo cats\ndrei Hunde\tthree dogs\n", "utf-8")
    words = ("translate", "train", "rare.tsv", "--out", "r.elman", "--steps", 2, "--source-level", "word")
    done = run(*words, cwd=tmp_path, code=1)
    assert "all of the tokens of the source occur less than --min-count 2 times; a lower one keeps them" in done.stderr
    assert not (tmp_path / "r.elman").exists()
    common = "ein Haus\ta house\nein Hund\ta dog\nein Kind\ta child\n" * 2
    rare = "zwei rote Katzen\ttwo red cats\ndrei alte Fische\tthree old fish\n"
    (tmp_path / "rare.tsv").write_text(common + rare, "utf-8")
    done = run(*words, "--validation", 0, cwd=tmp_path)
    assert "33 % of the tokens of the source occur less than --min-count 2 times" in done.stderr


def test_what_diverged_is_not_called_overfitting(folder, capsys):
    translator = Translator.load(folder / "m.elman")
    pairs = read_pairs(folder / "a.tsv")
    for losses, words in (((1.9, 1.2), "the model overfits"), ((1.9, 2.4), "the training became worse too")):
        history = [[1, 2.0, losses[0]], [2, 2.5, losses[1]]]
        training = translator.training(translator.encode(pairs), recipe := Recipe(n_steps=2))
        about = {"history": history}
        TranslateRun(translator, pairs, [], recipe, folder / "j.elman", about, training)._judge(history)
        assert f"at step 2 it was 2.5000: {words}" in capsys.readouterr().err
