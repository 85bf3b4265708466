"""How many threads the native kernels use, and who says so."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

import elman
import zoo
from elman.kernels import threads
from native_cases import fresh, needs_native, settings
from tolerances import exactly

V2 = "sys/fs/cgroup/cpu.max"
V1 = "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "sys/fs/cgroup/cpu/cpu.cfs_period_us"


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, math.inf),
        ({V2: "max 100000\n"}, math.inf),
        ({V2: "200000 100000\n"}, 2),
        ({V2: "50000 100000\n"}, 0.5),
        ({V2: "150000 100000\n"}, 1.5),
        ({V1[0]: "-1\n", V1[1]: "100000\n"}, math.inf),
        ({V1[0]: "300000\n", V1[1]: "100000\n"}, 3),
        ({V1[0]: "300000\n", V1[1]: "0\n"}, math.inf),
        ({V1[0]: "300000\n"}, math.inf),
        ({V2: "", V1[0]: "100000\n", V1[1]: "50000\n"}, 2),
        ({V2: "nonsense\n"}, math.inf),
        ({V2: "100000 0\n"}, math.inf),
        ({V2: "\xff 1\n"}, math.inf),
        ({V1[0]: "much\n", V1[1]: "100000\n"}, math.inf),
        ({V2: "400000 100000\n", V1[0]: "100000\n", V1[1]: "100000\n"}, 4),
    ],
)
def test_the_quota_of_a_container(files, cores, tmp_path, monkeypatch):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="latin-1")
    monkeypatch.setattr(threads, "Path", lambda name: tmp_path / Path(name).relative_to("/"))
    assert threads._quota() == cores


@pytest.mark.parametrize(
    ("affinity", "quota", "count"),
    [(8, math.inf, 8), (8, 2, 2), (8, 1.5, 2), (8, 0.1, 1), (2, 7.5, 2), (1, math.inf, 1)],
)
def test_usable_cores(affinity, quota, count, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(affinity)), raising=False)
    monkeypatch.setattr(threads, "_quota", lambda: quota)
    assert threads.usable_cores() == count


def test_usable_cores_where_there_is_no_affinity(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(threads, "_quota", lambda: math.inf)
    for cores, count in ((6, 6), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        assert threads.usable_cores() == count


class Module:
    """Stands for the compiled module."""

    def __init__(self):
        self.calls = []

    def instruction_sets(self):
        return ["avx2", "baseline"]

    def set_threads(self, count):
        self.calls.append(count)

    def use_instruction_set(self, name):
        self.calls.append(name)


def set_up(monkeypatch, **environment):
    monkeypatch.setattr(threads, "_set_up", False)
    for name in ("ELMAN_NUM_THREADS", "ELMAN_ISA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(threads, "usable_cores", lambda: 5)
    module = Module()
    threads.set_up(module)
    threads.set_up(module)
    return module.calls  # of once, not twice


def test_the_environment_sets_threads_and_instruction_set(monkeypatch):
    assert set_up(monkeypatch) == [5]
    assert set_up(monkeypatch, ELMAN_NUM_THREADS="3") == [3]
    assert set_up(monkeypatch, ELMAN_NUM_THREADS="1024", ELMAN_ISA="avx2") == [1024, "avx2"]


@pytest.mark.parametrize("wrong", ["0", "-1", "", "two", "1.5", " 2", "1025", "99999999999999999999"])
def test_a_number_of_threads_that_is_none(wrong, monkeypatch):
    sentence = f"ELMAN_NUM_THREADS must be a whole number from 1 to 1024, got {wrong!r}"
    with pytest.raises(ValueError, match=exactly(sentence)):
        set_up(monkeypatch, ELMAN_NUM_THREADS=wrong)


@pytest.mark.parametrize("wrong", ["", "AVX2", "avx512"])
def test_an_instruction_set_that_is_not_here(wrong, monkeypatch):
    sentence = f"ELMAN_ISA must be one of avx2, baseline on this machine, got {wrong!r}"
    with pytest.raises(ValueError, match=exactly(sentence)):
        set_up(monkeypatch, ELMAN_ISA=wrong)


def test_a_wrong_environment_is_said_at_the_first_use_and_again(monkeypatch):
    with pytest.raises(ValueError, match="ELMAN_ISA"):
        set_up(monkeypatch, ELMAN_ISA="fast")
    with pytest.raises(ValueError, match="ELMAN_ISA"):
        threads.set_up(Module())


@needs_native
def test_setting_and_getting():
    with settings():
        for count in (1, 3, 1024):
            elman.set_num_threads(count)
            assert elman.get_num_threads() == count
        for wrong, kind in (
            (0, ValueError),
            (-2, ValueError),
            (1025, ValueError),
            (2**40, ValueError),
            (1.5, TypeError),
            (True, TypeError),
            ("2", TypeError),
        ):
            with pytest.raises(kind, match="set_num_threads: count must be"):
                elman.set_num_threads(wrong)
            assert elman.get_num_threads() == 1024


def test_without_the_compiled_module_there_is_one_thread(monkeypatch):
    def raises():
        raise ImportError("not built")

    monkeypatch.setattr(elman.kernels, "native_module", raises)
    elman.set_num_threads(4)
    assert elman.get_num_threads() == 1
    with pytest.raises(ValueError, match="at least 1"):
        elman.set_num_threads(0)


WORLD = """
import os, sys
import numpy as np
def world():
    folder = "/proc/self/task"
    return (
        sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        len(os.listdir(folder)) if os.path.isdir(folder) else None,
        [os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")],
        dict(os.environ),
        float((np.float32([1e-30]) * np.float32([1e-10]))[0]) > 0,
    )
before = world()
import elman
imported = world()
made = elman.LSTM(64, 256).init()
with elman.use_kernels("native"):
    elman.set_num_threads(4)
    set_up = world()
    made(np.zeros((2, 30, 64)))
used = world()
print(before == imported == set_up, before[0] == used[0], before[2:] == used[2:], used[1] and used[1] - before[1])
"""


@needs_native
def test_import_changes_nothing_and_use_adds_threads_only():
    assert fresh(WORLD).split()[:3] == ["True"] * 3
    if os.path.isdir("/proc/self/task"):
        assert fresh(WORLD).split()[3] == "3"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity cannot be set here")
@needs_native
def test_the_default_follows_affinity():
    code = "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); import elman; print(elman.get_num_threads())"
    code = "import os; " + code
    assert fresh("import os; os.environ.pop('ELMAN_NUM_THREADS', None); " + code) == "1\n"
    assert fresh(code, ELMAN_NUM_THREADS="7") == "7\n"
    assert zoo.TWINS[-1] == "native"
