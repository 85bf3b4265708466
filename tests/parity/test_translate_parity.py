"""The translator of the benchmark beside its twin in PyTorch: the same weights, loss, gradient and search."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

import elman
from elman.tasks.translate import Tokens, Translator
from elman.tasks.translate.data import PairBuckets

torch = pytest.importorskip("torch")
ROOT = Path(__file__).resolve().parents[2]
PAIRS = [("a b c", "xyz"), ("b", "y"), ("c a", "zx"), ("a a b c", "xxyz"), ("c b", "zy")]


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """Both sides with the same random weights, and the ids of the pairs."""
    spec = importlib.util.spec_from_file_location("translation", ROOT / "benchmarks" / "accuracy" / "translation.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["translation"] = module
    spec.loader.exec_module(module)
    plan = module.Plan("tatoeba", steps=10, embedding_size=8, hidden_size=8, batch_size=5, beam=3, label_smoothing=0.1)
    source = Tokens.learn([a for a, _ in PAIRS], "space")
    target = Tokens.learn([b for _, b in PAIRS], "char")
    translator = Translator.build(source, target, embedding_size=8, hidden_size=8, dropout=0.3, shortcut=True, seed=2)
    translator.model.params.flat[:] += 0.3 * np.random.default_rng(0).standard_normal(translator.model.params.flat.size)
    ids = translator.encode(PAIRS)
    translator.learn_lexicon(ids)
    path = tmp_path_factory.mktemp("twins") / "m.elman"
    translator.save(path)
    ours, theirs = (module.SIDES[name](plan, translator, ids, 1) for name in ("elman", "torch"))
    module.share_weights(ours, theirs, path)
    theirs.net.eval()
    return ours, theirs, ids


def test_loss_and_gradient_agree(twins):
    ours, theirs, ids = twins
    (batch,) = PairBuckets(ids, 5, n_epochs=1, lexicon=ours.translator.lexicon)
    model = ours.translator.model
    y, _, tape = model.forward(batch.x, lengths=batch.lengths)
    loss, d_y = elman.losses.Smoothed(0.1)(y, batch.targets, lengths=batch.lengths)
    expected, tokens = theirs._loss(batch, 0.1)
    assert tokens == batch.lengths.sum()
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    theirs.net.zero_grad()
    expected.backward()
    grads = model.backward(tape, d_y).grads
    named = dict(theirs.net.named_parameters())
    for name, other in {
        "encoder.0.weight": "source.weight",
        "decoder.0.weight": "target.weight",
        "encoder.2.reverse.weight_hh": "encoder.weight_hh_l0_reverse",
        "decoder.2.weight_ih": "decoder.weight_ih_l0",
        "bridge.weight": "bridge.weight",
        "attention.weight_key": "key.weight",
        "attention.bias": "combine.bias",
        "output.1.weight": "output.weight",
    }.items():
        np.testing.assert_allclose(grads[name], named[other].grad.numpy(), rtol=1e-3, atol=1e-6, err_msg=name)


def test_the_same_beam_finds_the_same(twins):
    ours, theirs, _ = twins
    lines = [a for a, _ in PAIRS] + ["c c c c", "b a", "d"]
    assert ours.translate(lines) == theirs.translate(lines)
