"""Japanese to English on the 10,000 pairs of nmt-tips: one model, beside the BLEU that its tutorial publishes.

    python benchmarks/accuracy/nmt_tips.py

It writes benchmarks/results/accuracy-nmt_tips.json, or --out. The test set is tokenised and lower-cased, and so are the
translations: BLEU is that of these tokens (sacrebleu's "none", in its signature), as in the tutorial. Everything is
learned from the 10,000 training pairs; the 500 pairs of dev choose the weights and the length norm.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from benchmarks.records import cpu_name, write_json  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
PUBLISHED = {  # of the tutorial, on the same test set
    "encoder-decoder": 1.76,
    "with attention": 2.17,
    "with unknown words replaced": 3.32,
    "with a lexicon": 8.83,
    "with 200 units": 10.21,
    "ensemble": 10.99,
}


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is trained."""

    steps: int = 1875
    batch_size: int = 32
    units: int = 192
    dropout: float = 0.3
    learning_rate: float = 2e-3
    label_smoothing: float = 0.1
    source_min_count: int = 1
    target_min_count: int = 2
    beam: int = 5
    seed: int = 0
    validations: int = 10


def run(plan: Plan, threads: int, out: Path, save: Path | None) -> None:
    """Train, choose, translate, and write what happened, as it happens."""
    import numpy

    import elman
    from elman import datasets, kernels
    from elman.tasks.translate import LengthNorm, Recipe, Tokens, Translator, bleu

    pairs = {part: datasets.sentence_pairs(f"nmt_tips-{part}") for part in ("train", "dev", "test")}
    source = Tokens.learn([a for a, _ in pairs["train"]], "space", min_count=plan.source_min_count)
    target = Tokens.learn([b for _, b in pairs["train"]], "space", min_count=plan.target_min_count)
    translator = Translator.build(
        source,
        target,
        embedding_size=plan.units,
        hidden_size=plan.units,
        dropout=plan.dropout,
        shortcut=True,
        seed=plan.seed,
    )
    ids = {part: translator.encode(of_part) for part, of_part in pairs.items()}
    start, used = time.perf_counter(), time.process_time()
    translator.learn_lexicon(ids["train"])
    recipe = Recipe(
        n_steps=plan.steps,
        batch_size=plan.batch_size,
        learning_rate=plan.learning_rate,
        label_smoothing=plan.label_smoothing,
        seed=plan.seed,
    )
    result: dict[str, Any] = {
        "benchmark": "nmt_tips",
        "plan": dataclasses.asdict(plan),
        "pairs": {part: len(of_part) for part, of_part in pairs.items()},
        "vocabulary": [len(source), len(target)],
        "parameters": translator.model.params.flat.size,
        "versions": {"python": platform.python_version(), "elman": elman.__version__, "numpy": numpy.__version__},
        "kernels": kernels.active().__name__.rpartition(".")[2],
        "cpu": cpu_name(),
        "threads": threads,
        "published": PUBLISHED,
        "validation_nats": {},
        "complete": False,
    }
    best, weights = math.inf, None
    every = max(1, plan.steps // plan.validations)
    for record in translator.training(ids["train"], recipe):
        if record.step % every == 0 or record.step == plan.steps:
            nats = result["validation_nats"][str(record.step)] = translator.evaluate(ids["dev"])
            if nats < best:
                best, weights = nats, translator.model.params.flat.copy()
            result["training_minutes"] = round((time.perf_counter() - start) / 60, 2)
            result["processor_minutes"] = round((time.process_time() - used) / 60, 2)
            print(
                f"step {record.step}/{plan.steps}: {nats:.4f} nats, {result['processor_minutes']} min of cpu",
                flush=True,
            )
            write_json(out, result)
    translator.model.params.flat[:] = weights
    if save is not None:
        translator.save(save)

    def measure(part: str, norm: LengthNorm) -> tuple[Any, list[str]]:
        lines, references = zip(*pairs[part], strict=True)
        texts = [found[0].text for found in translator.translate(lines, beam=plan.beam, norm=norm)]
        return bleu(texts, references, tokenize="none"), texts

    alphas = {alpha: measure("dev", LengthNorm("mean", alpha))[0].bleu for alpha in (0.8, 0.9, 1.0, 1.1)}
    alpha = max(alphas, key=alphas.get)
    score, texts = measure("test", LengthNorm("mean", alpha))
    result |= {
        "length_norm": f"mean, alpha {alpha}",
        "dev_bleu": {str(a): b for a, b in alphas.items()},
        "test_bleu": score.bleu,
        "signature": score.signature,
        "precisions": score.precisions,
        "brevity_penalty": score.brevity_penalty,
        "samples": [[*pair, text] for pair, text in zip(pairs["test"][:20], texts[:20], strict=True)],
        "complete": True,
    }
    write_json(out, result)
    print(f"test: BLEU {score.bleu:.2f} (published: {PUBLISHED['with 200 units']}), {score.signature}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in dataclasses.fields(Plan):
        option = "--" + field.name.replace("_", "-")
        parser.add_argument(option, type=type(field.default), default=field.default)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=RESULTS / "accuracy-nmt_tips.json", help="JSON to write")
    parser.add_argument("--save", type=Path, help="also write the model")
    options = vars(parser.parse_args())
    threads, out, save = (options.pop(name) for name in ("threads", "out", "save"))
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "ELMAN_NUM_THREADS"):
        os.environ[name] = str(threads)  # read when NumPy is imported
    run(Plan(**options), threads, out, save)
    return 0


if __name__ == "__main__":
    sys.exit(main())
