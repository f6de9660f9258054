"""How many threads a call may use: the default, its overrides, and what limits it."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rnnfast import threads


@pytest.fixture(autouse=True)
def default_again(monkeypatch):
    monkeypatch.delenv("RNNFAST_NUM_THREADS", raising=False)
    threads.set_num_threads(None)
    yield
    threads.set_num_threads(None)


def test_set_and_back():
    before = threads.get_num_threads()
    threads.set_num_threads(before + 3)
    assert threads.get_num_threads() == before + 3
    threads.set_num_threads(None)
    assert threads.get_num_threads() == before


def test_limit_nests_and_ends_on_error():
    before = threads.get_num_threads()
    with pytest.raises(KeyError), threads.limit_threads(5):
        with threads.limit_threads(7):
            assert threads.get_num_threads() == 7
        assert threads.get_num_threads() == 5
        raise KeyError
    assert threads.get_num_threads() == before


def test_limit_is_seen_by_its_own_thread_only():
    seen = []
    with threads.limit_threads(9):
        other = threading.Thread(target=lambda: seen.append(threads.get_num_threads()))
        other.start()
        other.join()
    assert seen == [threads.get_num_threads()] != [9]


@pytest.mark.parametrize("call", [threads.set_num_threads, lambda n: threads.limit_threads(n).__enter__()])
@pytest.mark.parametrize(("n", "error"), [(0, ValueError), (-2, ValueError), (1.5, TypeError), ("2", TypeError)])
def test_bad_number(call, n, error):
    with pytest.raises(error, match=r"^n must be"):
        call(n)


@pytest.mark.parametrize(("value", "expected"), [("3", 3), (" 7 ", 7), ("1", 1)])
def test_environment(monkeypatch, value, expected):
    monkeypatch.setenv("RNNFAST_NUM_THREADS", value)
    assert threads.get_num_threads() == expected


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_bad_environment(monkeypatch, value):
    monkeypatch.setenv("RNNFAST_NUM_THREADS", value)
    with pytest.raises(ValueError, match="RNNFAST_NUM_THREADS"):
        threads.get_num_threads()


def test_what_is_told_is_what_the_pool_runs(monkeypatch):
    pool = Path(__file__).resolve().parents[1] / "csrc" / "pool.c"
    assert re.findall(r"MAX_THREADS = (\d+)", pool.read_text()) == [str(threads.MOST)]
    for asked in (threads.MOST + 1, 1000, 10**12):
        threads.set_num_threads(asked)
        assert threads.get_num_threads() == threads.MOST
        with threads.limit_threads(asked):
            assert threads.get_num_threads() == threads.MOST
        threads.set_num_threads(None)
        monkeypatch.setenv("RNNFAST_NUM_THREADS", str(asked))
        assert threads.default_num_threads() == threads.MOST
    monkeypatch.delenv("RNNFAST_NUM_THREADS")
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda pid: set(range(256)), raising=False)
    monkeypatch.setattr(threads, "cpu_quota", lambda: None)
    monkeypatch.setattr(threads, "count_cores", len)
    assert threads.default_num_threads() == threads.MOST


@pytest.mark.parametrize(
    ("quota", "expected"), [(None, 6), (0.5, 1), (1.0, 1), (1.5, 2), (2.0, 2), (6.0, 6), (40.0, 6)]
)
def test_default_is_cores_within_quota(monkeypatch, quota, expected):
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(threads, "count_cores", lambda cpus: len(cpus) - 2)
    monkeypatch.setattr(threads, "cpu_quota", lambda: quota)
    assert threads.default_num_threads() == expected


# What is told of each CPU, those that a process may use, and the cores these belong to.
SIBLINGS = {0: "0,4", 1: "1,5", 2: "2,6", 3: "3,7", 4: "0,4", 5: "1,5", 6: "2,6", 7: "3,7"}
CORES = {
    "whole machine": (SIBLINGS, range(8), 4),
    "one of each core": (SIBLINGS, [0, 5, 2], 3),
    "both of one core": (SIBLINGS, [1, 5], 1),
    "some of both": (SIBLINGS, [1, 5, 6], 2),
    "one CPU a core": ({0: "0", 1: "1"}, [0, 1], 2),
    "nothing told": ({}, [0, 1, 2], 3),
    "told of some": ({0: "0-1", 1: "0-1"}, [0, 1, 2, 3], 3),
    "nothing in it": ({0: "", 1: "\n"}, [0, 1], 2),
}


@pytest.mark.parametrize("name", ["core_cpus_list", "thread_siblings_list"])
@pytest.mark.parametrize("case", CORES)
def test_cores(tmp_path, case, name):
    told, cpus, expected = CORES[case]
    for cpu, text in told.items():
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / name).write_text(text + "\n")
    assert threads.count_cores(cpus, str(tmp_path)) == expected


# What /proc/self/cgroup says, the files under the mount, and the quota they mean in CPUs.
GROUPS = {
    "version 2": ("0::/app\n", {"app/cpu.max": "150000 100000\n"}, 1.5),
    "version 2, ancestor counts": ("0::/a/b\n", {"a/cpu.max": "50000 100000", "a/b/cpu.max": "200000 100000"}, 0.5),
    "version 2, no limit": ("0::/app\n", {"app/cpu.max": "max 100000\n"}, None),
    "version 2, path of the host": ("0::/docker/abc\n", {"cpu.max": "300000 100000\n"}, 3.0),
    "version 2 beside version 1": ("1:cpu:/\n0::/x\n", {"unified/x/cpu.max": "100000 100000\n"}, 1.0),
    "version 1": (
        "4:cpu,cpuacct:/app\n0::/\n",
        {"cpu/app/cpu.cfs_quota_us": "250000\n", "cpu/app/cpu.cfs_period_us": "100000\n"},
        2.5,
    ),
    "version 1, joint mount": (
        "4:cpu,cpuacct:/app\n",
        {"cpu,cpuacct/app/cpu.cfs_quota_us": "50000", "cpu,cpuacct/app/cpu.cfs_period_us": "50000"},
        1.0,
    ),
    "version 1, no limit": (
        "4:cpu:/app\n",
        {"cpu/app/cpu.cfs_quota_us": "-1\n", "cpu/app/cpu.cfs_period_us": "100000\n"},
        None,
    ),
    "another controller": ("4:cpuset:/app\n", {"cpuset/app/cpu.max": "100000 100000"}, None),
    "no groups": ("", {}, None),
    "damaged": ("0\n0::/app\n", {"app/cpu.max": "what 100000 0"}, None),
    "period of zero": ("0::/app\n", {"app/cpu.max": "100000 0"}, None),
}


@pytest.mark.parametrize("name", GROUPS)
def test_quota(tmp_path, name):
    membership, files, expected = GROUPS[name]
    for path, text in files.items():
        target = tmp_path / "mount" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    (tmp_path / "cgroup").write_text(membership)
    assert threads.cpu_quota(str(tmp_path / "cgroup"), str(tmp_path / "mount")) == expected


def test_a_wrong_environment_shows_before_the_first_large_call():
    code = "import rnnfast; rnnfast.Dense(1, 1)([[1.0]])"
    environment = {**os.environ, "RNNFAST_NUM_THREADS": "many"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert (
        done.stderr.splitlines()[-1] == "ValueError: RNNFAST_NUM_THREADS must be an integer of at least 1; got 'many'"
    )


FOLLOWING = """
import time
import numpy as np
import rnnfast

rnnfast.set_num_threads(2)
layer = rnnfast.{layer}({units}, {units}, seed=0)
x = np.ones((8, 50, {units}), np.float32)
began = others = time.process_time() - time.thread_time()
end = time.monotonic() + 20
while others - began < 0.002 and time.monotonic() < end:
    for _ in range(20):
        (y, _), pullback = layer.forward(x)
        pullback(y, {{}})
    others = time.process_time() - time.thread_time()
print(others - began >= 0.002)
"""


@pytest.mark.parametrize("layer, units", [("IndRNN", 128), ("SRU", 64), ("MinGRU", 96), ("LSTM", 64), ("RNN", 96)])
def test_calls_that_follow_each_other_wake_threads(layer, units):
    """Each too short to wait for a sleeping thread: by and by one is awake and does its part."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # its threads would count as ours
    code = FOLLOWING.format(layer=layer, units=units)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr
