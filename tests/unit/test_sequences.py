"""Batches: windows on a stream, buckets of sequences."""

import numpy as np
import pytest

from elman.sequences import Batch, Buckets, TokenWindows, pad, unpad
from tolerances import assert_same, exactly


@pytest.mark.parametrize("n", [10, 20, 21, 22, 41, 50])
@pytest.mark.parametrize("batch_size", [1, 2, 3])
@pytest.mark.parametrize("n_steps", [1, 2, 3])
@pytest.mark.parametrize("keep_last", [False, True])
def test_windows_read_the_stream_in_parts_side_by_side(n, batch_size, n_steps, keep_last):
    ids = np.arange(n) * 10
    windows = TokenWindows(ids, batch_size, n_steps, n_epochs=2, keep_last=keep_last)
    batches = list(windows)
    assert len(batches) == windows.n_batches == 2 * windows.n_windows
    epoch, again = batches[: windows.n_windows], batches[windows.n_windows :]
    assert_same(again, epoch)
    assert [batch.reset for batch in batches] == ([True] + [False] * (windows.n_windows - 1)) * 2
    part = (n - 1) // batch_size
    x = np.concatenate([batch.x for batch in epoch], axis=1)
    targets = np.concatenate([batch.targets for batch in epoch], axis=1)
    assert (targets == x + 10).all()  # the token that follows
    steps = part if keep_last else part // n_steps * n_steps
    assert x.shape == (batch_size, steps)
    for row in range(batch_size):
        assert (x[row] == ids[row * part : row * part + steps]).all()
    widths = {batch.x.shape[1] for batch in epoch[:-1]}
    assert widths <= {n_steps}
    assert all(batch.lengths is None for batch in batches)


def test_windows_are_views():
    ids = np.arange(100, dtype=np.uint8)
    for batch in TokenWindows(ids, 4, 5, n_epochs=1):
        assert np.shares_memory(batch.x, ids)
        assert np.shares_memory(batch.targets, ids)
        assert batch.x.dtype == np.uint8


def test_windows_take_lists():
    windows = TokenWindows([5, 6, 7, 8, 9], 2, 2, n_epochs=1)
    assert windows.batch(0).x.tolist() == [[5, 6], [7, 8]]
    assert windows.batch(0).targets.tolist() == [[6, 7], [8, 9]]


def test_windows_need_enough_tokens():
    assert len(list(TokenWindows(np.arange(9), 2, 4, n_epochs=1))) == 1
    sentence = (
        "TokenWindows: 2 parts with windows of 4 steps need more than 8 tokens, got 8; "
        "use a smaller batch_size or n_steps, or a longer text"
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        TokenWindows(np.arange(8), 2, 4)
    with pytest.raises(ValueError, match="more than 2 tokens, got 2"):
        TokenWindows(np.arange(2), 2, 4, keep_last=True)
    assert TokenWindows(np.arange(3), 2, 4, keep_last=True).batch(0).x.shape == (2, 1)
    with pytest.raises(ValueError, match="TokenWindows: n_steps must be at least 1, got 0"):
        TokenWindows(np.arange(8), 2, 0)


def test_windows_without_end():
    windows = TokenWindows(np.arange(9), 2, 2)
    assert windows.n_batches is None
    position = iter(windows)
    found = [next(position) for _ in range(7)]
    assert_same(found, [windows.batch(step) for step in range(7)])


def ragged(n=23, seed=0, tokens=False):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 9, n)
    lengths[:2] = [0, 8]
    x = [rng.integers(0, 5, k) if tokens else rng.standard_normal((k, 2)) for k in lengths]
    return x, [np.full(len(row), k) for k, row in enumerate(x)]


@pytest.mark.parametrize("batch_size", [1, 4, 23, 50])
@pytest.mark.parametrize("tokens", [False, True])
def test_buckets_give_every_sequence_once_an_epoch(batch_size, tokens):
    x, targets = ragged(tokens=tokens)
    buckets = Buckets(x, targets, batch_size, seed=1, n_epochs=2)
    batches = list(buckets)
    assert len(batches) == buckets.n_batches == 2 * -(-23 // batch_size)
    for epoch in (batches[: len(batches) // 2], batches[len(batches) // 2 :]):
        seen = []
        for batch in epoch:
            assert batch.reset
            assert batch.x.shape[:2] == batch.targets.shape == (len(batch.lengths), batch.lengths.max())
            for row, target, length in zip(batch.x, batch.targets, batch.lengths, strict=True):
                ids = set(target[:length].tolist())
                if ids:
                    (k,) = ids
                    assert_same(row[:length], x[k])
                    seen.append(k)
                assert not row[length:].any()
                assert not target[length:].any()
        assert sorted(seen) == [k for k, row in enumerate(x) if len(row)]
    if batch_size == 4:
        assert [len(batch.lengths) for batch in epoch] == [4, 4, 4, 4, 4, 3]


def test_buckets_hold_sequences_of_like_length():
    x, targets = ragged(200)
    wasted = [1 - batch.lengths.sum() / batch.x[..., 0].size for batch in Buckets(x, targets, 10) if batch.x.size]
    assert np.mean(wasted) < 0.1


def test_the_smaller_batch_is_of_any_length():
    """If it held what is longest each time, these sequences would weigh more than others."""
    x = [np.zeros((k, 1)) for k in range(1, 24)]
    buckets = Buckets(x, np.zeros(23), 4, n_epochs=60)
    longest = [int(buckets.batch(6 * epoch + 5).lengths.max()) for epoch in range(60)]
    assert all(len(buckets.batch(6 * epoch + 5).lengths) == 3 for epoch in range(60))
    assert set(longest) == {3, 7, 11, 15, 19, 23}


def test_buckets_are_shuffled_by_their_seed_and_the_epoch():
    x, targets = ragged(40)

    def order(seed, n_epochs=2):
        return [batch.targets.tobytes() for batch in Buckets(x, targets, 4, seed=seed, n_epochs=n_epochs)]

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert order(1)[:10] != order(1)[10:]
    lengths = [int(batch.lengths.max()) for batch in Buckets(x, targets, 4, seed=1)]
    assert lengths != sorted(lengths)


def test_one_target_a_sequence():
    x, _ = ragged(9)
    for targets in (np.arange(9), list(range(9)), [np.float32(k) for k in range(9)]):
        found = np.concatenate([batch.targets for batch in Buckets(x, targets, 4)])
        assert sorted(found.tolist()) == list(range(9))
        assert found.shape == (9,)
    vectors = [np.array([k, -k, 0]) for k in range(9)]
    assert {batch.targets.shape[1:] for batch in Buckets(x, vectors, 4)} == {(3,)}


def test_the_type_is_that_of_all_sequences():
    x = [np.array([[1], [2]]), np.array([[0.5]]), np.array([[3]])]
    for batch in Buckets(x, [0, 1, 2], 1):
        assert batch.x.dtype == np.float64
    whole = Buckets(x, [0, 1, 2], 3).batch(0).x
    assert 0.5 in whole
    tokens = [np.array([1, 2], np.uint8), [], np.array([3], np.uint8)]
    assert Buckets(tokens, [0, 1, 2], 3).batch(0).x.dtype == np.uint8


@pytest.mark.parametrize("source", ["windows", "buckets"])
def test_a_source_is_a_function_of_the_step(source):
    x, targets = ragged()

    def make():
        if source == "windows":
            return TokenWindows(np.arange(50), 3, 4, n_epochs=3)
        return Buckets(x, targets, 5, seed=2, n_epochs=3)

    batches = list(make())
    for step in (0, 1, 5, len(batches) - 1, len(batches)):
        assert_same(list(make().from_step(step)), batches[step:])
    other = make()
    for step in (7, 2, 9, 2, 0):
        assert_same(other.batch(step), batches[step])


@pytest.mark.parametrize(
    ("x", "targets", "sentence"),
    [
        ([], [], "Buckets: needs as many targets as sequences, at least one, got 0, 0"),
        ([np.zeros((2, 1))], [], "Buckets: needs as many targets as sequences, at least one, got 0, 1"),
    ],
)
def test_buckets_need_data(x, targets, sentence):
    with pytest.raises(ValueError, match=exactly(sentence)):
        Buckets(x, targets, 2)


def test_pad_and_unpad():
    rows = [np.ones((2, 3)), np.ones((0, 3)), np.ones((4, 3))]
    padded, lengths = pad(rows, "float32")
    assert padded.shape == (3, 4, 3)
    assert padded.dtype == np.float32
    assert lengths.tolist() == [2, 0, 4]
    assert padded.sum() == 18
    assert_same(unpad(padded, lengths), [row.astype("float32") for row in rows])
    assert_same(unpad(padded, None), list(padded))
    empty, lengths = pad([], "float64", (7,))
    assert empty.shape == (0, 0, 7)
    assert lengths.shape == (0,)


def test_a_batch_is_a_pair_unless_more_is_said():
    batch = Batch(1, 2)
    assert batch == (1, 2, None, True)
