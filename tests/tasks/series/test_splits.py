"""Windows and splits: nothing of the test is seen in training."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.model_selection import GroupKFold, cross_val_score

from elman.tasks.series import RecurrentRegressor, splits


def test_windows_by_hand():
    x, y, ends, owners = splits.windows([np.arange(5.0), np.arange(10.0, 14.0)], context=2, horizon=1)
    assert x[:, :, 0].tolist() == [[0, 1], [1, 2], [2, 3], [10, 11], [11, 12]]
    assert y[:, 0, 0].tolist() == [2, 3, 4, 12, 13]
    assert ends.tolist() == [2, 3, 4, 2, 3]
    assert owners.tolist() == [0, 0, 0, 1, 1]
    with pytest.raises(ValueError, match=r"no series has 9 \+ 1 steps, the longest 5"):
        splits.windows([np.arange(5.0)], context=9, horizon=1)


@pytest.mark.parametrize("apart", [False, True])
def test_no_step_is_on_both_sides(apart):
    series = [np.arange(200.0), np.arange(150.0)]
    x, y, ends, _ = splits.windows(series, context=8, horizon=5)
    cut = splits.TimeSplit(n_splits=3, context=8, horizon=5, keep_context_apart=apart)
    parts = list(cut.split(x, groups=ends))
    assert len(parts) == cut.get_n_splits() == 3
    for train, test in parts:
        assert y[train].max() < y[test].min()  # the values are the times
        if apart:
            assert y[train].max() < x[test].min()
    assert len(parts[0][0]) < len(parts[1][0]) < len(parts[2][0])
    with pytest.raises(ValueError, match="pass groups=ends"):
        next(cut.split(x))
    with pytest.raises(ValueError, match="leave nothing"):
        list(splits.TimeSplit(n_splits=60, context=8, horizon=50).split(x, groups=ends))


def test_they_go_into_scikit_learns_hands():
    rng = np.random.default_rng(0)
    x, y, ends, owners = splits.windows(rng.standard_normal((4, 40)), context=6, horizon=1)
    model = RecurrentRegressor(hidden_size=4, max_epochs=2, random_state=0)
    cut = splits.TimeSplit(n_splits=2, context=6, horizon=1)
    assert len(cross_val_score(model, x, y[:, 0, 0], groups=ends, cv=cut)) == 2
    assert len(cross_val_score(model, x, y[:, 0, 0], groups=owners, cv=GroupKFold(2))) == 2
