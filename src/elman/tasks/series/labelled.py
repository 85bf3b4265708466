"""One label or number for a whole sequence: `RecurrentClassifier` and `RecurrentRegressor`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from elman import checks
from elman.layers import Sequential
from elman.layers.boundary import pad
from elman.params import Array, Params
from elman.tasks.series import networks
from elman.tasks.series.fitting import Epoch, Fit, Fixed, Plan, generator_of, in_order, never, or_as_before, shuffled
from elman.tasks.series.inputs import as_sequences, columns, cut_like, refuse_other_features
from elman.tasks.series.scaling import SCALINGS, Standard, scaled

POOLS = ("last", "mean", "max")


class Labelled(NamedTuple):
    """A batch: x (B, T, I), lengths (B,), targets (B,) ids or (B, O) numbers, weights (B,)."""

    x: Array
    lengths: Array
    targets: Array
    weights: Array


def chosen(kind: str, y: Array, lengths: Array, forward_size: int) -> Array | None:
    """Return which step of y (B, T, H) "last" (of each direction) or "max" takes, (B, 1, H); None for "mean": all."""
    _, T, H = y.shape
    if kind == "mean":
        return None
    if kind == "max":
        valid = np.arange(T) < lengths[:, None]
        at: Array = np.where(valid[:, :, None], y, -np.inf).argmax(axis=1)
    else:
        at = np.repeat(lengths[:, None] - 1, H, axis=1)
        at[:, forward_size:] = 0  # the reverse direction ends at the first step
    return at[:, None, :]


def pooled(y: Array, lengths: Array, at: Array | None) -> Array:
    """Return one vector for each row of y (B, T, H): what is at the steps of `chosen`, or the mean."""
    if at is None:  # outputs past a row's length are 0
        mean: Array = y.swapaxes(0, 1).sum(axis=0)
        mean /= lengths[:, None].astype(y.dtype)
        return mean
    found: Array = np.take_along_axis(y, at, axis=1)[:, 0]
    return found


def spread(y: Array, lengths: Array, at: Array | None) -> Array:
    """Return the gradient of `pooled` by y for a gradient of ones, (B, T, H) or what broadcasts to it."""
    if at is None:
        valid = np.arange(y.shape[1]) < lengths[:, None]
        share: Array = (valid / lengths[:, None]).astype(y.dtype)[:, :, None]
        return share
    ones: Array = np.zeros(y.shape, y.dtype)
    np.put_along_axis(ones, at, 1, axis=1)
    return ones


class LabelObjective:
    """The loss of one label or number a sequence, weighted by row."""

    def __init__(self, layer: Sequential, pool_kind: str, forward_size: int, classes: bool) -> None:
        self._split = networks.Splitter(layer)
        self.pool_kind = pool_kind
        self.forward_size = forward_size  # of an output step: the features that run forward in time
        self.classes = classes

    def loss(  # noqa: D102
        self, params: Params, batch: Labelled, grads: Params | None, rng: np.random.Generator | None
    ) -> float:
        parts = self._split(params)
        if grads is None:
            y, tape = parts.body.predict(parts.body_params, batch.x, lengths=batch.lengths).y, None
        else:
            y, _, tape = parts.body.forward(parts.body_params, batch.x, lengths=batch.lengths, rng=rng)
        at = chosen(self.pool_kind, y, batch.lengths, self.forward_size)
        h = pooled(y, batch.lengths, at)
        value, d_out = self._compare(networks.linear(parts.head, h), batch)
        if grads is not None and tape is not None:
            own = self._split(grads)
            own.head["weight"] += d_out.T @ h
            own.head["bias"] += d_out.sum(axis=0)
            d_pooled = d_out @ parts.head["weight"]
            d_y = spread(y, batch.lengths, at) * d_pooled[:, None, :]
            parts.body.backward(parts.body_params, tape, d_y, grads=own.body_params)
        return value

    def _compare(self, out: Array, batch: Labelled) -> tuple[float, Array]:
        """Return the weighted mean loss over rows and its gradient: cross entropy in nats, or squared error."""
        share = (batch.weights / len(out)).astype(out.dtype)[:, None]
        if not self.classes:
            difference = out - batch.targets
            n = out.shape[1]
            return float((difference**2 * share).sum(dtype=np.float64)) / n, 2 * difference * share / n
        log_p = log_softmax(out)
        rows = np.arange(len(out))
        d_out = np.exp(log_p)
        d_out[rows, batch.targets] -= 1
        return float(-(log_p[rows, batch.targets] * share[:, 0]).sum(dtype=np.float64)), d_out * share

    def outputs(self, params: Params, x: Array, lengths: Array) -> Array:
        """Return what the linear layer gives for each row, (B, O)."""
        parts = self._split(params)
        ragged = lengths.min() < x.shape[1]
        y = parts.body.predict(parts.body_params, x, lengths=lengths if ragged else None).y
        at = chosen(self.pool_kind, y, lengths, self.forward_size)
        return networks.linear(parts.head, pooled(y, lengths, at))


def log_softmax(out: Array) -> Array:
    """Return log probabilities (B, V) of logits."""
    out = out - out.max(axis=1, keepdims=True)
    log_p: Array = out - np.log(np.exp(out).sum(axis=1, keepdims=True))
    return log_p


class LabelSource:
    """Labelled sequences in batches of like length."""

    def __init__(self, data: Labelled | None, rows: list[Array], held_out: Array, batch_size: int, dtype: Any) -> None:
        assert data is not None
        self._data = data
        self._rows = rows
        self._dtype = dtype
        self._batch_size = batch_size
        kept = np.ones(len(rows), bool)
        kept[held_out] = False
        self._train, self._held_out = np.flatnonzero(kept), held_out

    def n_batches(self) -> int:  # noqa: D102
        return -(-len(self._train) // self._batch_size)

    def epoch(self, rng: np.random.Generator) -> Iterator[tuple[Labelled, float]]:  # noqa: D102
        for rows in shuffled(self._data.lengths[self._train], self._batch_size, rng):
            yield self._batch(self._train[rows]), len(rows)

    def held_out(self) -> Iterator[tuple[Labelled, float]]:  # noqa: D102
        for rows in in_order(self._data.lengths[self._held_out], self._batch_size):
            yield self._batch(self._held_out[rows]), len(rows)

    def _batch(self, rows: Array) -> Labelled:
        x, lengths = pad([self._rows[row] for row in rows], self._dtype)
        return Labelled(x, lengths, self._data.targets[rows], self._data.weights[rows])


class _Labelling(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What the classifier and the regressor share."""

    _classes = False

    def __init__(
        self,
        *,
        cell: str = "gru",
        hidden_size: int = 64,
        n_layers: int = 1,
        bidirectional: bool = False,
        pool: str = "mean",
        memory_steps: float | None = None,
        dropout: float = 0.0,
        scaling: str | None = "global",
        missing: str = "error",
        learning_rate: float = 3e-3,
        schedule: str = "cosine",
        batch_size: int = 32,
        max_epochs: int = 100,
        clip_norm: float = 1.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        random_state: Any = None,
    ) -> None:
        self.cell = cell
        self.hidden_size = hidden_size
        self.n_layers = n_layers
        self.bidirectional = bidirectional
        self.pool = pool
        self.memory_steps = memory_steps
        self.dropout = dropout
        self.scaling = scaling
        self.missing = missing
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.clip_norm = clip_norm
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = self.missing == "mask"
        tags.non_deterministic = False
        return tags

    @property
    def _name(self) -> str:
        return type(self).__name__

    # -------------------------------------------------------------------------------------------------------- fitting

    def _start(self, rows: list[Array], output_size: int) -> None:
        """Draw a network for sequences like these, learn the scale, and forget what was learnt before."""
        self._fitted_with = Fixed(self, FIXED)
        self._n_inputs = rows[0].shape[1]
        mask = self.missing == "mask"
        sizes = networks.Sizes(
            self.cell, self.hidden_size, self.n_layers, self.dropout, self.bidirectional, self.memory_steps
        )
        self._layer = networks.tower(self._name, self._n_inputs * (1 + mask), output_size, sizes)
        self._standard = Standard.of(rows) if self.scaling == "global" else None
        rng = generator_of(self._name, self.random_state)
        self._params = networks.draw(self._layer, rng, np.float32)
        self._fit_state = Fit(self._name, self._params, self._objective(), rng)
        self.history_ = self._fit_state.history

    def _objective(self) -> LabelObjective:
        whole = int(self.hidden_size)
        return LabelObjective(self._layer, self.pool, whole, self._classes)

    def _check(self) -> Plan:
        name = self._name
        checks.one_of(name, "pool", self.pool, POOLS)
        checks.one_of(name, "scaling", self.scaling, SCALINGS)
        checks.one_of(name, "missing", self.missing, ["error", "mask"])
        checks.positive(name, batch_size=self.batch_size)
        checks.flags(name, bidirectional=self.bidirectional)
        checks.in_range(name, "validation_fraction", self.validation_fraction, 0, 1, open_low=True, open_high=True)
        plan = Plan(
            self.learning_rate, self.max_epochs, self.clip_norm, self.schedule, self.early_stopping, self.patience
        )
        plan.check(name)
        return plan

    def _sequences(self, X: Any, *, first: bool) -> list[Array]:
        """Return X as sequences; after the first time they must have as many features, a 2-D array as many columns."""
        rows = as_sequences(self._name, X, missing=self.missing == "mask")
        n_columns = columns(X)
        if first:
            self.n_features_in_ = rows[0].shape[1] if n_columns is None else n_columns
            self._n_columns = n_columns
            return rows
        refuse_other_features(self._name, rows, self._n_inputs)
        if n_columns is not None and self._n_columns not in (None, n_columns):
            raise ValueError(
                f"{self._name}: X has {n_columns} features, but {self._name} is expecting {self._n_columns} features "
                "as input: the fit had a 2-D array with as many columns; pass sequences of other lengths as a list"
            )
        return rows

    def _scaled(self, rows: list[Array]) -> list[Array]:
        mask = self.missing == "mask"
        if self.scaling == "series":
            return [scaled(row, None, "series", mask, np.float32) for row in rows]
        whole = scaled(np.concatenate(rows), self._standard, self.scaling, mask, np.float32)  # in one go
        return cut_like(whole, rows)

    def _source(self, rows: list[Array], targets: Array, weights: Array, held_out: Array) -> LabelSource:
        lengths = np.array([len(row) for row in rows], np.intp)
        if weights.sum() > 0:
            weights = weights * (len(weights) / weights.sum())
        data = Labelled(np.empty(0), lengths, targets, weights)
        return LabelSource(data, self._scaled(rows), held_out, self.batch_size, np.float32)

    def _held_out(self, n: int, strata: Array | None, groups: Any, seed: int) -> Array:
        """Return the numbers of the sequences that early stopping looks at: whole groups where there are some."""
        from sklearn.model_selection import GroupShuffleSplit, train_test_split

        if not self.early_stopping:
            return np.empty(0, np.intp)
        numbers = np.arange(n)
        if groups is not None:
            n_groups = len(np.unique(groups))
            if n_groups < 2:
                raise ValueError(
                    f"{self._name}: early_stopping holds out whole groups, of which there is one; 2 are needed"
                )
            self._refuse_share(n_groups, int(np.ceil(n_groups * self.validation_fraction)), "groups")
            split = GroupShuffleSplit(n_splits=1, test_size=self.validation_fraction, random_state=seed)
            return np.sort(next(split.split(numbers, groups=groups))[1])
        if n < 2:
            raise ValueError(f"{self._name}: early_stopping needs at least 2 sequences, got {n}")
        n_held = max(1, round(n * self.validation_fraction))
        self._refuse_share(n, n_held, "sequences")
        if strata is not None:
            counts = np.bincount(strata)
            few = counts[counts > 0].min() < 2 or min(n_held, n - n_held) < len(counts)
            strata = None if few else strata
        return np.sort(train_test_split(numbers, test_size=n_held, stratify=strata, random_state=seed)[1])

    def _refuse_share(self, n: int, n_held: int, what: str) -> None:
        if n_held >= n:
            raise ValueError(
                f"{self._name}: validation_fraction={self.validation_fraction} leaves none of {n} {what} to train on"
            )

    def _fit_all(
        self,
        rows: list[Array],
        targets: Array,
        output_size: int,
        weights: Array,
        groups: Any,
        plan: Plan,
        stop: Callable[[], bool],
    ) -> Iterator[Epoch]:
        """Begin anew and train on all sequences but the held-out ones; yield the epochs."""
        if groups is not None and len(groups) != len(rows):
            raise ValueError(f"{self._name}: groups must be one a sequence, got {len(groups)} for {len(rows)}")
        used = np.flatnonzero(weights > 0)  # a weight of 0 leaves a sequence out, also out of the scale
        if not len(used):
            raise ValueError(f"{self._name}: all sample weights are zero, so there is nothing to learn from")
        rows, targets, weights = [rows[k] for k in used], targets[used], weights[used]
        groups = None if groups is None else np.asarray(groups)[used]
        seed = int(generator_of(self._name, self.random_state).integers(2**31)) if self.early_stopping else 0
        held_out = self._held_out(len(rows), targets if self._classes else None, groups, seed)
        kept = np.setdiff1d(np.arange(len(rows)), held_out)
        self._start([rows[k] for k in kept], output_size)
        self._learn_targets(targets[kept])
        source = self._source(rows, self._target_units(targets), weights, held_out)
        try:
            for epoch in self._fit_state.epochs(source, plan, stop):
                self.n_epochs_ = len(self.history_)  # between epochs it predicts, too
                yield epoch
        finally:
            self._fit_state.finish()
            self.n_epochs_ = len(self.history_)

    def _check_fitted(self) -> None:
        """Raise NotFittedError before a fit, and ValueError where an option was changed after it."""
        if not hasattr(self, "n_epochs_"):  # asked by hand, for the check looks at much more
            check_is_fitted(self, "n_epochs_")
        self._fitted_with.check(self._name, self)

    def _learn_targets(self, targets: Array) -> None:
        """Learn the scale of the targets."""

    def _target_units(self, targets: Array) -> Array:
        return targets

    # ------------------------------------------------------------------------------------------------------ predicting

    def _outputs(self, X: Any) -> Array:
        """Return the outputs of the network for each sequence, (n, O), in the order of X."""
        self._check_fitted()
        rows = self._sequences(X, first=False)
        inputs, objective = self._scaled(rows), self._fit_state.objective
        assert isinstance(objective, LabelObjective)
        out: Array = np.empty((len(rows), self._layer.out_size or 0), np.float32)
        for batch in in_order([len(row) for row in rows], PREDICT_ROWS):
            x, lengths = pad([inputs[k] for k in batch], np.float32)
            out[batch] = objective.outputs(self._params, x, lengths)
        return out


PREDICT_ROWS = 256
FIXED = ("cell", "hidden_size", "n_layers", "bidirectional", "pool", "memory_steps", "scaling", "missing", "dropout")


class RecurrentClassifier(ClassifierMixin, _Labelling):  # type: ignore[misc]  # scikit-learn has no types
    """Classify whole sequences: a recurrent network, its outputs pooled over time, and a softmax.

    ::

        h = network(x);   p = softmax(weight pool(h) + bias)

    Parameters
    ----------
    cell : "gru", "lstm" or "rnn"
    hidden_size, n_layers, bidirectional : sizes of the network
    pool : "mean", "max" or "last" of the outputs over the steps of a sequence
    memory_steps : the units' gates begin with memories of 1 to so many steps; for long sequences under pool="last"
    dropout : probability, between layers and before the last
    scaling : "global" standardises each feature over the training part; "series" each sequence by itself; None not at
        all
    missing : "error", or "mask" to take NaN as missing: 0 in its place, and a further input that says so
    learning_rate, schedule, batch_size, max_epochs, clip_norm : of Adam; schedule "cosine" (to 0) or "constant"
    early_stopping, validation_fraction, patience : hold sequences out and stop after so many epochs without a better
        loss there; the best weights are kept
    class_weight : None, "balanced" or a dict of label to weight
    random_state : None, an int or a generator

    Attributes
    ----------
    classes_ : (V,) labels
    history_ : list of `Epoch`
    n_epochs_, n_features_in_ : ints

    Cost: that of the network, T steps a sequence; sequences of like length share a batch.
    """

    _classes = True

    def __init__(
        self,
        *,
        cell: str = "gru",
        hidden_size: int = 64,
        n_layers: int = 1,
        bidirectional: bool = False,
        pool: str = "mean",
        memory_steps: float | None = None,
        dropout: float = 0.0,
        scaling: str | None = "global",
        missing: str = "error",
        learning_rate: float = 3e-3,
        schedule: str = "cosine",
        batch_size: int = 32,
        max_epochs: int = 100,
        clip_norm: float = 1.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        class_weight: Any = None,
        random_state: Any = None,
    ) -> None:
        super().__init__(
            cell=cell,
            hidden_size=hidden_size,
            n_layers=n_layers,
            bidirectional=bidirectional,
            pool=pool,
            memory_steps=memory_steps,
            dropout=dropout,
            scaling=scaling,
            missing=missing,
            learning_rate=learning_rate,
            schedule=schedule,
            batch_size=batch_size,
            max_epochs=max_epochs,
            clip_norm=clip_norm,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            patience=patience,
            random_state=random_state,
        )
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None) -> RecurrentClassifier:
        """Train on sequences and their labels.

        Parameters
        ----------
        X : (n, T, F), (n, T), a list of (T_i, F), or a data frame in long form; see `as_sequences`
        y : (n,) labels
        sample_weight : (n,) weights; 0 leaves a sequence out
        groups : (n,) held out together by early stopping: all sequences of a group or none
        """
        for _ in self.fit_epochs(X, y, sample_weight, groups=groups):
            pass
        return self

    def fit_epochs(
        self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None, stop: Callable[[], bool] = never
    ) -> Iterator[Epoch]:
        """Train as `fit` does, and yield what each epoch did.

        Leaving the loop ends the training and leaves a usable model; so does `stop`, which is asked before each batch.
        """
        with or_as_before(self):
            yield from self._epochs(X, y, sample_weight, groups, stop)

    def _epochs(self, X: Any, y: Any, sample_weight: Any, groups: Any, stop: Callable[[], bool]) -> Iterator[Epoch]:
        plan = self._check()
        rows = self._sequences(X, first=True)
        labels = _labels(self._name, y, len(rows))
        self.classes_, targets = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"{self._name}: needs samples of at least 2 classes in the data, but the data contains only one class: "
                f"{self.classes_.tolist()[0]!r}"
            )
        weights = self._weights(labels, sample_weight)
        yield from self._fit_all(rows, targets, len(self.classes_), weights, groups, plan, stop)

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> RecurrentClassifier:
        """Do one epoch on these sequences at a constant rate, going on from where it was.

        Parameters
        ----------
        X, y, sample_weight : as in `fit`
        classes : (V,) all labels that will ever come; needed at the first call
        """
        with or_as_before(self):
            self._one_epoch(X, y, classes, sample_weight)
        return self

    def _one_epoch(self, X: Any, y: Any, classes: Any, sample_weight: Any) -> None:
        plan = self._check().one_epoch()
        if hasattr(self, "_fit_state"):
            self._check_fitted()
        rows = self._sequences(X, first=not hasattr(self, "_fit_state"))
        labels = _labels(self._name, y, len(rows))
        if not hasattr(self, "_fit_state"):
            if classes is None:
                raise ValueError(f"{self._name}: classes must be passed on the first call to partial_fit.")
            self.classes_ = np.unique(classes)
            self._start(rows, len(self.classes_))
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(f"{self._name}: classes={classes!r} are not those of the first call: {self.classes_}")
        unknown = np.setdiff1d(labels, self.classes_)
        if len(unknown):
            raise ValueError(f"{self._name}: y holds {unknown.tolist()[0]!r}, which is not in classes {self.classes_}")
        targets = np.searchsorted(self.classes_, labels)
        source = self._source(rows, targets, self._weights(labels, sample_weight), np.empty(0, np.intp))
        for _ in self._fit_state.epochs(source, plan):
            pass
        self.n_epochs_ = len(self.history_)

    def _weights(self, labels: Array, sample_weight: Any) -> Array:
        from sklearn.utils.class_weight import compute_sample_weight

        weights = _sample_weights(self._name, sample_weight, len(labels))
        if isinstance(self.class_weight, dict):
            for label, weight in self.class_weight.items():
                checks.in_range(self._name, f"class_weight of {label!r}", weight, 0, open_high=True)
        else:
            checks.one_of(self._name, "class_weight", self.class_weight, [None, "balanced"])
        if self.class_weight is not None:
            weights = weights * compute_sample_weight(self.class_weight, labels)
        return weights

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, (n, V), in the order of `classes_`."""
        p = np.exp(log_softmax(self._outputs(X).astype(np.float64)))
        p /= p.sum(axis=1, keepdims=True)
        return p

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of the probabilities, (n, V)."""
        return log_softmax(self._outputs(X).astype(np.float64))

    def predict(self, X: Any) -> Array:
        """Return the likeliest label of each sequence, (n,)."""
        best = self._outputs(X).argmax(axis=1)
        labels: Array = self.classes_[best]
        return labels


class RecurrentRegressor(RegressorMixin, _Labelling):  # type: ignore[misc]  # scikit-learn has no types
    """Predict one number, or several, for whole sequences: a recurrent network, pooled over time, and squared error.

    Parameters and attributes are those of `RecurrentClassifier`, without classes. Targets are standardised by the
    training part; predictions come back in their units.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None) -> RecurrentRegressor:
        """Train on sequences X, see `as_sequences`, and y (n,) or (n, O); the rest as in `RecurrentClassifier.fit`."""
        for _ in self.fit_epochs(X, y, sample_weight, groups=groups):
            pass
        return self

    def fit_epochs(
        self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None, stop: Callable[[], bool] = never
    ) -> Iterator[Epoch]:
        """Train as `fit` does, and yield what each epoch did.

        Leaving the loop ends the training and leaves a usable model; so does `stop`, which is asked before each batch.
        """
        with or_as_before(self):
            yield from self._epochs(X, y, sample_weight, groups, stop)

    def _epochs(self, X: Any, y: Any, sample_weight: Any, groups: Any, stop: Callable[[], bool]) -> Iterator[Epoch]:
        plan = self._check()
        rows = self._sequences(X, first=True)
        targets, self._one_output = self._numbers(y, len(rows))
        weights = _sample_weights(self._name, sample_weight, len(rows))
        yield from self._fit_all(rows, targets, targets.shape[1], weights, groups, plan, stop)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> RecurrentRegressor:
        """Do one epoch on these sequences at a constant rate; the first call sets the scales."""
        with or_as_before(self):
            self._one_epoch(X, y, sample_weight)
        return self

    def _one_epoch(self, X: Any, y: Any, sample_weight: Any) -> None:
        plan = self._check().one_epoch()
        if hasattr(self, "_fit_state"):
            self._check_fitted()
        rows = self._sequences(X, first=not hasattr(self, "_fit_state"))
        targets, one_output = self._numbers(y, len(rows))
        if not hasattr(self, "_fit_state"):
            self._one_output = one_output
            self._start(rows, targets.shape[1])
            self._learn_targets(targets)
        n_outputs = len(self._target_standard.mean)
        if (targets.shape[1], one_output) != (n_outputs, self._one_output):
            was = "(n,)" if self._one_output else f"(n, {n_outputs})"
            raise ValueError(f"{self._name}: y was {was} in the fit and is {np.shape(y)} now; give as many outputs")
        weights = _sample_weights(self._name, sample_weight, len(rows))
        source = self._source(rows, self._target_units(targets), weights, np.empty(0, np.intp))
        for _ in self._fit_state.epochs(source, plan):
            pass
        self.n_epochs_ = len(self.history_)

    def _numbers(self, y: Any, n: int) -> tuple[Array, bool]:
        """Return y as (n, O), and whether it had one axis."""
        from sklearn.utils.validation import check_array, column_or_1d

        if y is None:
            raise ValueError(f"{self._name}: requires y to be passed, but the target y is None")
        array = np.asarray(y)
        if array.ndim == 2 and array.shape[1] == 1:
            array = column_or_1d(y, warn=True)
        array = check_array(array, ensure_2d=False, dtype=np.float64, input_name="y")
        if len(array) != n:
            raise ValueError(f"{self._name}: y must have one row a sequence, got {len(array)} for {n} sequences")
        return (array[:, None] if array.ndim == 1 else array), array.ndim == 1

    def _learn_targets(self, targets: Array) -> None:
        self._target_standard = Standard.of([targets])

    def _target_units(self, targets: Array) -> Array:
        return self._target_standard.apply(targets).astype(np.float32)

    def predict(self, X: Any) -> Array:
        """Return the number of each sequence, (n,), or (n, O) if y had two axes."""
        out = self._outputs(X).astype(np.float64) * self._target_standard.scale + self._target_standard.mean
        result: Array = out[:, 0] if self._one_output else out
        return result


def _labels(where: str, y: Any, n: int) -> Array:
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import column_or_1d

    if y is None:
        raise ValueError(f"{where}: requires y to be passed, but the target y is None")
    labels: Array = column_or_1d(y, warn=True)
    check_classification_targets(labels)
    if len(labels) != n:
        raise ValueError(f"{where}: y must have one label a sequence, got {len(labels)} for {n} sequences")
    return labels


def _sample_weights(where: str, sample_weight: Any, n: int) -> Array:
    if sample_weight is None:
        return np.ones(n)
    weights = np.asarray(sample_weight, np.float64)
    if weights.ndim == 0:
        weights = np.full(n, float(weights))
    if weights.shape != (n,):
        raise ValueError(f"{where}: sample_weight must be ({n},), one a sequence, got {weights.shape}")
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError(f"{where}: sample_weight must be finite and at least 0")
    return weights
