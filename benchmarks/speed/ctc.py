"""CTC: loss and gradient beside PyTorch's, exactness of both, and the prefix beam against real time.

    python benchmarks/speed/ctc.py            # needs torch; writes results/ctc-speed.json

The loss: T 400 frames, B 32 rows, V 30 labels, S 60 labels a target, float32 logits to loss and gradient of the logits.
The two sides take turns; the medians count. Exactness is the largest distance from PyTorch's float64. The beam: width
50, 400 frames of 10 ms, V 30; its frames are as unsure as those of a half-trained model.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import elman
from elman import kernels
from elman.ctc import PrefixBeam, ctc_loss, log_softmax

T, B, V, S = 400, 32, 30, 60
WIDTH, FRAME_SECONDS = 50, 0.01
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from benchmarks.records import write_json  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"


def by_torch(logits: np.ndarray, targets: np.ndarray, dtype: torch.dtype) -> tuple[np.ndarray, np.ndarray]:
    leaf = torch.tensor(logits, dtype=dtype, requires_grad=True)
    losses = torch.nn.functional.ctc_loss(
        torch.log_softmax(leaf, -1).transpose(0, 1),
        torch.from_numpy(targets),
        torch.full((len(logits),), logits.shape[1]),
        torch.full((len(logits),), targets.shape[1]),
        reduction="none",
    )
    losses.mean().backward()
    return losses.detach().numpy(), leaf.grad.numpy()


def in_turns(ours: Callable[[], Any], theirs: Callable[[], Any], n: int) -> tuple[list[float], list[float]]:
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(n + 1):
        for side, run in zip(times, (ours, theirs), strict=True):
            start = time.perf_counter()
            run()
            side.append(time.perf_counter() - start)
    return times[0][1:], times[1][1:]  # the first round is for the caches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=9)
    parser.add_argument("--out", type=Path, default=RESULTS / "ctc-speed.json")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    logits = (3 * rng.normal(size=(B, T, V))).astype(np.float32)
    targets = rng.integers(1, V, (B, S))
    labels = list(targets)
    result: dict[str, Any] = {
        "sizes": {"T": T, "B": B, "V": V, "S": S},
        "kernels": kernels.active().__name__,
        "versions": {"elman": elman.__version__, "torch": torch.__version__, "numpy": np.__version__},
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "loss": {},
    }
    exact, theirs, ours = by_torch(logits, targets, torch.float64), by_torch(logits, targets, torch.float32), None
    ours = ctc_loss(logits, labels)
    result["distance_from_float64"] = {
        side: {"loss": float(np.abs(loss - exact[0]).max()), "gradient": float(np.abs(d_y - exact[1]).max())}
        for side, loss, d_y in (("elman", ours.losses, ours.d_y), ("torch", *theirs))
    }
    for name, n in (("one_thread", 1), ("two_threads", 2)):
        torch.set_num_threads(n)
        if hasattr(elman, "set_num_threads"):
            elman.set_num_threads(n)
        times = in_turns(
            lambda: ctc_loss(logits, labels), lambda: by_torch(logits, targets, torch.float32), args.samples
        )
        ms = [1000 * statistics.median(side) for side in times]
        result["loss"][name] = {"elman_ms": ms[0], "torch_ms": ms[1], "ratio": ms[1] / ms[0]}
    log_p = log_softmax(logits[0])
    seconds = []
    for _ in range(args.samples):
        search = PrefixBeam(V, width=WIDTH)
        start = time.perf_counter()
        search.push(log_p)
        search.best(times=False)
        seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds)
    result["beam"] = {"width": WIDTH, "frames": T, "ms": 1000 * median, "times_real_time": T * FRAME_SECONDS / median}
    write_json(args.out, result)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
