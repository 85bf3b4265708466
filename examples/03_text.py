"""A character language model from the plain parts: layers, windows on a text, training, evaluation, and writing.

Run it as ``python examples/03_text.py [FILE]``; without a file it reads Shakespeare, from the folder data/ of a
checkout. ``elman text train`` does the same with vocabularies, progress and files.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np

import elman
from elman import datasets


def write(model: elman.Model, alphabet: list[str], prompt: str, n_letters: int, temperature: float, seed: int) -> str:
    """Return a prompt and what the model writes after it: draw a letter, feed it back, and hand the state over."""
    rng = np.random.default_rng(seed)
    letters = list(prompt)
    y, state = model(np.searchsorted(alphabet, letters))
    for _ in range(n_letters):
        scores = y[-1].astype(np.float64) / temperature
        p = np.exp(scores - scores.max())
        letter = rng.choice(len(alphabet), p=p / p.sum())
        letters.append(alphabet[letter])
        y, state = model(np.array([letter]), state)
    return "".join(letters)


def main() -> None:
    """Train on nine tenths of a text, evaluate on the rest, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, help="a text in UTF-8; Shakespeare if absent")
    parser.add_argument("--letters", type=int, default=200_000, help="how many of its letters to use")
    parser.add_argument("--units", type=int, default=96)
    parser.add_argument("--steps", type=int, default=300, help="updates")
    options = parser.parse_args()

    text = (options.file or datasets.path("tinyshakespeare")).read_text(encoding="utf-8")[: options.letters]
    alphabet = sorted(set(text))
    V = len(alphabet)
    ids = np.searchsorted(alphabet, list(text))
    cut = len(ids) * 9 // 10
    train = elman.sequences.TokenWindows(ids[:cut], batch_size=32, n_steps=32)
    held_out = elman.sequences.TokenWindows(ids[cut:], batch_size=16, n_steps=64, n_epochs=1)
    print(f"{len(ids):,} letters, {V} different ones; guessing costs log({V}) = {math.log(V):.2f} nats a letter")

    model = elman.Sequential(
        elman.Embedding(V, 32),
        elman.LSTM(32, options.units),
        elman.Linear(options.units, V),
    ).init(seed=0)
    rate = elman.optim.Cosine(1e-2, total_steps=options.steps)
    start = time.perf_counter()
    training = elman.train(model, train, optimizer=elman.optim.Adam(rate), clip_norm=1.0, n_steps=options.steps)
    for record in training:
        if record.step % max(options.steps // 6, 1) == 0:
            loss = elman.evaluate(model, held_out).loss
            print(
                f"step {record.step:4}  loss {record.loss:.3f}  held out {loss:.3f}  perplexity {math.exp(loss):5.2f}  "
                f"gradient {record.norm:.2f}  {record.tokens_per_second:,.0f} letters/s"
            )
    print(f"{time.perf_counter() - start:.1f} seconds\n")
    print(write(model, alphabet, text[:10], 400, temperature=0.7, seed=1))


if __name__ == "__main__":
    main()
