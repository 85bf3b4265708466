"""A layer with memory beside one without: a sentence of 20 words, each of 5 numbers, becomes 20 states of 10 numbers.

Run it as ``python examples/01_memory.py [PICTURE]``; the picture of the unrolled network needs matplotlib.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np

import elman


def five_lines(x: np.ndarray, W: np.ndarray, U: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the states (T, H) after each word of x (T, I): h_t = sigmoid(W x_t + U h_{t-1} + b), from zeros."""
    h = np.zeros((len(x) + 1, len(b)))
    for t in range(len(x)):
        a = W @ x[t] + U @ h[t] + b
        h[t + 1] = 1 / (1 + np.exp(-a))
    return h[1:]


def words_that_changed(before: np.ndarray, after: np.ndarray) -> str:
    """Return the numbers, from 1, of the words whose outputs differ."""
    return " ".join(str(t + 1) for t in np.flatnonzero((before != after).any(axis=1)))


def main() -> None:
    """Compare the layers, then draw the one with memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", nargs="?", default="unrolled.png", help="where to draw the unrolled network")
    picture = parser.parse_args().picture
    warnings.simplefilter("error")  # what follows has nothing to warn of

    x = np.random.default_rng(0).random((20, 5))
    rnn = elman.RNN(5, 10, activation="sigmoid").init(seed=0, dtype=np.float64)
    memoryless = elman.Linear(5, 10, activation="sigmoid").init(seed=0, dtype=np.float64)

    y, state = rnn(x)
    print(f"with memory:    x {x.shape} -> h {y.shape}, and the state after the last word {state.h.shape}")
    print(f"without memory: x {x.shape} -> h {memoryless(x).y.shape}")

    p = rnn.params
    plain = five_lines(x, p["weight_ih"], p["weight_hh"], p["bias_ih"] + p["bias_hh"])
    assert np.abs(y - plain).max() < 1e-12
    print(f"the layer and the plain formula agree: the largest difference is {np.abs(y - plain).max():.0e}")

    assert np.array_equal(rnn(x).y, y)
    print("a second call gives the same answer, bit for bit: the layer keeps no state")

    head, between = rnn(x[:12])
    tail, _ = rnn(x[12:], between)
    assert np.abs(np.concatenate([head, tail]) - y).max() < 1e-12
    print("read in two parts, with the state handed over, the sentence gives the same states")

    other = x.copy()
    other[3] = 1 - other[3]
    print("another word in place 4 changes")
    print("  without memory the outputs of words", words_that_changed(memoryless(x).y, memoryless(other).y))
    print("  with memory the outputs of words   ", words_that_changed(y, rnn(other).y))

    with np.errstate(all="raise", under="ignore"):
        assert np.isfinite(rnn(1e4 * x).y).all()
    print("inputs 10,000 times larger: finite, without a warning")

    from elman import plots

    plots.draw_unrolled(picture)
    print(f"drew {picture}")


if __name__ == "__main__":
    main()
