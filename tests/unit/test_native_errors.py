"""The binding refuses what does not fit, and reads and writes no memory that is not there."""

from __future__ import annotations

import numpy as np
import pytest

import elman
from elman import kernels
from native_cases import needs_native

pytestmark = needs_native

T, B, I, H = 3, 4, 5, 6
GATES = {0: 1, 1: 1, 2: 1, 3: 4, 4: 3, 5: 3}  # by cell
LSTM, GRU_AFTER = 3, 4
REFUSALS = (TypeError, ValueError)


def module():
    return kernels.native_module()


def ones(*shape, dtype="float32"):
    return np.ones(shape, dtype)


def forward_arguments(cell, dtype="float32", ids=False):
    G, lstm = GATES[cell], cell == LSTM
    return {
        "cell": cell,
        "x": None if ids else ones(T, B, I, dtype=dtype),
        "ids": ones(T, B, dtype="int64") if ids else None,
        "weight_ih": ones(G * H, I, dtype=dtype),
        "weight_hh": ones(G * H, H, dtype=dtype),
        "bias_ih": ones(G * H, dtype=dtype),
        "bias_hh": ones(G * H, dtype=dtype),
        "packed": None,
        "lengths": np.array([3, 0, 2, 1], "int64"),
        "reverse": False,
        "h0": ones(B, H, dtype=dtype),
        "c0": ones(B, H, dtype=dtype) if lstm else None,
        "h": ones(T, B, H, dtype=dtype),
        "gates": ones(T, B, G * H, dtype=dtype) if G > 1 else None,
        "hidden_n": ones(T, B, H, dtype=dtype) if cell == GRU_AFTER else None,
        "c": ones(T, B, H, dtype=dtype) if lstm else None,
        "h_last": ones(B, H, dtype=dtype),
        "c_last": ones(B, H, dtype=dtype) if lstm else None,
    }


def backward_arguments(cell, dtype="float32", ids=False):
    forward = forward_arguments(cell, dtype, ids)
    G, lstm = GATES[cell], cell == LSTM
    steps = {name: ones(T, B, H, dtype=dtype) for name in ("h_before", "h_after", "d_y", "d_h_steps")}
    cells = {name: ones(T, B, H, dtype=dtype) if lstm else None for name in ("c_before", "c_after", "d_c_steps")}
    names = ("cell", "x", "ids", "weight_ih", "weight_hh", "lengths", "reverse", "gates", "hidden_n")
    return {
        **{name: forward[name] for name in names},
        **steps,
        **cells,
        "hold": False,
        "d_h": ones(B, H, dtype=dtype),
        "d_c": ones(B, H, dtype=dtype) if lstm else None,
        "d_x": None if ids else ones(T, B, I, dtype=dtype),
        "d_weight_ih": ones(G * H, I, dtype=dtype),
        "d_weight_hh": ones(G * H, H, dtype=dtype),
        "d_bias_ih": ones(G * H, dtype=dtype),
        "d_bias_hh": ones(G * H, dtype=dtype),
    }


CALLS = {
    "linear": lambda: {"x": ones(T, I), "weight": ones(H, I), "bias": ones(H), "packed": None, "y": ones(T, H)},
    "linear_backward": lambda: {
        "x": ones(T, I),
        "weight": ones(H, I),
        "d_y": ones(T, H),
        "d_x": ones(T, I),
        "d_weight": ones(H, I),
        "d_bias": ones(H),
    },
    "activate": lambda: {"activation": 0, "x": ones(9), "y": ones(9)},
    "cross_entropy": lambda: {
        "y": ones(T, I),
        "targets": np.array([0, 4, 2]),
        "smoothing": 0.1,
        "scale": 1.0,
        "losses": ones(T),
        "d_y": ones(T, I),
    },
    "adam": lambda: {
        "w": ones(9),
        "g": ones(9),
        "m": ones(9),
        "v": ones(9),
        "rate": 0.1,
        "beta1": 0.9,
        "beta2": 0.99,
        "scale": 1.0,
        "epsilon": 1e-8,
    },
    "scatter": lambda: {"ids": np.array([0, 4, 2]), "rows": ones(T, H), "table": ones(I, H)},
}
for cell in GATES:
    CALLS[f"forward {cell}"] = lambda cell=cell: forward_arguments(cell)
    CALLS[f"backward {cell}"] = lambda cell=cell: backward_arguments(cell)
CALLS["forward ids"] = lambda: forward_arguments(LSTM, ids=True)
CALLS["backward ids"] = lambda: backward_arguments(LSTM, ids=True)
CALLS["forward float64"] = lambda: forward_arguments(GRU_AFTER, "float64")
CALLS["backward float64"] = lambda: backward_arguments(GRU_AFTER, "float64")
# Arrays that may be missing, those that may have gaps between rows, and those whose type is cast.
OPTIONAL = {"bias_ih", "bias_hh", "bias", "lengths", "d_bias_ih", "d_bias_hh", "d_bias", "packed"}
KEPT = {"gates", "c", "hidden_n"}  # forward: without gates nothing is kept
STRIDED = {"x", "ids", "h", "d_y", "table"}
CAST = {"x", "ids", "lengths", "targets"}
WRITTEN = {
    "h",
    "h_last",
    "c_last",
    "y",
    "losses",
    "d_h",
    "d_c",
    "d_x",
    "d_h_steps",
    "d_c_steps",
    "table",
    "w",
    "m",
    "v",
}


def wrong_arrays(array):
    """Yield (what, array) with each of the faults that an array can have."""
    yield "an axis more", array[None]
    yield "an axis less", array[0]
    for axis in range(array.ndim):
        yield f"axis {axis} longer", np.ones(np.add(array.shape, np.eye(array.ndim, dtype=int)[axis]), array.dtype)
        yield (
            f"axis {axis} shorter",
            np.ones(np.subtract(array.shape, np.eye(array.ndim, dtype=int)[axis]), array.dtype),
        )
        yield f"axis {axis} empty", np.ones([0 if k == axis else n for k, n in enumerate(array.shape)], array.dtype)
    yield "gaps in the last axis", np.repeat(array, 2, axis=-1)[..., ::2]
    yield "backwards", array[..., ::-1]
    yield "the wrong order", np.asfortranarray(array) if array.ndim > 1 else array[::-1]
    yield "complex", array.astype(complex)
    yield "objects", array.astype(object)
    yield "one number", array.dtype.type(1)
    yield "a list", array.tolist()
    yield "words", "x"
    shifted = np.ndarray(array.shape, array.dtype, np.zeros(array.nbytes + 1, "u1").data, 1)
    shifted[...] = 1
    yield "an odd address", shifted


@pytest.mark.parametrize("name", CALLS)
def test_what_fits_is_taken(name):
    assert getattr(module(), name.split()[0])(**CALLS[name]()) is None


@pytest.mark.parametrize("name", CALLS)
def test_what_does_not_fit_is_refused(name):
    function, taken = getattr(module(), name.split()[0]), []
    for argument, value in CALLS[name]().items():
        if not isinstance(value, np.ndarray):
            continue
        for what, wrong in wrong_arrays(value):
            loose = argument in STRIDED and what in ("gaps in the last axis", "backwards", "the wrong order")
            if loose and (argument in ("ids", "table") or (what, value.ndim) == ("the wrong order", 1)):
                continue
            try:
                function(**CALLS[name]() | {argument: wrong})
            except REFUSALS:
                continue
            # x, ids, lengths and targets are cast and copied, not refused, where that is possible
            if argument in CAST and what not in ("objects", "words", "a list", "one number"):
                assert np.shape(wrong) == value.shape, (argument, what)
                continue
            taken.append((argument, what))
    # How many rows a table has, and how many ids there are, is for the table and for weight_ih to say.
    free = {
        "scatter": [("table", "axis 0 longer")],
        "forward ids": [("weight_ih", "axis 1 longer"), ("weight_ih", "axis 1 shorter")],
    }
    assert taken == free.get(name, [])


@pytest.mark.parametrize("name", CALLS)
def test_what_is_missing_is_refused(name):
    function, taken = getattr(module(), name.split()[0]), []
    for argument, value in CALLS[name]().items():
        if value is None or argument in OPTIONAL or (argument in KEPT and "forward" in name):
            continue
        try:
            function(**CALLS[name]() | {argument: None})
            taken.append(argument)
        except REFUSALS:
            pass
    assert taken == (["d_x"] if name == "linear_backward" else [])


@pytest.mark.parametrize("name", CALLS)
def test_read_only_memory_is_not_written(name):
    function = getattr(module(), name.split()[0])
    for argument, value in CALLS[name]().items():
        if isinstance(value, np.ndarray) and (argument in WRITTEN or argument.startswith("d_")) and argument != "d_y":
            if (name, argument) == ("cross_entropy", "y"):
                continue
            value.flags.writeable = False
            with pytest.raises(REFUSALS):
                function(**CALLS[name]() | {argument: value})


@pytest.mark.parametrize("bad", [-1, I, 2**62, -(2**63)])
def test_ids_out_of_range_are_refused(bad):
    ids = np.ones((T, B), "int64")
    ids[2, 3] = bad
    for name in ("forward ids", "backward ids"):
        with pytest.raises(ValueError, match=f"id {bad} is not one of {I}"):
            getattr(module(), name.split()[0])(**CALLS[name]() | {"ids": ids})
    for name, argument in (("scatter", "ids"), ("cross_entropy", "targets")):
        arguments = CALLS[name]() | {argument: np.array([0, bad, 1])}
        if name == "cross_entropy" and bad < 0:  # a row that does not count
            module().cross_entropy(**arguments)
            assert arguments["losses"][1] == 0
            assert not arguments["d_y"][1].any()
            assert arguments["d_y"][0].any()
            continue
        with pytest.raises(ValueError, match="out of range"):
            getattr(module(), name)(**arguments)


@pytest.mark.parametrize("bad", [-1, T + 1, 2**62])
def test_lengths_out_of_range_are_refused(bad):
    for name in ("forward 3", "backward 3"):
        with pytest.raises(ValueError, match="a length is out of range"):
            getattr(module(), name.split()[0])(**CALLS[name]() | {"lengths": np.array([1, bad, 1, 1])})


@pytest.mark.parametrize("bad", [-1, 6, 2**31 - 1])
def test_cells_and_activations_that_do_not_exist(bad):
    with pytest.raises(ValueError, match="no such cell"):
        module().forward(**forward_arguments(0) | {"cell": bad})
    with pytest.raises(ValueError, match="no such cell"):
        module().pack_recurrent(bad, ones(H, I), ones(H, H), None, None, False)
    with pytest.raises(ValueError, match="no such activation"):
        module().activate(bad, ones(2), ones(2))
    with pytest.raises(ValueError, match="has no fast"):
        module().use_instruction_set("fast")


def packed(cell):
    G = GATES[cell]
    return module().pack_recurrent(cell, ones(G * H, I), ones(G * H, H), None, None, False)


def test_packed_weights_of_another_layer_are_refused():
    dense = module().pack_linear(ones(H, I), None, False)
    for cell in GATES:
        module().forward(**forward_arguments(cell) | {"packed": packed(cell)})
        for other in [dense, *(packed(k) for k in GATES if k != cell), module().pack_linear(ones(I, H), None, False)]:
            with pytest.raises(ValueError, match="packed weights of another layer or type"):
                module().forward(**forward_arguments(cell) | {"packed": other})
        with pytest.raises(ValueError, match="packed weights of another layer or type"):
            module().linear(**CALLS["linear"]() | {"packed": packed(cell)})
        with pytest.raises(ValueError, match="packed weights of another layer or type"):
            module().forward(**forward_arguments(cell, "float64") | {"packed": packed(cell)})


def test_programs_and_streams_that_do_not_fit():
    m = module()
    dense, lstm = m.pack_linear(ones(H, I), None, False), packed(LSTM)

    def refuse(build, match):
        program = m.Program32()
        with pytest.raises((*REFUSALS, IndexError), match=match):
            build(program)

    refuse(lambda p: p.recurrent(dense, False), "another layer")
    refuse(lambda p: p.linear(lstm, -1), "another layer")
    refuse(lambda p: p.linear(dense, 3), "no such activation")
    refuse(lambda p: p.linear(dense, -2), "no such activation")
    refuse(lambda p: (p.linear(dense, -1), p.linear(dense, -1)), "do not fit together")
    refuse(
        lambda p: (
            p.linear(dense, -1),
            p.recurrent(m.pack_recurrent(0, ones(3, H), ones(3, 3), None, None, False), True),
        ),
        "do not fit",
    )
    refuse(lambda p: (p.linear(dense, -1), p.embed(ones(4, 2))), "do not fit together")
    refuse(lambda p: p.embed(ones(4)), "two axes")
    refuse(lambda p: p.add_output_of(-1), "nothing to add")
    refuse(lambda p: (p.linear(dense, -1), p.add_output_of(5)), "nothing to add")
    refuse(lambda p: (p.linear(dense, -1), p.add_output_of(-2)), "nothing to add")
    refuse(lambda p: (p.linear(dense, -1), p.add_output_of(-1)), "same size")
    refuse(lambda p: m.Stream32(p, 1), "needs a layer and a row")
    refuse(lambda p: (p.recurrent(lstm, False), m.Stream32(p, 1).states(7)), None)
    for rows in (0, -2):
        program = m.Program32()
        program.recurrent(lstm, False)
        with pytest.raises((*REFUSALS, RuntimeError, MemoryError)):
            m.Stream32(program, rows)
    with pytest.raises(ValueError, match="another type"):
        m.Program64().recurrent(lstm, False)
    if len(m.instruction_sets()) > 1:
        before = m.instruction_set()
        m.use_instruction_set("baseline" if before != "baseline" else m.instruction_sets()[0])
        try:
            with pytest.raises(ValueError, match="instruction set"):
                m.Program32().recurrent(lstm, False)
        finally:
            m.use_instruction_set(before)


def test_native_streams_refuse_what_does_not_fit():
    m = module()
    program = m.Program32()
    program.recurrent(packed(LSTM), False)
    stream = m.Stream32(program, 2)
    for x, y in [
        (ones(2, I), ones(H)),
        (ones(I), ones(2, H)),
        (ones(2, I + 1), ones(2, H)),
        (ones(2, I, dtype="f8"), ones(2, H)),
        (ones(2, I), ones(2, H, dtype="f8")),
        (ones(2, I), ones(2, 2 * H)[:, ::2]),
        (ones(2, I), ones(2, H).tolist()),
        (ones(2, I).tolist(), None),
        (None, None),
        (np.array([0, 1]), None),
        (0, None),
    ]:
        assert stream.step(x, y) is None  # nothing was done: Python casts it, or says what is wrong
    frozen = ones(2, H)
    frozen.flags.writeable = False
    assert stream.step(ones(2, I), frozen) is None
    assert not np.any(stream.states(0))
    y = ones(2, H)
    assert stream.step(ones(2, I), y) is y
    tokens = m.Program32()
    tokens.recurrent(packed(LSTM), True)
    stream = m.Stream32(tokens, 2)
    for bad in (ones(2, I), np.array([0, I]), np.array([-1, 0]), np.array([0]), np.array([[0, 1]]), 0):
        assert stream.step(bad, None) is None
    assert stream.step(np.array([0, 1]), None).shape == (2, H)
    single = m.Stream32(tokens, -1)
    for bad in (I, -1, 2**70, True, 0.0, np.array([0]), None):
        assert single.step(bad, None) is None
    for good in (0, np.int64(0)):
        assert single.step(good, None).shape == (H,)


def test_measuring_memory_reads_only_what_is_there():
    assert module().read(np.zeros(1000, "f4")) == 0
    for wrong in (np.zeros((2, 3), "f4"), np.zeros(10, "f4")[::-1], np.broadcast_to(np.float32(1), 10**9)):
        with pytest.raises(REFUSALS):
            module().read(wrong)


@pytest.mark.parametrize("cell", GATES)
def test_nothing_to_multiply_is_not_for_ever(cell):
    """Inputs without features, which no layer has: the sum of nothing is the bias."""
    arguments = forward_arguments(cell) | {"x": ones(T, B, 0), "weight_ih": ones(GATES[cell] * H, 0)}
    module().forward(**arguments)
    y = ones(T, H)
    module().linear(ones(T, 0), ones(H, 0), 3 * ones(H), None, y)
    assert (y == 3).all()
    d_x = ones(T, I)
    module().linear_backward(ones(T, I), ones(0, I), ones(T, 0), d_x, ones(0, I), None)
    assert (d_x == 0).all()


def test_empty_batches_and_sequences_of_tokens():
    for made in (elman.GRU(5, 6, token_input=True).init(), elman.LSTM(5, 6).init()):
        inner = () if made.layer.takes_tokens else (5,)
        for shape in ((0, 3), (3, 0), (0, 0)):
            x = np.zeros((*shape, *inner), np.int64 if made.layer.takes_tokens else np.float32)
            forward = made.forward(x)
            assert forward.y.shape == (*shape, 6)
            assert (made.backward(forward.tape, forward.y).grads.flat == 0).all()
