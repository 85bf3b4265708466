"""A character model end to end, here and in PyTorch: embedding, LSTM, linear layer, softmax loss, Adam.

Both start from the same weights and read the same windows of the same text, with the state carried on. Before anything
is timed, both do some steps, and their losses must agree.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

import elman
from benchmarks.speed.contestants import OURS, Run
from benchmarks.speed.grid import Cell

TEXT = Path(__file__).resolve().parents[2] / "data" / "tinyshakespeare" / "input.txt"
CHECKED_STEPS = 20
TOLERANCE_NATS = 1e-3
LEARNING_RATE = 3e-3


def runs(cell: Cell, names: list[str]) -> tuple[dict[str, Run], float]:
    """Return one training step of each side, and the largest difference of their losses over the first steps, in nats.

    ValueError where they do not agree.
    """
    characters, ids = np.unique(np.frombuffer(TEXT.read_bytes(), np.uint8), return_inverse=True)
    windows = elman.sequences.TokenWindows(ids, cell.B, cell.T)
    model = elman.Sequential(
        elman.Embedding(len(characters), cell.I), elman.LSTM(cell.I, cell.H), elman.Linear(cell.H, len(characters))
    ).init(seed=0)
    steps = {}
    if "torch" in names:
        steps["torch"] = _torch_step(model, windows)  # it copies the weights, so it comes first
    if OURS in names:
        training = elman.train(model, windows, optimizer=elman.optim.Adam(LEARNING_RATE))
        steps[OURS] = lambda: next(training).loss
    losses = {name: np.array([step() for _ in range(CHECKED_STEPS)]) for name, step in steps.items()}
    off = max((float(np.abs(a - b).max()) for a, b in itertools.combinations(losses.values(), 2)), default=0.0)
    if not off <= TOLERANCE_NATS:
        raise ValueError(f"the losses of the first {CHECKED_STEPS} steps differ by {off:.2g} nats, so one is wrong")
    return {name: Run(step, dict) for name, step in steps.items()}, off


def _torch_step(model: elman.Model, windows: elman.sequences.TokenWindows) -> Any:
    """Return a training step as one writes it in PyTorch, with its fused Adam, the fastest one on a CPU."""
    import torch

    embedding, lstm, linear = model.layer.layers
    modules = torch.nn.ModuleDict(
        {
            "0": torch.nn.Embedding(embedding.in_size, embedding.out_size),
            "1": torch.nn.LSTM(lstm.in_size, lstm.out_size, batch_first=True),
            "2": torch.nn.Linear(linear.in_size, linear.out_size),
        }
    )
    with torch.no_grad():
        for name, array in model.params.items():
            modules.get_parameter(f"{name}_l0" if name.startswith("1.") else name).copy_(torch.from_numpy(array.copy()))
    optimizer = torch.optim.Adam(modules.parameters(), lr=LEARNING_RATE, fused=True)
    x, targets = (torch.from_numpy(array.astype(np.int64)) for array in (windows.x, windows.targets))
    state: Any = None
    count = itertools.count()

    def step() -> float:
        nonlocal state
        window = next(count) % windows.n_windows
        part = slice(window * windows.n_steps, (window + 1) * windows.n_steps)
        state = None if window == 0 else tuple(array.detach() for array in state)
        optimizer.zero_grad()
        h, state = modules["1"](modules["0"](x[:, part]), state)
        loss = torch.nn.functional.cross_entropy(modules["2"](h).flatten(0, 1), targets[:, part].flatten())
        loss.backward()
        optimizer.step()
        return loss.item()

    return step
