"""Padding is overwritten at the steps behind each row's end, and nowhere else."""

import numpy as np
import pytest

from elman.padding import fill_padding, without_padding


@pytest.mark.parametrize("order", ["C", "batch first"])
def test_padding_is_filled_and_nothing_else(order):
    steps = np.arange(1.0, 25.0).reshape(4, 3, 2)
    if order == "batch first":
        steps = steps.swapaxes(0, 1).copy().swapaxes(0, 1)
    before, lengths = steps.copy(), np.array([4, 0, 3])
    cleared = without_padding(steps, lengths)
    np.testing.assert_array_equal(steps, before)
    assert cleared.strides == steps.strides
    values = np.array([[-1.0, -2], [-3, -4], [-5, -6]])
    fill_padding(steps, lengths, values)
    for b, length in enumerate(lengths):
        np.testing.assert_array_equal(cleared[:length, b], before[:length, b])
        np.testing.assert_array_equal(steps[:length, b], before[:length, b])
        assert not cleared[length:, b].any()
        np.testing.assert_array_equal(steps[length:, b], np.broadcast_to(values[b], (4 - length, 2)))


def test_ids_have_no_features():
    ids = np.ones((3, 2), int)
    fill_padding(ids, np.array([1, 3]))
    assert ids.tolist() == [[1, 1], [0, 1], [0, 1]]


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, np.nan])
def test_only_padding_that_holds_something_is_copied(value):
    steps = np.ones((4, 3, 2))
    steps[3, 1] = steps[1:, 2] = value
    cleared = without_padding(steps, np.array([4, 3, 1]))
    assert (cleared is steps) == (value == 0)
    assert not cleared[3, 1].any()
    assert not cleared[1:, 2].any()
    assert cleared[:3, 1].all()
