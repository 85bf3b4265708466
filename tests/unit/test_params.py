"""Params: names, and views into one flat vector."""

import copy
import pickle

import numpy as np
import pytest

from elman import Params
from elman.params import count

SHAPES = {"0": {"weight": (2, 3), "bias": (2,)}, "1": {}, "2": {"deep": {"weight": (1, 2)}}, "scale": ()}


def test_names_and_places():
    params = Params(SHAPES, np.arange(11.0))
    assert list(params) == ["0.weight", "0.bias", "2.deep.weight", "scale"]
    assert len(params) == 4
    assert count(SHAPES) == params.flat.size == 11
    assert params["0.weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert params["2.deep.weight"].tolist() == [[8, 9]]
    assert params["scale"].shape == ()
    assert "0.bias" in params
    assert "bias" not in params
    assert params.get("bias") is None


def test_arrays_are_views_in_both_directions():
    params = Params(SHAPES)
    params["0.bias"][:] = 5
    assert params.flat[6:8].tolist() == [5, 5]
    params.flat[:] = 7
    assert all((array == 7).all() for array in params.values())
    params.child("2")["deep.weight"][0, 1] = 9
    params.child("2").child("deep").flat[0] = 8
    assert params["2.deep.weight"].tolist() == [[8, 9]]
    assert params.child("1").flat.size == 0


def test_writing_by_name_copies_into_the_place():
    params = Params({"weight": (2, 2)}, dtype=np.float64)
    value = np.array([[1, 2], [3, 4]])
    params["weight"] = value
    value[:] = 0
    assert params.flat.tolist() == [1, 2, 3, 4]
    params["weight"] = 6
    assert params.flat.tolist() == [6] * 4
    with pytest.raises(ValueError, match="could not broadcast"):
        params["weight"] = np.zeros((3, 2))
    with pytest.raises(KeyError, match="bias"):
        params["bias"] = 0


def test_copies():
    params = Params(SHAPES, np.arange(11.0))
    for other in (params.copy(), params.astype("float64"), copy.copy(params), copy.deepcopy(params)):
        assert other.shapes == params.shapes
        assert (other.flat == params.flat).all()
    for other in (params.copy(), params.astype("float64"), copy.deepcopy(params), pickle.loads(pickle.dumps(params))):
        other.flat[:] = -1
        assert (other["0.weight"] == -1).all()
        assert params.flat[0] == 0
    zeros = params.zeros_like()
    assert zeros.dtype == params.dtype
    assert not zeros.flat.any()
    assert not np.shares_memory(zeros.flat, params.flat)
    assert params.astype("float32").dtype == np.float32
    assert Params(SHAPES).dtype == np.float32


def test_a_pickled_child_holds_its_own_part():
    params = Params(SHAPES, np.arange(11.0))
    child = pickle.loads(pickle.dumps(params.child("0")))
    assert child.flat.tolist() == list(range(8))
    assert child["bias"].tolist() == [6, 7]


def test_a_flat_vector_of_the_wrong_size():
    with pytest.raises(ValueError, match=r"Params: flat must be \(11,\), got \(10,\)"):
        Params(SHAPES, np.zeros(10))
    with pytest.raises(ValueError, match=r"Params: flat must be \(11,\), got \(11, 1\)"):
        Params(SHAPES, np.zeros((11, 1)))


def test_a_tree_without_numbers():
    params = Params({})
    assert params.flat.size == 0
    assert list(params.items()) == []


def test_repr_lists_names_and_shapes():
    lines = repr(Params(SHAPES)).splitlines()
    assert lines == [
        "Params: 11 numbers, float32",
        "  0.weight (2, 3)",
        "  0.bias (2,)",
        "  2.deep.weight (1, 2)",
        "  scale ()",
    ]
