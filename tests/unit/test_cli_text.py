"""``elman text`` as people run it: in processes of its own, with careless input, interruptions and full disks."""

import json
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import elman
from command import run
from elman import datasets

SMALL = ["--hidden", "16", "--embedding", "8", "--batch", "8", "--window", "16"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a text and a model of it."""
    path = tmp_path_factory.mktemp("text")
    (path / "play.txt").write_text(datasets.tinyshakespeare()[:20_000], encoding="utf-8")
    run("text", "train", "play.txt", "--out", "m.elman", *SMALL, "--steps", 30, cwd=path)
    return path


def test_train_says_what_it_did(folder):
    done = run("text", "train", "play.txt", "--out", "other.elman", *SMALL, "--steps", 5, cwd=folder)
    assert "Trained 5 steps" in done.stderr
    assert "Held-out text: " in done.stderr
    assert "nats a char" in done.stderr
    assert "elman text generate other.elman" in done.stderr


def test_the_finished_file_holds_the_model_only(folder):
    model, about, tensors = elman.model.load_all(folder / "m.elman")
    assert not tensors
    assert "training" not in about
    assert "file" not in about["run"]
    assert about["run"]["recipe"]["n_steps"] == 30
    assert model.params.flat.dtype == np.float32


def test_generate_prints_the_prompt_and_what_follows(folder):
    words = ["text", "generate", "m.elman", "--prompt", "First", "--tokens", 40, "--seed", 1]
    first, second = (run(*words, cwd=folder).stdout for _ in range(2))
    assert first == second
    assert first.startswith("First")
    assert len(first) == len("First") + 40 + 1


def test_eval_prints_the_same_numbers_in_both_forms(folder):
    shown = run("text", "eval", "m.elman", "play.txt", cwd=folder).stdout
    numbers = json.loads(run("text", "eval", "m.elman", "play.txt", "--json", cwd=folder).stdout)
    assert numbers["tokens"] == 19_999
    assert numbers["perplexity"] == pytest.approx(np.exp(numbers["nats_per_token"]))
    for name in ("perplexity", "nats_per_char", "bits_per_char"):
        assert f"{numbers[name]:.4f}" in shown


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["text", "train"], "name the text to learn from"),
        (["text", "train", "no.txt"], "no.txt: no such file or directory"),
        (["text", "train", "empty.txt"], "empty.txt: the file is empty"),
        (["text", "train", "gbk.txt"], "gbk.txt: not utf-8 at byte 0: it decodes cleanly as gb18030"),
        (["text", "train", "one.txt"], "it needs at least 2"),
        (["text", "train", "play.txt", "--out", "m.elman"], "m.elman exists; give --out another name"),
        (["text", "train", "play.txt", "--out", "no/m.elman"], "cannot write no/m.elman"),
        (["text", "train", "play.txt", "--steps", "3", "--epochs", "1"], "give only one of"),
        (["text", "train", "play.txt", "--rate", "-1"], "learning_rate must be above 0"),
        (["text", "train", "play.txt", "--minutes", "-1"], "--minutes must be above 0"),
        (["text", "train", "--resume", "m.elman"], "has finished its 30 steps"),
        (["text", "train", "--resume", "m.elman", "--hidden", "9"], "leave out --hidden"),
        (["text", "train", "--resume", "play.txt"], "play.txt: not a whole .elman file"),
        (["text", "generate", "cut.elman"], "cut.elman: not a whole .elman file"),
        (["text", "generate", "linear.elman"], "not a language model"),
        (["text", "generate", "m.elman", "--prompt", "First ë"], "prompt: the model does not know 'ë' at position 6"),
        (["text", "generate", "m.elman", "--temperature", "-1"], "temperature must be at least 0"),
        (["text", "eval", "m.elman", "chinese.txt"], "chinese.txt: the model does not know '春' at position 0"),
        (["text", "eval", "m.elman", "empty.txt"], "the file is empty"),
    ],
)
def test_careless_input_gets_one_sentence(folder, words, sentence):
    (folder / "empty.txt").write_bytes(b"")
    (folder / "one.txt").write_text("a")
    (folder / "gbk.txt").write_bytes("春眠不覺曉".encode("gbk"))
    (folder / "chinese.txt").write_text("春眠不覺曉", encoding="utf-8")
    (folder / "cut.elman").write_bytes((folder / "m.elman").read_bytes()[:5000])
    elman.Linear(2, 3).init().save(folder / "linear.elman")
    before = (folder / "m.elman").read_bytes()
    done = run(*words, cwd=folder, code=1)
    assert sentence in done.stderr
    assert done.stderr.startswith("elman: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert (folder / "m.elman").read_bytes() == before


STEPS = 2000  # enough of them that a signal after the first one comes long before the last


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_training_goes_on_to_the_same_bits(folder, number):
    whole, part = f"whole{number}.elman", f"part{number}.elman"
    words = [*SMALL, "--steps", STEPS, "--dropout", 0.1, "--validation", 0]
    process = subprocess.Popen(
        [sys.executable, "-m", "elman", "text", "train", "play.txt", "--out", part, *map(str, words)],
        cwd=folder,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    for line in process.stderr:
        if line.startswith("step 1/"):
            break
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert f"Go on with:  elman text train --resume {part}" in said
    assert 0 < elman.model.load_all(folder / part)[1]["training"]["step"] < STEPS
    assert "unfinished, at step" in run("info", part, cwd=folder).stdout
    run("text", "train", "--resume", part, cwd=folder)
    run("text", "train", "play.txt", "--out", whole, *words, cwd=folder)
    assert (folder / part).read_bytes() == (folder / whole).read_bytes()


def test_resume_refuses_another_text(folder):
    process = subprocess.Popen(
        [sys.executable, "-m", "elman", "text", "train", "play.txt", "--out", "x.elman", *SMALL, "--steps", "100000"],
        cwd=folder,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    process.stderr.readline()
    time.sleep(1)
    process.kill()  # what was saved at the start is enough to go on from
    process.communicate()
    (folder / "other.txt").write_text((folder / "play.txt").read_text()[::-1])
    said = run("text", "train", "other.txt", "--resume", "x.elman", cwd=folder, code=1).stderr
    assert "not the text that the run began with" in said
    said = run("text", "train", "--resume", "x.elman", "--steps", 5, cwd=folder, code=1).stderr
    assert "leave --steps, --epochs and --minutes out" in said


def test_a_finished_model_can_be_trained_further(folder):
    (folder / "more.elman").write_bytes((folder / "m.elman").read_bytes())
    run("text", "train", "play.txt", "--resume", "more.elman", "--steps", 5, cwd=folder)
    assert not np.array_equal(elman.load(folder / "more.elman").params.flat, elman.load(folder / "m.elman").params.flat)


def test_a_full_disk_leaves_the_earlier_file_whole(folder):
    (folder / "kept.elman").write_bytes((folder / "m.elman").read_bytes())

    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    words = ["text", "train", "play.txt", "--out", "kept.elman", "--overwrite", *SMALL, "--steps", 3]
    done = run(*words, cwd=folder, code=1, preexec_fn=small_files)
    assert "cannot write kept.elman" in done.stderr
    assert "the earlier file is unchanged" in done.stderr
    assert (folder / "kept.elman").read_bytes() == (folder / "m.elman").read_bytes()
    assert not list(folder.glob(".kept*"))


def test_other_levels(folder):
    (folder / "poems.txt").write_text("春眠不覺曉，處處聞啼鳥。\n夜來風雨聲，花落知多少。\n" * 20, encoding="utf-8")
    for level in ("char", "byte", "word"):
        out = f"{level}.elman"
        run("text", "train", "poems.txt", "--out", out, "--level", level, *SMALL, "--steps", 60, cwd=folder)
        assert "nats per char" in run("text", "eval", out, "poems.txt", cwd=folder).stdout
    written = run("text", "generate", "char.elman", "--prompt", "春", "--stop", "\n", "--seed", 0, cwd=folder).stdout
    assert written.startswith("春")


def test_a_closed_pipe_is_no_error(folder):
    command = f"{sys.executable} -m elman text generate m.elman --tokens 100000 | head -c 10"
    options = {"shell": True, "capture_output": True, "encoding": "utf-8", "timeout": 60, "check": False}
    done = subprocess.run(command, cwd=folder, **options)
    assert len(done.stdout) == 10
    assert done.stderr == ""


def test_help_and_version(folder):
    assert run("--version", cwd=folder).stdout == f"elman {elman.__version__}\n"
    for words in ([], ["text"], ["text", "train"], ["text", "generate"], ["text", "eval"], ["diagnose"], ["info"]):
        assert "Usage" in run(*words, "--help", cwd=folder).stdout
    assert "kernels" in run("info", cwd=folder).stdout
    assert "16" in run("info", "m.elman", cwd=folder).stdout
