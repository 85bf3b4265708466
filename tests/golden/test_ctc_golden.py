"""The CTC loss against a file that PyTorch made; and the proof that the comparison can fail.

PyTorch gives the gradient with respect to log-probabilities as if a log-softmax stood before them: p - share, not
-share. The test adds p to ours.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from elman.ctc import ctc_loss, log_softmax

with np.load(Path(__file__).with_name("ctc.npz"), allow_pickle=False) as opened:
    ARRAYS = {name: opened[name] for name in opened.files if name != "about"}
CASES = sorted({name.split("/")[0] for name in ARRAYS})


def load(case: str) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    arrays = {name.split("/")[1]: array for name, array in ARRAYS.items() if name.startswith(f"{case}/")}
    return arrays, [row[row >= 0] for row in arrays["targets"]]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_losses_and_gradients(case: str, dtype: str) -> None:
    arrays, targets = load(case)
    found = ctc_loss(arrays["logits"].astype(dtype), targets, lengths=arrays["lengths"], blank=int(arrays["blank"]))
    tolerance = 1e-11 if dtype == "float64" else 2e-6
    np.testing.assert_allclose(found.losses, arrays["losses"], rtol=tolerance)
    np.testing.assert_allclose(len(targets) * found.d_y, arrays["d_logits"], rtol=0, atol=tolerance)


@pytest.mark.parametrize("case", CASES)
def test_gradients_of_log_probabilities(case: str) -> None:
    arrays, targets = load(case)
    log_p = log_softmax(arrays["logits"])
    lengths = arrays["lengths"]
    found = ctc_loss(log_p, targets, lengths=lengths, blank=int(arrays["blank"]), from_logits=False)
    valid = (np.arange(log_p.shape[1]) < lengths[:, None])[..., None]
    share = np.where(valid, len(targets) * found.d_y, 0)
    np.testing.assert_allclose(share.sum(axis=2)[valid[..., 0]], -1, rtol=1e-12)
    np.testing.assert_allclose(np.where(valid, np.exp(log_p) + share, 0), arrays["d_log_p"], rtol=0, atol=1e-11)


def test_the_comparison_sees_another_blank() -> None:
    arrays, targets = load(CASES[0])
    shifted = ctc_loss(np.roll(arrays["logits"], 1, axis=2), targets, lengths=arrays["lengths"])
    assert np.abs(shifted.losses - arrays["losses"]).max() > 0.1
