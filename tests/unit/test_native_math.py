"""exp, tanh and sigmoid of the native kernels: within 4 units in the last place over the whole range."""

from __future__ import annotations

import decimal

import numpy as np
import pytest

import zoo
from elman import kernels
from native_cases import needs_native, settings

pytestmark = needs_native

LIMIT_ULP = 4
NUMBERS = {"tanh": 0, "sigmoid": 2, "exp": 3}
INSTRUCTION_SETS = kernels.native_module().instruction_sets() if "native" in zoo.TWINS else []


def native(name, x):
    y = np.empty_like(x)
    kernels.native_module().activate(NUMBERS[name], x, y)
    return y


def exact(name, x):
    """Return f(x) in float64, for float32 x."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        x = x.astype(np.float64)
        return {"tanh": np.tanh, "exp": np.exp, "sigmoid": lambda v: 1 / (1 + np.exp(-v))}[name](x)


def worst_ulp(y, right):
    """Return the largest error of float32 y, in units in the last place of the right result (float64).

    Where the right result is below the normal numbers, y may be anything from 0 to the least normal number.
    """
    tiny, most = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
    below, above = np.abs(right) < tiny, np.abs(right) > most
    assert (np.abs(y[below]) <= 1.01 * tiny).all()
    assert (np.abs(y[above]) >= most).all()
    normal = ~(below | above | np.isnan(right))
    assert (np.isnan(y) == np.isnan(right)).all()
    unit = np.spacing(np.abs(right[normal]).astype(np.float32)).astype(np.float64)
    return float((np.abs(y[normal] - right[normal]) / unit).max(initial=0))


def floats(first, count):
    """Return the float32 numbers with the bit patterns from first on."""
    return np.arange(first, first + count, dtype=np.uint64).astype(np.uint32).view(np.float32)


@pytest.fixture(params=INSTRUCTION_SETS)
def _isa(request):
    with settings(isa=request.param):
        yield


@pytest.mark.usefixtures("_isa")
@pytest.mark.parametrize("name", NUMBERS)
def test_sample_of_all_float32(name):
    x = np.random.default_rng(0).integers(0, 2**32, 400_000, dtype=np.uint32).view(np.float32)
    ends = np.concatenate([np.linspace(edge - 1, edge + 1, 20_000) for edge in (-103.98, -87.34, 0, 10, 87.34, 88.72)])
    for part in (x, ends.astype(np.float32), np.float32([0, -0.0, np.inf, -np.inf, np.nan])):
        assert worst_ulp(native(name, part), exact(name, part)) <= LIMIT_ULP


@pytest.mark.slow
@pytest.mark.parametrize("name", NUMBERS)
def test_all_float32(name):
    """Every one of the 2^32 numbers, by one of the instruction sets that give the same bits."""
    step, worst = 2**22, 0.0
    for start in range(0, 2**32, step):
        x = floats(start, step)
        y = native(name, x)
        if name == "tanh" and start >= 2**31:  # odd: the sign bit of x is that of y
            assert (y.view(np.uint32) ^ native(name, -x).view(np.uint32) == 2**31).all() or np.isnan(x).any()
        worst = max(worst, worst_ulp(y, exact(name, x)))
    print(f"{name}: {worst:.3f} ulp")
    assert worst <= LIMIT_ULP


def with_80_digits(name, x):
    x = decimal.Decimal(x)
    if name == "exp":
        return x.exp()
    if name == "sigmoid":
        return 1 / (1 + (-x).exp())
    e = (2 * x).exp()
    return (e - 1) / (e + 1)


@pytest.mark.usefixtures("_isa")
@pytest.mark.parametrize("name", NUMBERS)
def test_sample_of_float64_against_80_digits(name):
    rng = np.random.default_rng(0)
    range_of = {"exp": 709.78, "sigmoid": 708.39, "tanh": 22}[name]
    low = -708.39 if name == "exp" else -range_of
    small = rng.choice([-1, 1], 300) * 2.0 ** rng.uniform(-60, 0, 300)
    x = np.concatenate([rng.uniform(low, range_of, 500), small, rng.uniform(-1, 1, 300), [low, range_of]])
    with decimal.localcontext(decimal.Context(prec=80, Emin=-2000, Emax=2000)):
        errors = [
            abs(decimal.Decimal(float(y)) - with_80_digits(name, float(v))) / decimal.Decimal(float(np.spacing(abs(y))))
            for v, y in zip(x, native(name, x), strict=True)
        ]
    assert max(errors) <= LIMIT_ULP


@pytest.mark.usefixtures("_isa")
@pytest.mark.parametrize("dtype", zoo.DTYPES)
def test_odd_complementary_and_at_the_ends(dtype):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-100, 100, 5000), rng.choice([-1, 1], 5000) * 10.0 ** rng.uniform(-40, 2, 5000)])
    x = np.concatenate([x, [0, -0.0, 1e-45, 1e-310, 1e30, np.inf]]).astype(dtype)
    assert (native("tanh", -x) == -native("tanh", x)).all()
    assert (np.signbit(native("tanh", x)) == np.signbit(x)).all()
    total = native("sigmoid", x) + native("sigmoid", -x)
    assert np.abs(total - 1).max() <= np.finfo(dtype).eps
    tiny, inf = np.finfo(dtype).tiny, np.inf
    ends = np.array([-inf, inf, -1e4, 1e4, np.nan], dtype)
    assert native("tanh", ends)[:4].tolist() == [-1, 1, -1, 1]
    assert native("exp", ends)[:4].tolist() == [0, inf, 0, inf]
    low, high, far_low, far_high, nan = native("sigmoid", ends)
    assert (high, far_high) == (1, 1)
    assert 0 <= low == far_low <= 1.01 * tiny
    assert np.isnan([nan, native("tanh", ends)[4], native("exp", ends)[4]]).all()
    assert np.isnan(kernels.native_module().activate(1, ends, ends) or ends[4])


@pytest.mark.usefixtures("_isa")
@pytest.mark.parametrize("name", NUMBERS)
def test_any_place_in_a_vector_and_any_number_of_them(name):
    x = np.linspace(-9, 9, 100).astype(np.float32)
    for count in (0, 1, 3, 8, 17, 33, 100):
        for first in (0, 1, 100 - count):
            part = x[first : first + count]
            assert (native(name, part) == native(name, x)[first : first + count]).all()


@pytest.mark.parametrize("off", [1 + 6e-7, 1 - 6e-7])
def test_the_measure_sees_an_error_of_more_than_4_ulp(off):
    x = np.linspace(-3, 3, 1000).astype(np.float32)
    right = exact("sigmoid", x)
    assert worst_ulp(right.astype(np.float32), right) <= 0.5
    assert worst_ulp((right * off).astype(np.float32), right) > LIMIT_ULP
    for wrong in (np.where(x > 2.99, np.nan, right), np.where(x > 2.99, 0, right)):
        with pytest.raises(AssertionError):
            assert worst_ulp(wrong.astype(np.float32), right) <= LIMIT_ULP
