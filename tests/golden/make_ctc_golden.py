"""Makes ctc.npz beside it: CTC losses and gradients, computed by PyTorch in float64.

    python tests/golden/make_ctc_golden.py          (made with torch 2.13.0 CPU, numpy 2.4.6, Python 3.11; SEED 21)

Each case has logits (B, T, V), lengths (B,), targets (B, S) padded with -1, blank, and the results: losses (B,), and of
their sum the gradients d_logits and d_log_p, the latter for log-probabilities that are leaves of their own.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path

import numpy as np
import torch

SEED = 21


def case(rng: np.random.Generator, B: int, T: int, V: int, S: int, blank: int) -> dict[str, np.ndarray]:
    logits = (2 * rng.normal(size=(B, T, V))).astype(np.float32).astype(np.float64)
    labels = np.delete(np.arange(V), blank)
    sizes = rng.integers(0, S + 1, B)
    targets = np.full((B, S), -1)
    for row, size in zip(targets, sizes, strict=True):
        row[:size] = rng.choice(labels, size)
    repeats = np.array(
        [int((row[1:n] == row[: n - 1]).sum()) if n else 0 for row, n in zip(targets, sizes, strict=True)]
    )
    lengths = np.minimum(T, sizes + repeats + rng.integers(1, T, B))
    arrays = {"logits": logits, "lengths": lengths, "targets": targets, "blank": np.array(blank)}
    for name in ("logits", "log_p"):
        leaf = torch.tensor(logits, requires_grad=True) if name == "logits" else None
        log_p = torch.log_softmax(torch.tensor(logits) if leaf is None else leaf, -1)
        if leaf is None:
            leaf = log_p = log_p.clone().requires_grad_(True)
        flat = torch.tensor(np.concatenate([row[:n] for row, n in zip(targets, sizes, strict=True)]))
        losses = torch.nn.functional.ctc_loss(
            log_p.transpose(0, 1), flat, torch.tensor(lengths), torch.tensor(sizes), blank=blank, reduction="none"
        )
        losses.sum().backward()
        arrays |= {"losses": losses.detach().numpy(), f"d_{name}": leaf.grad.numpy()}
    return arrays


def main(folder: Path = Path(__file__).parent) -> None:
    """Write ctc.npz into a folder."""
    rng = np.random.default_rng(SEED)
    cases = [case(rng, *sizes) for sizes in [(3, 9, 4, 3, 0), (5, 20, 7, 6, 6), (4, 12, 2, 5, 1), (2, 30, 11, 12, 4)]]
    about = {
        "made_by": "tests/golden/make_ctc_golden.py",
        "seed": SEED,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    arrays = {f"{k}/{name}": array for k, one in enumerate(cases) for name, array in one.items()}
    path = folder / "ctc.npz"
    np.savez_compressed(path, about=np.array(json.dumps(about)), **arrays)
    print(f"{path.name}: {len(cases)} cases, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
