"""Translators of one size, recipe and split, trained by Elman and by PyTorch, and the comparison.

    python benchmarks/accuracy/translation.py tatoeba --side elman             # seeds 0, 1 and 2
    python benchmarks/accuracy/translation.py tatoeba --side torch
    python benchmarks/accuracy/translation.py tatoeba --compare
    python benchmarks/accuracy/translation.py tatoeba --speed       # both sides by turns: training and search

Tasks: tatoeba (English to Mandarin), tanaka (English to Japanese), both by characters on the target's side. Results are
benchmarks/results/accuracy-translation-TASK-SIDE.json, SIDE being elman, torch or speed, or --out; what each seed gave
is under its number.

Both sides get the same tokens, lexicon, batches in the same order, sizes, and Adam with the same schedule;
each draws its own default initial values. The torch side searches as tutorials do: sentence by sentence, its beam being
the batch, with the same beam, length norm and rule to stop. Both write the best weights by loss on the held-out part.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from benchmarks.records import cpu_name, write_json  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
TASKS = ("tatoeba", "tanaka")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What both sides do."""

    task: str
    steps: int = 2000
    batch_size: int = 64
    embedding_size: int = 128
    hidden_size: int = 128
    dropout: float = 0.3
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    clip_norm: float = 1.0
    label_smoothing: float = 0.1
    beam: int = 5
    lexicon: bool = True
    seed: int = 0
    validations: int = 10


def load(plan: Plan) -> dict[str, list[tuple[str, str]]]:
    """Return the pairs of each part."""
    from elman import datasets
    from elman.tasks.translate import split_pairs

    if plan.task == "tatoeba":
        train, dev, test = split_pairs(datasets.sentence_pairs("tatoeba"), 0.02, 0.03)
    else:
        parts = (datasets.sentence_pairs(f"tanaka-{part}") for part in ("train", "dev", "test"))
        train, dev, test = ([(a, b.replace(" ", "")) for a, b in part] for part in parts)  # words are not given away
    return {"train": train, "dev": dev, "test": test}


class ElmanSide:
    """The plan in Elman."""

    def __init__(self, plan: Plan, translator: Any, train: list[Any], threads: int) -> None:
        import numpy

        import elman
        from elman.tasks.translate import Recipe

        del threads  # NumPy's BLAS read the environment, see main
        names = ("batch_size", "learning_rate", "warmup_steps", "clip_norm", "label_smoothing", "seed")
        recipe = Recipe(n_steps=plan.steps, **{name: getattr(plan, name) for name in names})
        self.translator = translator
        self.plan = plan
        self.training = translator.training(train, recipe)
        self.best: Any = None
        self.parameters = translator.model.params.flat.size
        self.versions = {"elman": elman.__version__, "numpy": numpy.__version__}

    def train(self) -> Iterator[tuple[float, int, float]]:  # noqa: D102
        for record in self.training:
            yield record.loss, record.tokens, record.seconds

    def validate(self, pairs: list[Any]) -> float:  # noqa: D102
        return self.translator.evaluate(pairs)

    def remember(self) -> None:  # noqa: D102
        self.best = self.translator.model.params.flat.copy()

    def recall(self) -> None:  # noqa: D102
        self.translator.model.params.flat[:] = self.best

    def translate(self, lines: list[str]) -> list[str]:  # noqa: D102
        return [found[0].text for found in self.translator.translate(lines, beam=self.plan.beam)]


class TorchSide:
    """The plan in plain PyTorch, with its default initial values."""

    def __init__(self, plan: Plan, translator: Any, train: list[Any], threads: int) -> None:
        import torch

        from elman.tasks.translate import PairBuckets

        torch.set_num_threads(threads)
        torch.manual_seed(plan.seed)
        self.plan, self.tokens = plan, translator
        ratios = sorted((len(b) + 1) / max(len(a), 1) for a, b in train)
        self.max_ratio = min(max(1.0, ratios[int(0.995 * (len(ratios) - 1))]), 100.0)
        self.batches = PairBuckets(train, plan.batch_size, seed=plan.seed)
        self.net = make_torch(plan, len(translator.source), len(translator.target), translator.lexicon)
        self.parameters = sum(p.numel() for p in self.net.parameters())
        self.versions = {"torch": torch.__version__}
        self.best: Any = None
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=plan.learning_rate)

        def rate(step: int) -> float:
            if step < plan.warmup_steps:
                return (step + 1) / plan.warmup_steps
            done = (step - plan.warmup_steps) / max(plan.steps - plan.warmup_steps, 1)
            return (1 + math.cos(math.pi * min(done, 1.0))) / 2

        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, rate)

    def _loss(self, batch: Any, smoothing: float) -> tuple[Any, int]:
        import torch

        pair, targets, lengths = batch.x, torch.from_numpy(batch.targets).long(), torch.as_tensor(batch.lengths)
        source, target = torch.from_numpy(pair.source).long(), torch.from_numpy(pair.target).long()
        y = self.net(source, torch.as_tensor(pair.source_lengths), target)
        valid = torch.arange(target.shape[1]) < lengths[:, None]
        loss = torch.nn.functional.cross_entropy(y[valid], targets[valid], label_smoothing=smoothing)
        return loss, int(valid.sum())

    def train(self) -> Iterator[tuple[float, int, float]]:  # noqa: D102
        import torch

        self.net.train()
        for step in range(self.plan.steps):
            start = time.perf_counter()
            loss, tokens = self._loss(self.batches.batch(step), self.plan.label_smoothing)
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.plan.clip_norm)
            self.optimizer.step()
            self.schedule.step()
            yield loss.item(), tokens, time.perf_counter() - start

    def validate(self, pairs: list[Any]) -> float:  # noqa: D102
        import torch

        from elman.tasks.translate import PairBuckets

        self.net.eval()
        total, terms = 0.0, 0
        with torch.no_grad():
            for batch in PairBuckets(pairs, 64, n_epochs=1):
                loss, tokens = self._loss(batch, 0.0)
                total, terms = total + loss.item() * tokens, terms + tokens
        self.net.train()
        return total / terms

    def remember(self) -> None:  # noqa: D102
        self.best = {name: value.clone() for name, value in self.net.state_dict().items()}

    def recall(self) -> None:  # noqa: D102
        self.net.load_state_dict(self.best)

    def translate(self, lines: list[str]) -> list[str]:  # noqa: D102
        import torch

        self.net.eval()
        with torch.no_grad():
            return [self._search(line) for line in lines]

    def _search(self, line: str) -> str:
        """Beam search for one sentence, as a loop over time with the beam as the batch."""
        import torch

        ids, pieces = self.tokens.source.split(line)
        if not ids:
            return ""
        read, state = self.net.read(torch.tensor([ids]), torch.tensor([len(ids)]))
        limit = 10 + math.ceil(self.max_ratio * len(ids))
        last, scores = torch.tensor([1]), torch.zeros(1)
        texts: list[tuple[list[int], list[int]]] = [([], [])]
        finished: list[tuple[float, list[int], list[int]]] = []
        for step in range(1, limit + 1):
            b = len(texts)
            logits, state, weights = self.net.step(last, state, [part.expand(b, -1, -1) for part in read])
            log_p = torch.log_softmax(logits, -1) + scores[:, None]
            log_p[:, 1] = -math.inf  # the begin of a sentence
            if step == limit:
                end = log_p[:, 2].clone()
                log_p[:] = -math.inf
                log_p[:, 2] = end
            best, at = log_p.flatten().topk(min(self.plan.beam, log_p.numel()))
            parents, tokens = (at // log_p.shape[1]).tolist(), (at % log_p.shape[1]).tolist()
            looked = weights.argmax(-1).tolist()
            grown, alive = [], []
            for k, (parent, token) in enumerate(zip(parents, tokens, strict=True)):
                if best[k] == -math.inf:
                    continue
                text = (texts[parent][0] + [token], texts[parent][1] + [looked[parent]])
                if token == 2:
                    finished.append((best[k].item() / step, *text))
                else:
                    grown.append(text)
                    alive.append(k)
            if not alive or (finished and best[alive].max().item() / limit <= max(finished)[0]):
                break
            keep = torch.tensor(alive)
            texts, scores, last = grown, best[keep], torch.tensor([tokens[k] for k in alive])
            rows = torch.tensor([parents[k] for k in alive])
            state = tuple(s[:, rows] for s in state)
        _, found, looked = max(finished)
        return self.tokens.target.decode(found, [pieces[k] for k in looked])


def make_torch(plan: Plan, n_source: int, n_target: int, lexicon: Any) -> Any:
    """Return the same network in PyTorch."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            E, H = plan.embedding_size, plan.hidden_size
            self.source, self.target = nn.Embedding(n_source, E), nn.Embedding(n_target, E)
            self.encoder = nn.LSTM(E, H // 2, bidirectional=True, batch_first=True)
            self.decoder = nn.LSTM(E, H, batch_first=True)
            self.bridge = nn.Linear(2 * H, 2 * H)
            self.key = nn.Linear(H, H, bias=False)
            self.combine = nn.Linear(2 * H, H)
            self.output = nn.Linear(H, n_target)
            self.drop = nn.Dropout(plan.dropout)
            if lexicon is not None:
                self.ids, self.p = torch.tensor(lexicon.ids).long(), torch.tensor(lexicon.p)
                self.background = torch.tensor(lexicon.background)

        def read(self, source: Any, lengths: Any) -> tuple[Any, Any, Any]:
            x = self.drop(self.source(source))
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            memory, _ = nn.utils.rnn.pad_packed_sequence(self.encoder(packed)[0], batch_first=True)
            memory = self.drop(memory + x)
            ends = torch.cat([memory[:, 0], memory[torch.arange(len(source)), lengths - 1]], -1)
            h, c = torch.tanh(self.bridge(ends)).chunk(2, -1)
            read = (memory, self.key(memory))
            if lexicon is not None:
                read = (*read, self.ids[source], self.p[source])
            return read, (h[None].contiguous(), c[None].contiguous())

        def attend(self, q: Any, read: Any, hidden: Any = None) -> tuple[Any, Any]:
            memory, keys, *words = read
            scores = torch.bmm(q, keys.transpose(1, 2)) / math.sqrt(q.shape[-1])
            if hidden is not None:
                scores = scores.masked_fill(hidden[:, None], -math.inf)
            weights = torch.softmax(scores, -1)
            mixed = torch.tanh(self.combine(torch.cat([torch.bmm(weights, memory), q], -1)))
            y = self.output(self.drop(mixed))
            if words:  # (B, T, k): scattered, which is faster than a product with a table of all words
                ids, p = words[0].flatten(1)[:, None].expand(-1, q.shape[1], -1), words[1]
                known = torch.zeros_like(y).scatter_add(2, ids, (weights[..., None] * p[:, None]).flatten(2))
                y = y + torch.log(0.9 * known + 0.1 * self.background)
            return y, weights

        def forward(self, source: Any, lengths: Any, target: Any) -> Any:
            read, state = self.read(source, lengths)
            q, _ = self.decoder(self.drop(self.target(target)), state)
            hidden = torch.arange(read[0].shape[1]) >= lengths[:, None]
            return self.attend(q, read, hidden)[0]

        def step(self, last: Any, state: Any, read: Any) -> tuple[Any, Any, Any]:
            q, state = self.decoder(self.target(last[:, None]), state)
            y, weights = self.attend(q, read)
            return y[:, 0], state, weights[:, 0]

    return Net()


SIDES = {"elman": ElmanSide, "torch": TorchSide}


def prepare(plan: Plan, name: str, threads: int) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Return a side, its pairs as text, and as ids."""
    from elman.tasks.translate import Tokens, Translator

    pairs = load(plan)
    source = Tokens.learn([a for a, _ in pairs["train"]], "word", min_count=2, lower=True)
    target = Tokens.learn([b for _, b in pairs["train"]], "char", min_count=2)
    translator = Translator.build(
        source,
        target,
        embedding_size=plan.embedding_size,
        hidden_size=plan.hidden_size,
        dropout=plan.dropout,
        shortcut=True,
        seed=plan.seed,
    )
    if plan.lexicon:
        translator.learn_lexicon(translator.encode(pairs["train"]))
    ids = {part: translator.encode(of_part) for part, of_part in pairs.items()}
    return SIDES[name](plan, translator, ids["train"], threads), pairs, ids


def run(plan: Plan, name: str, threads: int, out: Path, save: Path | None) -> None:
    """Train one side from one seed, translate, and write what happened, as it happens."""
    from elman.tasks.translate import bleu, chrf

    side, pairs, ids = prepare(plan, name, threads)
    result: dict[str, Any] = {
        "plan": dataclasses.asdict(plan),
        "pairs": {part: len(of_part) for part, of_part in pairs.items()},
        "vocabulary": [len(side_tokens) for side_tokens in tokens_of(side)],
        "parameters": side.parameters,
        "versions": {"python": platform.python_version(), **side.versions},
        "cpu": cpu_name(),
        "threads": threads,
        "complete": False,
        "training_seconds": 0.0,
        "validation_nats": {},
    }
    every, best, seconds = max(1, plan.steps // plan.validations), math.inf, 0.0
    for step, (loss, _, duration) in enumerate(side.train(), 1):
        seconds += duration
        if step % every == 0 or step == plan.steps:
            nats = result["validation_nats"][str(step)] = side.validate(ids["dev"])
            result["training_seconds"] = round(seconds, 1)
            if nats < best:
                best = nats
                side.remember()
            print(
                f"{name} step {step}/{plan.steps}: loss {loss:.3f}, validation {nats:.4f} nats, {seconds:.0f} s",
                flush=True,
            )
            record(out, name, plan.seed, result)
    side.recall()
    if save is not None:
        side.translator.save(save)
    for part in ("dev", "test"):
        start = time.perf_counter()
        texts = side.translate([a for a, _ in pairs[part]])
        duration = time.perf_counter() - start
        references = [b for _, b in pairs[part]]
        score = bleu(texts, references, tokenize="char")
        result[part] = {
            "bleu": score.bleu,
            "signature": score.signature,
            "precisions": score.precisions,
            "brevity_penalty": score.brevity_penalty,
            "chrf": chrf(texts, references),
            "nats_per_token": side.validate(ids[part]),
            "search_seconds": round(duration, 2),
            "samples": [[*pair, text] for pair, text in zip(pairs[part][:20], texts[:20], strict=True)],
        }
        print(f"{name} {part}: BLEU {score.bleu:.2f} {score.signature}", flush=True)
    if name == "elman":
        result["attention"] = looked(side.translator, [a for a, _ in pairs["dev"]][:6])
    result["complete"] = True
    record(out, name, plan.seed, result)


def record(out: Path, side: str, seed: int, result: dict[str, Any]) -> None:
    """Put what a seed gave into the file, whole or not at all; other seeds of the same plan stay."""
    seeds = json.loads(out.read_text(encoding="utf-8"))["seeds"] if out.exists() else {}
    kept = {key: old for key, old in seeds.items() if {**old["plan"], "seed": seed} == result["plan"]}
    kept[str(seed)] = result
    write_json(
        out, {"benchmark": "translation", "side": side, "seeds": {key: kept[key] for key in sorted(kept, key=int)}}
    )


def read(path: Path) -> dict[str, dict[str, Any]]:
    """Return what each seed gave; ValueError where one is not complete."""
    seeds: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["seeds"]
    if not seeds or not all(result["complete"] for result in seeds.values()):
        raise ValueError(f"{path}: not all seeds are complete")
    return seeds


def means(seeds: dict[str, dict[str, Any]], part: str = "test") -> dict[str, float]:
    """Return the means over all seeds of what a part of the pairs gave."""
    return {what: statistics.mean(s[part][what] for s in seeds.values()) for what in ("bleu", "chrf", "nats_per_token")}


def looked(translator: Any, lines: list[str]) -> list[dict[str, Any]]:
    """Return where attention looked in the translations of some lines, for a picture."""
    found = [best for best, *_ in translator.translate(lines, attention=True)]
    return [
        {"source": f.source_pieces, "target": f.target_pieces, "weights": f.attention.round(3).tolist()} for f in found
    ]


def tokens_of(side: Any) -> tuple[Any, Any]:
    """Return the tokens of both languages."""
    translator = side.translator if isinstance(side, ElmanSide) else side.tokens
    return translator.source, translator.target


def speed(plan: Plan, threads: int, out: Path, rounds: int, steps: int, sentences: int, weights: Path | None) -> None:
    """Measure both sides by turns, with the lexicon and without one, and write what was found."""
    result: dict[str, Any] = {
        "benchmark": "translation speed",
        "plan": dataclasses.asdict(plan),
        "versions": {"python": platform.python_version()},
        "kernels": kernels_name(),
        "cpu": cpu_name(),
        "threads": threads,
        "sentences": sentences,
        "trained_weights": weights is not None,
    }
    for lexicon in (True, False):
        name = "lexicon" if lexicon else "no lexicon"
        found = by_turns(dataclasses.replace(plan, lexicon=lexicon), threads, rounds, steps, sentences, weights)
        result["versions"] |= found.pop("versions")
        result[name] = found
        for what in ("training_tokens_per_second", "sentences_per_second"):
            ours, theirs = (statistics.median(found[what][side]) for side in SIDES)
            found[f"{what}_ratio"] = round(ours / theirs, 3)
            print(f"{name}, {what}: {ours:,.1f} and {theirs:,.1f}, {ours / theirs:.2f} times", flush=True)
    write_json(out, result)


def by_turns(plan: Plan, threads: int, rounds: int, steps: int, sentences: int, weights: Path | None) -> dict[str, Any]:
    """Measure both sides by turns: training steps on the same batches, and search on the same sentences and weights."""
    sides: dict[str, Any] = {}
    pairs: dict[str, Any] = {}
    for name in SIDES:
        sides[name], pairs, _ = prepare(plan, name, threads)
    if weights is not None:
        share_weights(sides["elman"], sides["torch"], weights)
    lines = [a for a, _ in pairs["test"]][:sentences]
    trained: dict[str, list[float]] = {name: [] for name in SIDES}
    searched: dict[str, list[float]] = {name: [] for name in SIDES}
    agree = 0
    for _ in range(rounds):
        texts = {}
        for name, side in sides.items():
            start = time.perf_counter()
            texts[name] = side.translate(lines)
            searched[name].append(len(lines) / (time.perf_counter() - start))
        agree = sum(a == b for a, b in zip(*texts.values(), strict=True))
    walks = {name: side.train() for name, side in sides.items()}
    for walk in walks.values():  # warm
        for _ in range(3):
            next(walk)
    for _ in range(rounds):
        for name, walk in walks.items():
            done = [next(walk) for _ in range(steps)]
            trained[name].append(sum(tokens for _, tokens, _ in done) / sum(seconds for _, _, seconds in done))
    return {
        "versions": {key: value for side in sides.values() for key, value in side.versions.items()},
        "same_translations": agree,
        "training_tokens_per_second": {name: [round(x) for x in values] for name, values in trained.items()},
        "sentences_per_second": {name: [round(x, 2) for x in values] for name, values in searched.items()},
    }


def share_weights(ours: ElmanSide, theirs: TorchSide, path: Path) -> None:
    """Give both sides the weights of a file, so that they search for the same translations."""
    import torch

    import elman

    params = elman.load(path).params  # the lexicon is counted anew, from the same pairs
    ours.translator.model.params.flat[:] = params.flat
    theirs.max_ratio = ours.translator.max_ratio

    def cell(where: str, layer: int, suffix: str = "") -> dict[str, Any]:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        return {f"{name}_l{layer}{suffix}": params[f"{where}.{name}"] for name in names}

    values = {
        "source.weight": params["encoder.0.weight"],
        "target.weight": params["decoder.0.weight"],
        **{f"encoder.{k}": v for k, v in cell("encoder.2.forward", 0).items()},
        **{f"encoder.{k}": v for k, v in cell("encoder.2.reverse", 0, "_reverse").items()},
        **{f"decoder.{k}": v for k, v in cell("decoder.2", 0).items()},
        "bridge.weight": params["bridge.weight"],
        "bridge.bias": params["bridge.bias"],
        "key.weight": params["attention.weight_key"],
        "combine.weight": torch.cat(
            [torch.tensor(params["attention.weight_context"]), torch.tensor(params["attention.weight_output"])], 1
        ),
        "combine.bias": params["attention.bias"],
        "output.weight": params["output.1.weight"],
        "output.bias": params["output.1.bias"],
    }
    theirs.net.load_state_dict({name: torch.as_tensor(value).clone() for name, value in values.items()})


def kernels_name() -> str:
    """Return which kernels compute."""
    from elman import kernels

    return kernels.active().__name__.rpartition(".")[2]


def compare(paths: list[Path], margin: float) -> int:
    """Print both results side by side; return 1 if ours is worse on the test part by more than the margin in BLEU."""
    seeds = [read(path) for path in paths]
    plans = [{seed: result["plan"] for seed, result in of_side.items()} for of_side in seeds]
    if plans[0] != plans[1]:
        print("the results are not runs of the same plans", file=sys.stderr)
        return 1
    print(f"{'mean of ' + str(len(plans[0])) + ' seeds':24}" + "".join(f"{name:>10}" for name in SIDES))
    for part in ("dev", "test"):
        ours, theirs = (means(of_side, part) for of_side in seeds)
        for what in ours:
            print(f"{part + ' ' + what:24}{ours[what]:10.3f}{theirs[what]:10.3f}")
    for seed in seeds[0]:
        found = (of_side[seed]["test"]["bleu"] for of_side in seeds)
        print(f"{'test bleu, seed ' + seed:24}" + "".join(f"{value:10.3f}" for value in found))
    print(next(iter(seeds[0].values()))["test"]["signature"])
    return int(ours["bleu"] < theirs["bleu"] - margin)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--side", choices=SIDES, help="train this side")
    parser.add_argument("--speed", action="store_true", help="measure both sides by turns")
    parser.add_argument("--compare", action="store_true", help="compare two results")
    parser.add_argument("--steps", type=int, default=Plan.steps)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, help="JSON to write (default: in benchmarks/results)")
    parser.add_argument("--save", type=Path, help="with --side elman: also write the model of the last seed")
    parser.add_argument("--weights", type=Path, help="with --speed: a model of --save that both sides search with")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sentences", type=int, default=128)
    parser.add_argument("--margin", type=float, default=0.0, help="BLEU by which ours may be worse")
    arguments = parser.parse_args()
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "ELMAN_NUM_THREADS"):
        os.environ[name] = str(arguments.threads)  # read when NumPy is imported
    plan = Plan(arguments.task, steps=arguments.steps, seed=arguments.seeds[0])
    paths = [RESULTS / f"accuracy-translation-{plan.task}-{side}.json" for side in SIDES]
    if arguments.compare:
        return compare(paths, arguments.margin)
    if arguments.speed:
        out = arguments.out or RESULTS / f"accuracy-translation-{plan.task}-speed.json"
        speed(plan, arguments.threads, out, arguments.rounds, 20, arguments.sentences, arguments.weights)
        return 0
    if arguments.side is None:
        parser.error("give --side, --speed or --compare")
    if arguments.save is not None and arguments.side != "elman":
        parser.error("--save goes with --side elman")
    out = arguments.out or paths[list(SIDES).index(arguments.side)]
    for seed in arguments.seeds:
        run(dataclasses.replace(plan, seed=seed), arguments.side, arguments.threads, out, arguments.save)
    return 0


if __name__ == "__main__":
    sys.exit(main())
