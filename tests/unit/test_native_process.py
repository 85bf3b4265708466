"""The native kernels among others: denormals, the floating-point mode, fork, and Python's threads."""

from __future__ import annotations

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import elman
from elman import GRU, LSTM, Linear, kernels, stack
from elman.kernels.spec import LSTMState
from native_cases import CELLS, fresh, given, model, needs_native, passes, settings
from tolerances import assert_same

pytestmark = needs_native


@pytest.fixture(autouse=True)
def _native():
    with elman.use_kernels("native"), settings():
        yield


# ----------------------------------------------------------------------------------------------------------- denormals


def decaying(forget, H=64):
    """Return an LSTM whose cells are multiplied by `forget` at each step, whatever comes in."""
    made = model(LSTM(2, H))
    i, f, g, o = np.split(made.params["bias_ih"], 4)
    made.params["weight_ih"], made.params["weight_hh"], made.params["bias_hh"] = 0, made.params["weight_hh"] * 1e-3, 0
    i[...], f[...], g[...], o[...] = -200, np.log(forget / (1 - forget)), 0, 2
    return made


def start_at(c, B, H=64):
    return LSTMState(np.zeros((B, H), np.float32), np.full((B, H), c, np.float32))


@pytest.mark.parametrize("forget", [0.9, 0.95, 0.99])
def test_d11_silence_leaves_the_denormals_and_changes_nothing_above_them(forget):
    made, T = decaying(forget, H=5), {0.9: 1000, 0.95: 2000, 0.99: 9900}[forget]
    made.params["weight_hh"] = 0
    stream = elman.Engine(made).stream()
    stream.state = start_at(1, 1, 5)
    cells, silence = [1.0], np.zeros(2, np.float32)
    for _ in range(T):
        stream.step(silence)
        cells.append(stream.state.c[0, 0])
    exact = np.exp(np.arange(T + 1) * np.log(np.float64(cells[1])))  # the forget gate, rounded as the kernel rounds it
    np.testing.assert_allclose(cells, exact, rtol=1e-3, atol=1e-37)
    assert exact[-1] < 1e-43
    assert cells[-1] == 0
    assert not [c for c in cells if 0 < c < np.finfo(np.float32).tiny]


def least_times(*runs, rounds=7):
    """Return the least time of each run, interleaved."""
    times = [[] for _ in runs]
    for _ in range(rounds):
        for run, of_run in zip(runs, times, strict=True):
            start = time.perf_counter()
            run()
            of_run.append(time.perf_counter() - start)
    return [min(of_run) for of_run in times]


@pytest.mark.parametrize("what", ["sequence", "stream", "training"])
def test_d11_a_step_in_silence_takes_no_longer(what):
    made, T, B = decaying(0.9), 300, 4
    x = np.zeros((B, T, 2), np.float32)
    engine = elman.Engine(made)
    stream = engine.stream(B)

    def run(c):
        if what == "sequence":
            engine(x, start_at(c, B))
        elif what == "stream":
            stream.state = start_at(c, B)
            for t in range(T):
                stream.step(x[:, t])
        else:
            forward = made.forward(x, start_at(c, B))
            made.backward(forward.tape, np.full(forward.y.shape, c, np.float32))

    ratios = []
    while len(ratios) < 6 and min(ratios, default=np.inf) > 1.5:  # noise comes and goes, denormals stay
        loud, silent = least_times(lambda: run(1.0), lambda: run(1e-38))
        ratios.append(silent / loud)
    assert min(ratios) <= 1.5, ratios


def denormal_product():
    """Return a product of two normal numbers that is not a normal one; 0 where denormals are flushed."""
    return (np.full(32, 1e-30, np.float32) * np.full(32, 1e-10, np.float32)).max()


def test_the_mode_of_the_caller_is_restored():
    made = model(stack(LSTM, [65, 257, 257]))
    x, state = given(made, 2, 12)
    engine = elman.Engine(made)
    stream = engine.stream(2)
    calls = [
        lambda: made(x, state),
        lambda: passes(made, x, state),
        lambda: engine(x),
        lambda: stream.step(np.ascontiguousarray(x[:, 0])),
        lambda: passes(model(Linear(65, 300)), x, ()),
        lambda: kernels.active().softmax_cross_entropy(x[0], np.zeros(12, int)),
        lambda: kernels.active().scatter_rows(np.zeros(2, int), x[:, 0], np.zeros((3, 65), np.float32)),
    ]

    def all_restore():
        for call in calls:
            assert denormal_product() > 0
            call()
            assert denormal_product() > 0

    for threads in (1, 2):
        with settings(threads=threads):
            all_restore()
            with ThreadPoolExecutor(1) as pool:
                pool.submit(all_restore).result()


@pytest.mark.parametrize("layer", [lambda: LSTM(9, 33), lambda: GRU(9, 33)])
def test_denormal_inputs_and_weights_change_nothing_above_1e_37(layer):
    made = model(layer())
    x, state = given(made, 3, 5)
    y, end = made(x, state)
    tiny = np.where(np.arange(9) == 4, 1e-40, 0).astype(np.float32)
    noisy = made(x + tiny, state)
    assert np.abs(noisy.y - y).max() <= 1e-6
    made.params["weight_ih"][:, 4] = 1e-41
    with elman.use_kernels("reference"):
        expected = made(x, state).y
    np.testing.assert_allclose(made(x, state).y, expected, atol=1e-6)
    assert np.isfinite(end.h).all()


# ---------------------------------------------------------------------------------------------------------------- fork


FORK = """
import hashlib, multiprocessing, os, signal, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # that a process with threads forks is what is tried here
import numpy as np, elman
from elman import kernels
from native_cases import given, model
from native_cases import passes
from tolerances import leaves
made = model(elman.LSTM(65, 257))
x, state = given(made, 2, 12)
kernels.native_module().set_threads({threads})
def digest(_=None):
    results = [np.ascontiguousarray(array).tobytes() for _, array in leaves(passes(made, x, state))]
    return hashlib.sha256(b"".join(results)).hexdigest()
expected = digest()
assert not {counted} or len(os.listdir("/proc/self/task")) >= {threads}
{busy}
def child():
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)
        try:
            same = digest() == expected and digest() == expected
            os.write(write, b"same" if same else b"different")
        finally:
            os._exit(0)
    os.close(write)
    answer = os.read(read, 100)
    os.close(read)
    os.waitpid(pid, 0)
    return answer
answers = [child() for _ in range({children})]
assert answers == [b"same"] * {children}, answers
assert digest() == expected
{stop}
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(digest, range(4), chunksize=1) == [expected] * 4
assert digest() == expected
print("done")
"""
BUSY = """
stop = threading.Event()
def work():
    while not stop.is_set():
        digest()
workers = [threading.Thread(target=work) for _ in range(2)]
for worker in workers: worker.start()
"""
STOP = "stop.set()\nfor worker in workers: worker.join()"


@pytest.mark.skipif(not hasattr(os, "fork") or sys.platform == "darwin", reason="no fork here")
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "while others compute"])
def test_fork_after_use(busy):
    """A child has no workers, whatever its parent's did at that moment: it starts its own."""
    counted = os.path.isdir("/proc/self/task")
    code = FORK.format(
        threads=3, counted=counted, children=8 if busy else 2, busy=BUSY if busy else "", stop=STOP if busy else ""
    )
    assert fresh(code, timeout=120) == "done\n"


# ----------------------------------------------------------------------------------------------------- Python's threads


@pytest.mark.parametrize("shape", [(1, 40, 33, 65), (2, 12, 65, 257), (17, 20, 33, 65)])
def test_eight_threads_on_one_engine(shape):
    B, T, I, H = shape
    inputs = [np.random.default_rng(k).standard_normal((B, T, I)).astype(np.float32) for k in range(8)]
    for make in (CELLS["lstm"], CELLS["gru-before"]):
        engine = elman.Engine(model(make(I, H)))
        with settings(threads=1):
            expected = [engine(x) for x in inputs]
        barrier = threading.Barrier(8)

        def work(k, engine=engine, barrier=barrier):
            stream = engine.stream(B)
            barrier.wait()
            results = [engine(inputs[k]) for _ in range(3)]
            steps = [stream.step(np.ascontiguousarray(inputs[k][:, t])) for t in range(T)]
            return results, np.stack(steps, axis=1), stream.state

        with settings(threads=2), ThreadPoolExecutor(8) as pool:
            for right, (results, y, state) in zip(expected, pool.map(work, range(8)), strict=True):
                assert_same(results, [right] * 3)
                assert_same((y, state), tuple(right))


def test_eight_threads_train_models_of_their_own():
    def work(seed):
        made = model(LSTM(33, 65), seed=seed)
        return passes(made, *given(made, 17, 20, seed))

    with settings(threads=1):
        expected = [work(seed) for seed in range(8)]
    with settings(threads=2), ThreadPoolExecutor(8) as pool:
        assert_same(list(pool.map(work, range(8))), expected)


@pytest.mark.parametrize("what", ["engine", "training", "stream"])
def test_other_threads_run_during_a_call(what):
    """A thread that notes the time makes notes in the middle of a call."""
    made = model(LSTM(64, 700 if what == "stream" else 128))
    x = np.zeros((4, 6000, 64), np.float32)
    engine = elman.Engine(made)
    forward = made.forward(x) if what == "training" else None
    d_y = None if forward is None else np.zeros(forward.y.shape, np.float32)
    notes, stop = [], threading.Event()

    def note():
        while not stop.is_set():
            notes.append(time.perf_counter())
            time.sleep(0.0005)

    def call():
        if what == "engine":
            engine(x)
        elif what == "training":
            made.backward(forward.tape, d_y)
        else:
            stream = engine.stream(4)
            for t in range(400):
                stream.step(x[:, t].copy())

    before = sys.getswitchinterval()
    noting = threading.Thread(target=note)
    noting.start()
    try:
        sys.setswitchinterval(20)  # nobody is made to hand over the lock: `note` gets it when the caller lets go of it
        with settings(threads=1):
            start = time.perf_counter()
            call()
            end = time.perf_counter()
    finally:
        stop.set()
        sys.setswitchinterval(before)
        noting.join()
    middle = [t for t in notes if start + 0.2 * (end - start) < t < start + 0.8 * (end - start)]
    assert len(middle) >= 3, f"{len(notes)} notes, of a call of {end - start:.3f} s"


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs /proc")
@pytest.mark.parametrize(("T", "started"), [(1, False), (3000, True)])
def test_a_step_of_tokens_is_small_work_whatever_the_vocabulary(T, started):
    code = f"""
import os, elman, numpy as np
elman.set_num_threads(2)
made = elman.LSTM(20_000, 64, token_input=True).init()
before = len(os.listdir("/proc/self/task"))
made(np.ones((40 if {T} > 1 else 1, {T}), int))
print(len(os.listdir("/proc/self/task")) > before)
"""
    assert fresh(code).strip() == str(started)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of memory")
def test_too_little_memory_in_a_worker_is_an_exception():
    """Each row wants more than is left, on the caller's thread and on a worker's; afterwards all works again."""
    code = """
import resource, elman, numpy as np
from elman.ctc import ctc_loss
elman.set_num_threads(2)
y = np.zeros((4, 4000, 3), np.float32)
targets = [np.tile([1, 2], 900)] * 4
small = ctc_loss(y[:, :50], [[1, 2]] * 4).value
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (60 << 20), -1))
try:
    ctc_loss(y, targets)
except MemoryError:
    print("MemoryError", ctc_loss(y[:, :50], [[1, 2]] * 4).value == small)
"""
    assert fresh(code).strip() == "MemoryError True"
