"""What the native kernels allocate, counted under the C library; and what bfloat16 weights do over a long time."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import shutil
import subprocess
import sys

import numpy as np
import pytest

import elman
from elman import GRU, LSTM, Linear, Sequential
from native_cases import CELLS, fresh, given, model, needs_native, settings

pytestmark = needs_native

COUNTER = r"""
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t), __libc_free(void *);
static atomic_long calls, bytes, most;
static void *note(void *p) {
    if (!p) return p;
    calls++;
    long now = atomic_fetch_add(&bytes, malloc_usable_size(p)) + malloc_usable_size(p), before = most;
    while (now > before && !atomic_compare_exchange_weak(&most, &before, now)) {}
    return p;
}
void *malloc(size_t n) { return note(__libc_malloc(n)); }
void *calloc(size_t n, size_t m) { return note(__libc_calloc(n, m)); }
void *memalign(size_t a, size_t n) { return note(__libc_memalign(a, n)); }
void *aligned_alloc(size_t a, size_t n) { return note(__libc_memalign(a, n)); }
int posix_memalign(void **p, size_t a, size_t n) { return (*p = note(__libc_memalign(a, n))) ? 0 : ENOMEM; }
void free(void *p) { if (p) bytes -= malloc_usable_size(p); __libc_free(p); }
void *realloc(void *p, size_t n) {
    if (p) bytes -= malloc_usable_size(p);
    return note(__libc_realloc(p, n));
}
long elman_calls(void) { return calls; }
long elman_bytes(void) { return bytes; }
long elman_most(void) { return most; }
void elman_restart(void) { most = atomic_load(&bytes); }
"""


@pytest.fixture(scope="module")
def counter(tmp_path_factory):
    """Return the path of a library that counts allocations."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or platform.libc_ver()[0] != "glibc":
        pytest.skip("allocations are counted under glibc, with a C compiler")
    folder = tmp_path_factory.mktemp("counter")
    (folder / "counter.c").write_text(COUNTER)
    library = folder / "counter.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, folder / "counter.c"], check=True)
    return str(library)


def counted(counter, call, *arguments):
    """Run a function of this file in a process whose allocations are counted."""
    code = f"import test_native_memory as t; t.{call}(*{arguments!r})"
    return fresh(code, LD_PRELOAD=counter, ELMAN_KERNELS="native", timeout=600)


class Count:
    """Allocations in a block: how many calls, how many bytes are left, and how many there were at most."""

    def __enter__(self):
        gc.collect()
        gc.disable()
        self._library = ctypes.CDLL(None)
        self._library.elman_restart()
        self._start = self._now()
        return self

    def _now(self):
        return self._library.elman_calls(), self._library.elman_bytes(), self._library.elman_most()

    def __exit__(self, *_):
        end = self._now()
        gc.enable()
        self.calls, self.left = end[0] - self._start[0], end[1] - self._start[1]
        self.most = end[2] - self._start[1]


def fewest(run, times=2):
    """Return how many allocations a run needs, once everything is warm."""
    run()
    counts = []
    for _ in range(times):
        with Count() as count:
            run()
        counts.append(count.calls)
    return min(counts)


def needed(made, rows, T, ragged):
    """Return how many allocations an engine's call and a training step need."""
    engine = elman.Engine(made)
    x, state = given(made, rows, T)
    lengths = [T - 1 - row for row in range(rows)] if ragged else None

    def train():
        forward = made.forward(x, state, lengths=lengths)
        made.backward(forward.tape, forward.y)

    return fewest(lambda: engine(x, state, lengths=lengths)), fewest(train)


def count_by_length(threads):
    elman.set_num_threads(threads)
    for make in CELLS.values():
        made = model(make(17, 65))
        for rows, T in ((2, 600), (17, 150)):  # beyond the small arrays that NumPy keeps for reuse
            for ragged in (False, True):
                short, long = needed(made, rows, T, ragged), needed(made, rows, 2 * T, ragged)
                assert short == long, (made, rows, ragged, short, long)
                assert min(short) > 0


@pytest.mark.parametrize("threads", [1, 2])
def test_a_longer_sequence_needs_no_more_allocations(threads, counter):
    counted(counter, "count_by_length", threads)


def count_steps(steps):
    models = {name: model(make(33, 65)) for name, make in CELLS.items()}
    models["stack"] = model(Sequential(LSTM(33, 65), GRU(65, 20), Linear(20, 11, activation="tanh")))
    models["large"] = model(LSTM(33, 400))
    models["tokens"] = model(Sequential(elman.Embedding(11, 9), LSTM(9, 65)))
    for threads in (1, 2):
        elman.set_num_threads(threads)
        for name, made in models.items():
            for precision in ("float32", "bfloat16") if name == "stack" else ("float32",):
                engine = elman.Engine(made, precision=precision)
                for rows in (None, 1, 8):
                    stream = engine.stream(rows)
                    x, _ = given(made, rows or 1, 1)
                    x = x[0, 0] if rows is None else np.ascontiguousarray(x[:, 0])
                    out = np.zeros((made.layer.out_size,) if rows is None else (rows, made.layer.out_size), np.float32)

                    def run(stream=stream, x=x, out=out):
                        for _ in range(steps):
                            stream.step(x, out)

                    assert fewest(run) == 0, (name, precision, rows, threads)
                    with Count() as count:
                        run()
                    assert count.left == 0


def test_a_step_of_a_stream_allocates_nothing(counter):
    counted(counter, "count_steps", 100)


@pytest.mark.slow
def test_a_million_steps_grow_by_nothing(counter):
    counted(counter, "count_million")


def resident():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def count_million():
    made = model(LSTM(8, 32))
    stream = elman.Engine(made).stream()
    x, out = np.ones(8, np.float32), np.zeros(32, np.float32)
    for _ in range(1000):
        stream.step(x, out)
    before = resident()
    with Count() as count:
        for _ in range(10**6):
            stream.step(x, out)
    assert (count.calls, count.left) == (0, 0)
    assert resident() - before < 2**20


def measure_inference():
    B, I, H = 4, 16, 128
    for name, make in CELLS.items():
        made = model(make(I, H))
        for call in (elman.Engine(made), made):
            beyond = []
            for T in (200, 1000):
                x, state = given(made, B, T)
                call(x, state)
                with Count() as count:
                    y = call(x, state).y
                beyond.append(count.most - y.nbytes)
            G = made.params["weight_hh"].shape[0] // H
            # A block of the projected input (96 rows), the states, and without an engine the packed weights.
            limit = 4 * (1.2 * 100 * G * H + 6 * B * H) + (0 if call is not made else 4.2 * G * H * (H + I + 2)) + 16384
            assert max(beyond) <= limit, (name, beyond, limit)
            # 800 steps more would be 1.6 MB; a large block is rounded up to whole pages, or not.
            assert beyond[1] - beyond[0] <= 16384, (name, beyond)


def test_inference_needs_memory_of_a_batch_beyond_its_output(counter):
    counted(counter, "measure_inference")


def measure_training():
    B, T, I, H = 4, 500, 16, 64
    for name, make in CELLS.items():
        for layers in (1, 2):
            made = model(make(I, H) if layers == 1 else Sequential(make(I, H), make(H, H)))
            x, state = given(made, B, T)
            made.forward(x, state)
            forward = None  # of the turn before
            with Count() as count:
                forward = made.forward(x, state)
            G = next(array.shape[0] for n, array in made.params.items() if n.endswith("weight_hh")) // H
            # One array more would be half a megabyte; blocks may be rounded up to whole pages.
            limit = 4 * (layers * (G + 2) * (T + 1) * B * H + T * B * I) + 65536
            assert count.left <= limit, (name, layers, count.left, limit)
            assert count.left >= forward.y.nbytes


def test_training_keeps_g_plus_2_floats_a_step_and_unit(counter):
    counted(counter, "measure_training")


def waste():
    """What the counter must see: an allocation that is freed at once, and one that stays."""
    kept = []
    with Count() as count:
        for _ in range(10):
            np.empty(100_000)
        kept.append(np.empty(1_000_000))
    assert count.calls == 11, count.calls
    assert 8e6 <= count.left < 8.1e6
    assert count.most >= 8e6


def test_the_counter_counts(counter):
    counted(counter, "waste")


@pytest.mark.slow
@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_bfloat16_does_not_drift_away_over_100_000_steps(kind):
    """The error stays what it is after the first thousand steps: rounded weights are another model, near by."""
    made, T = kind(16, 128).init(seed=3), 100_000
    x = np.random.default_rng(0).standard_normal((1, T, 16)).astype(np.float32)
    with settings():
        y = elman.Engine(made)(x).y[0]
        error = np.abs(elman.Engine(made, precision="bfloat16")(x).y[0] - y)
    by_time = error.reshape(100, -1).mean(axis=1)
    relative = np.sqrt((error**2).mean() / (y.astype(float) ** 2).mean())
    print(
        f"{kind.__name__}: mean {error.mean():.2e}, largest {error.max():.2e}, relative {relative:.2e}; "
        f"first thousand steps {by_time[0]:.2e}, last {by_time[-1]:.2e}",
        file=sys.stderr,
    )
    assert 0 < relative < 0.03
    assert error.max() < 0.1
    assert by_time[-10:].mean() < 1.2 * by_time[:10].mean()
