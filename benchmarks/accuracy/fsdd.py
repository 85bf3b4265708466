"""Free Spoken Digits: single digits, digits of speakers never heard, strings of digits, and strings heard live.

    python benchmarks/accuracy/fsdd.py                     # the first three; writes results/accuracy-fsdd.json
    python benchmarks/accuracy/fsdd.py --parts speakers --out benchmarks/results/accuracy-fsdd-speakers.json
    python benchmarks/accuracy/fsdd.py --parts official --epochs 3 --out /tmp/fsdd.json      # a quick look

official   2,700 recordings to train on, 300 (takes 0 to 4) to test with, of the same six speakers
speakers   one speaker of six is left out in turn: trained on 2,500 recordings, tested on all 500 of the other's
strings    300 test strings of 1 to 7 digits, joined from test recordings with pauses, by a recogniser that was trained
           on strings joined from training recordings
live       the same by a recogniser of one direction, fed in pieces of 100 ms, timed on one core

Offline features are normalised by the speaker: by mean and deviation of all recordings of the same speaker at hand;
nobody needs to know what they say. Live features are normalised by what was heard so far.

A single digit is the one of ten that the recogniser gives the largest probability to, out of all alignments (CTC).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import elman
from elman import kernels
from elman.ctc import ctc_loss, log_softmax
from elman.tasks.speech.corpora import DIGITS, Utterance, digit_strings, fsdd
from elman.tasks.speech.front import FrontEnd
from elman.tasks.speech.labels import Labels
from elman.tasks.speech.live import Live
from elman.tasks.speech.metrics import confusions, word_errors
from elman.tasks.speech.recogniser import Example, Recipe, Recogniser

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from benchmarks.records import write_json  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
LABELS = Labels(tuple(sorted(DIGITS)), "word")
SETUP: dict[str, dict[str, Any]] = {
    "offline": {
        "front": FrontEnd(rate_hz=8000, normal="speaker", width=3, stride=2),
        "hidden_size": 64,
        "bidirectional": True,
    },
    "live": {
        "front": FrontEnd(rate_hz=8000, normal="running", width=3, stride=3),
        "hidden_size": 128,
        "bidirectional": False,
    },
}


def examples(front: FrontEnd, utterances: list[Utterance]) -> list[Example]:
    return [Example(front.frames(u.x, u.rate_hz), u.text, u.speaker) for u in utterances]


def train(kind: str, training: list[Utterance], args: argparse.Namespace, epochs: int) -> Recogniser:
    setup = dict(SETUP[kind])
    front = setup.pop("front")
    heard = examples(front, training)
    recogniser = Recogniser.build(front, LABELS, heard, n_layers=2, dropout=0.3, seed=args.seed, **setup)
    recipe = Recipe(
        n_epochs=epochs,
        batch_size=32,
        learning_rate=3e-3,
        average=0.98,
        validation=0,
        speed=0.15,
        warp=0.1 if kind == "offline" else 0.0,
        time_masks=1,
        feature_masks=1,
        noise=0.15,
        seed=args.seed,
    )
    run = recogniser.training(heard, recipe)
    losses = []
    for record in run:
        losses.append(record.loss)
        if record.step % run.n_in_epoch == 0:
            print(f"  epoch {record.step // run.n_in_epoch}/{epochs} loss {np.mean(losses):.3f}", flush=True)
            losses = []
    return run.average


def digit_of(logits: list[np.ndarray]) -> list[str]:
    """Return the likeliest single digit of each recording."""
    losses = np.stack(
        [ctc_loss(logits, [[k + 1]] * len(logits), impossible="skip").losses for k in range(len(LABELS.symbols))]
    )
    return [LABELS.symbols[k] for k in losses.argmin(axis=0)]


def accuracy(recogniser: Recogniser, test: list[Utterance]) -> dict[str, Any]:
    said = [u.text for u in test]
    logits = recogniser.logits(recogniser.steps(examples(recogniser.front, test)))
    written = digit_of(logits)
    right = sum(a == b for a, b in zip(said, written, strict=True))
    found = [list(c) for c in confusions(said, written)[:10]]
    return {"accuracy": 100 * right / len(test), "right": right, "of": len(test), "confusions": found}


def strings_of(recogniser: Recogniser, test: list[Utterance]) -> dict[str, Any]:
    said = [u.text for u in test]
    logits = recogniser.logits(recogniser.steps(examples(recogniser.front, test)))
    written = [recogniser.decode(log_softmax(y))[0].text for y in logits]
    whole = 100 * float(np.mean([a == b for a, b in zip(said, written, strict=True)]))
    errors = word_errors(said, written)
    found = [list(c) for c in confusions(said, written)[:10]]
    return {"wer": 100 * errors.rate, "words": errors._asdict(), "whole_strings": whole, "confusions": found}


def live(recogniser: Recogniser, test: list[Utterance], chunk_ms: float = 100) -> dict[str, Any]:
    n = round(recogniser.front.rate_hz * chunk_ms / 1000)
    latencies, written, seconds = [], [], 0.0
    cpu = time.process_time()
    for u in test:
        listener = Live(recogniser)
        for k in range(0, len(u.x), n):
            latencies.append(listener.push(u.x[k : k + n]).latency_seconds)
        listener.end()
        written.append(listener.text)
        seconds += listener.seconds
    cpu = time.process_time() - cpu
    differ = 0
    for u, text in zip(test, written, strict=True):
        whole = Live(recogniser)
        whole.push(u.x)
        whole.end()
        differ += whole.text != text
    audio = sum(len(u.x) / u.rate_hz for u in test)
    errors = word_errors([u.text for u in test], written)
    ms = 1000 * np.array(latencies)
    return {
        "wer": 100 * errors.rate,
        "words": errors._asdict(),
        "chunk_ms": chunk_ms,
        "latency_ms": {"median": float(np.median(ms)), "p99": float(np.percentile(ms, 99)), "most": float(ms.max())},
        "percent_of_real_time": 100 * seconds / audio,  # by the clock, whatever else the machine did
        "percent_of_real_time_processor": 100 * cpu / audio,
        "audio_seconds": audio,
        "strings_that_differ_from_the_whole_file": differ,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=["official", "strings", "live"])
    parser.add_argument("--epochs", type=int, default=24, help="of the official part; the others take half as many")
    parser.add_argument("--strings", type=int, default=1500, help="to train on, besides the single digits")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", type=Path, default=None, help="folder to write the recognisers to")
    parser.add_argument("--out", type=Path, default=RESULTS / "accuracy-fsdd.json")
    args = parser.parse_args()
    training, test = fsdd()
    strings = training + digit_strings(training, args.strings, seed=1)
    test_strings = digit_strings(test, 300, seed=2)
    result = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {}
    result |= {
        "training_strings": args.strings,
        "seed": args.seed,
        "elman": elman.__version__,
        "numpy": np.__version__,
        "kernels": kernels.active().__name__,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
    }
    half = max(1, args.epochs // 2)
    for part in args.parts:
        print(part, flush=True)
        start, cpu = time.perf_counter(), time.process_time()
        found: dict[str, Any]
        if part == "official":
            recogniser = train("offline", training, args, args.epochs)
            found = accuracy(recogniser, test)
        elif part == "speakers":
            everything = training + test
            found = {"left_out": {}}
            for speaker in sorted({u.speaker for u in everything}):
                recogniser = train("offline", [u for u in everything if u.speaker != speaker], args, half)
                found["left_out"][speaker] = accuracy(recogniser, [u for u in everything if u.speaker == speaker])
                print(speaker, found["left_out"][speaker]["accuracy"], flush=True)
            found["mean"] = float(np.mean([one["accuracy"] for one in found["left_out"].values()]))
        elif part == "strings":
            recogniser = train("offline", strings, args, half)
            found = strings_of(recogniser, test_strings)
        else:
            recogniser = train("live", strings, args, half)
            found = live(recogniser, test_strings)
        found |= {"minutes": (time.perf_counter() - start) / 60, "cpu_minutes": (time.process_time() - cpu) / 60}
        found["epochs"] = args.epochs if part == "official" else half
        found["parameters"] = recogniser.model.params.flat.size
        result[part] = found
        if args.models:
            recogniser.save(args.models / f"fsdd-{part}.elman")
        print(json.dumps({name: value for name, value in found.items() if name != "confusions"}), flush=True)
        write_json(args.out, result)


if __name__ == "__main__":
    main()
