"""Our outputs, states and gradients against files that PyTorch made; and the proof that the comparison can fail."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from torch_cases import TOLERANCES, Case, close, compare, load_cases, network_params, our_name, run

from elman import losses, optim
from elman.kernels import reference, use_kernels
from elman.layers import KINDS
from elman.params import Array, Params

RECURRENT = {
    f"{file}/{name}": case
    for file in ("rnn", "lstm", "gru", "formula")
    for name, case in load_cases(f"{file}.npz").items()
}
LOSSES = load_cases("losses.npz")
OPTIM = load_cases("optim.npz")


def select(**wanted: Any) -> list[str]:
    """Return the names of the recurrent cases whose configuration has these values."""
    return [name for name, case in RECURRENT.items() if all(case.config[key] == v for key, v in wanted.items())]


@pytest.fixture(params=["float64", "float32"])
def dtype(request: pytest.FixtureRequest) -> str:
    return request.param


# --------------------------------------------------------------------------------------------------------- networks


@pytest.mark.parametrize("name", RECURRENT)
def test_outputs_states_and_gradients(name: str, dtype: str) -> None:
    results = run(RECURRENT[name], dtype)
    assert {array.dtype.name for array in results.values()} == {dtype}
    compare(RECURRENT[name], results, TOLERANCES[dtype])


@pytest.mark.parametrize("name", [name for name, case in RECURRENT.items() if "lengths" in case.arrays])
def test_padding_of_nan_changes_nothing(name: str, dtype: str) -> None:
    case = RECURRENT[name]
    padding = np.arange(case.arrays["x"].shape[1]) >= case.arrays["lengths"][:, None]
    poisoned = {"x": np.where(padding[..., None], np.nan, case.arrays["x"])}
    if case.config["options"].get("padded_output") != "hold":  # held outputs are outputs
        poisoned["d_y"] = np.where(padding[..., None], np.nan, case.arrays["d_y"])
    compare(case, run(case._replace(arrays=case.arrays | poisoned), dtype), TOLERANCES[dtype])


def test_the_files_cover_what_they_should() -> None:
    for kind, options in (
        ("RNN", {"activation": "tanh"}),
        ("RNN", {"activation": "relu"}),
        ("RNN", {"activation": "sigmoid"}),
        ("LSTM", {}),
        ("GRU", {}),
        ("GRU", {"reset_after": False}),
    ):
        cases = [RECURRENT[name] for name in select(kind=kind, options=options)]
        assert {case.config["bidirectional"] for case in cases} == {False, True}
        assert {case.config["states"] for case in cases} == {False, True}
        assert {case.config["bias"] for case in cases} == {False, True}
        assert {"lengths" in case.arrays for case in cases} == {False, True}
        assert {1, 2} <= {case.config["num_layers"] for case in cases}
        assert all(case.arrays["x"].shape[1] >= 3 and case.config["hidden_size"] >= 2 for case in cases)
    for case in RECURRENT.values():  # distinct numbers in every gate and bias, or an exchange would not be seen
        for array in case.part("param").values():
            assert len(np.unique(array)) == array.size


# ------------------------------------------------------------------------------------------ the comparison can fail


def refuses(case: Case, params: Params | None = None, **changed: Any) -> bool:
    """Return whether the comparison objects to what we compute from changed parameters or inputs."""
    results = run(Case(case.config, case.arrays | changed), "float64", params)
    try:
        compare(case, results, TOLERANCES["float32"])  # the wider of the two
    except AssertionError:
        return True
    return False


def blocks(case: Case, array: Array) -> list[Array]:
    """Return the rows of each gate, as views."""
    return np.split(array, len(KINDS[case.config["kind"]].gate_names))


def suffixes(case: Case) -> list[str]:
    """Return the suffixes of layers and directions."""
    return [name.removeprefix("weight_ih") for name in case.part("param") if name.startswith("weight_ih")]


@pytest.mark.parametrize("name", [*select(kind="LSTM"), *select(kind="GRU")])
def test_sees_two_gates_exchanged(name: str) -> None:
    case = RECURRENT[name]
    for suffix in suffixes(case):
        for first, second in itertools.combinations(range(len(KINDS[case.config["kind"]].gate_names)), 2):
            params = network_params(case, "float64")
            for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if case.config["bias"] else ("weight_ih",):
                gates = blocks(case, params[our_name(part + suffix, case.config["bidirectional"])])
                gates[first][:], gates[second][:] = gates[second].copy(), gates[first].copy()
            assert refuses(case, params), (suffix, first, second)


@pytest.mark.parametrize("name", select(bias=True))
def test_sees_one_bias_of_zero(name: str) -> None:
    case = RECURRENT[name]
    for suffix, bias in itertools.product(suffixes(case), ("bias_ih", "bias_hh")):
        for gate in range(len(KINDS[case.config["kind"]].gate_names)):
            params = network_params(case, "float64")
            blocks(case, params[our_name(bias + suffix, case.config["bidirectional"])])[gate][:] = 0
            assert refuses(case, params), (suffix, bias, gate)


@pytest.mark.parametrize("name", select(kind="GRU", bias=True))
def test_sees_the_two_biases_of_a_gru_exchanged(name: str) -> None:
    case = RECURRENT[name]
    params = network_params(case, "float64")
    for suffix in suffixes(case):
        b_ih, b_hh = (params[our_name(bias + suffix, case.config["bidirectional"])] for bias in ("bias_ih", "bias_hh"))
        b_ih[:], b_hh[:] = b_hh.copy(), b_ih.copy()
    # Before the matrix product of the reset gate both are added to the same sum, so there they may be exchanged.
    assert refuses(case, params) == case.config["options"].get("reset_after", True)


@pytest.mark.parametrize("name", select(kind="GRU"))
def test_sees_the_other_mode_of_the_reset_gate(name: str) -> None:
    case = RECURRENT[name]
    options = case.config["options"] | {"reset_after": not case.config["options"].get("reset_after", True)}
    confused = case._replace(config=case.config | {"options": options})
    with pytest.raises(AssertionError, match="off by"):
        compare(case, run(confused, "float64"), TOLERANCES["float32"])


@pytest.mark.parametrize("name", select(kind="GRU"))
def test_sees_the_update_gate_the_other_way_round(name: str) -> None:
    case = RECURRENT[name]
    params = network_params(case, "float64")
    for array in params.values():
        blocks(case, array)[1][:] *= -1
    assert refuses(case, params)


@pytest.mark.parametrize("name", select(bidirectional=True))
def test_sees_the_directions_exchanged(name: str) -> None:
    case = RECURRENT[name]
    params = network_params(case, "float64")
    for layer in range(case.config["num_layers"]):
        forward, reverse = (params.child(str(layer)).child(direction) for direction in ("forward", "reverse"))
        forward.flat[:], reverse.flat[:] = reverse.flat.copy(), forward.flat.copy()
    assert refuses(case, params)


@pytest.mark.parametrize("name", RECURRENT)
def test_sees_inputs_left_out(name: str) -> None:
    case = RECURRENT[name]
    fields = ["h", "c"] if case.config["kind"] == "LSTM" else ["h"]
    for field in fields:
        assert refuses(case, **{f"d_{field}_n": np.zeros_like(case.arrays[f"d_{field}_n"])}), field
        if case.config["states"]:
            assert refuses(case, **{f"{field}0": np.zeros_like(case.arrays[f"{field}0"])}), field
    if case.config["states"] and len(fields) == 2:
        assert refuses(case, h0=case.arrays["c0"], c0=case.arrays["h0"])
    if "lengths" in case.arrays:
        assert refuses(case, lengths=np.full_like(case.arrays["lengths"], case.arrays["x"].shape[1]))


@pytest.mark.parametrize("name", [name for name in RECURRENT if "hold" in name])
def test_sees_zeros_where_the_state_should_be_held(name: str) -> None:
    case = RECURRENT[name]
    options = case.config["options"] | {"padded_output": "zero"}
    with pytest.raises(AssertionError, match="y: off by"):
        compare(case, run(case._replace(config=case.config | {"options": options}), "float64"), TOLERANCES["float32"])


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "relu"])
def test_sees_a_wrong_derivative(activation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = reference.DERIVATIVES[activation]
    monkeypatch.setitem(reference.DERIVATIVES, activation, lambda y: right(y) * 1.001)
    with use_kernels("reference"):
        for name in select(kind="RNN", options={"activation": activation}):
            assert refuses(RECURRENT[name]), name


def test_sees_a_result_that_is_missing_or_of_another_shape() -> None:
    case = RECURRENT[select(kind="LSTM")[0]]
    results = run(case, "float64")
    with pytest.raises(KeyError, match="d_x"):
        compare(case, {name: array for name, array in results.items() if name != "d_x"}, 1e-5)
    with pytest.raises(AssertionError, match="d_x: shape"):
        compare(case, results | {"d_x": results["d_x"][:1]}, 1e-5)
    with pytest.raises(AssertionError, match="d_x: off by nan"):
        compare(case, results | {"d_x": results["d_x"] * np.nan}, 1e-5)


# ------------------------------------------------------------------------------------------------------------ losses


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name: str, dtype: str) -> None:
    case = LOSSES[name]
    y, targets, lengths = case.arrays["y"].astype(dtype), case.arrays["targets"], case.arrays.get("lengths")
    loss = getattr(losses, case.config["loss"])
    value, d_y = loss(y, targets, lengths=lengths)
    assert d_y.dtype == dtype
    close("value", value, case.arrays["value"], TOLERANCES[dtype])
    close("d_y", d_y, case.arrays["d_y"], TOLERANCES[dtype])
    if lengths is not None:  # the same as a list of rows, and with NaN as padding
        rows = [list(zip(a, lengths, strict=True)) for a in (y, targets, case.arrays["d_y"])]
        y_rows, target_rows, d_y_rows = ([row[:length] for row, length in pairs] for pairs in rows)
        value, d_list = loss(y_rows, target_rows)
        close("value", value, case.arrays["value"], TOLERANCES[dtype])
        for ours, theirs in zip(d_list, d_y_rows, strict=True):
            close("d_y", ours, theirs, TOLERANCES[dtype])
        padding = np.arange(y.shape[1]) >= lengths[:, None]
        value, d_y = loss(np.where(padding[..., None], np.nan, y), targets, lengths=lengths)
        close("value", value, case.arrays["value"], TOLERANCES[dtype])
        close("d_y", d_y, case.arrays["d_y"], TOLERANCES[dtype])


@pytest.mark.parametrize("name", [name for name in LOSSES if "lengths" in name])
def test_sees_a_mask_left_out(name: str) -> None:
    case = LOSSES[name]
    value, _ = getattr(losses, case.config["loss"])(case.arrays["y"], case.arrays["targets"])
    with pytest.raises(AssertionError, match="off by"):
        close("value", value, case.arrays["value"], TOLERANCES["float32"])


# -------------------------------------------------------------------------------------------------------- optimisers


def follow(optimizer: optim.Optimizer, case: Case, dtype: str) -> Array:
    """Return the parameters after each update."""
    w = Params({"w": case.arrays["w"].shape}, case.arrays["w"].astype(dtype))
    state = optimizer.init(w)
    path = []
    for gradient in case.arrays["gradients"]:
        grads = Params(w.shapes, gradient.astype(dtype))
        state = optimizer.update(w, grads, state)
        np.testing.assert_array_equal(grads.flat, gradient.astype(dtype))
        path.append(w.flat.copy())
    assert state.step == len(path)
    assert w.dtype == dtype
    return np.array(path)


@pytest.mark.parametrize("name", [name for name in OPTIM if name.startswith("update")])
def test_optimizers(name: str, dtype: str) -> None:
    case = OPTIM[name]
    optimizer = getattr(optim, case.config["optimizer"])(**case.config["options"])
    close("path", follow(optimizer, case, dtype), case.arrays["path"], TOLERANCES[dtype])


@pytest.mark.parametrize("name", [name for name in OPTIM if name.startswith("update")])
def test_sees_another_option_of_an_optimizer(name: str) -> None:
    case = OPTIM[name]
    right = getattr(optim, case.config["optimizer"])(**case.config["options"])
    for option, value in vars(right).items():
        if option == "epsilon" and value < 1e-3:  # too small to be seen at float32's tolerance, not at float64's
            tolerance, other = TOLERANCES["float64"], value * 10
        else:
            tolerance, other = TOLERANCES["float32"], not value if isinstance(value, bool) else value * 0.8 + 0.01
        changed = dict(vars(right)) | {option: other}
        if changed.get("nesterov") and not changed["momentum"]:
            continue
        with pytest.raises(AssertionError, match="off by"):
            close("path", follow(type(right)(**changed), case, "float64"), case.arrays["path"], tolerance)


@pytest.mark.parametrize("name", [name for name in OPTIM if name.startswith("clip")])
def test_clipping(name: str, dtype: str) -> None:
    case = OPTIM[name]
    grads = {key: gradient.astype(dtype) for key, gradient in case.part("gradient").items()}
    clip = {"norm": optim.clip_by_global_norm, "value": optim.clip_by_value}[case.config["clip"]]
    norm, clipped_norm, nonfinite = clip(grads, case.config["limit"])
    close("norm", norm, case.arrays["norm"], TOLERANCES[dtype])
    assert nonfinite == ()
    for key, theirs in case.part("clipped").items():
        if name == "clip-norm-clipped":  # PyTorch divides by norm + 1e-6 and so ends a little below the limit
            theirs = theirs * (norm + 1e-6) / norm
        close(key, grads[key], theirs, TOLERANCES[dtype])
    close("clipped norm", clipped_norm, optim.global_norm(grads.values()), TOLERANCES[dtype])


@pytest.mark.parametrize("name", [name for name in OPTIM if name.startswith("schedule")])
def test_schedules(name: str) -> None:
    case = OPTIM[name]
    schedule: optim.Schedule = getattr(optim, case.config["schedule"])(**case.config["options"])
    if "warmup_steps" in case.config:
        schedule = optim.Warmup(schedule, warmup_steps=case.config["warmup_steps"])
    ours = [schedule(step) for step in range(len(case.arrays["rates"]))]
    close("rates", ours, case.arrays["rates"], 1e-14)
    with pytest.raises(AssertionError, match="rates: off by"):  # by one update
        close("rates", [schedule(step + 1) for step in range(len(ours))], case.arrays["rates"], 1e-3)
