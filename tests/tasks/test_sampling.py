"""Drawing tokens: temperatures from 0 up, top-k, top-p, sums in double (case G2)."""

import numpy as np
import pytest

from elman.tasks.sampling import draw, probabilities


@pytest.mark.parametrize(
    ("temperature", "right"),
    [(1.0, [0.090031, 0.244728, 0.665241]), (0.5, [0.015876, 0.117310, 0.866813]), (0.0, [0, 0, 1])],
)
def test_g2_temperatures(temperature, right):
    np.testing.assert_allclose(probabilities(np.array([1.0, 2, 3]), temperature=temperature), right, atol=5e-7)


def test_g2_large_logits_at_a_low_temperature_raise_no_warning():
    p = probabilities(np.array([1e4, 9999, 0], np.float32), temperature=0.01)
    np.testing.assert_allclose(p, [1, 0, 0], atol=1e-40)


def test_g2_equals_at_temperature_zero_give_the_first():
    assert probabilities(np.array([1.0, 3, 3]), temperature=0).argmax() == 1


@pytest.mark.parametrize("temperature", [-1.0, np.nan])
def test_g2_impossible_temperatures(temperature):
    with pytest.raises(ValueError, match="temperature must be at least 0"):
        probabilities(np.array([1.0, 2]), temperature=temperature)


def test_g2_a_temperature_without_bound():
    with pytest.raises(ValueError, match="temperature must be finite, got inf"):
        probabilities(np.array([1.0, 2]), temperature=np.inf)


def test_g2_draws_from_many_float32_probabilities_never_fail():
    rng = np.random.default_rng(0)
    logits = rng.standard_normal(50_000).astype(np.float32)
    p = np.exp(logits - logits.max())
    p /= p.sum()
    cumulative_ends = np.cumsum(p, dtype=np.float64)[-1]
    assert cumulative_ends != 1  # the case in question: float32 probabilities do not sum to 1
    drawn = [draw(p, rng) for _ in range(2_000)]
    assert min(drawn) >= 0
    assert max(drawn) < 50_000


def test_draw_never_gives_a_token_without_probability():
    class Highest:
        def random(self):
            return np.nextafter(1, 0)

    assert draw(np.array([0.5, 0.5, 0.0, 0.0]), Highest()) == 1


def test_draws_follow_the_probabilities():
    rng = np.random.default_rng(1)
    p = np.array([0.5, 0.2, 0.3])
    counts = np.bincount([draw(p, rng) for _ in range(20_000)], minlength=3) / 20_000
    np.testing.assert_allclose(counts, p, atol=0.015)


def test_top_k_keeps_the_likeliest():
    np.testing.assert_allclose(probabilities(np.log([0.1, 0.2, 0.3, 0.4]), top_k=2), [0, 0, 3 / 7, 4 / 7])
    np.testing.assert_allclose(probabilities(np.zeros(4), top_k=1), [1, 0, 0, 0])


def test_top_p_keeps_the_smallest_set_that_reaches_it():
    logits = np.log([0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose(probabilities(logits, top_p=0.5), [0, 0, 3 / 7, 4 / 7])
    np.testing.assert_allclose(probabilities(logits, top_p=0.39), [0, 0, 0, 1])
    np.testing.assert_allclose(probabilities(logits, top_p=1.0), [0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize("options", [{"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.5}])
def test_options_out_of_range(options):
    with pytest.raises(ValueError, match="generate: top_"):
        probabilities(np.zeros(3), **options)


@pytest.mark.parametrize("logits", [[1.0, np.nan], [1.0, np.inf], [-np.inf, -np.inf]])
def test_a_model_that_diverged_is_told(logits):
    with pytest.raises(ValueError, match="are not finite"):
        probabilities(np.array(logits))
