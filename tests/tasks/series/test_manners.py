"""scikit-learn's manners: its own checks, clone, pickle, pipelines, searches, weights, seeds."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone, is_outlier_detector
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from elman.tasks.series import (
    RecurrentClassifier,
    RecurrentDetector,
    RecurrentForecaster,
    RecurrentRegressor,
    SequenceScaler,
    save,
    score_batches,
)

# What each fails of scikit-learn's checks, and why it has to.
WEIGHTS = {
    "check_sample_weight_equivalence_on_dense_data": "batches are drawn at random, so weights and repetitions of a "
    "sequence lead along other paths, to 1e-7; test_weights_count_as_repetitions shows it for one batch"
}
LENGTHS = {
    "check_n_features_in": "the columns of a 2-D array are time steps of one feature",
    "check_n_features_in_after_fitting": "a series may be longer after the fit than in it",
}
EXPECTED = {
    RecurrentClassifier: WEIGHTS,
    RecurrentRegressor: WEIGHTS,
    RecurrentForecaster: {
        **LENGTHS,
        "check_fit2d_1feature": "one column is a series of one step, after which nothing comes: refused as that",
    },
    RecurrentDetector: {
        **LENGTHS,
        "check_fit2d_1feature": "one column is a series of one step, after which nothing comes: refused as that",
        "check_outliers_train": "rows of two columns are series of two steps, too few to know what is unusual in them",
        "check_outliers_fit_predict": "the same",
    },
    SequenceScaler: {
        **LENGTHS,
        "check_transformer_data_not_an_array": "sequences that came as a list, of any lengths, go out as a list",
        "check_transformer_general": "the same",
    },
}
SMALL = {"hidden_size": 8, "max_epochs": 40, "learning_rate": 0.02}
ESTIMATORS = [
    RecurrentClassifier(**SMALL),
    RecurrentRegressor(**SMALL),
    RecurrentForecaster(hidden_size=8, max_epochs=3),
    RecurrentDetector(hidden_size=8, max_epochs=3),
    SequenceScaler(),
]


def ids(estimator):
    return type(estimator).__name__


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=ids)
def test_scikit_learns_own_checks(estimator):
    expected = EXPECTED[type(estimator)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the checks fit on noise, where no model is better than naive
        results = check_estimator(estimator, expected_failed_checks=expected, on_fail=None, on_skip=None)
    failed = {f"{r['check_name']}: {r['exception']}" for r in results if r["status"] == "failed"}
    assert failed == set()
    assert {r["check_name"] for r in results if r["status"] == "xfail"} == set(expected)  # none is expected in vain
    assert sum(r["status"] == "passed" for r in results) > 30


def waves(n, rng, ragged=True):
    """Sequences (T_i, 2) of two kinds that differ in the sign of the second feature's slope."""
    x, y = [], []
    for k in range(n):
        t = np.arange(rng.integers(6, 14) if ragged else 10)
        slope = 1 if k % 2 else -1
        x.append(np.stack([np.sin(t + rng.random()), 0.2 * slope * t], axis=1) + 0.1 * rng.standard_normal((len(t), 2)))
        y.append("up" if slope > 0 else "down")
    return x, np.array(y)


@pytest.fixture(scope="module")
def data():
    return waves(40, np.random.default_rng(0))


@pytest.fixture(scope="module")
def fitted(data):
    x, y = data
    return [
        RecurrentClassifier(hidden_size=8, max_epochs=10, random_state=0).fit(x, y),
        RecurrentRegressor(hidden_size=8, max_epochs=10, random_state=0).fit(x, np.arange(len(x))),
        quiet(RecurrentForecaster(horizon=2, hidden_size=8, max_epochs=2, random_state=0), x),
        quiet(RecurrentDetector(hidden_size=8, max_epochs=2, random_state=0), long_waves()),
    ]


def long_waves():
    """What is long enough for a detector to know how large errors are."""
    rng = np.random.default_rng(5)
    return [np.sin(np.arange(T) / 3)[:, None] + 0.1 * rng.standard_normal((T, 2)) for T in (60, 80, 100)]


def quiet(estimator, *data):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "RecurrentForecaster: no better")
        return estimator.fit(*data)


@pytest.mark.parametrize("k", range(4))
def test_init_only_stores(k, fitted):
    estimator = fitted[k]
    for name, value in estimator.get_params().items():
        assert getattr(type(estimator)(**{name: value}), name) is value
    assert "n_features_in_" not in vars(clone(estimator))


def weights(estimator):
    return getattr(estimator, "forecaster_", estimator)._params.flat


def predict(estimator, x):
    return estimator.score_samples(x) if hasattr(estimator, "score_samples") else estimator.predict(x)


@pytest.mark.parametrize("k", range(4))
def test_pickle_is_bit_equal_in_a_new_process(k, fitted, data, tmp_path):
    x = long_waves() if k == 3 else data[0]
    (tmp_path / "model.pickle").write_bytes(pickle.dumps((fitted[k], x)))
    code = (
        "import pickle, numpy as np\n"
        "model, x = pickle.load(open('model.pickle', 'rb'))\n"
        "f = model.score_samples if hasattr(model, 'score_samples') else model.predict\n"
        "np.save('out.npy', f(x)); np.save('proba.npy', getattr(model, 'predict_proba', f)(x))\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert np.array_equal(np.load(tmp_path / "out.npy"), predict(fitted[k], x))
    other = getattr(fitted[k], "predict_proba", lambda x: predict(fitted[k], x))
    assert np.array_equal(np.load(tmp_path / "proba.npy"), other(x))
    assert k == 0 or len(set(predict(fitted[k], x).ravel().tolist())) > 1


@pytest.mark.parametrize("k", range(4))
def test_the_same_seed_gives_the_same_bits_and_leaves_numpys_generator_alone(k, fitted, data):
    x, y = (long_waves(), None) if k == 3 else data
    targets = [y, np.arange(len(x))][k : k + 1]
    before = repr(np.random.get_state())  # noqa: NPY002
    again = quiet(clone(fitted[k]), x, *targets)
    assert np.array_equal(predict(again, x), predict(fitted[k], x))
    other = quiet(clone(fitted[k]).set_params(random_state=1), x, *targets)
    assert not np.array_equal(weights(other), weights(again))
    assert repr(np.random.get_state()) == before  # noqa: NPY002


def test_a_grid_search_in_two_processes_on_ragged_lists(data):
    x, y = data
    grid = {"sequencescaler__scaling": ["global"], "recurrentclassifier__hidden_size": [4, 8]}
    model = make_pipeline(SequenceScaler(), RecurrentClassifier(max_epochs=15, learning_rate=0.01, random_state=0))
    search = GridSearchCV(model, grid, cv=2, n_jobs=2).fit(x, y)
    assert search.best_score_ > 0.9
    assert set(search.cv_results_["param_recurrentclassifier__hidden_size"]) == {4, 8}
    assert search.predict(x).shape == (40,)


def test_groups_stay_together(data):
    x, y = data
    groups = np.repeat(np.arange(10), 4)
    scores = cross_val_score(
        RecurrentClassifier(hidden_size=8, max_epochs=15, learning_rate=0.01, random_state=0),
        x, y, groups=groups, cv=GroupKFold(2),
    )  # fmt: skip
    assert scores.min() > 0.8
    model = RecurrentClassifier(early_stopping=True, validation_fraction=0.3, random_state=0)
    held_out = model._held_out(40, None, groups, seed=0)
    assert 0 < len(held_out) < 40
    with pytest.raises(ValueError, match="groups must be one a sequence, got 39 for 40"):
        model.fit(x, y, groups=groups[1:])
    assert set(groups[held_out]).isdisjoint(set(np.delete(groups, held_out)))


def test_partial_fit_goes_on(data):
    x, y = data
    model = RecurrentClassifier(hidden_size=8, learning_rate=0.01, random_state=0)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        model.partial_fit(x, y)
    model.partial_fit(x[:20], y[:20], classes=["down", "up"])
    before = model._params.flat.copy()
    for _ in range(20):
        model.partial_fit(x[20:], y[20:])
    assert not np.array_equal(before, model._params.flat)
    assert model.n_epochs_ == 21
    assert model.score(x[:20], y[:20]) > 0.9
    with pytest.raises(ValueError, match="'left', which is not in classes"):
        model.partial_fit(x[:1], ["left"])


def test_weights_count_as_repetitions(data):
    """In one batch, where no order of batches can make a difference, float32 apart."""
    x, _ = data
    x, y = x[:6], np.arange(6.0)
    weights = np.array([2, 0, 1, 3, 1, 1])
    options = {"hidden_size": 4, "max_epochs": 5, "batch_size": 100, "scaling": None, "random_state": 0}
    weighted = RecurrentRegressor(**options)
    weighted._learn_targets = lambda _: RecurrentRegressor._learn_targets(weighted, y[:, None])
    repeated = RecurrentRegressor(**options)
    repeated._learn_targets = lambda _: RecurrentRegressor._learn_targets(repeated, y[:, None])
    weighted.fit(x, y, sample_weight=weights)
    repeated.fit([row for row, w in zip(x, weights, strict=True) for _ in range(w)], np.repeat(y, weights))
    assert np.abs(weighted.predict(x) - repeated.predict(x)).max() < 1e-4


def test_class_weights_move_the_border():
    rng = np.random.default_rng(1)
    x = [rng.standard_normal((5, 1)) for _ in range(60)]
    y = np.array([0] * 50 + [1] * 10)
    options = {"hidden_size": 4, "max_epochs": 10, "random_state": 0}
    plain = RecurrentClassifier(**options).fit(x, y).predict(x)
    even = RecurrentClassifier(**options, class_weight="balanced").fit(x, y).predict(x)
    given = RecurrentClassifier(**options, class_weight={0: 1, 1: 50}).fit(x, y).predict(x)
    assert plain.mean() < even.mean() < given.mean()


def test_early_stopping_keeps_the_best_weights():
    rng = np.random.default_rng(2)
    x, y = [rng.standard_normal((6, 2)) for _ in range(40)], rng.integers(2, size=40)  # noise: it can only overfit
    model = RecurrentClassifier(
        hidden_size=16, learning_rate=0.02, early_stopping=True, validation_fraction=0.25, patience=3, max_epochs=200,
        random_state=0,
    ).fit(x, y)  # fmt: skip
    losses = [epoch.validation for epoch in model.history_]
    assert model.n_epochs_ == np.argmin(losses) + 1 + 3 < 200
    held_out = model._held_out(40, y, None, seed=int(np.random.default_rng(0).integers(2**31)))
    p = model.predict_proba([x[k] for k in held_out])[np.arange(len(held_out)), y[held_out]]
    assert -np.log(p).mean() == pytest.approx(min(losses), rel=1e-4)


def test_the_scale_is_that_of_the_training_part_only():
    """What is held out moves nothing: scale, weights and stopping aside, and least of all the scale."""
    rng = np.random.default_rng(3)
    x, y = [rng.standard_normal((6, 2)) for _ in range(40)], np.arange(40) % 2
    options = {
        "hidden_size": 4,
        "early_stopping": True,
        "validation_fraction": 0.25,
        "max_epochs": 2,
        "random_state": 0,
    }
    one = RecurrentClassifier(**options).fit(x, y)
    held_out = one._held_out(40, y, None, seed=int(np.random.default_rng(0).integers(2**31)))
    wild = [row * 1000 if k in held_out else row for k, row in enumerate(x)]
    other = RecurrentClassifier(**options).fit(wild, y)
    assert np.array_equal(one._standard.mean, other._standard.mean)
    assert np.array_equal(one._standard.scale, other._standard.scale)
    assert one.history_[-1].loss == other.history_[-1].loss
    assert one.history_[-1].validation != other.history_[-1].validation


def test_leaving_the_loop_of_epochs_leaves_a_usable_model(data):
    x, y = data
    model = RecurrentClassifier(hidden_size=4, max_epochs=100, random_state=0)
    for epoch in model.fit_epochs(x, y):
        if epoch.epoch == 3:
            break
    assert model.n_epochs_ == 3
    assert model.predict(x).shape == (40,)


@pytest.mark.parametrize("pool", ["mean", "max", "last"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_gradient_is_the_gradient(pool, bidirectional, data):
    """Of the pooled loss, along a random direction, in float64."""
    from elman.layers.boundary import pad
    from elman.tasks.series import networks
    from elman.tasks.series.labelled import Labelled, LabelObjective

    rng = np.random.default_rng(4)
    x, lengths = pad(data[0][:5], np.float64)
    layer = networks.tower("test", 2, 3, networks.Sizes("lstm", 4, 2, 0.0, bidirectional))
    params = networks.draw(layer, rng, np.float64)
    for classes, targets in ((True, np.array([0, 1, 2, 1, 0])), (False, rng.standard_normal((5, 3)))):
        objective = LabelObjective(layer, pool, 4, classes)
        batch = Labelled(x, lengths, targets, rng.random(5))
        grads = params.zeros_like()
        objective.loss(params, batch, grads, None)
        direction = rng.standard_normal(params.flat.size)
        start, step = params.flat.copy(), 1e-6
        params.flat[:] = start + step * direction
        up = objective.loss(params, batch, None, None)
        params.flat[:] = start - step * direction
        down = objective.loss(params, batch, None, None)
        params.flat[:] = start
        assert (up - down) / (2 * step) == pytest.approx(grads.flat @ direction, rel=1e-6)


def test_what_cannot_be_is_refused_in_words(data):
    x, y = data
    with pytest.raises(NotFittedError):
        RecurrentClassifier().predict(x)
    for options, words in (
        ({"cell": "transformer"}, "cell must be one of 'rnn', 'lstm', 'gru'"),
        ({"pool": "first"}, "pool must be one of"),
        ({"scaling": "minmax"}, "scaling must be one of"),
        ({"class_weight": "even"}, "class_weight must be one of None, 'balanced', got 'even'"),
        ({"hidden_size": 0}, "hidden_size must be at least 1"),
        ({"learning_rate": -1.0}, "learning_rate must be above 0"),
        ({"random_state": "seven"}, "random_state must be None, an int"),
    ):
        with pytest.raises(ValueError, match=words):
            RecurrentClassifier(**options).fit(x, y)
    with pytest.raises(ValueError, match="one label a sequence, got 39 for 40"):
        RecurrentClassifier().fit(x, y[1:])
    model = RecurrentClassifier(hidden_size=2, max_epochs=1, random_state=0).fit(x, y)
    with pytest.raises(ValueError, match="expecting 2 features"):
        model.predict([np.zeros((4, 3))])
    with pytest.raises(FloatingPointError, match="did not change the weights"):
        RecurrentRegressor(hidden_size=2, max_epochs=3, scaling=None, learning_rate=1e30, clip_norm=1e30).fit(
            [row * 1e4 for row in x], np.arange(40)
        )


@pytest.mark.parametrize("kind", [RecurrentClassifier, RecurrentRegressor])
@pytest.mark.parametrize(
    ("option", "value"),
    [("pool", "max"), ("hidden_size", 9), ("scaling", "series"), ("missing", "mask"), ("bidirectional", True)],
)
def test_options_of_the_network_hold_until_the_next_fit(kind, option, value, tmp_path):
    x = np.random.default_rng(0).standard_normal((6, 5, 2))
    y = [0, 1] * 3
    model = kind(hidden_size=2, max_epochs=1, random_state=0).fit(x, y)
    model.set_params(dropout=0.5, **{option: value})
    for call in (lambda: model.predict(x), lambda: model.partial_fit(x, y), lambda: save(model, tmp_path / "m")):
        with pytest.raises(ValueError, match=f"{option} was .* in the fit and is .* now; fit again"):
            call()
    model.fit(x, y).predict(x)


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_partial_fit_has_as_many_outputs_as_the_fit(n_outputs, data):
    x, _ = data
    given = np.arange(40.0) if n_outputs == 1 else np.ones((40, 2)) * np.arange(40)[:, None]
    model = RecurrentRegressor(hidden_size=4, max_epochs=1, random_state=0).fit(x, given)
    before = model.predict(x)
    with pytest.raises(ValueError, match=r"y was \(n(, 2|,)\) in the fit and is \(40, 3\) now; give as many outputs"):
        model.partial_fit(x, np.zeros((40, 3)))
    if n_outputs == 2:
        with pytest.raises(ValueError, match=r"y was \(n, 2\) in the fit and is \(40,\) now"):
            model.partial_fit(x, np.zeros(40))
    assert np.array_equal(model.predict(x), before)
    assert model.partial_fit(x, given).predict(x).shape == given.shape


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf")])
def test_class_weights_are_numbers_of_at_least_0(weight, data):
    x, y = data
    model = RecurrentClassifier(hidden_size=4, max_epochs=1, class_weight={"up": weight, "down": 1})
    for call in (lambda: model.fit(x, y), lambda: model.partial_fit(x, y, classes=["down", "up"])):
        with pytest.raises(ValueError, match="class_weight of 'up' must be at least 0"):
            call()
    assert "n_features_in_" not in vars(model)


@pytest.mark.parametrize("fit_before", [True, False])
@pytest.mark.parametrize("k", range(4))
def test_a_fit_that_fails_changes_nothing(k, fit_before, fitted, data):
    """Whatever is wrong, and however late it is seen: a fitted model is what it was, another one stays unfitted."""
    x, y = data
    nothing = [np.where(np.arange(len(row))[:, None] < 1, row, np.nan) for row in x]
    one = [row[:, :1] for row in x]
    wrong = [
        [
            ({}, one, ["up"] * 40), ({}, one, y[1:]), ({"cell": "nope"}, one, y), ({}, [], []),
            ({"class_weight": {"up": -1, "down": 1}}, one, y),
        ],
        [({}, one, np.ones((40, 2))[1:]), ({}, one, np.arange(40.0)), ({"random_state": "x"}, one, np.ones((40, 2)))],
        [({}, [np.zeros((1, 1))]), ({"cell": "nope"}, one), ({"missing": "mask"}, nothing)],
        [({}, [np.zeros((1, 1))]), ({"contamination": 0.9}, one), ({"missing": "mask"}, nothing), ({"cell": "a"}, one)],
    ][k]  # fmt: skip
    for options, *given in wrong:
        model = pickle.loads(pickle.dumps(fitted[k])) if fit_before else clone(fitted[k])
        before = dict(vars(model))
        model.set_params(**options)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*no better than a naive")
            with pytest.raises(ValueError, match="Recurrent"):
                model.fit(*given, **({"groups": [1]} if k == 1 else {}))
        model.set_params(**clone(fitted[k]).get_params())
        assert vars(model).keys() == before.keys()
        if fit_before:
            assert np.array_equal(predict(model, x), predict(fitted[k], x))
        else:
            with pytest.raises(NotFittedError):
                predict(model, x)


def test_a_first_partial_fit_that_fails_leaves_an_unfitted_model(data):
    x, y = data
    model = RecurrentClassifier(hidden_size=4)
    with pytest.raises(ValueError, match="not in classes"):
        model.partial_fit(x, y, classes=["left", "right"])
    assert model.partial_fit(x, y, classes=["down", "up"]).n_epochs_ == 1


def test_a_detector_is_an_outlier_detector_to_scikit_learn():
    model = RecurrentDetector(hidden_size=4, max_epochs=2, random_state=0)
    assert is_outlier_detector(model)
    assert np.array_equal(model.fit_predict(long_waves()), model.predict(long_waves()))


@pytest.mark.parametrize("make", [np.random.RandomState, np.random.default_rng])
def test_a_generator_as_random_state_is_drawn_from(make, data):
    x, y = data
    for early_stopping in (False, True):
        options = {"hidden_size": 4, "max_epochs": 2, "early_stopping": early_stopping}
        one, same = (RecurrentClassifier(**options, random_state=make(3)).fit(x, y) for _ in range(2))
        assert np.array_equal(weights(one), weights(same))
        assert not np.array_equal(weights(one.fit(x, y)), weights(same))  # the generator has gone on
    forecaster = quiet(RecurrentForecaster(hidden_size=4, max_epochs=1, random_state=make(3)), long_waves())
    again = quiet(RecurrentForecaster(hidden_size=4, max_epochs=1, random_state=make(3)), long_waves())
    assert np.array_equal(weights(forecaster), weights(again))
    assert forecaster.predict(long_waves()).shape == (3, 1, 2)


@pytest.mark.parametrize(
    ("options", "groups", "words"),
    [
        ({"validation_fraction": 0.99}, None, "validation_fraction=0.99 leaves none of 40 sequences to train on"),
        (
            {"validation_fraction": 0.95},
            np.arange(40) % 4,
            "leaves none of 4 groups to train on",
        ),
        ({}, np.zeros(40), "holds out whole groups, of which there is one; 2 are needed"),
    ],
)
def test_what_cannot_be_held_out_is_said(options, groups, words, data):
    with pytest.raises(ValueError, match=words):
        RecurrentClassifier(early_stopping=True, random_state=0, **options).fit(*data, groups=groups)


def test_directions_are_true_or_false(data):
    with pytest.raises(TypeError, match="bidirectional must be True or False, got 'no'"):
        RecurrentClassifier(bidirectional="no").fit(*data)


def test_warnings_name_the_line_of_the_caller():
    noise = [np.random.default_rng(k).standard_normal(60).cumsum() for k in range(3)]
    for call in (
        lambda model: model.fit(noise),
        lambda model: list(model.fit_epochs(noise)),
        lambda model: model.backtest(noise),
    ):
        model = quiet(RecurrentForecaster(hidden_size=2, max_epochs=1, learning_rate=1e-6, random_state=0), noise)
        with pytest.warns(UserWarning, match="no better than a naive") as said:
            call(model)
        assert {warning.filename for warning in said} == {__file__}


def test_a_long_data_frame_is_scored_by_series():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"id": [1] * 30 + [2] * 20, "time": [*range(30), *range(20)], "y": np.arange(50.0)})
    model = quiet(RecurrentForecaster(hidden_size=4, max_epochs=1, random_state=0), frame)
    whole = model.predict(frame)
    assert whole.shape == (2, 1, 1)
    assert np.allclose(score_batches(model, frame, batch_size=1), whole, rtol=1e-5)
    wide = pandas.DataFrame(np.arange(20.0).reshape(4, 5))
    assert np.allclose(score_batches(model, wide, batch_size=3), model.predict(wide), rtol=1e-5)


@pytest.mark.parametrize("k", range(4))
def test_an_interrupt_before_the_first_step_changes_nothing(k, fitted, data):
    def interrupt():
        raise KeyboardInterrupt

    x = data[0] if k < 3 else long_waves()
    model, targets = pickle.loads(pickle.dumps(fitted[k])), [data[1], np.arange(len(x))][k : k + 1]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*no better than a naive")
        with pytest.raises(KeyboardInterrupt):
            list(model.fit_epochs(x, *targets, stop=interrupt))
    assert np.array_equal(predict(model, x), predict(fitted[k], x))
