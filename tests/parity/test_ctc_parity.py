"""The CTC loss against PyTorch, live, on random configurations."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from oracles import oracle

from elman.ctc import ctc_loss

torch = oracle("torch")


@pytest.mark.parametrize("seed", range(40))
def test_loss_and_gradient(seed: int) -> None:
    rng = np.random.default_rng(seed)
    B, T, V = int(rng.integers(1, 9)), int(rng.integers(2, 80)), int(rng.integers(2, 31))
    blank = int(rng.integers(V))
    logits = 3 * rng.normal(size=(B, T, V))
    labels = np.delete(np.arange(V), blank)
    targets = [rng.choice(labels, rng.integers(0, T // 2 + 1)) for _ in range(B)]
    lengths = rng.integers(1, T + 1, B)
    average = ["sample", "label"][seed % 2]
    leaf = torch.tensor(logits, requires_grad=True)
    losses = torch.nn.functional.ctc_loss(
        torch.log_softmax(leaf, -1).transpose(0, 1),
        torch.tensor(np.concatenate(targets).astype(np.int64)),
        torch.tensor(lengths),
        torch.tensor([len(t) for t in targets]),
        blank=blank,
        reduction="none",
        zero_infinity=False,
    )
    possible = torch.isfinite(losses)
    if not possible.any():
        return
    sizes = torch.tensor([max(len(t), 1) for t in targets], dtype=torch.float64)
    mean = (losses / sizes if average == "label" else losses)[possible].mean()
    mean.backward()
    found = ctc_loss(logits, targets, lengths=lengths, blank=blank, impossible="skip", average=average)
    assert found.skipped == int((~possible).sum())
    np.testing.assert_array_equal(np.isinf(found.losses), ~possible.numpy())
    np.testing.assert_allclose(found.losses, losses.detach().numpy(), rtol=1e-10)
    assert found.value == pytest.approx(float(mean.detach()), rel=1e-10)
    expected = torch.where(possible[:, None, None], leaf.grad, 0.0).numpy()
    np.testing.assert_allclose(found.d_y, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_in_float32_never_less_exact_than_pytorch(seed: int) -> None:
    rng = np.random.default_rng(seed)
    B, T, V, S = 8, 200, 30, 40
    logits = 3 * rng.normal(size=(B, T, V)).astype(np.float32)
    targets = rng.integers(1, V, (B, S))

    def by_torch(dtype: object) -> tuple[np.ndarray, np.ndarray]:
        leaf = torch.tensor(logits, dtype=dtype, requires_grad=True)
        losses = torch.nn.functional.ctc_loss(
            torch.log_softmax(leaf, -1).transpose(0, 1),
            torch.tensor(targets),
            torch.full((B,), T),
            torch.full((B,), S),
            reduction="none",
        )
        losses.mean().backward()
        return losses.detach().numpy(), leaf.grad.numpy()

    exact, theirs = by_torch(torch.float64), by_torch(torch.float32)
    found = ctc_loss(logits, list(targets))
    assert np.abs(found.losses - exact[0]).max() <= np.abs(theirs[0] - exact[0]).max()
    assert np.abs(found.d_y - exact[1]).max() <= np.abs(theirs[1] - exact[1]).max()


def test_the_golden_file_is_what_its_generator_makes(tmp_path: Path) -> None:
    generator = Path(__file__).parents[1] / "golden" / "make_ctc_golden.py"
    runpy.run_path(str(generator))["main"](tmp_path)
    with np.load(tmp_path / "ctc.npz") as fresh, np.load(generator.with_name("ctc.npz")) as kept:
        assert fresh.files == kept.files
        for name in set(kept.files) - {"about"}:
            np.testing.assert_allclose(fresh[name], kept[name], rtol=1e-12, atol=1e-12, err_msg=name)
