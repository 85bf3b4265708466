"""AN4: train a recogniser of letters on 948 utterances, test it on 130 of other speakers, without a language model.

    python benchmarks/accuracy/an4.py                    # 3 bidirectional layers; writes results/accuracy-an4.json
    python benchmarks/accuracy/an4.py --epochs 2 --hidden 32 --out /tmp/an4.json     # a quick look

The features are the 13 mel cepstra that the corpus is distributed with: there is no audio in it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

import numpy as np

import elman
from elman import kernels
from elman.ctc import CTC, greedy
from elman.sequences import pad
from elman.tasks.speech.augment import Augment
from elman.tasks.speech.batches import Utterances
from elman.tasks.speech.corpora import an4
from elman.tasks.speech.front import FrontEnd, speaker_moments
from elman.tasks.speech.labels import Labels
from elman.tasks.speech.metrics import character_errors, confusions, word_errors

N_DEV = 100  # the first utterances of the training part, as others split it
RESULTS = Path(__file__).parents[1] / "results"


def recogniser(front: FrontEnd, n_labels: int, args: argparse.Namespace) -> elman.Model:
    cell = {"lstm": elman.LSTM, "gru": elman.GRU}[args.cell]
    sizes = [front.size]
    layers: list[elman.Layer] = []
    for k in range(args.layers):
        if k:
            layers.append(elman.Dropout(args.dropout, locked=True))
        layers.append(elman.Bidirectional(cell(sizes[-1], args.hidden)))
        sizes.append(2 * args.hidden)
    layers += [elman.Dropout(args.dropout, locked=True), elman.Linear(sizes[-1], n_labels)]
    return elman.Sequential(*layers).init(args.seed)


def logits_of(model: elman.Model, steps: list[np.ndarray], batch_size: int = 32) -> list[np.ndarray]:
    out: list[np.ndarray] = [np.empty(0)] * len(steps)
    order = np.argsort([len(x) for x in steps])
    for k in range(0, len(order), batch_size):
        rows = order[k : k + batch_size]
        x, lengths = pad([steps[row] for row in rows], np.float32)
        y = model(x, lengths=lengths).y
        for row, one, length in zip(rows, y, lengths, strict=True):
            out[row] = one[:length]
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cell", default="lstm")
    parser.add_argument("--hidden", type=int, default=192)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--dropout", type=float, default=0.4)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--minutes", type=float, default=60, help="end sooner, so as to take no longer than this")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--normal", default="utterance", help="utterance or speaker")
    parser.add_argument("--width", type=int, default=3)
    parser.add_argument("--stride", type=int, default=3)
    parser.add_argument("--delta-order", type=int, default=2)
    parser.add_argument("--speed", type=float, default=0.1)
    parser.add_argument("--warp", type=float, default=0.08)
    parser.add_argument("--time-masks", type=int, default=2)
    parser.add_argument("--noise", type=float, default=0.3)
    parser.add_argument("--ema", type=float, default=0.998)
    parser.add_argument("--weight-decay", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dev", action="store_true", help="hold out the first 100 utterances, to choose a recipe by")
    parser.add_argument("--out", type=Path, default=RESULTS / "accuracy-an4.json")
    parser.add_argument("--model", type=Path, default=None)
    args = parser.parse_args()

    front = FrontEnd(kind="cepstra", delta_order=args.delta_order, normal=args.normal, width=args.width, stride=args.stride)
    training, test = an4()
    dev = training[:N_DEV]
    if args.dev:
        training, test = training[N_DEV:], dev
    labels = Labels.learn(u.text for u in training)
    speakers = {}
    if args.normal == "speaker":
        for u in [*training, *test]:
            speakers.setdefault(u.speaker, []).append(u.x)
        speakers = speaker_moments(front, speakers)
    batches = Utterances(
        front,
        [u.x for u in training],
        [labels.encode(u.text) for u in training],
        args.batch,
        augment=Augment(speed=args.speed, warp=args.warp, time_masks=args.time_masks, noise=args.noise),
        speakers=[speakers[u.speaker] for u in training] if speakers else None,
        seed=args.seed,
    )
    test_steps = [front.steps(u.x, speaker=speakers.get(u.speaker)) for u in test]
    said = [u.text for u in test]
    model = recogniser(front, len(labels), args)
    n_steps = args.epochs * batches.n_in_epoch
    schedule = elman.optim.Warmup(elman.optim.Cosine(args.rate, total_steps=n_steps), warmup_steps=100)
    optimizer = elman.optim.AdamW(schedule, weight_decay=args.weight_decay)
    run = elman.train(model, batches, loss=CTC(), optimizer=optimizer, clip_norm=5.0, n_steps=n_steps, seed=args.seed)
    average = model.copy()
    result = {
        "command": vars(args) | {"out": args.out.name, "model": None},
        "features": "13 mel cepstra of the distribution",
        "parameters": model.params.flat.size,
        "elman": elman.__version__,
        "numpy": np.__version__,
        "kernels": kernels.active().__name__,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "history": [],
    }
    start, cpu, losses = time.perf_counter(), time.process_time(), []
    for record in run:
        losses.append(record.loss)
        decay = min(args.ema, (record.step + 1) / (record.step + 20))
        average.params.flat *= decay
        average.params.flat += (1 - decay) * model.params.flat
        epoch, rest = divmod(record.step, batches.n_in_epoch)
        late = time.perf_counter() - start > args.minutes * 60
        if rest and not late:
            continue
        entry = {"epoch": epoch, "loss": float(np.mean(losses)), "minutes": (time.perf_counter() - start) / 60}
        entry["cpu_minutes"] = (time.process_time() - cpu) / 60
        losses = []
        if epoch % 5 == 0 or epoch == args.epochs or late:
            for name, one in (("last", model), ("average", average)):
                written = [labels.decode(found) for found in greedy(logits_of(one, test_steps))]
                entry |= {f"wer_{name}": 100 * word_errors(said, written).rate}
                entry |= {f"cer_{name}": 100 * character_errors(said, written).rate}
        result["history"].append(entry)
        print(json.dumps(entry), flush=True)
        if "wer_average" in entry:
            result |= {"minutes": entry["minutes"], "cpu_minutes": entry["cpu_minutes"], "utterances": len(test)}
            result |= {"wer": word_errors(said, written)._asdict(), "cer": character_errors(said, written)._asdict()}
            result["confusions"] = [list(c) for c in confusions(said, written)[:20]]
            args.out.write_text(json.dumps(result, indent=1, default=float) + "\n", encoding="utf-8")
            if args.model:
                average.save(args.model, about={"front": front.to_json(), "labels": labels.to_json()})
        if late:
            break


if __name__ == "__main__":
    main()
