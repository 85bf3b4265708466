"""Fit and prediction of series beside the same model in PyTorch, and live states: seconds, microseconds, bytes.

    python benchmarks/speed/series.py                  # needs elman[series] and torch, in one environment
    python benchmarks/speed/series.py --only-live      # without torch: the live states alone

Both sides do the same: a recurrent layer of H units, the mean over the steps, a linear layer, cross entropy, Adam,
gradients clipped at 1, batches of 32 of like length, padded batch by batch (PyTorch: packed where lengths differ). Ours
is `RecurrentClassifier` with all that it does around that. Samples of both sides alternate in one process; medians
count. The result is benchmarks/results/series-speed.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

THREADS = os.environ.setdefault("ELMAN_NUM_THREADS", "1")
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):  # read when NumPy is imported
    os.environ.setdefault(name, THREADS)

import numpy as np  # noqa: E402

import elman  # noqa: E402
from elman import kernels  # noqa: E402
from elman.tasks.series import RecurrentClassifier, RecurrentDetector, RecurrentForecaster  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from benchmarks.records import write_json  # noqa: E402

OUT = ROOT / "benchmarks" / "results" / "series-speed.json"
GRID = [(r, c, H, T) for r in (False, True) for c in ("gru", "lstm") for H in (16, 32, 64) for T in (30, 200)]
F, N, BATCH, CLASSES = 8, 320, 32, 5
JOBS = ("fit", "predict", "one")


class Ours:
    """`RecurrentClassifier`: an epoch, all labels, the label of one sequence."""

    def __init__(self, cell: str, H: int, x: list[np.ndarray], y: np.ndarray) -> None:
        self.x, self.y = x, y
        self.model = RecurrentClassifier(cell=cell, hidden_size=H, batch_size=BATCH, random_state=0)
        self.model.partial_fit(x, y, classes=np.arange(CLASSES))

    def fit(self) -> None:  # noqa: D102
        self.model.partial_fit(self.x, self.y)

    def predict(self) -> None:  # noqa: D102
        self.model.predict(self.x)

    def one(self) -> None:  # noqa: D102
        self.model.predict(self.x[:1])


class Theirs:
    """The same in plain PyTorch."""

    def __init__(self, cell: str, H: int, x: list[np.ndarray], y: np.ndarray) -> None:
        import torch

        torch.set_num_threads(int(THREADS))
        torch.manual_seed(0)
        self.torch, self.x, self.y = torch, [torch.from_numpy(row) for row in x], torch.from_numpy(y)
        kind = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[cell]
        self.net, self.head = kind(F, H, batch_first=True), torch.nn.Linear(H, CLASSES)
        self.parameters = [*self.net.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=3e-3)
        self.lengths = torch.tensor([len(row) for row in x])
        self.ragged = bool((self.lengths != self.lengths[0]).any())

    def _outputs(self, rows: Any) -> Any:
        utils = self.torch.nn.utils.rnn
        lengths = self.lengths[rows]
        x = utils.pad_sequence([self.x[k] for k in rows], batch_first=True)
        if self.ragged:
            h, _ = self.net(utils.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
            h, _ = utils.pad_packed_sequence(h, batch_first=True)
        else:
            h, _ = self.net(x)
        return self.head(h.sum(dim=1) / lengths[:, None])

    def fit(self) -> None:  # noqa: D102
        order = np.random.default_rng(0).permutation(N)
        order = order[np.argsort(self.lengths.numpy()[order], kind="stable")].tolist()
        for k in range(0, N, BATCH):
            rows = order[k : k + BATCH]
            self.optimizer.zero_grad()
            self.torch.nn.functional.cross_entropy(self._outputs(rows), self.y[rows]).backward()
            self.torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimizer.step()

    def predict(self) -> None:  # noqa: D102
        with self.torch.inference_mode():
            for k in range(0, N, 256):
                self._outputs(list(range(k, min(k + 256, N)))).argmax(dim=1).numpy()

    def one(self) -> None:  # noqa: D102
        with self.torch.inference_mode():
            self._outputs([0]).argmax(dim=1).numpy()


def medians(jobs: dict[str, Callable[[], object]], samples: int) -> dict[str, float]:
    """Return the median seconds of each job; samples of all jobs alternate."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for job in jobs.values():
        job()
    for _ in range(samples):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def compare(samples: int) -> dict[str, Any]:
    import torch

    rows = []
    for ragged, cell, H, T in GRID:
        rng = np.random.default_rng(0)
        lengths = rng.integers(T // 2, T + 1, N) if ragged else np.full(N, T)
        x, y = [rng.standard_normal((n, F)).astype(np.float32) for n in lengths], rng.integers(CLASSES, size=N)
        sides = {"elman": Ours(cell, H, x, y), "torch": Theirs(cell, H, x, y)}
        row: dict[str, Any] = {"cell": cell, "H": H, "T": T, "ragged": ragged}
        for job in JOBS:
            seconds = medians({name: getattr(side, job) for name, side in sides.items()}, samples)
            row[job] = {**seconds, "ratio": seconds["torch"] / seconds["elman"]}
        rows.append(row)
        words = "  ".join(f"{job} {row[job]['ratio']:6.2f}x" for job in JOBS)
        print(f"{cell:4} H {H:3} T {T:3} {'ragged' if ragged else 'full':6}  {words}", file=sys.stderr, flush=True)
    means = {job: statistics.geometric_mean(row[job]["ratio"] for row in rows) for job in JOBS}
    return {"cells": rows, "geometric_means": means, "torch": torch.__version__, "batch": BATCH, "sequences": N}


def live(n_series: int) -> dict[str, Any]:
    """Measure `update` of one series and of 10,000 at once among `n_series`, and the memory of a series."""
    found: dict[str, Any] = {"series": n_series, "cell": "gru", "hidden_size": 32}
    data = np.random.default_rng(0).standard_normal((8, 100))
    some = list(range(0, n_series, max(1, n_series // 10_000)))[:10_000]
    values = np.full((len(some), 1), 0.3)
    for kind in (RecurrentForecaster, RecurrentDetector):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on noise, no model is better than naive
            model: Any = kind(hidden_size=32, max_epochs=1, random_state=0).fit(data)
        model.start(range(n_series))
        store = model._store
        one = medians({"one": lambda model=model: model.update(7, 0.3)}, 3000)["one"]
        many = medians({"many": lambda model=model: model.update_many(some, values)}, 9)["many"]
        found[kind.__name__] = {
            "update_us": one * 1e6,
            "update_many_us_a_series": many * 1e6 / len(some),
            "bytes_a_series": store.bytes_per_series,
            "bytes_of_index_a_series": store.bytes_of_index / n_series,
        }
        print(kind.__name__, found[kind.__name__], file=sys.stderr, flush=True)
    found["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=9)
    parser.add_argument("--series", type=int, default=1_000_000, help="live ones")
    parser.add_argument("--only-live", action="store_true", help="leave the comparison as it is in the file")
    parser.add_argument("--out", type=Path, default=OUT)
    chosen = parser.parse_args()
    result: dict[str, Any] = json.loads(chosen.out.read_text()) if chosen.out.exists() else {}
    result["live"] = live(chosen.series)
    if not chosen.only_live:
        result["comparison"] = compare(chosen.samples)
    result |= {
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "elman": elman.__version__},
        "threads": int(THREADS),
        "kernels": kernels.active().__name__.rpartition(".")[2],
    }
    write_json(chosen.out, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
