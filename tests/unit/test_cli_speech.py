"""``elman speech`` as people run it: in processes of its own, with careless recordings, interruptions, live."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

for name in ("soundfile", "soxr", "kaldi_native_fbank", "jiwer"):
    pytest.importorskip(name)
sys.path.insert(0, str(Path(__file__).parents[1] / "tasks" / "speech"))

from sounds import RATE, say, write_corpus, write_wav  # noqa: E402

from command import run  # noqa: E402

SMALL = ["--rate-hz", "8000", "--bands", "16", "--level", "word", "--layers", "1", "--hidden", "16", "--batch", "10"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with recordings and a live recogniser of them."""
    path = tmp_path_factory.mktemp("speech")
    write_corpus(path, 40)
    options = [*SMALL, "--live", "--epochs", "30", "--rate", "0.02", "--noise", "0.1"]
    done = run("speech", "train", "list.tsv", "--out", "m.elman", *options, cwd=path)
    assert "Trained 120 steps" in done.stderr
    assert "Recordings held out: WER" in done.stderr
    assert "--live" in done.stderr
    return path


def test_eval_says_how_well(folder):
    done = run("speech", "eval", "m.elman", "list.tsv", cwd=folder)
    assert done.stdout.startswith("words ")
    found = json.loads(run("speech", "eval", "m.elman", "list.tsv", "--json", "--width", 8, cwd=folder).stdout)
    assert found["words"]["rate"] < 0.2
    assert set(found["words"]) == {"rate", "hits", "substitutions", "deletions", "insertions", "length"}


def test_transcribe(folder):
    write_wav(folder / "new.wav", say("LOW HIGH", np.random.default_rng(5)))
    done = run("speech", "transcribe", "m.elman", "new.wav", "--times", cwd=folder)
    lines = done.stdout.splitlines()
    assert lines[0] == "LOW HIGH"
    assert lines[1].endswith("  LOW")
    both = run("speech", "transcribe", "m.elman", "new.wav", "0.wav", cwd=folder).stdout.splitlines()
    assert both[0] == "new.wav: LOW HIGH"
    ranked = run("speech", "transcribe", "m.elman", "new.wav", "--width", 8, "--n-best", 3, "--json", cwd=folder)
    events = [json.loads(line) for line in ranked.stdout.splitlines()]
    assert [event["rank"] for event in events] == [0, 1, 2]
    assert events[0]["text"] == "LOW HIGH"


def test_live_prints_words_as_they_come(folder):
    write_wav(folder / "new.wav", say("LOW HIGH MID", np.random.default_rng(6)))
    whole = run("speech", "transcribe", "m.elman", "new.wav", cwd=folder).stdout.strip()
    for chunk_ms in (20, 100, 5000):
        done = run("speech", "transcribe", "m.elman", "new.wav", "--live", "--chunk-ms", chunk_ms, "--json", cwd=folder)
        events = [json.loads(line) for line in done.stdout.splitlines()]
        final = [word for event in events[:-1] for word in event["final"]]
        assert " ".join(final) == events[-1]["text"] == whole == "LOW HIGH MID"
        assert all(event["latency_ms"] > 0 for event in events[:-1])
        assert "of real time" in done.stderr
    shown = run("speech", "transcribe", "m.elman", "new.wav", "--live", cwd=folder).stdout.splitlines()
    assert shown[-1] == whole
    assert shown[0].split()[:4:2] == ["0.10", shown[0].split()[2]]


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_raw_samples_from_a_pipe(folder, rate):
    spoken = say("HIGH LOW", np.random.default_rng(7), rate)
    data = (spoken * 32767).astype("<i2").tobytes()
    command = ["speech", "transcribe", "m.elman", "-", "--live", "--rate-hz", rate]
    done = run(*command, cwd=folder, input=data, encoding=None)
    assert done.stdout.decode().splitlines()[-1] == "HIGH LOW"
    told = run(*command, "--json", "--chunk-ms", 20, cwd=folder, input=data, encoding=None).stdout.decode()
    *events, last = [json.loads(line) for line in told.splitlines()]
    assert " ".join(word for event in events for word in event["final"]) == last["text"] == "HIGH LOW"
    run(*command, cwd=folder, input=b"", encoding=None, code=1)
    refused = run(*command, cwd=folder, input=b"RIFF1234", encoding=None, code=1)
    assert b"is a file with a header, not raw samples" in refused.stderr


CARELESS = {
    "empty.wav": (lambda path: path.write_bytes(b""), "is empty: not even a header of audio", 1),
    "none.wav": (lambda path: write_wav(path, np.empty(0)), "is audio, but has no samples", 1),
    "words.wav": (lambda path: path.write_text("not sound"), "not audio that can be read", 1),
    "silent.wav": (lambda path: write_wav(path, np.zeros(RATE)), "is silent", 0),
    "loud.wav": (lambda path: write_wav(path, 30 * SPEECH), "is clipped", 0),
    "stereo.wav": (lambda path: write_wav(path, np.stack([SPEECH] * 2, 1), channels=2), "took their mean", 0),
    "deep.wav": (lambda path: write_wav(path, SPEECH, width=3), "", 0),
    "fast.wav": (lambda path: write_wav(path, say("LOW HIGH", np.random.default_rng(1), 44100), 44100), "", 0),
    "cut.wav": (lambda path: cut(path), "is cut short", 0),
    "tiny.wav": (lambda path: write_wav(path, np.zeros(5)), "is silent", 0),
    "absent.wav": (str, "no such file or directory", 1),
}
SPEECH = say("LOW HIGH", np.random.default_rng(1))


def cut(path):
    whole = write_wav(path, SPEECH).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("name", CARELESS)
def test_careless_recordings(folder, name, live):
    make, sentence, code = CARELESS[name]
    make(folder / name)
    done = run("speech", "transcribe", "m.elman", name, *(["--live"] if live else []), cwd=folder, code=code)
    assert sentence in done.stderr
    if code:
        assert len(done.stderr.strip().splitlines()) == 1
    elif name in ("stereo.wav", "deep.wav", "fast.wav"):
        assert done.stdout.splitlines()[-1] == "LOW HIGH"


def test_one_bad_recording_does_not_hide_the_others(folder):
    (folder / "words.wav").write_text("not sound")
    write_wav(folder / "good.wav", SPEECH)
    done = run("speech", "transcribe", "m.elman", "words.wav", "good.wav", cwd=folder, code=1)
    assert "words.wav: not audio that can be read" in done.stderr
    assert done.stdout == "good.wav: LOW HIGH\n"


def test_ctrl_c_saves_and_the_run_goes_on(folder):
    command = [sys.executable, "-m", "elman", "speech", "train", "list.tsv", "--out", "r.elman", *SMALL]
    with subprocess.Popen(
        [*command, "--epochs", "400"], cwd=folder, stderr=subprocess.PIPE, encoding="utf-8"
    ) as process:
        deadline = time.monotonic() + 60
        for line in process.stderr:
            if line.startswith("step ") or time.monotonic() > deadline:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(timeout=60) == 130, rest
    assert "everything is saved" in rest
    assert "elman speech train --resume r.elman" in rest
    run("speech", "transcribe", "r.elman", "0.wav", cwd=folder)  # a stopped training is a recogniser too
    refused = run("speech", "train", "--resume", "r.elman", "--rate", "0.1", cwd=folder, code=1)
    assert "--resume goes on as the run began; leave out --rate" in refused.stderr
    lines = (folder / "list.tsv").read_text(encoding="utf-8").splitlines()
    (folder / "other.tsv").write_text("\n".join(lines[2:]), encoding="utf-8")
    refused = run("speech", "train", "other.tsv", "--resume", "r.elman", cwd=folder, code=1)
    assert "not the recordings that the run began with" in refused.stderr
    with subprocess.Popen(
        [sys.executable, "-m", "elman", "speech", "train", "--resume", "r.elman"],
        cwd=folder,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        for line in process.stderr:
            if line.startswith("step "):
                break
        assert int(line.split()[1].split("/")[0].replace(",", "")) > 1
        process.send_signal(signal.SIGINT)
        process.stderr.read()
        assert process.wait(timeout=60) == 130


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["train"], "name the list of recordings to learn from"),
        (["train", "absent.tsv"], "absent.tsv: no such file or directory"),
        (["train", "list.tsv", "--out", "m.elman"], "m.elman exists"),
        (["train", "list.tsv", "--out", "list.tsv", "--overwrite"], "is the file to read"),
        (["train", "list.tsv", "--out", "x.elman", "--live", "--slopes", "1"], "--live hears no future"),
        (["train", "bad.tsv", "--out", "x.elman"], "bad.tsv: line 1: expected 'file <tab> text'"),
        (["transcribe", "list.tsv", "0.wav"], "not a whole .elman file"),
        (["transcribe", "m.elman", "0.wav", "--n-best", "3"], "give --width too"),
        (["transcribe", "m.elman", "0.wav", "1.wav", "--live"], "--live listens to one recording at a time"),
        (["transcribe", "m.elman", "0.wav", "--lm", "list.tsv"], "there is no \\data\\ in it"),
        (["transcribe", "m.elman", "0.wav", "--hot", "LOW"], "--hot needs a recogniser of letters"),
        (["eval", "m.elman", "an4"], "an4 holds cepstra, but the recogniser takes audio"),
        (["train", "--resume", "m.elman"], "has finished its 30 epochs"),
    ],
)
def test_mistakes_get_one_sentence(folder, words, sentence):
    (folder / "bad.tsv").write_text("only a file\n", encoding="utf-8")
    done = run("speech", *words, cwd=folder, code=1)
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_without_the_extra_one_sentence_says_what_to_install(folder):
    code = (
        "import sys; sys.modules.update(soundfile=None)\n"
        "from elman.cli import app; app(['speech', 'transcribe', 'm.elman', '0.wav'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 1
    assert "pip install 'elman[speech]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_corpus_of_cepstra(folder):
    options = [
        "--slopes",
        "2",
        "--normal",
        "speaker",
        "--warp",
        "0.1",
        "--hidden",
        "8",
        "--layers",
        "1",
        "--epochs",
        "1",
    ]
    run("speech", "train", "an4", "--out", "an4.elman", *options, cwd=folder)
    found = json.loads(run("speech", "eval", "an4.elman", "an4", "--json", cwd=folder).stdout)
    assert found["words"]["length"] == 773
    assert found["characters"]["length"] == 2565
    refused = run("speech", "transcribe", "an4.elman", "0.wav", cwd=folder, code=1)
    assert "this recogniser takes the cepstra of a corpus, not audio" in refused.stderr
