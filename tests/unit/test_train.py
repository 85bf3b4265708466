"""Training: what a step does, exact resume, what is not finite, evaluation."""

import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import elman
from elman import losses, optim
from elman.sequences import Buckets, TokenWindows
from tolerances import assert_close, assert_same, exactly


def language_model(dropout=0.3):
    return elman.Sequential(
        elman.Embedding(11, 6), elman.stack(elman.LSTM, [6, 8, 8], dropout=dropout), elman.Linear(8, 11)
    ).init(seed=3)


def windows(n_epochs=4):
    return TokenWindows(np.random.default_rng(0).integers(0, 11, 500), 4, 10, n_epochs=n_epochs)


def training(n_epochs=4, **options):
    options = {"optimizer": optim.Adam(0.01), "clip_norm": 1.0, "seed": 5} | options
    return elman.train(language_model(), windows(n_epochs), **options)


# ----------------------------------------------------------------------------------------------------- one step


def test_a_step_is_forward_loss_backward_clip_update():
    model, rng = language_model(), np.random.default_rng(5)
    optimizer = optim.Adam(0.01)
    state, moments = None, optimizer.init(model.params)
    expected = []
    for batch in list(windows())[:8]:
        y, state, tape = model.forward(batch.x, None if batch.reset else state, rng=rng)
        loss, d_y = losses.cross_entropy(y, batch.targets)
        grads = model.backward(tape, d_y).grads
        clipped = optim.clip_by_global_norm(grads, 1.0)
        moments = optimizer.update(model.params, grads, moments)
        expected.append((loss, clipped.norm, clipped.clipped_norm))
    run = training(n_steps=8)
    records = list(run)
    assert [(record.loss, record.norm, record.clipped_norm) for record in records] == expected
    assert_same(run.model.params, model.params)
    assert [record.step for record in records] == list(range(1, 9))
    assert {record.learning_rate for record in records} == {0.01}
    assert {record.tokens for record in records} == {40}
    assert all(record.seconds > 0 for record in records)
    assert all(record.tokens_per_second == record.tokens / record.seconds for record in records)
    assert {record.nonfinite for record in records} == {""}
    assert run.seconds == pytest.approx(sum(record.seconds for record in records))


def test_a_model_learns():
    model = elman.Sequential(elman.GRU(1, 8), elman.Linear(8, 1)).init(seed=0)
    x = np.random.default_rng(0).standard_normal((16, 12, 1))
    targets = np.cumsum(x, axis=1)
    run = elman.train(model, [(x, targets)] * 150, loss=losses.mean_squared_error, optimizer=optim.Adam(0.02))
    records = list(run)
    assert records[-1].loss < 0.1 * records[0].loss


def test_the_end_of_the_batches_or_of_the_steps():
    assert len(list(training())) == windows().n_batches
    assert len(list(training(n_steps=3))) == 3
    run = training(n_steps=3)
    list(run)
    with pytest.raises(StopIteration):
        next(run)
    assert len(list(training(n_steps=10**6))) == windows().n_batches
    assert len(list(elman.train(language_model(), [], n_steps=3))) == 0


@pytest.mark.parametrize("make", [list, tuple, iter, lambda batches: (batch for batch in batches)])
def test_batches_may_be_any_iterable(make):
    batches = list(windows())[:6]
    run = elman.train(language_model(), make(batches), optimizer=optim.Adam(0.01), clip_norm=1.0, seed=5)
    list(run)
    other = training(n_steps=6)
    list(other)
    assert_same(run.model.params, other.model.params)


@pytest.mark.parametrize(
    ("option", "function"),
    [
        ("clip_norm", optim.clip_by_global_norm),
        ("clip_value", optim.clip_by_value),
        ("clip_each", optim.clip_per_parameter),
    ],
)
def test_ways_of_clipping(option, function):
    model = language_model(dropout=0.0)
    batch = windows().batch(0)
    y, _, tape = model.forward(batch.x)
    grads = model.backward(tape, losses.cross_entropy(y, batch.targets).d_y).grads
    limit = 0.01
    clipped = function(grads, limit)
    expected = model.params.flat - 0.1 * grads.flat
    (record,) = elman.train(model, [batch], optimizer=optim.SGD(0.1), **{option: limit})
    assert (record.norm, record.clipped_norm) == (clipped.norm, clipped.clipped_norm)
    assert record.clipped_norm < record.norm
    assert_close(model.params.flat, expected.astype("float32"))


def test_only_one_way_of_clipping():
    with pytest.raises(ValueError, match="train: give at most one of clip_norm, clip_value and clip_each"):
        elman.train(language_model(), [], clip_norm=1.0, clip_value=1.0)


def test_schedules_count_updates():
    rate = optim.Warmup(optim.Constant(0.4), warmup_steps=4)
    rates = [record.learning_rate for record in training(n_steps=6, optimizer=optim.SGD(rate))]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])


def test_tokens_are_the_valid_steps():
    x = [np.zeros((3, 1)), np.zeros((5, 1)), np.zeros((0, 1))]
    model = elman.Sequential(elman.RNN(1, 2), elman.Linear(2, 1)).init()
    (record,) = elman.train(model, Buckets(x, x, 3), loss=losses.mean_squared_error)
    assert record.tokens == 8
    (record,) = elman.train(model, [(np.zeros((2, 3, 1)), np.zeros((2, 3, 1)))], loss=losses.mean_squared_error)
    assert record.tokens == 6


def of_lists(y, targets, *, lengths):
    assert lengths is None
    return losses.mean_squared_error(y, targets)


def test_lists_of_sequences_are_batches_too():
    rng = np.random.default_rng(0)
    x = [rng.standard_normal((n, 2)) for n in (3, 5, 1)]
    models = [elman.RNN(2, 2).init(seed=0) for _ in range(2)]
    (record,) = elman.train(models[0], [(x, x)], loss=of_lists)
    padded, lengths = elman.sequences.pad(x, "float64")
    (other,) = elman.train(models[1], [(padded, padded, lengths)], loss=losses.mean_squared_error)
    assert record.loss == pytest.approx(other.loss, rel=1e-6)
    assert_close(models[0].params, models[1].params)


# ------------------------------------------------------------------------------------------- what is not finite


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_data_is_refused_with_its_place(bad):
    model = elman.RNN(2, 2).init()
    before = model.copy()
    x = np.zeros((3, 4, 2))
    targets = x.copy()
    x[1, 2, 0] = bad
    for policy in ("raise", "skip"):
        sentence = "train: step 2: x has a NaN or an infinity at [1, 2, 0]; fill it or leave the sequence out"
        with pytest.raises(ValueError, match=exactly(sentence)):
            list(elman.train(model, [(targets, targets), (x, targets)], on_nonfinite=policy, loss=quiet))
    with pytest.raises(ValueError, match=r"train: step 1: x has a NaN or an infinity at \[2, 0\]"):
        list(elman.train(model, [(x[1], targets[1])], loss=quiet))
    with pytest.raises(ValueError, match=r"train: step 1: x has a NaN or an infinity at \[1, 2, 0\]"):
        list(elman.train(model, [(list(x), list(targets))], loss=quiet))
    assert_same(model.params, before.params)


def quiet(y, targets, *, lengths):
    """Return a loss without a gradient."""
    d_y = [0 * row for row in y] if isinstance(y, list) else np.zeros_like(y)
    return losses.Loss(0.0, d_y)


def test_bad_numbers_in_the_padding_are_not_data():
    x = np.zeros((2, 4, 2))
    clean = elman.RNN(2, 2).init()
    (expected,) = elman.train(clean, [(x, x, [4, 2])], loss=losses.mean_squared_error)
    x = x.copy()
    x[1, 2:] = np.nan
    model = elman.RNN(2, 2).init()
    (record,) = elman.train(model, [(x, x, [4, 2])], loss=losses.mean_squared_error)
    assert record.loss == expected.loss
    assert_same(model.params, clean.params)


def breaking(step_to_break, how):
    """Return a loss function that breaks at one step."""
    steps = iter(range(1, 100))

    def loss(y, targets, *, lengths):
        value, d_y = losses.cross_entropy(y, targets)
        if next(steps) == step_to_break:
            if how == "loss":
                value = math.nan
            else:
                d_y[1, 3, 2] = np.inf
        return losses.Loss(value, d_y)

    return loss


@pytest.mark.parametrize("how", ["loss", "gradient"])
def test_raise_stops_before_the_weights(how):
    run = training(loss=breaking(3, how))
    next(run), next(run)
    before = run.model.copy()
    with pytest.raises(
        FloatingPointError, match=r"^train: step 3: .*; this step did not change the weights\. Clip the"
    ):
        next(run)
    assert run.step == 2
    assert_same(run.model.params, before.params)


@pytest.mark.parametrize("how", ["loss", "gradient"])
def test_skip_goes_on_without_that_batch(how):
    batches = list(windows())[:6]
    run = elman.train(
        language_model(0.0), batches, optimizer=optim.Adam(0.01), loss=breaking(3, how), on_nonfinite="skip"
    )
    records, weights = [], []
    for record in run:
        records.append(record)
        weights.append(run.model.params.flat.copy())
    assert [bool(record.nonfinite) for record in records] == [False, False, True, False, False, False]
    assert records[2].nonfinite.startswith("train: step 3: ")
    assert (weights[2] == weights[1]).all()
    assert np.isfinite(weights).all()
    # As if the batch had not been there, with the state started anew after it.
    kept = [*batches[:2], batches[3]._replace(reset=True), *batches[4:]]
    other = elman.train(language_model(0.0), kept, optimizer=optim.Adam(0.01))
    list(other)
    assert_same(run.model.params, other.model.params)


def test_an_exploding_network_is_caught():
    model = elman.Sequential(elman.RNN(1, 4, activation="relu"), elman.Linear(4, 1)).init(seed=0)
    model.params["0.weight_hh"] = 1e3
    x = np.ones((1, 60, 1))
    before = model.copy()
    (record,) = elman.train(model, [(x, x)], loss=losses.mean_squared_error, on_nonfinite="skip")
    assert record.nonfinite
    assert not math.isfinite(record.loss)
    assert_same(model.params, before.params)


def test_policies():
    with pytest.raises(ValueError, match="train: on_nonfinite must be one of 'raise', 'skip', got 'ignore'"):
        elman.train(language_model(), [], on_nonfinite="ignore")


# ------------------------------------------------------------------------------------------------- exact resume


def test_saved_and_resumed_at_any_step(tmp_path):
    path = tmp_path / "run.elman"
    whole = training()
    records = list(whole)
    for at in (1, 7, windows().n_windows, windows().n_windows + 1, len(records)):
        first = training(n_steps=at)
        list(first)
        first.save(path)
        second = training(resume=path)
        assert second.step == at
        assert second.seconds == first.seconds
        rest = list(second)
        assert [(r.step, r.loss, r.norm) for r in rest] == [(r.step, r.loss, r.norm) for r in records[at:]]
        assert_same(second.model.params, whole.model.params)


@pytest.mark.parametrize("source", ["windows", "buckets", "list"])
@pytest.mark.parametrize("optimizer", [optim.SGD(0.1, momentum=0.9), optim.RMSprop(optim.Cosine(0.01, total_steps=9))])
def test_resumed_with_other_sources_and_optimizers(tmp_path, source, optimizer):
    rng = np.random.default_rng(0)
    x = [rng.integers(0, 11, n) for n in rng.integers(1, 9, 20)]

    def batches():
        if source == "buckets":
            return Buckets(x, x, 4, n_epochs=2)
        return windows() if source == "windows" else [(row[None], row[None]) for row in x]

    def run(**options):
        return elman.train(language_model(), batches(), optimizer=optimizer, seed=1, **options)

    whole = run(n_steps=9)
    list(whole)
    first = run(n_steps=4)
    list(first)
    first.save(tmp_path / "run.elman")
    second = run(n_steps=9, resume=tmp_path / "run.elman")
    list(second)
    assert_same(second.model.params, whole.model.params)


def test_saving_changes_nothing(tmp_path):
    whole = training(n_steps=6)
    list(whole)
    other = training(n_steps=6)
    for record in other:
        other.save(tmp_path / f"{record.step}.elman")
    assert_same(other.model.params, whole.model.params)


def test_a_skipped_step_is_resumed_too(tmp_path):
    def run(start, **options):
        return elman.train(
            language_model(), windows(), loss=breaking(3 - start, "loss"), on_nonfinite="skip", seed=2, **options
        )

    whole = run(0, n_steps=6)
    list(whole)
    for at in (2, 3, 4):
        first = run(0, n_steps=at)
        list(first)
        first.save(tmp_path / "run.elman")
        second = run(at, n_steps=6, resume=tmp_path / "run.elman")
        list(second)
        assert_same(second.model.params, whole.model.params)


def test_a_training_is_a_model_and_carries_what_it_is_given(tmp_path):
    run = training(n_steps=2)
    list(run)
    path = tmp_path / "run.elman"
    run.save(path, about={"task": "language"}, tensors={"scaler/mean": np.ones(2)})
    assert_same(elman.load(path).params, run.model.params)
    about = training().restore(path)
    assert about["task"] == "language"
    assert about["training"]["step"] == 2
    assert about["training"]["updates"] == 2


def test_resuming_needs_the_same_model_and_optimizer(tmp_path):
    path = tmp_path / "run.elman"
    run = training(n_steps=1)
    list(run)
    run.save(path)

    def refuses(model, sentence, **options):
        with pytest.raises(ValueError, match=exactly(f"{path}: {sentence}")):
            elman.train(model, windows(), **({"optimizer": optim.Adam(0.01), "resume": path} | options))

    other = elman.Sequential(elman.Embedding(11, 6), elman.Linear(6, 11)).init()
    ours, theirs = language_model().layer, other.layer
    refuses(other, f"was trained with layer {ours!r}, cannot go on with {theirs!r}")
    refuses(language_model().astype("float64"), "was trained with dtype float32, cannot go on with float64")
    refuses(
        language_model(),
        f"was trained with optimizer {optim.Adam(0.01)!r}, cannot go on with {optim.Adam(0.02)!r}",
        optimizer=optim.Adam(0.02),
    )
    other.save(path)
    refuses(other, "holds a model, but no training to go on with")


def test_a_damaged_training_is_refused_and_changes_no_weights(tmp_path):
    path = tmp_path / "run.elman"
    run = training(n_steps=3)
    list(run)
    run.save(path)
    _, about, tensors = elman.model.load_all(path)
    of_tensors = [
        lambda t: t.pop("training/moment0"),
        lambda t: t.update({"training/moment0": np.zeros(3, np.float32)}),
        lambda t: t.update({"training/moment1": np.zeros(1, np.float32)}),
        lambda t: t.pop("training/state/1.0.h"),
        lambda t: [t.pop(name) for name in list(t) if "state" in name],
        lambda t: t.update({"training/state/1.0.h": np.float32(0), "training/state/1.0.c": np.float32(0)}),
        lambda t: t.update({name: np.zeros((), np.float32) for name in list(t) if "state" in name}),
    ]
    of_description = [
        lambda d: d.pop("rng"),
        lambda d: d.update(rng={"bit_generator": "MT19937"}),
        lambda d: d.update(rng=[1, 2]),
        lambda d: d.pop("step"),
        lambda d: d.update(step="three"),
        lambda d: d.update(step=float("inf")),
        lambda d: d.update(updates=float("nan")),
        lambda d: d.update(seconds=None),
        lambda d: d.pop("carries_state"),
    ]
    for change in of_tensors + of_description:
        damaged, state = dict(tensors), dict(about["training"])
        change(damaged if change in of_tensors else state)
        run.model.save(path, about={"training": state}, tensors=damaged)
        model = language_model()
        before = model.copy()
        with pytest.raises(ValueError, match=r"damaged: its training cannot be read"):
            elman.train(model, windows(), optimizer=optim.Adam(0.01), clip_norm=1.0, resume=path)
        assert_same(model.params, before.params)


CHILD = """
import sys
sys.path[:0] = sys.argv[2:]
from test_train import training
run = training(n_epochs=None, n_steps=3000)
for record in run:
    run.save(sys.argv[1])
    print(record.step, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals of POSIX")
@pytest.mark.parametrize("steps_before", [1, 9])
def test_killed_and_resumed(tmp_path, steps_before):
    """A run that is killed, wherever it is, and resumed gives the bits of one that was not."""
    path = tmp_path / "run.elman"
    here = os.path.dirname(__file__)
    command = [sys.executable, "-c", CHILD, str(path), here, os.path.dirname(here)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout:
            if int(line) >= steps_before:
                time.sleep(0.002 * steps_before)  # somewhere inside of a step, or of a save
                child.send_signal(signal.SIGKILL)
                break
        child.communicate()
    assert child.returncode == -signal.SIGKILL
    n_steps = elman.model.load_all(path)[1]["training"]["step"] + 14  # over the end of an epoch
    resumed = training(n_epochs=None, n_steps=n_steps, resume=path)
    assert resumed.step >= steps_before
    assert len(list(resumed)) == 14
    whole = training(n_epochs=None, n_steps=n_steps)
    list(whole)
    assert_same(resumed.model.params, whole.model.params)


# ---------------------------------------------------------------------------------------------------- evaluation


def test_evaluate_is_the_mean_over_all_valid_steps():
    model = language_model()
    batches = list(windows(n_epochs=1))
    before = model.copy()
    found = elman.evaluate(model, batches)
    state, total = None, 0.0
    for batch in batches:
        y, state = model(batch.x, None if batch.reset else state)
        total += losses.cross_entropy(y, batch.targets).value * batch.x.size
    assert found.tokens == sum(batch.x.size for batch in batches)
    assert found.loss == pytest.approx(total / found.tokens, rel=1e-12)
    assert elman.evaluate(model, batches) == found  # no dropout, nothing kept
    assert_same(model.params, before.params)
    # As one long sequence: the state is carried over.
    x, targets = (np.concatenate([batch[k] for batch in batches], axis=1) for k in (0, 1))
    assert losses.cross_entropy(model(x).y, targets).value == pytest.approx(found.loss, rel=1e-6)


def test_evaluate_weighs_by_valid_steps_and_skips_empty_batches():
    model = elman.Linear(1, 1).init()
    model.params.flat[:] = [1, 0]
    ones = np.ones((2, 3, 1))
    batches = [(ones * 2, 0 * ones, [3, 3]), (ones * 4, 0 * ones, [1, 1]), (ones, ones, [0, 0])]
    found = elman.evaluate(model, batches, loss=losses.mean_squared_error)
    assert found == (pytest.approx((6 * 4 + 2 * 16) / 8), 8)
    nothing = elman.evaluate(model, batches[2:], loss=losses.mean_squared_error)
    assert math.isnan(nothing.loss)
    assert nothing.tokens == 0


def test_resume_compares_what_decides_the_bits(tmp_path):
    run = elman.train(language_model(), windows(), optimizer=optim.Adam(0.01), clip_norm=1.0, n_steps=2)
    list(run)
    run.save(tmp_path / "run.elman")
    for change, name in (({"clip_norm": 5.0}, "clip"), ({"loss": losses.mean_squared_error}, "loss")):
        options = {"optimizer": optim.Adam(np.float64(0.01)), "clip_norm": 1.0, "n_steps": 3, **change}
        with pytest.raises(ValueError, match=f"was trained with {name} "):
            elman.train(language_model(), windows(), **options, resume=tmp_path / "run.elman")
    options = {"optimizer": optim.Adam(np.float64(0.01)), "clip_norm": 1.0, "n_steps": 3}
    assert len(list(elman.train(language_model(), windows(), **options, resume=tmp_path / "run.elman"))) == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"clip_norm": 0}, "train: clip_norm must be above 0, got 0"),
        ({"clip_value": -1}, "train: clip_value must be above 0"),
        ({"clip_each": "1"}, "train: clip_each must be a number, got str"),
        ({"n_steps": 0}, "train: n_steps must be at least 1"),
        ({"n_steps": 2.5}, "train: n_steps must be an int"),
    ],
)
def test_options_are_checked_at_the_call(options, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        elman.train(language_model(), windows(), **options)


def test_a_gradient_too_large_to_square_is_not_finite():
    model = elman.Linear(1, 1).init()
    batch = (np.full((1, 1, 1), 1e25, np.float32), np.zeros((1, 1, 1), np.float32))
    before = model.copy()
    with pytest.raises(FloatingPointError, match="this step did not change the weights"):
        next(elman.train(model, [batch], loss=lambda y, *_, **__: losses.Loss(1.0, np.ones_like(y))))
    assert_same(model.params, before.params)


def test_nan_in_the_targets_is_named():
    model = elman.Linear(1, 1).init()
    targets = np.zeros((2, 3, 1), np.float32)
    targets[1, 2] = np.nan
    run = elman.train(model, [(np.ones((2, 3, 1)), targets)], loss=losses.mean_squared_error)
    with pytest.raises(ValueError, match=r"train: step 1: targets has a NaN or an infinity at \[1, 2, 0\]"):
        next(run)
    next(elman.train(model, [(np.ones((2, 3, 1)), targets, [3, 2])], loss=losses.mean_squared_error))


def test_lists_and_single_sequences_are_counted_by_their_steps():
    rng = np.random.default_rng(0)
    rnn = elman.Sequential(elman.RNN(2, 3), elman.Linear(3, 4)).init()
    rows = [rng.standard_normal((n, 2)) for n in (1, 9, 2)]
    targets = [rng.integers(0, 4, n) for n in (1, 9, 2)]
    assert next(elman.train(rnn.copy(), [(rows, targets)])).tokens == 12
    assert next(elman.train(rnn.copy(), [(rows[1], targets[1])])).tokens == 9
    together = elman.evaluate(rnn, [(rows, targets)])
    apart = elman.evaluate(rnn, [([row], [target]) for row, target in zip(rows, targets, strict=True)])
    assert together.tokens == apart.tokens == 12
    assert together.loss == pytest.approx(apart.loss, rel=1e-6)


def test_a_loss_of_the_last_step_is_averaged_over_rows():
    rng = np.random.default_rng(0)
    model = elman.Sequential(elman.RNN(2, 3), elman.Linear(3, 4)).init(dtype="float64")
    loss = losses.at_last_step(losses.cross_entropy)
    rows = [rng.standard_normal((n, 2)) for n in (20, 1, 2, 1)]
    labels = rng.integers(0, 4, 4)
    batches = [([rows[0]], labels[:1]), (rows[1:], labels[1:])]
    mean = np.mean([loss(model([row]).y, [label]).value for row, label in zip(rows, labels, strict=True)])
    assert elman.evaluate(model, batches, loss=loss).loss == pytest.approx(mean)
    with pytest.raises(ValueError, match="at_last_step: needs y"):
        loss(np.ones((2, 6, 3)), [1, 0, 2])
