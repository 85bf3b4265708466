"""Fitted estimators as one ``.elman`` file: weights, options, scales. Nothing in it is executed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from elman import storage
from elman.layers import Sequential
from elman.model import build, describe
from elman.params import Array, Params, count
from elman.tasks.series import conformal, labelled
from elman.tasks.series.detector import RecurrentDetector
from elman.tasks.series.fitting import Fit, Fixed
from elman.tasks.series.forecaster import FIXED, RecurrentForecaster, Report, Row
from elman.tasks.series.labelled import RecurrentClassifier, RecurrentRegressor
from elman.tasks.series.networks import EncoderDecoder, Network
from elman.tasks.series.scaling import Standard
from elman.tasks.series.view import Units
from elman.version import __version__

Estimator = RecurrentClassifier | RecurrentRegressor | RecurrentForecaster | RecurrentDetector
KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (RecurrentClassifier, RecurrentRegressor, RecurrentForecaster, RecurrentDetector)
}


def save(estimator: Estimator, path: str | os.PathLike[str], *, about: Mapping[str, Any] | None = None) -> None:
    """Write a fitted estimator to one file, whole or not at all.

    Parameters
    ----------
    estimator : fitted; its random_state must be None or an int
    path : where to write
    about : further things to know, as JSON

    Raises
    ------
    ValueError
        where an option was changed after the fit, so that the file would not hold what was fitted; and for class labels
        that are neither text, numbers nor booleans
    """
    estimator._check_fitted()
    if not isinstance(estimator.random_state, int | np.integer | None):
        raise TypeError(
            f"{type(estimator).__name__}: a file holds a random_state of None or an int, and no generator; "
            "set_params(random_state=None) before saving, which changes nothing of what was learnt"
        )
    inner = estimator.forecaster_ if isinstance(estimator, RecurrentDetector) else estimator
    facts: dict[str, Any] = {"n_features_in_": estimator.n_features_in_}
    arrays: dict[str, Array] = {}
    if isinstance(estimator, RecurrentDetector):
        facts |= {"threshold_": estimator.threshold_, "one_series": estimator._one_series}
    if isinstance(inner, RecurrentForecaster):
        network: Network = inner._network
        facts |= {"n_covariates": inner._n_covariates, "report": inner.report_ if hasattr(inner, "report_") else None}
        arrays |= {f"series/whole.{name}": array for name, array in inner._whole._asdict().items()}
        _put(arrays, "covariates", inner._covariate_standard)
        if inner._calibration is not None:
            arrays |= {"series/calibration.out": inner._calibration.out}
            arrays |= {"series/calibration.targets": inner._calibration.targets}
    else:
        network = inner._layer
        facts |= {"n_columns": inner._n_columns, "n_inputs": inner._n_inputs}
        _put(arrays, "standard", inner._standard)
        if isinstance(inner, RecurrentClassifier):
            facts["classes"] = labels = inner.classes_.tolist()
            other = [label for label in labels if not isinstance(label, str | int | float)]
            if other:
                raise ValueError(
                    f"{type(estimator).__name__}: a file holds labels of text, numbers or booleans, got {other[0]!r}; "
                    "fit it with labels as text"
                )
        else:
            facts["one_output"] = inner._one_output
            _put(arrays, "targets", inner._target_standard)
    layers = (
        {"layers": {"encoder": describe(network.encoder), "decoder": describe(network.decoder)}}
        if isinstance(network, EncoderDecoder)
        else {"layer": describe(network)}
    )
    description = {
        "version": __version__,
        "task": "series",
        "estimator": type(estimator).__name__,
        "options": {name: _plain(value) for name, value in estimator.get_params(deep=False).items()},
        "fitted": facts,
        **layers,
        **(about or {}),
    }
    storage.write(path, {**inner._params, **arrays}, description)


def load(path: str | os.PathLike[str]) -> Estimator:
    """Return the estimator in a file of `save`; ValueError where it is damaged or holds something else."""
    return load_all(path)[0]


def load_all(path: str | os.PathLike[str]) -> tuple[Estimator, dict[str, Any]]:
    """Return the estimator in a file of `save`, and what else the file says."""
    tensors, about = storage.read(path)
    if about.get("task") != "series" or about.get("estimator") not in KINDS:
        raise ValueError(f"{path}: holds a model, but none of a series")
    try:
        return _restore(about, tensors), about
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: damaged: {error}") from error


def _restore(about: dict[str, Any], tensors: dict[str, Array]) -> Estimator:
    estimator: Estimator = KINDS[about["estimator"]]()
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in about["options"].items()}
    if isinstance(options.get("class_weight"), tuple):
        options["class_weight"] = dict(options["class_weight"])
    estimator.set_params(**options)
    facts = about["fitted"]
    network, params = _network(about, tensors)
    estimator.n_features_in_ = int(facts["n_features_in_"])
    inner: Any = estimator
    if isinstance(estimator, RecurrentDetector):
        estimator._take(estimator._new())
        estimator.threshold_ = float(facts["threshold_"])
        estimator._one_series = bool(facts.get("one_series", False))
        inner = estimator.forecaster_
    inner._check()
    inner._params = params
    rng = np.random.default_rng(inner.random_state)
    if isinstance(inner, RecurrentForecaster):
        D = inner.n_features_in_ = estimator.n_features_in_
        inner._fitted_with = Fixed(inner, FIXED)
        inner._network = network
        inner._n_covariates = int(facts["n_covariates"])
        inner._whole = Units(*(tensors[f"series/whole.{name}"].reshape(1, D) for name in Units._fields))
        inner._covariate_standard = _get(tensors, "covariates")
        inner._calibration, inner._store = None, None
        if "series/calibration.out" in tensors:
            inner._calibration = conformal.Calibration(
                tensors["series/calibration.out"], tensors["series/calibration.targets"]
            )
        if facts["report"] is not None:
            model, naive, seasonal, held_out, n = facts["report"]
            inner.report_ = Report(Row(*model), Row(*naive), Row(*seasonal), bool(held_out), int(n))
        inner._fit_state = Fit(inner._name, params, inner._objective(), rng)
    else:
        assert isinstance(network, Sequential)
        inner._fitted_with = Fixed(inner, labelled.FIXED)
        inner._layer = network
        inner._n_columns, inner._n_inputs = facts["n_columns"], int(facts["n_inputs"])
        inner._standard = _get(tensors, "standard")
        if isinstance(inner, RecurrentClassifier):
            inner.classes_ = np.array(facts["classes"])
        else:
            inner._one_output = bool(facts["one_output"])
            inner._target_standard = _get(tensors, "targets")
        inner._fit_state = Fit(inner._name, params, inner._objective(), rng)
    inner.history_, inner.n_epochs_ = inner._fit_state.history, 0
    return estimator


def _network(about: dict[str, Any], tensors: dict[str, Array]) -> tuple[Network, Params]:
    layers = (
        [build(about["layer"])] if "layer" in about else [build(about["layers"][k]) for k in ("encoder", "decoder")]
    )
    if not all(isinstance(layer, Sequential) for layer in layers):
        raise ValueError("its network must be a Sequential")
    network: Any = layers[0] if len(layers) == 1 else EncoderDecoder(*layers)  # type: ignore[arg-type]
    held = {name: array for name, array in tensors.items() if "/" not in name}
    size = sum(array.size for array in held.values())
    if count(network.shapes()) != size or {array.dtype.name for array in held.values()} != {"float32"}:
        raise ValueError(f"its network has {count(network.shapes()):,} parameters, the file {size:,}")
    params = Params(network.shapes())
    for name in params:
        if name not in held or held[name].shape != params[name].shape:
            raise ValueError(f"{name} is missing or of another shape")
        params[name] = held[name]
    return network, params


def _plain(value: Any) -> Any:
    """Return numbers of NumPy, as a search over an array sets them, as those of Python; a dict as its items."""
    if isinstance(value, dict):  # of class weights, whose keys need not be text
        return _plain(list(value.items()))
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _put(arrays: dict[str, Array], name: str, standard: Standard | None) -> None:
    if standard is not None:
        arrays[f"series/{name}.mean"] = standard.mean
        arrays[f"series/{name}.scale"] = standard.scale


def _get(tensors: dict[str, Array], name: str) -> Standard | None:
    if f"series/{name}.mean" not in tensors:
        return None
    return Standard(tensors[f"series/{name}.mean"], tensors[f"series/{name}.scale"])
