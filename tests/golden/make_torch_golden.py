"""Makes the golden files beside it: inputs, outputs and gradients, computed by PyTorch in float64.

    python tests/golden/make_torch_golden.py          (made with torch 2.13.0 CPU, numpy 2.4.6, Python 3.11; SEED 20)

    rnn.npz lstm.npz gru.npz   torch.nn.RNN, LSTM, GRU, and their cells: outputs, states, gradients by autograd
    formula.npz                what torch has no module for, from the plain formula in torch operations
    losses.npz                 cross entropy, binary cross entropy, squared and absolute error, with masks
    optim.npz                  five updates by every optimiser, clipping, schedules

Each file states the versions that made it, under ``about``. Every number that goes in is random, drawn by NumPy (so
that the inputs do not depend on torch's version) and rounded to float32 (so that float32 starts from the same inputs).
The layout of a case is described in torch_cases.py.
"""

from __future__ import annotations

import functools
import json
import platform
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

SEED = 20
HERE = Path(__file__).parent
Arrays = dict[str, np.ndarray]
STATE_FIELDS = {"RNN": ["h"], "GRU": ["h"], "LSTM": ["h", "c"]}
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def write(path: Path, cases: dict[str, tuple[dict[str, Any], Arrays]]) -> None:
    """Write cases to one file: all numbers in one vector, with an index (apart, small arrays would take more room)."""
    about = {
        "made_by": "tests/golden/make_torch_golden.py",
        "seed": SEED,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    index = {
        name: {"config": config, "arrays": {key: [array.dtype.name, array.shape] for key, array in arrays.items()}}
        for name, (config, arrays) in cases.items()
    }
    numbers = np.concatenate([array.ravel() for _, arrays in cases.values() for array in arrays.values()])
    np.savez_compressed(
        path, about=np.array(json.dumps(about)), cases=np.array(json.dumps(index)), numbers=numbers.astype(np.float64)
    )
    print(f"{path.name:12} {len(cases):3} cases  {path.stat().st_size:8,} bytes")


def normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> np.ndarray:
    """Draw normal numbers that float32 holds exactly."""
    return rng.normal(0, scale, shape).astype(np.float32).astype(np.float64)


def leaf(array: np.ndarray) -> torch.Tensor:
    """Return an array as a tensor that collects its gradient."""
    return torch.tensor(array, requires_grad=True)


# ------------------------------------------------------------------------------------------------ recurrent networks


def draw_inputs(
    rng: np.random.Generator, config: dict[str, Any], sizes: tuple[int, int], lengths: Any, scale: float = 0.6
) -> Arrays:
    """Draw parameters of a scale, x, states and the weights of the loss."""
    (B, T), I, H, L = sizes, config["input_size"], config["hidden_size"], config["num_layers"]
    D, GH = 1 + config["bidirectional"], GATES[config["kind"]] * H
    arrays = {"x": normal(rng, B, T, I), "d_y": normal(rng, B, T, D * H)}
    if lengths is not None:
        arrays["lengths"] = np.array(lengths)
    for field in STATE_FIELDS[config["kind"]]:
        arrays[f"d_{field}_n"] = normal(rng, D * L, B, H)
        if config["states"]:
            arrays[f"{field}0"] = normal(rng, D * L, B, H)
    for layer in range(L):
        for suffix in [f"_l{layer}", f"_l{layer}_reverse"][:D]:
            arrays[f"param/weight_ih{suffix}"] = normal(rng, GH, D * H if layer else I, scale=scale)
            arrays[f"param/weight_hh{suffix}"] = normal(rng, GH, H, scale=scale)
            if config["bias"]:
                arrays[f"param/bias_ih{suffix}"] = normal(rng, GH, scale=scale)
                arrays[f"param/bias_hh{suffix}"] = normal(rng, GH, scale=scale)
    return arrays


def finish(config: dict[str, Any], arrays: Arrays, leaves: dict[str, torch.Tensor], y: Any, ends: list[Any]) -> Arrays:
    """Backpropagate the loss and return all arrays of the case."""
    fields = STATE_FIELDS[config["kind"]]
    loss = (torch.tensor(arrays["d_y"]) * y).sum()
    for field, end in zip(fields, ends, strict=True):
        loss = loss + (torch.tensor(arrays[f"d_{field}_n"]) * end).sum()
        arrays[f"{field}_n"] = end.detach().numpy()
    loss.backward()
    arrays["y"] = y.detach().numpy()
    for name, tensor in leaves.items():
        grad = tensor.grad.numpy()
        result = f"grad/{name.removeprefix('param/')}" if name.startswith("param/") else f"d_{name}"
        arrays[result] = grad
    return arrays


def sees_all(config: dict[str, Any], arrays: Arrays) -> bool:
    """Return whether the gradients are alive: numbers of 0 would see no mistake. Relu and padding may have some."""
    relu = "relu" in config["options"].values()
    gradients = [array for name, array in arrays.items() if name.startswith("grad/") or name in ("d_h0", "d_c0")]
    return all(np.count_nonzero(gradient) >= (0.5 if relu else 1) * gradient.size for gradient in gradients)


def module_case(config: dict[str, Any], arrays: Arrays) -> Arrays:
    """Compute a case by torch.nn.RNN, LSTM or GRU; rows with lengths as a packed sequence."""
    fields = STATE_FIELDS[config["kind"]]
    module = getattr(torch.nn, config["kind"])(
        config["input_size"],
        config["hidden_size"],
        config["num_layers"],
        bias=config["bias"],
        bidirectional=config["bidirectional"],
        batch_first=True,
        dtype=torch.float64,
        **({"nonlinearity": config["options"]["activation"]} if config["options"] else {}),
    )
    for name, parameter in module.named_parameters():
        parameter.data.copy_(torch.tensor(arrays[f"param/{name}"]))
    leaves = {name: leaf(arrays[name]) for name in ["x", *(f"{field}0" for field in fields)] if name in arrays}
    state = tuple(leaves[f"{field}0"] for field in fields) if config["states"] else None
    if state is not None and len(state) == 1:
        (state,) = state
    x = leaves["x"]
    if "lengths" in arrays:
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            x, torch.tensor(arrays["lengths"]), batch_first=True, enforce_sorted=False
        )
        y, ends = module(packed, state)
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])
    else:
        y, ends = module(x, state)
    leaves |= {f"param/{name}": parameter for name, parameter in module.named_parameters()}
    return finish(config, arrays, leaves, y, list(ends) if len(fields) == 2 else [ends])


def cell_case(config: dict[str, Any], arrays: Arrays) -> Arrays:
    """Compute a case by torch.nn.RNNCell, LSTMCell or GRUCell, step by step."""
    fields = STATE_FIELDS[config["kind"]]
    cell = getattr(torch.nn, config["kind"] + "Cell")(
        config["input_size"],
        config["hidden_size"],
        bias=config["bias"],
        dtype=torch.float64,
        **({"nonlinearity": config["options"]["activation"]} if config["options"] else {}),
    )
    for name, parameter in cell.named_parameters():
        parameter.data.copy_(torch.tensor(arrays[f"param/{name}_l0"]))
    leaves = {name: leaf(arrays[name]) for name in ["x", *(f"{field}0" for field in fields)]}
    state = tuple(leaves[f"{field}0"][0] for field in fields)
    outputs = []
    for x_t in leaves["x"].unbind(1):
        result = cell(x_t, state if len(fields) == 2 else state[0])
        state = result if len(fields) == 2 else (result,)
        outputs.append(state[0])
    leaves |= {f"param/{name}_l0": parameter for name, parameter in cell.named_parameters()}
    return finish(config, arrays, leaves, torch.stack(outputs, 1), [end[None] for end in state])


# Takes a state after and before a step, and returns the one that stands: the former at valid steps.
Merge = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def rnn_step(x_t: Any, state: Any, w: dict[str, Any], options: dict[str, Any], merge: Merge) -> Any:
    """One step of h' = f(W x + b_ih + U h + b_hh)."""
    (h,) = state
    f = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid}[options.get("activation", "tanh")]
    return (merge(f(x_t @ w["weight_ih"].T + w["bias_ih"] + h @ w["weight_hh"].T + w["bias_hh"]), h),)


def lstm_step(x_t: Any, state: Any, w: dict[str, Any], options: dict[str, Any], merge: Merge) -> Any:
    """One step of an LSTM."""
    del options
    h, c = state
    i, f, g, o = (x_t @ w["weight_ih"].T + w["bias_ih"] + h @ w["weight_hh"].T + w["bias_hh"]).chunk(4, 1)
    c = merge(torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g), c)
    return merge(torch.sigmoid(o) * torch.tanh(c), h), c  # h through the c that is kept: d_c is the whole gradient


def gru_step(x_t: Any, state: Any, w: dict[str, Any], options: dict[str, Any], merge: Merge) -> Any:
    """One step of a GRU, with the reset gate behind the matrix product or before it."""
    (h,) = state
    w_r, w_z, w_n = w["weight_ih"].chunk(3)
    u_r, u_z, u_n = w["weight_hh"].chunk(3)
    b_r, b_z, b_n = w["bias_ih"].chunk(3)
    v_r, v_z, v_n = w["bias_hh"].chunk(3)
    r = torch.sigmoid(x_t @ w_r.T + b_r + h @ u_r.T + v_r)
    z = torch.sigmoid(x_t @ w_z.T + b_z + h @ u_z.T + v_z)
    if options.get("reset_after", True):
        n = torch.tanh(x_t @ w_n.T + b_n + r * (h @ u_n.T + v_n))
    else:
        n = torch.tanh(x_t @ w_n.T + b_n + (r * h) @ u_n.T + v_n)
    return (merge((1 - z) * n + z * h, h),)


STEPS: dict[str, Callable[..., Any]] = {"RNN": rnn_step, "LSTM": lstm_step, "GRU": gru_step}


def walk(
    x: torch.Tensor, state: Any, w: dict[str, Any], lengths: Any, config: dict[str, Any], reverse: bool
) -> tuple[torch.Tensor, Any, list[Any]]:
    """Walk over one direction of one layer: outputs (B, T, H), last state, and the state after each step t."""
    B, T, _ = x.shape
    path: list[Any] = [None] * T
    outputs: list[Any] = [None] * T
    for t in reversed(range(T)) if reverse else range(T):
        valid = torch.tensor([[t < length] for length in (lengths if lengths is not None else [T] * B)])
        state = STEPS[config["kind"]](x[:, t], state, w, config["options"], functools.partial(torch.where, valid))
        for part in state:
            part.retain_grad()
        path[t] = state
        held = config["options"].get("padded_output") == "hold"
        outputs[t] = state[0] if held else torch.where(valid, state[0], 0.0)
    return torch.stack(outputs, 1), state, path


def formula_case(config: dict[str, Any], arrays: Arrays) -> Arrays:
    """Compute a case by the plain formula in torch operations, with the gradient of every state on the way."""
    fields, D = STATE_FIELDS[config["kind"]], 1 + config["bidirectional"]
    inputs = ["x", *(f"{field}0" for field in fields), *(name for name in arrays if name.startswith("param/"))]
    leaves = {name: leaf(arrays[name]) for name in inputs if name in arrays}
    B, H = arrays["x"].shape[0], config["hidden_size"]
    x, ends, paths = leaves["x"], [], []
    for layer in range(config["num_layers"]):
        halves = []
        for d in range(D):
            suffix = f"_l{layer}" + ("_reverse" if d else "")
            zero = torch.zeros(1, dtype=torch.float64)
            names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
            w = {name: leaves.get(f"param/{name}{suffix}") for name in names}
            w |= {name: zero.expand(len(w["weight_ih"])) for name in names if w[name] is None}
            if config["states"]:
                state = tuple(leaves[f"{field}0"][D * layer + d] for field in fields)
            else:
                state = tuple(torch.zeros(B, H, dtype=torch.float64, requires_grad=True) for _ in fields)
            y, end, path = walk(x, state, w, arrays.get("lengths"), config, reverse=bool(d))
            halves.append(y)
            ends.append(end)
            paths.append(path)
        x = torch.cat(halves, 2)
    arrays = finish(config, arrays, leaves, x, [torch.stack(field) for field in zip(*ends, strict=True)])
    for k, field in enumerate(fields):
        arrays[f"d_{field}"] = np.stack([np.stack([state[k].grad.numpy() for state in path], 1) for path in paths])
    return arrays


def make_config(
    kind: str, options: dict[str, Any], sizes: tuple[int, int], layers: int, bi: bool, bias: bool, states: bool
) -> dict[str, Any]:
    """Return the configuration of a case."""
    return {
        "kind": kind,
        "options": options,
        "input_size": sizes[0],
        "hidden_size": sizes[1],
        "num_layers": layers,
        "bidirectional": bi,
        "bias": bias,
        "states": states,
    }


def describe(config: dict[str, Any], lengths: Any, tag: str = "") -> str:
    """Return the name of a case."""
    options = [str(v) if isinstance(v, str) else f"{k}={v}" for k, v in config["options"].items()]
    parts = [
        *([tag] if tag else []),
        config["kind"].lower(),
        *options,
        f"{config['num_layers']}layer",
        "bi" if config["bidirectional"] else "uni",
        *(["lengths"] if lengths is not None else []),
        *(["states"] if config["states"] else []),
        *([] if config["bias"] else ["nobias"]),
    ]
    return "-".join(parts)


# (input, hidden), (B, T), layers, bidirectional, bias, lengths, states
MODULES: list[Any] = [
    ((3, 2), (2, 4), 1, False, True, None, False),
    ((2, 3), (4, 5), 1, False, True, [3, 5, 1, 4], False),
    ((3, 4), (3, 4), 1, True, True, [2, 4, 1], True),
    ((2, 3), (3, 5), 2, False, True, [4, 2, 5], True),
    ((4, 3), (2, 4), 2, True, True, None, True),
    ((2, 3), (2, 5), 3, False, True, None, True),
    ((3, 2), (3, 4), 3, True, True, [1, 4, 3], False),
    ((3, 2), (2, 3), 1, False, False, None, True),
    ((2, 3), (3, 4), 2, True, False, [4, 1, 2], True),
]
FORMULAS: list[Any] = [
    ((3, 2), (2, 4), 1, False, True, None, True),
    ((2, 3), (4, 5), 1, True, True, [3, 0, 5, 2], True),
    ((3, 2), (3, 4), 2, True, True, [1, 4, 3], False),
    ((2, 3), (3, 4), 2, False, False, [4, 0, 2], True),
]


def network_cases(
    cases: Iterable[tuple[str, dict[str, Any], Any, str, Callable[..., Arrays]]], stream: int
) -> dict[str, tuple[dict[str, Any], Arrays]]:
    """Compute cases (kind, options, settings, tag, function); each draws from a generator of its own."""
    made: dict[str, tuple[dict[str, Any], Arrays]] = {}
    for k, (kind, options, settings, tag, compute) in enumerate(cases):
        sizes, (B, T), layers, bi, bias, lengths, states = settings
        config = make_config(kind, options, sizes, layers, bi, bias, states)
        name = describe(config, lengths, tag)
        assert name not in made
        for attempt in range(20):
            rng = np.random.default_rng([SEED, stream, k, attempt])
            arrays = compute(config, draw_inputs(rng, config, (B, T), lengths))
            if sees_all(config, arrays):
                break
        else:
            raise RuntimeError(f"{name}: no draw has gradients that are alive")
        made[name] = (config, arrays)
    return made


def recurrent_cases() -> dict[str, dict[str, tuple[dict[str, Any], Arrays]]]:
    """Return the cases of the files rnn, lstm, gru and formula."""
    kinds: dict[str, list[tuple[str, dict[str, Any]]]] = {
        "rnn": [("RNN", {"activation": "tanh"}), ("RNN", {"activation": "relu"})],
        "lstm": [("LSTM", {})],
        "gru": [("GRU", {})],
    }
    files = {}
    for stream, (file, variants) in enumerate(kinds.items()):
        cases: list[Any] = [(*variant, settings, "", module_case) for variant in variants for settings in MODULES]
        for variant in variants:
            for bias in (True, False):
                cases.append((*variant, ((3, 2), (2, 4), 1, False, bias, None, True), "cell", cell_case))
        files[file] = network_cases(cases, stream)
    hold = {"padded_output": "hold"}
    formulas: list[Any] = []
    for kind, options in (("GRU", {"reset_after": False}), ("RNN", {"activation": "sigmoid"})):
        formulas += [(kind, options, settings, "", formula_case) for settings in FORMULAS]
    for kind, options in (
        ("RNN", {"activation": "tanh"} | hold),
        ("RNN", {"activation": "sigmoid"} | hold),
        ("LSTM", hold),
        ("GRU", {"reset_after": True} | hold),
        ("GRU", {"reset_after": False} | hold),
    ):
        formulas += [(kind, options, settings, "", formula_case) for settings in FORMULAS[1:3]]
    for kind, options in (("LSTM", {}), ("GRU", {"reset_after": True})):  # the zero-length row, the states on the way
        formulas += [(kind, options, FORMULAS[1], "", formula_case)]
    files["formula"] = network_cases(formulas, 3)
    return files


# ------------------------------------------------------------------------------------------------------------- losses


def loss_cases() -> dict[str, tuple[dict[str, Any], Arrays]]:
    """Return cases of the losses: y, targets, perhaps lengths, value, d_y."""
    elementwise = {
        "binary_cross_entropy": torch.nn.functional.binary_cross_entropy_with_logits,
        "mean_squared_error": torch.nn.functional.mse_loss,
        "mean_absolute_error": torch.nn.functional.l1_loss,
    }
    cases: dict[str, tuple[dict[str, Any], Arrays]] = {}
    k = 0
    for name in ("cross_entropy", *elementwise):
        for shape, lengths in (((3, 4, 5), None), ((3, 4, 5), [2, 4, 0]), ((4, 5), None)):
            for scale in (1.0, 300.0):
                rng = np.random.default_rng([SEED, 4, k])
                k += 1
                y = leaf(normal(rng, *shape, scale=scale))
                valid = torch.ones(shape[:-1], dtype=torch.bool)
                if lengths is not None:
                    valid = torch.arange(shape[1]) < torch.tensor(lengths)[:, None]
                if name == "cross_entropy":
                    targets = rng.integers(0, shape[-1], shape[:-1])
                    ids = torch.where(valid, torch.tensor(targets), -100)  # which torch ignores
                    value = torch.nn.functional.cross_entropy(y.reshape(-1, shape[-1]), ids.reshape(-1))
                else:
                    targets = normal(rng, *shape)
                    if name == "binary_cross_entropy":
                        targets = rng.random(shape).round(3).astype(np.float32).astype(np.float64)
                    value = elementwise[name](y[valid], torch.tensor(targets)[valid])
                value.backward()
                arrays = {"y": y.detach().numpy(), "targets": targets, "value": np.array(value.item())}
                arrays["d_y"] = y.grad.numpy()
                if lengths is not None:
                    arrays["lengths"] = np.array(lengths)
                shape_name = "x".join(map(str, shape)) + ("-lengths" if lengths else "")
                cases[f"{name}-{shape_name}-scale{scale:g}"] = ({"loss": name}, arrays)
    return cases


# --------------------------------------------------------------------------------------------------------- optimisers

# Ours (class, options) and theirs.
OPTIMIZERS: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    ("SGD", {"learning_rate": 0.1}, "SGD", {"lr": 0.1}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.9}, "SGD", {"lr": 0.1, "momentum": 0.9}),
    (
        "SGD",
        {"learning_rate": 0.1, "momentum": 0.8, "nesterov": True},
        "SGD",
        {"lr": 0.1, "momentum": 0.8, "nesterov": True},
    ),
    ("SGD", {"learning_rate": 0.1, "weight_decay": 0.2}, "SGD", {"lr": 0.1, "weight_decay": 0.2}),
    (
        "SGD",
        {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.2},
        "SGD",
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.2},
    ),
    ("Adam", {}, "Adam", {}),
    (
        "Adam",
        {"learning_rate": 0.02, "beta1": 0.7, "beta2": 0.95, "epsilon": 1e-3},
        "Adam",
        {"lr": 0.02, "betas": (0.7, 0.95), "eps": 1e-3},
    ),
    ("AdamW", {}, "AdamW", {}),
    ("AdamW", {"learning_rate": 0.02, "weight_decay": 0.3}, "AdamW", {"lr": 0.02, "weight_decay": 0.3}),
    ("RMSprop", {}, "RMSprop", {}),
    (
        "RMSprop",
        {"learning_rate": 0.03, "decay": 0.8, "epsilon": 1e-3},
        "RMSprop",
        {"lr": 0.03, "alpha": 0.8, "eps": 1e-3},
    ),
    ("Adagrad", {}, "Adagrad", {}),
    ("Adagrad", {"learning_rate": 0.3, "epsilon": 1e-3}, "Adagrad", {"lr": 0.3, "eps": 1e-3}),
]


def rates(schedule: Callable[[torch.optim.Optimizer], Any], n: int, rate: float) -> np.ndarray:
    """Return the learning rates of n updates."""
    optimizer = torch.optim.SGD([leaf(np.zeros(1))], lr=rate)
    scheduler = schedule(optimizer)
    found = []
    for _ in range(n):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.array(found)


def warm_cosine(optimizer: torch.optim.Optimizer) -> Any:
    """Return a linear rise over 4 updates, then a cosine over 10."""
    lr = torch.optim.lr_scheduler
    rise = lr.LinearLR(optimizer, start_factor=1 / 4, total_iters=3)
    return lr.SequentialLR(optimizer, [rise, lr.CosineAnnealingLR(optimizer, T_max=10)], milestones=[4])


def optim_cases() -> dict[str, tuple[dict[str, Any], Arrays]]:
    """Return cases of optimisers (w, gradients (5, N), path (5, N)), of clipping and of schedules."""
    cases: dict[str, tuple[dict[str, Any], Arrays]] = {}
    for k, (ours, options, theirs, their_options) in enumerate(OPTIMIZERS):
        rng = np.random.default_rng([SEED, 5, k])
        w = normal(rng, 7)
        # Gradients of all sizes, some near each epsilon, so that its place in the formula matters.
        gradients = normal(rng, 5, 7) * np.array([1, 1, 10, 1e-2, 1e-4, 1e-8, 1e-10], np.float32)
        gradients = gradients.astype(np.float32).astype(np.float64)
        weight = leaf(w)
        optimizer = getattr(torch.optim, theirs)([weight], **their_options)
        path = []
        for gradient in gradients:
            weight.grad = torch.tensor(gradient)
            optimizer.step()
            path.append(weight.detach().numpy().copy())
        config = {"optimizer": ours, "options": options}
        cases[f"update-{k}-{ours.lower()}"] = (config, {"w": w, "gradients": gradients, "path": np.array(path)})
    for name, max_norm in (("clipped", 1.5), ("kept", 1e3)):
        rng = np.random.default_rng([SEED, 6, len(name)])
        gradients = {"a": normal(rng, 3, 4), "b": normal(rng, 5)}
        weights = [leaf(np.zeros_like(g)) for g in gradients.values()]
        for weight, gradient in zip(weights, gradients.values(), strict=True):
            weight.grad = torch.tensor(gradient)
        norm = torch.nn.utils.clip_grad_norm_(weights, max_norm)
        arrays = {f"gradient/{key}": g for key, g in gradients.items()}
        arrays |= {f"clipped/{key}": w.grad.numpy() for key, w in zip(gradients, weights, strict=True)}
        cases[f"clip-norm-{name}"] = ({"clip": "norm", "limit": max_norm}, arrays | {"norm": np.array(norm.item())})
    rng = np.random.default_rng([SEED, 7])
    gradient, weight = normal(rng, 3, 4), leaf(np.zeros((3, 4)))
    weight.grad = torch.tensor(gradient)
    torch.nn.utils.clip_grad_value_([weight], 0.5)
    cases["clip-value"] = (
        {"clip": "value", "limit": 0.5},
        {"gradient/a": gradient, "clipped/a": weight.grad.numpy(), "norm": np.array(np.linalg.norm(gradient))},
    )
    lr = torch.optim.lr_scheduler
    cases["schedule-cosine"] = (
        {"schedule": "Cosine", "options": {"rate": 0.3, "total_steps": 12, "final": 0.01}},
        {"rates": rates(lambda o: lr.CosineAnnealingLR(o, T_max=12, eta_min=0.01), 13, 0.3)},
    )
    cases["schedule-step"] = (
        {"schedule": "StepDecay", "options": {"rate": 0.3, "every_steps": 3, "factor": 0.4}},
        {"rates": rates(lambda o: lr.StepLR(o, step_size=3, gamma=0.4), 13, 0.3)},
    )
    cases["schedule-warm-cosine"] = (
        {"schedule": "Cosine", "options": {"rate": 0.3, "total_steps": 10}, "warmup_steps": 4},
        {"rates": rates(warm_cosine, 15, 0.3)},
    )
    for config, arrays in cases.values():
        assert all(np.isfinite(array).all() for array in arrays.values()), config
    return cases


def main(folder: Path = HERE) -> None:
    """Write all golden files."""
    torch.set_num_threads(1)
    for file, cases in (recurrent_cases() | {"losses": loss_cases(), "optim": optim_cases()}).items():
        write(folder / f"{file}.npz", cases)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
