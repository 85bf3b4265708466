"""Sequences of unequal length, one label each: which figure a pen drew.

It draws circles (either way round), waves and zigzags, at its own speed and size, with a trembling hand. We get
its movements (dx, dy), 8 to 40 of them. No single movement tells a circle from a wave; the whole does.

The label is read off the final output of a bidirectional GRU, so the gradient comes back through the state: d_state.
"""

from __future__ import annotations

import argparse

import numpy as np

import elman

FIGURES = ("circle, left turn", "circle, right turn", "wave", "zigzag")


def draw(rng: np.random.Generator, figure: int) -> np.ndarray:
    """Return the movements of the pen (T, 2) for a figure."""
    T = rng.integers(8, 41)
    u = np.linspace(0, 1, T + 1)
    if figure < 2:
        x, y = np.cos(2 * np.pi * u), (1 - 2 * figure) * np.sin(2 * np.pi * u)
    elif figure == 2:
        x, y = 3 * u, np.sin(4 * np.pi * u) / 2
    else:
        x, y = 3 * u, np.abs(4 * u % 2 - 1)
    turn = rng.uniform(0, 2 * np.pi)
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ [x, y]
    movements = np.diff(rng.uniform(0.7, 1.4) * turned).T * T / 10
    return movements + 0.1 * rng.standard_normal((T, 2))


def final_scores(reader: elman.Model, head: elman.Model, x: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the scores (B, 4) of a padded batch."""
    _, state = reader(x, lengths=lengths)
    return head(reader.final_output(state)[:, None]).y[:, 0]


def main() -> None:
    """Train on 600 drawings, test on 200 others."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    labels = rng.integers(len(FIGURES), size=800)
    drawings = [draw(rng, figure) for figure in labels]
    batches = elman.sequences.Buckets(drawings[:600], labels[:600], 20, n_epochs=options.epochs)
    test_x, test_lengths = elman.sequences.pad(drawings[600:], np.float32)
    test_labels = labels[600:]

    H = options.units
    reader = elman.Bidirectional(elman.GRU(2, H)).init(seed=0)
    head = elman.Linear(2 * H, len(FIGURES)).init(seed=1)
    adam = elman.optim.Adam(1e-2)
    moments = [adam.init(model.params) for model in (reader, head)]

    for step, (x, targets, lengths, _) in enumerate(batches, 1):
        _, state, tape = reader.forward(x, lengths=lengths)
        final = reader.final_output(state)  # (B, 2H): each direction at its own end, whatever the length
        scores, _, head_tape = head.forward(final[:, None])  # a sequence of one step
        loss, d_scores = elman.losses.cross_entropy(scores[:, 0], targets)

        back = head.backward(head_tape, d_scores[:, None])
        d_forward, d_reverse = np.split(back.d_x[:, 0], 2, axis=1)
        d_state = (elman.GRUState(d_forward), elman.GRUState(d_reverse))
        grads = [reader.backward(tape, None, d_state).grads, back.grads]  # no loss looks at y, so d_y is None

        elman.optim.clip_by_global_norm([tree.flat for tree in grads], 1.0)
        for k, model in enumerate((reader, head)):
            moments[k] = adam.update(model.params, grads[k], moments[k])
        if step % batches.n_in_epoch == 0:
            right = final_scores(reader, head, test_x, test_lengths).argmax(axis=1) == test_labels
            print(f"epoch {step // batches.n_in_epoch}: loss {loss:.3f}, {100 * right.mean():.1f} % of the test right")

    scores = final_scores(reader, head, test_x, test_lengths)
    padded = np.concatenate([test_x, np.full((len(test_x), 25, 2), np.nan, np.float32)], axis=1)
    assert np.allclose(final_scores(reader, head, padded, test_lengths), scores, rtol=0, atol=1e-5)
    print("25 more steps of padding, all NaN, change nothing")
    for k, figure in enumerate(FIGURES):
        print(f"{figure:18} {100 * (scores.argmax(axis=1) == k)[test_labels == k].mean():5.1f} % right")


if __name__ == "__main__":
    main()
