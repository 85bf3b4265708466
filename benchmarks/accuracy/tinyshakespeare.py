"""A character language model of tinyshakespeare: one recipe, trained by Elman and by PyTorch, and the comparison.

    python benchmarks/accuracy/tinyshakespeare.py --side elman
    python benchmarks/accuracy/tinyshakespeare.py --side torch
    python benchmarks/accuracy/tinyshakespeare.py --compare

Results are benchmarks/results/accuracy-tinyshakespeare-SIDE.json, or --out.

The recipe is the class Recipe. Each side starts from its own default initial values and draws them from --seed. The
text is read as `batch_size` rows side by side, and the state is carried from window to window; so it is in the held-out
part, whose rows start from a state of zeros. Losses are means in nats a character.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from benchmarks.records import cpu_name, write_json  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What both sides do."""

    steps: int = 1500
    seed: int = 0
    train_part: float = 0.9  # of the characters, from the start; the rest is held out
    embedding_size: int = 64
    hidden_size: int = 256
    batch_size: int = 64  # rows
    window_steps: int = 64  # characters of a row between two updates
    learning_rate: float = 3e-3  # Adam's, along half a cosine to 0
    clip_norm: float = 1.0  # of the global norm
    curve_every_steps: int = 10
    validate_at_steps: tuple[int, ...] = (250, 500, 1000, 1500)


class Side(Protocol):
    """A twin: a training that has not begun."""

    versions: dict[str, str]
    parameters: int

    def train(self) -> Iterator[tuple[float, float]]:
        """Do one step after another and yield (loss before the update in nats, seconds that the step took)."""

    def validate(self) -> tuple[float, int]:
        """Return the mean loss over the held-out characters in nats, and how many were predicted."""


class ElmanSide:
    """The recipe in Elman."""

    def __init__(self, text: str, recipe: Recipe, threads: int) -> None:
        import numpy as np

        import elman

        del threads  # NumPy's BLAS read the environment, see main
        characters = sorted(set(text))
        ids = np.searchsorted(characters, list(text))
        cut = int(len(ids) * recipe.train_part)
        self._windows = elman.sequences.TokenWindows(ids[:cut], recipe.batch_size, recipe.window_steps)
        self._held_out = elman.sequences.TokenWindows(
            ids[cut:], recipe.batch_size, recipe.window_steps, n_epochs=1, keep_last=True
        )
        self._model = elman.Sequential(
            elman.Embedding(len(characters), recipe.embedding_size),
            elman.LSTM(recipe.embedding_size, recipe.hidden_size),
            elman.Linear(recipe.hidden_size, len(characters)),
        ).init(seed=recipe.seed)
        self._recipe = recipe
        self.parameters = self._model.params.flat.size
        self.versions = {"elman": elman.__version__, "numpy": np.__version__}

    def train(self) -> Iterator[tuple[float, float]]:  # noqa: D102
        import elman

        rate = elman.optim.Cosine(self._recipe.learning_rate, total_steps=self._recipe.steps)
        for record in elman.train(
            self._model,
            self._windows,
            optimizer=elman.optim.Adam(rate),
            clip_norm=self._recipe.clip_norm,
            n_steps=self._recipe.steps,
        ):
            yield record.loss, record.seconds

    def validate(self) -> tuple[float, int]:  # noqa: D102
        import elman

        return tuple(elman.evaluate(self._model, self._held_out))


class TorchSide:
    """The recipe in plain PyTorch, with its default initial values."""

    def __init__(self, text: str, recipe: Recipe, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        torch.manual_seed(recipe.seed)
        characters = sorted(set(text))
        number = {character: k for k, character in enumerate(characters)}
        ids = torch.tensor([number[character] for character in text])
        cut = int(len(ids) * recipe.train_part)
        self._train_rows = self._rows(ids[:cut], recipe.batch_size)
        self._held_out_rows = self._rows(ids[cut:], recipe.batch_size)
        self._embedding = torch.nn.Embedding(len(characters), recipe.embedding_size)
        self._lstm = torch.nn.LSTM(recipe.embedding_size, recipe.hidden_size, batch_first=True)
        self._linear = torch.nn.Linear(recipe.hidden_size, len(characters))
        self._modules = torch.nn.ModuleList([self._embedding, self._lstm, self._linear])
        self._recipe = recipe
        self.parameters = sum(p.numel() for p in self._modules.parameters())
        self.versions = {"torch": torch.__version__}

    @staticmethod
    def _rows(ids: Any, B: int) -> tuple[Any, Any]:
        part = (len(ids) - 1) // B
        return ids[: part * B].view(B, part), ids[1 : part * B + 1].view(B, part)

    def _loss(self, x: Any, targets: Any, state: Any) -> tuple[Any, Any]:
        import torch

        h, state = self._lstm(self._embedding(x), state)
        return torch.nn.functional.cross_entropy(self._linear(h).flatten(0, 1), targets.flatten()), state

    def train(self) -> Iterator[tuple[float, float]]:  # noqa: D102
        import torch

        recipe = self._recipe
        x, targets = self._train_rows
        T = recipe.window_steps
        optimizer = torch.optim.Adam(self._modules.parameters(), lr=recipe.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=recipe.steps)
        state = None
        for step in range(recipe.steps):
            start = time.perf_counter()
            window = step % (x.shape[1] // T)
            part = slice(window * T, (window + 1) * T)
            state = None if window == 0 else tuple(s.detach() for s in state)
            loss, state = self._loss(x[:, part], targets[:, part], state)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self._modules.parameters(), recipe.clip_norm)
            optimizer.step()
            schedule.step()
            yield loss.item(), time.perf_counter() - start

    def validate(self) -> tuple[float, int]:  # noqa: D102
        import torch

        x, targets = self._held_out_rows
        total, state = 0.0, None
        with torch.no_grad():
            for start in range(0, x.shape[1], self._recipe.window_steps):
                part = slice(start, start + self._recipe.window_steps)
                loss, state = self._loss(x[:, part], targets[:, part], state)
                total += loss.item() * x[:, part].numel()
        return total / x.numel(), x.numel()


SIDES = {"elman": ElmanSide, "torch": TorchSide}


def run(name: str, recipe: Recipe, text: str, threads: int, out: Path) -> None:
    """Train one side and write what happened, as it happens."""
    side: Side = SIDES[name](text, recipe, threads)
    result: dict[str, Any] = {
        "benchmark": "tinyshakespeare",
        "side": name,
        "recipe": dataclasses.asdict(recipe),
        "characters": len(text),
        "parameters": side.parameters,
        "versions": {"python": platform.python_version(), **side.versions},
        "cpu": cpu_name(),
        "threads": threads,
        "complete": False,
        "tokens_per_second": None,  # of training, from the median step
        "training_seconds": 0.0,
        "validation_nats": {},  # at step
        "validation_tokens": 0,
        "train_nats": [],  # [step, mean loss of the steps since the last entry]
    }
    recent, seconds = [], []
    for step, (loss, duration) in enumerate(side.train(), 1):
        recent.append(loss)
        seconds.append(duration)
        if step in recipe.validate_at_steps or step == recipe.steps:
            nats, result["validation_tokens"] = side.validate()
            result["validation_nats"][str(step)] = nats
            print(f"\r{name} step {step}: validation {nats:.4f} nats/char{' ' * 40}", file=sys.stderr)
        if step % recipe.curve_every_steps == 0 or step == recipe.steps:
            speed = recipe.batch_size * recipe.window_steps / statistics.median(seconds)
            result |= {"tokens_per_second": round(speed), "training_seconds": round(sum(seconds), 2)}
            result["train_nats"].append([step, statistics.fmean(recent)])
            result["complete"] = step == recipe.steps
            print(
                f"\r{name} step {step}/{recipe.steps}  loss {statistics.fmean(recent):.4f}  {speed:,.0f} tokens/s",
                end="",
                file=sys.stderr,
                flush=True,
            )
            recent.clear()
            write_json(out, result)
    print(file=sys.stderr)


def compare(ours_path: Path, theirs_path: Path, margin_nats: float) -> int:
    """Print both results side by side; return 1 if ours is worse by more than the margin, or one is not complete."""
    ours, theirs = (json.loads(path.read_text()) for path in (ours_path, theirs_path))
    if not (ours["complete"] and theirs["complete"]) or ours["recipe"] != theirs["recipe"]:
        print("the results are not two complete runs of one recipe", file=sys.stderr)
        return 1
    print(f"{'validation, nats/char':24}{ours['side']:>10}{theirs['side']:>10}{'difference':>12}")
    difference = 0.0
    for step, our_nats in ours["validation_nats"].items():
        their_nats = theirs["validation_nats"][step]
        difference = our_nats - their_nats
        print(f"{'after step ' + step:24}{our_nats:10.4f}{their_nats:10.4f}{difference:+12.4f}")
    speeds = ours["tokens_per_second"], theirs["tokens_per_second"]
    print(f"{'training, tokens/s':24}{speeds[0]:10,}{speeds[1]:10,}{speeds[0] / speeds[1]:11.2f}x")
    verdict = "worse by more than" if difference > margin_nats else "within or better than"
    print(f"\n{ours['side']} is {verdict} the margin of {margin_nats} nats at the end")
    return int(difference > margin_nats)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", choices=SIDES, help="train this side")
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "tinyshakespeare" / "input.txt")
    parser.add_argument("--out", type=Path, help="JSON to write (default: in benchmarks/results)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--compare",
        nargs="*",
        type=Path,
        metavar="JSON",
        help="compare two results, ours first (default: those in benchmarks/results)",
    )
    parser.add_argument("--margin", type=float, default=0.02, help="nats by which ours may be worse")
    arguments = parser.parse_args()
    paths = {side: RESULTS / f"accuracy-tinyshakespeare-{side}.json" for side in SIDES}
    if arguments.compare is not None:
        if len(arguments.compare) not in (0, 2):
            parser.error("--compare takes two files or none")
        return compare(*(arguments.compare or paths.values()), arguments.margin)
    if arguments.side is None:
        parser.error("give --side or --compare")
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # read when NumPy is imported
        os.environ[name] = str(arguments.threads)
    recipe = Recipe(steps=arguments.steps, seed=arguments.seed)
    text = arguments.data.read_text(encoding="utf-8")
    run(arguments.side, recipe, text, arguments.threads, arguments.out or paths[arguments.side])
    return 0


if __name__ == "__main__":
    sys.exit(main())
