"""AN4: train a recogniser of letters on 948 utterances, test it on 130 of other speakers.

    python benchmarks/accuracy/an4.py                          # at most 60 minutes; writes results/accuracy-an4.json
    python benchmarks/accuracy/an4.py --dev --epochs 10 --out /tmp/an4.json      # to choose a recipe: hold 100 out
    python benchmarks/accuracy/an4.py --decode an4.elman       # test a model of --model again, with language models

The features are the 13 mel cepstra that the corpus is distributed with: there is no audio in it. The language models
are learned from the texts of the training part; their weight and bonus are the defaults of the command line.
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
from elman.ctc import Scorer, log_softmax
from elman.tasks.speech.corpora import an4
from elman.tasks.speech.front import FrontEnd
from elman.tasks.speech.labels import Labels
from elman.tasks.speech.metrics import character_errors, confusions, word_errors
from elman.tasks.speech.ngram import NGram
from elman.tasks.speech.recogniser import Example, Recipe, Recogniser
from elman.tasks.speech.scorers import WordScorer

N_DEV = 100  # the first utterances of the training part, as others split it
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from benchmarks.records import write_json  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
EVERY = 5  # epochs between two tests: to look at, not to choose by


def score(said: list[str], written: list[str]) -> dict[str, Any]:
    words, letters = word_errors(said, written), character_errors(said, written)
    return {
        "wer": 100 * words.rate,
        "cer": 100 * letters.rate,
        "words": words._asdict(),
        "characters": letters._asdict(),
        "confusions": [list(c) for c in confusions(said, written)[:20]],
    }


def transcribe(recogniser: Recogniser, examples: list[Example], **search: Any) -> list[str]:
    logits = recogniser.logits(recogniser.steps(examples))
    return [recogniser.decode(log_softmax(y), **search)[0].text for y in logits]


def language_model(labels: Labels, texts: list[str], weight: float, bonus: float) -> Scorer:
    return WordScorer(labels, NGram.learn([text.split() for text in texts], 3), weight=weight, bonus=bonus)


def with_language_model(recogniser: Recogniser, test: list[Example], texts: list[str], args: argparse.Namespace) -> Any:
    """Test once more with a prefix beam and with a word 3-gram of the training texts."""
    said = [e.text for e in test]
    result: dict[str, Any] = {"width": args.width, "beam": score(said, transcribe(recogniser, test, width=args.width))}
    for weight in args.lm_weight:
        for bonus in args.lm_bonus:
            scorer = language_model(recogniser.labels, texts, weight, bonus)
            found = score(said, transcribe(recogniser, test, width=args.width, scorer=scorer))
            result.setdefault("word_3gram", []).append({"weight": weight, "bonus": bonus, **found})
            print(f"3-gram weight {weight} bonus {bonus}: WER {found['wer']:.2f} CER {found['cer']:.2f}", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cell", default="lstm")
    parser.add_argument("--hidden", type=int, default=160)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--dropout", type=float, default=0.35)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--stop-after", type=int, default=20, help="end after so many epochs, short of the schedule")
    parser.add_argument("--minutes", type=float, default=60, help="end sooner, so as to take no longer than this")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--normal", default="speaker", help="utterance or speaker")
    parser.add_argument("--width-frames", type=int, default=3)
    parser.add_argument("--stride", type=int, default=3)
    parser.add_argument("--delta-order", type=int, default=2)
    parser.add_argument("--speed", type=float, default=0.12)
    parser.add_argument("--warp", type=float, default=0.1)
    parser.add_argument("--time-masks", type=int, default=2)
    parser.add_argument("--noise", type=float, default=0.4)
    parser.add_argument("--average", type=float, default=0.998)
    parser.add_argument("--weight-decay", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dev", action="store_true", help="hold out the first 100 utterances, to choose a recipe by")
    parser.add_argument("--decode", type=Path, help="only test the model in this file")
    parser.add_argument("--width", type=int, default=50, help="of the prefix beam")
    parser.add_argument("--lm-weight", type=float, nargs="+", default=[0.5])
    parser.add_argument("--lm-bonus", type=float, nargs="+", default=[0.5])
    parser.add_argument("--model", type=Path, default=None, help="where to write the model")
    parser.add_argument("--out", type=Path, default=RESULTS / "accuracy-an4.json")
    args = parser.parse_args()

    train_part, test_part = an4()
    if args.dev:
        train_part, test_part = train_part[N_DEV:], train_part[:N_DEV]
    training, test = ([Example(u.x, u.text, u.speaker) for u in part] for part in (train_part, test_part))
    said = [e.text for e in test]
    if args.decode:
        recogniser = Recogniser.load(args.decode)
        result = {"greedy": score(said, transcribe(recogniser, test))}
        result |= with_language_model(recogniser, test, [e.text for e in training], args)
        write_json(args.out, result)
        return

    front = FrontEnd(
        kind="cepstra",
        delta_order=args.delta_order,
        normal=args.normal,
        width=args.width_frames,
        stride=args.stride,
    )
    recogniser = Recogniser.build(
        front,
        Labels.learn(e.text for e in training),
        training,
        cell=args.cell,
        hidden_size=args.hidden,
        n_layers=args.layers,
        dropout=args.dropout,
        seed=args.seed,
    )
    recipe = Recipe(
        n_epochs=args.epochs,
        batch_size=args.batch,
        learning_rate=args.rate,
        weight_decay=args.weight_decay,
        average=args.average,
        validation=0,
        speed=args.speed,
        warp=args.warp,
        time_masks=args.time_masks,
        noise=args.noise,
        seed=args.seed,
    )
    run = recogniser.training(training, recipe)
    result = {
        "command": {name: str(v) if isinstance(v, Path) else v for name, v in vars(args).items() if name != "model"},
        "features": "the 13 mel cepstra that the corpus is distributed with",
        "utterances": {"training": len(training), "test": len(test)},
        "parameters": recogniser.model.params.flat.size,
        "elman": elman.__version__,
        "numpy": np.__version__,
        "kernels": kernels.active().__name__,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "history": [],
    }
    result["command"]["out"] = args.out.name
    start, cpu, losses = time.perf_counter(), time.process_time(), []
    for record in run:
        losses.append(record.loss)
        epoch, rest = divmod(record.step, run.n_in_epoch)
        late = time.perf_counter() - start > args.minutes * 60 or (epoch == args.stop_after and not rest)
        if rest and not late:
            continue
        entry = {"epoch": record.step / run.n_in_epoch, "loss": float(np.mean(losses))}
        entry |= {"minutes": (time.perf_counter() - start) / 60, "cpu_minutes": (time.process_time() - cpu) / 60}
        losses = []
        if epoch % EVERY == 0 or record.step == run.n_steps or late:
            found = score(said, transcribe(run.average, test))
            entry |= {"wer": found["wer"], "cer": found["cer"]}
            result |= {"minutes": entry["minutes"], "cpu_minutes": entry["cpu_minutes"], "greedy": found}
        result["history"].append(entry)
        print(json.dumps(entry), flush=True)
        write_json(args.out, result)
        if args.model and "wer" in entry:
            run.average.save(args.model)
        if late:
            break
    result |= with_language_model(run.average, test, [e.text for e in training], args)
    write_json(args.out, result)


if __name__ == "__main__":
    main()
