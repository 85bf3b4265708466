"""Estimators in files: what comes back predicts the same bits, and damaged files are refused."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.exceptions import NotFittedError

import elman
from elman import storage
from elman.tasks import series
from elman.tasks.series import RecurrentClassifier, RecurrentDetector, RecurrentForecaster, RecurrentRegressor

RNG = np.random.default_rng(0)
X = [RNG.standard_normal((T, 2)) for T in (50, 60, 70)]


def fitted():
    small = {"hidden_size": 4, "max_epochs": 2, "random_state": 0}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*no better than a naive")
        yield RecurrentClassifier(**small, bidirectional=True, class_weight={"a": 2, "b": 1}).fit(X, ["a", "b", "a"])
        yield RecurrentClassifier(**small, missing="mask").fit(X, [3, 4, 4])
        yield RecurrentRegressor(**small, scaling=None).fit(X, [[1.0, 2.0], [2.0, 4.0], [4.0, 5.0]])
        yield RecurrentForecaster(**small, horizon=3, calibration_fraction=0.3, lags=(2,)).fit(X)
        yield RecurrentForecaster(**small, horizon=3, strategy="encoder-decoder", output="gaussian").fit(
            X, covariates=[np.ones((len(row), 1)) for row in X]
        )
        yield RecurrentDetector(**small).fit(X)


@pytest.mark.parametrize("k", range(6))
def test_what_comes_back_predicts_the_same_bits(k, tmp_path):
    model = list(fitted())[k]
    path = tmp_path / "model.elman"
    series.save(model, path, about={"made for": "a test"})
    again, about = series.files.load_all(path)
    assert about["made for"] == "a test"
    assert type(again) is type(model)
    if k == 4:
        known = [np.ones((len(row) + 3, 1)) for row in X]
        assert np.array_equal(again.predict(X, covariates=known), model.predict(X, covariates=known))
    elif k == 5:
        assert all(np.array_equal(a, b) for a, b in zip(again.score_steps(X), model.score_steps(X), strict=True))
        assert np.array_equal(again.predict(X), model.predict(X))
    else:
        assert np.array_equal(again.predict(X), model.predict(X))
    if k == 3:
        assert np.array_equal(again.predict_interval(X, 0.5), model.predict_interval(X, 0.5))
        assert again.report_ == model.report_
    if k != 4:
        assert np.array_equal(elman.load(path).params.flat, getattr(model, "forecaster_", model)._params.flat)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*no better than a naive")
            again.partial_fit(X, *([["a", "b", "a"], [3, 4, 4], [[1.0, 2.0]] * 3][k : k + 1]))


def test_class_weights_come_back_with_their_labels(tmp_path):
    model = RecurrentClassifier(hidden_size=2, max_epochs=1, class_weight={3: 2, 4: np.float64(1)}, random_state=0)
    series.save(model.fit(X, [3, 4, 4]), tmp_path / "m.elman")
    assert series.load(tmp_path / "m.elman").get_params()["class_weight"] == {3: 2, 4: 1.0}


def test_a_generator_is_not_saved(tmp_path):
    model = RecurrentClassifier(hidden_size=2, max_epochs=1, random_state=np.random.default_rng(0)).fit(X, [3, 4, 4])
    with pytest.raises(TypeError, match="a file holds a random_state of None or an int, and no generator"):
        series.save(model, tmp_path / "m.elman")
    assert not list(tmp_path.iterdir())
    before = model.predict_proba(X)
    series.save(model.set_params(random_state=None), tmp_path / "m.elman")
    assert np.array_equal(series.load(tmp_path / "m.elman").predict_proba(X), before)


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "model.elman"
    series.save(list(fitted())[3], path)
    tensors, about = storage.read(path)
    del about["format"]
    for name, damage in (
        ("estimator", {"estimator": "os.system"}),
        ("options", {"options": {"horizon": "many"}}),
        ("options", {"options": {"shell": True}}),
        ("fitted", {"fitted": {}}),
        ("layer", {"layer": {"kind": "Linear", "input_size": 2, "output_size": 2, "bias": True, "activation": None}}),
    ):
        storage.write(path, tensors, {**about, **damage})
        with pytest.raises(ValueError, match=r"damaged|none of a series"):
            series.load(path)
        assert name in about
    elman.GRU(2, 3).init().save(path)
    with pytest.raises(ValueError, match="holds a model, but none of a series"):
        series.load(path)


def test_numbers_of_numpy_are_saved_as_numbers(tmp_path):
    """As a grid search over an array sets them."""
    options = {"hidden_size": np.int64(4), "learning_rate": np.float32(0.01), "lags": np.array([1, 2])}
    model = RecurrentDetector(max_epochs=1, random_state=np.int64(0), **options)
    model.fit([np.sin(np.arange(60.0))[:, None]])
    series.save(model, tmp_path / "m.elman")
    again = series.load(tmp_path / "m.elman")
    assert again.hidden_size == 4
    assert again.lags == (1, 2)


@pytest.mark.parametrize(
    ("k", "option", "value"),
    [
        (0, "pool", "max"),
        (2, "scaling", "global"),
        (3, "baseline", "naive"),
        (3, "horizon", 5),
        (3, "loss", "mse"),
        (3, "missing", "mask"),
        (3, "cell", "lstm"),
        (5, "scaling", None),
        (5, "lags", (3,)),
    ],
)
def test_options_that_were_changed_after_the_fit_are_not_saved(k, option, value, tmp_path):
    model = list(fitted())[k].set_params(**{option: value})
    with pytest.raises(ValueError, match=f"{option} was .* in the fit and is {re.escape(repr(value))} now; fit again"):
        series.save(model, tmp_path / "m.elman")
    assert not (tmp_path / "m.elman").exists()


def test_what_is_not_fitted_is_not_saved(tmp_path):
    for kind in (RecurrentClassifier, RecurrentRegressor, RecurrentForecaster, RecurrentDetector):
        with pytest.raises(NotFittedError):
            series.save(kind(), tmp_path / "m.elman")


def test_labels_that_a_file_cannot_hold_are_refused(tmp_path):
    dates = np.array(["2020-01-01", "2021-01-01"] * 3, "datetime64[D]")
    model = RecurrentClassifier(hidden_size=2, max_epochs=1).fit(np.arange(30.0).reshape(6, 5), dates)
    with pytest.raises(ValueError, match=r"text, numbers or booleans, got datetime.date\(2020, 1, 1\); fit it"):
        series.save(model, tmp_path / "m.elman")
