"""Scale: one machine or a cluster, the same bits; a search that prunes; memory of a live series."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn")

import joblib

from elman.tasks.series import RecurrentClassifier, RecurrentDetector, RecurrentForecaster
from elman.tasks.series.scale import score_batches


def waves(n, T=40, seed=0):
    rng = np.random.default_rng(seed)
    return [np.sin(np.arange(T) / 3 + rng.uniform(0, 6))[:, None] + 0.1 * rng.standard_normal((T, 1)) for _ in range(n)]


@pytest.fixture(scope="module")
def forecaster():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*no better than a naive")
        return RecurrentForecaster(horizon=3, hidden_size=8, max_epochs=3, random_state=0).fit(waves(8))


def test_batches_in_processes_give_the_same_bits(forecaster):
    series = waves(50, seed=1)
    alone = score_batches(forecaster, series, batch_size=16, n_jobs=1)
    assert alone.shape == (50, 3, 1)
    assert np.array_equal(alone, score_batches(forecaster, series, batch_size=16, n_jobs=2))
    assert np.array_equal(alone, score_batches(forecaster, iter(series), batch_size=16))
    assert np.allclose(alone, forecaster.predict(series), rtol=1e-5)
    labels = np.arange(8) % 2
    classifier = RecurrentClassifier(hidden_size=4, max_epochs=2, random_state=0).fit(waves(8), labels)
    assert score_batches(classifier, series, method="predict_proba", n_jobs=2).shape == (50, 2)
    with pytest.raises(ValueError, match="has no method 'decide'"):
        score_batches(classifier, series, method="decide")


def test_batches_are_joined_in_the_form_of_the_method():
    """Bounds of intervals side by side, scores of series of any length as a list."""
    series = waves(10, seed=1)
    forecaster = RecurrentForecaster(horizon=3, hidden_size=4, max_epochs=1, output="gaussian", random_state=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*no better than a naive")
        forecaster.fit(series)
    whole = forecaster.predict_interval(series)
    parts = score_batches(forecaster, series, method="predict_interval", batch_size=4)
    assert isinstance(parts, tuple)
    assert all(np.allclose(a, b, rtol=1e-5) for a, b in zip(whole, parts, strict=True))
    ragged = [row[: 40 - k] for k, row in enumerate(series)]
    detector = RecurrentDetector(hidden_size=4, max_epochs=1, random_state=0).fit(series)
    scores = score_batches(detector, ragged, method="score_steps", batch_size=4)
    assert [len(score) for score in scores] == [len(row) for row in ragged]
    with pytest.raises(ValueError, match="X has no series"):
        score_batches(detector, [], method="score_steps")


def test_a_cluster_of_two_workers_gives_the_same_bits(forecaster):
    """joblib's Dask backend, as on a cluster of many machines: only the client's address differs."""
    distributed = pytest.importorskip("distributed")
    series = waves(60, seed=1)
    alone = score_batches(forecaster, series, batch_size=10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ports and of workers that end
        with (
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
            ) as cluster,
            distributed.Client(cluster),
            joblib.parallel_config(backend="dask"),
        ):
            assert np.array_equal(alone, score_batches(forecaster, series, batch_size=10, n_jobs=2))


def test_memory_of_a_live_series():
    """What the papers say: bytes of the arrays for one series of a GRU of 32 units, and of the table of ids."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*no better than a naive")
        model = RecurrentForecaster(hidden_size=32, max_epochs=1, random_state=0).fit(waves(4))
    n = 20_000
    model.start(range(n))
    store = model._store
    held = sum(array.nbytes for _, array in _leaves(store.arrays))
    assert store.bytes_per_series == 4 * 32 + 8 * 6  # the state, and level, count, last value, mean, scale, error
    assert held <= 2 * n * store.bytes_per_series
    assert len(store) == n
    assert store.bytes_of_index / n < 110
    before = model.forecast(7)
    model.update_many(range(n), np.ones((n, 1)))
    assert not np.array_equal(model.forecast(7), before)
    detector = RecurrentDetector(hidden_size=32, max_epochs=1, random_state=0).fit(waves(4))
    detector.start(range(100))
    assert detector._store.bytes_per_series == store.bytes_per_series + 8 * 7  # and seven numbers on its errors


def _leaves(tree):
    from elman.trees import tree_leaves

    return tree_leaves(tree)


def test_a_search_that_prunes():
    """Optuna stops what does not promise: an epoch at a time, by partial_fit."""
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    series, labels = waves(40), np.arange(40) % 2
    for row, label in zip(series, labels, strict=True):
        row += 1.5 * label

    def objective(trial):
        rate = trial.suggest_float("learning_rate", 1e-6, 0.03, log=True)
        model = RecurrentClassifier(hidden_size=4, batch_size=4, learning_rate=rate, random_state=0)
        for epoch in range(8):
            model.partial_fit(series[:30], labels[:30], classes=[0, 1])
            accuracy = model.score(series[30:], labels[30:])
            trial.report(accuracy, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return accuracy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is experimental in Optuna
        study = optuna.create_study(
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=0),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=2),
        )
        study.optimize(objective, n_trials=12)
    states = [trial.state for trial in study.trials]
    assert optuna.trial.TrialState.PRUNED in states
    assert study.best_value > 0.8
    assert sys.modules["optuna"] is optuna
