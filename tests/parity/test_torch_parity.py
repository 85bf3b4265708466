"""Elman against PyTorch on random configurations: outputs, states, all gradients, optimisers, whole trainings."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles import oracle

import elman
from elman import optim, sequences
from elman.params import Array, Params
from elman.trees import tree_map

torch = oracle("torch")

import make_torch_golden as golden  # noqa: E402  needs torch
from torch_cases import HERE, Case, close, compare, load_cases, network_params, our_name, run  # noqa: E402

# float32 is compared with float64, so its error is what rounding does over up to 3 layers of 60 steps.
TOLERANCES = {"float64": 1e-10, "float32": 1e-4}
SIZES = [1, 2, 3, 4, 5, 7, 8, 11, 13, 16, 17, 19, 23, 29, 31, 32, 37, 40]
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("RNN", {"activation": "tanh"}),
    ("RNN", {"activation": "relu"}),
    ("LSTM", {}),
    ("GRU", {}),
]
FORMULA_KINDS: list[tuple[str, dict[str, Any]]] = [
    ("RNN", {"activation": "sigmoid"}),
    ("GRU", {"reset_after": False}),
    ("GRU", {"reset_after": False, "padded_output": "hold"}),
    ("LSTM", {"padded_output": "hold"}),
]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def draw_case(
    kind: str, options: dict[str, Any], seed: int, compute: Callable[..., Any], *, most: int, shortest: int
) -> Case:
    """Draw a configuration of sizes up to `most` and inputs for it, and let PyTorch compute the results."""
    rng = np.random.default_rng([seed, len(kind), len(str(options))])
    sizes = [size for size in SIZES if size <= most]
    I, H, L, T, B = (
        *rng.choice(sizes, 2),
        rng.integers(1, 4),
        rng.integers(1, 61 if most > 10 else 13),
        rng.integers(1, 10),
    )
    bidirectional, bias, states, ragged = rng.random(4) < [0.5, 0.8, 0.5, 0.6]
    config = golden.make_config(kind, options, (int(I), int(H)), int(L), bool(bidirectional), bool(bias), bool(states))
    lengths = rng.integers(shortest, T + 1, B) if ragged else None
    scale = min(0.6, 0.9 / np.sqrt(H * (1 + bidirectional)))  # nothing explodes over 60 steps
    return Case(config, compute(config, golden.draw_inputs(rng, config, (int(B), int(T)), lengths, scale)))


# --------------------------------------------------------------------------------------------------------- networks


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize(("kind", "options"), KINDS, ids=["rnn-tanh", "rnn-relu", "lstm", "gru"])
def test_modules(kind: str, options: dict[str, Any], seed: int) -> None:
    case = draw_case(kind, options, seed, golden.module_case, most=40, shortest=1)
    compare(case, run(case, "float64"), TOLERANCES["float64"])
    results = run(case, "float32")
    if options.get("activation") == "relu":  # at its kink rounding decides whether a gradient passes
        results = {name: results[name] if name in ("y", "h_n") else a for name, a in case.arrays.items()}
    compare(case, results, TOLERANCES["float32"])


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("kind", "options"), FORMULA_KINDS, ids=["sigmoid", "gru-before", "gru-hold", "lstm-hold"])
def test_formulas(kind: str, options: dict[str, Any], seed: int) -> None:
    case = draw_case(kind, options, seed, golden.formula_case, most=8, shortest=0)
    compare(case, run(case, "float64"), TOLERANCES["float64"])
    compare(case, run(case, "float32"), TOLERANCES["float32"])


def test_sees_a_swap_of_gates_in_a_large_network() -> None:
    case = draw_case("LSTM", {}, 3, golden.module_case, most=40, shortest=1)
    params = network_params(case, "float64")
    i, f, _, _ = np.split(params["0.weight_hh" if not case.config["bidirectional"] else "0.forward.weight_hh"], 4)
    i[:], f[:] = f.copy(), i.copy()
    with pytest.raises(AssertionError, match="off by"):
        compare(case, run(case, "float64", params), TOLERANCES["float32"])


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_token_input_is_one_hot_input(kind: str) -> None:
    rng = np.random.default_rng(11)
    V, H, B, T = 13, 5, 4, 9
    ids = rng.integers(0, V, (B, T))
    model = getattr(elman, kind)(V, H, token_input=True).init(rng, dtype=np.float64)
    model.params.flat[:] = rng.normal(0, 0.5, model.params.flat.size)
    d_y = rng.normal(size=(B, T, H))
    y, _, tape = model.forward(ids)
    grads = model.backward(tape, d_y).grads
    module = getattr(torch.nn, kind)(V, H, batch_first=True, dtype=torch.float64)
    for name, parameter in module.named_parameters():
        parameter.data.copy_(torch.tensor(model.params[name.removesuffix("_l0")]))
    theirs, _ = module(torch.nn.functional.one_hot(torch.tensor(ids), V).double())
    (theirs * torch.tensor(d_y)).sum().backward()
    close("y", y, theirs.detach().numpy(), 1e-10)
    for name, parameter in module.named_parameters():
        close(name, grads[name.removesuffix("_l0")], parameter.grad.numpy(), 1e-10)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_learned_initial_state_is_a_parameter(kind: str, bidirectional: bool) -> None:
    rng = np.random.default_rng(12)
    I, H, B, T = 3, 4, 5, 6
    layer = getattr(elman, kind)(I, H, learned_initial_state=True)
    model = (elman.Bidirectional(layer) if bidirectional else layer).init(rng, dtype=np.float64)
    model.params.flat[:] = rng.normal(0, 0.5, model.params.flat.size)
    x, d_y, lengths = rng.normal(size=(B, T, I)), rng.normal(size=(B, T, H * (1 + bidirectional))), [6, 2, 4, 1, 6]
    y, _, tape = model.forward(x, lengths=lengths)
    grads = model.backward(tape, d_y).grads
    module = getattr(torch.nn, kind)(I, H, batch_first=True, bidirectional=bidirectional, dtype=torch.float64)
    fields = ["h", "c"] if kind == "LSTM" else ["h"]
    prefixes = ["forward.", "reverse."] if bidirectional else [""]
    starts = {f"{p}initial_{f}": golden.leaf(model.params[f"{p}initial_{f}"]) for f in fields for p in prefixes}
    state = [torch.stack([starts[f"{p}initial_{f}"].expand(B, H) for p in prefixes]) for f in fields]
    names = {name: our_name(name, bidirectional).removeprefix("0.") for name, _ in module.named_parameters()}
    for name, parameter in module.named_parameters():
        parameter.data.copy_(torch.tensor(model.params[names[name]]))
    packed = torch.nn.utils.rnn.pack_padded_sequence(torch.tensor(x), lengths, batch_first=True, enforce_sorted=False)
    theirs, _ = module(packed, tuple(state) if len(state) == 2 else state[0])
    theirs, _ = torch.nn.utils.rnn.pad_packed_sequence(theirs, batch_first=True)
    (theirs * torch.tensor(d_y)).sum().backward()
    close("y", y, theirs.detach().numpy(), 1e-10)
    their_grads = {names[name]: p.grad for name, p in module.named_parameters()} | {
        n: s.grad for n, s in starts.items()
    }
    assert their_grads.keys() == grads.keys()
    for name, gradient in their_grads.items():
        close(name, grads[name], gradient.numpy(), 1e-10)


# -------------------------------------------------------------------------------------------------------- optimisers


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("ours", "options", "theirs", "their_options"), golden.OPTIMIZERS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_optimizers_over_200_updates(
    ours: str, options: dict[str, Any], theirs: str, their_options: dict[str, Any], dtype: str
) -> None:
    rng = np.random.default_rng(13)
    N = 101
    w = Params({"w": (N,)}, rng.normal(size=N).astype(dtype))
    weight = golden.leaf(w.flat.astype(np.float64))
    optimizer = getattr(optim, ours)(**options)
    their_optimizer = getattr(torch.optim, theirs)([weight], **their_options)
    state = optimizer.init(w)
    for _ in range(200):
        gradient = rng.normal(0.3, 1, N).astype(dtype)
        state = optimizer.update(w, Params(w.shapes, gradient), state)
        weight.grad = torch.tensor(gradient.astype(np.float64))
        their_optimizer.step()
    close("w", w.flat, weight.detach().numpy(), {"float64": 1e-10, "float32": 3e-5}[dtype])


# --------------------------------------------------------------------------------------------------------- trainings

STEPS, V, E, H, B, T = 50, 19, 6, 11, 4, 10
# kind, optimiser, the same of PyTorch, the rate from which half a cosine falls to 0, the limit of the gradient's norm
TRAININGS: dict[str, tuple[str, Callable[..., Any], Callable[..., Any], float, float]] = {
    "lstm-adam": ("LSTM", optim.Adam, torch.optim.Adam, 0.05, 0.5),
    "lstm-sgd": (
        "LSTM",
        functools.partial(optim.SGD, momentum=0.9),
        functools.partial(torch.optim.SGD, momentum=0.9),
        0.5,
        0.3,
    ),
    "gru-adamw": ("GRU", optim.AdamW, torch.optim.AdamW, 0.05, 0.5),
    "rnn-rmsprop": ("RNN", optim.RMSprop, torch.optim.RMSprop, 0.005, 1.0),
}


def text(n: int = 1500) -> Array:
    """Return tokens with something to learn: each follows from the one before, most of the time."""
    rng = np.random.default_rng(14)
    follow = rng.permutation(V)
    ids = [0]
    for draw in rng.random(n):
        ids.append(int(follow[ids[-1]] if draw < 0.8 else rng.integers(V)))
    return np.array(ids)


def torch_losses(
    kind: str, start: Params, optimizer: Callable[..., Any], rate: float, max_norm: float, lengths: Any
) -> list[float]:
    """Train the same network in PyTorch from the same weights, and return the losses."""
    modules = torch.nn.ModuleList(
        [torch.nn.Embedding(V, E), getattr(torch.nn, kind)(E, H, batch_first=True), torch.nn.Linear(H, V)]
    ).double()
    for name, parameter in modules.named_parameters():
        parameter.data.copy_(torch.tensor(start[name.removesuffix("_l0")]))
    embedding, recurrent, linear = modules
    updates = optimizer(modules.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(updates, T_max=STEPS)
    found, state = [], None
    for _, (x, targets, _, reset) in zip(range(STEPS), sequences.TokenWindows(text(), B, T), strict=False):
        x, targets = torch.tensor(x), torch.tensor(targets)
        state = None if reset else tree_map(lambda s: s.detach(), state)
        inputs = embedding(x)
        if lengths is not None:
            inputs = torch.nn.utils.rnn.pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
            targets = torch.where(torch.arange(T) < torch.tensor(lengths)[:, None], targets, -100)
        y, state = recurrent(inputs, state)
        if lengths is not None:
            y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=T)
        loss = torch.nn.functional.cross_entropy(linear(y).flatten(0, 1), targets.flatten())
        updates.zero_grad()
        loss.backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in modules.parameters()])
        if norm > max_norm:  # clip_grad_norm_ divides by norm + 1e-6
            torch._foreach_mul_([p.grad for p in modules.parameters()], max_norm / norm)
        updates.step()
        schedule.step()
        found.append(loss.item())
    return found


@pytest.mark.parametrize("lengths", [None, [7, 10, 1, 4]], ids=["full", "ragged"])
@pytest.mark.parametrize("name", TRAININGS)
def test_trainings_have_the_same_losses(name: str, lengths: Any) -> None:
    kind, optimizer, their_optimizer, rate, max_norm = TRAININGS[name]
    layers = elman.Embedding(V, E), getattr(elman, kind)(E, H), elman.Linear(H, V)
    model = elman.Sequential(*layers).init(seed=15, dtype=np.float64)
    theirs = torch_losses(kind, model.params.copy(), their_optimizer, rate, max_norm, lengths)
    batches = [batch._replace(lengths=lengths) for batch in sequences.TokenWindows(text(), B, T, n_epochs=2)]
    schedule = optim.Cosine(rate, total_steps=STEPS)
    records = list(elman.train(model, batches, optimizer=optimizer(schedule), clip_norm=max_norm, n_steps=STEPS))
    assert sum(batch.reset for batch in batches[:STEPS]) == 2  # once on the way
    assert 0 < sum(record.norm > max_norm for record in records) < STEPS
    assert records[-1].loss < records[0].loss - 0.2
    close("loss", [record.loss for record in records], theirs, 1e-8)


# ------------------------------------------------------------------------------------------------------ golden files


def test_the_golden_files_are_what_the_generator_makes(tmp_path: Path) -> None:
    golden.main(tmp_path)
    made = sorted(path.name for path in tmp_path.iterdir())
    ours = "tests/golden/make_torch_golden.py"
    assert made == sorted(path.name for path in HERE.glob("*.npz") if about(path)["made_by"] == ours)
    for file in made:
        kept, fresh = load_cases(file), load_cases(str(tmp_path / file))
        assert {name: case.config for name, case in kept.items()} == {name: case.config for name, case in fresh.items()}
        for name, case in kept.items():
            assert case.arrays.keys() == fresh[name].arrays.keys()
            for key, array in case.arrays.items():
                close(f"{file}/{name}/{key}", fresh[name].arrays[key], array, 1e-12)


def about(path: Path) -> dict[str, Any]:
    """Return what a golden file says about its making."""
    with np.load(path, allow_pickle=False) as opened:
        return json.loads(str(opened["about"]))
