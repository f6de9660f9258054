"""How many threads one call may use.

The default is what this process is really given: the cores it may run on, cut down to the CPU quota of its control
group (a container limited to two CPUs on a machine of sixty-four gets two threads, not sixty-four). Two CPUs of one
core count as one, for they share its arithmetic: a second thread gains nothing there and has to be waited for.
``RNNFAST_NUM_THREADS`` overrides the default, `set_num_threads` both, and `limit_threads` everything within a ``with``
block. Whoever asks for more than `MOST`, which is what the pool runs, gets `MOST`, and is told so by `get_num_threads`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from rnnfast.checks import check_size

MOST = 64  # MAX_THREADS of csrc/pool.c

_limit: ContextVar[int] = ContextVar("rnnfast_threads", default=0)
_threads = 0  # for the whole process; 0: not asked for yet


def get_num_threads() -> int:
    """Return how many threads a call made here and now may use."""
    return _limit.get() or _threads or _settle()


def set_num_threads(n: int | None) -> None:
    """Set how many threads a call may use, for the whole process.

    Parameters
    ----------
    n : int or None
        At least 1, and 64 at most: more count as 64. None returns to the default, which is worked out anew.

    Raises
    ------
    TypeError, ValueError
        If ``n`` is not an integer of at least 1.
    """
    global _threads
    _threads = 0 if n is None else min(check_size("n", n), MOST)


@contextmanager
def limit_threads(n: int) -> Iterator[None]:
    """Let calls in the body of the ``with`` block use ``n`` threads, in this Python thread or task alone.

    Parameters
    ----------
    n : int
        At least 1, and 64 at most: more count as 64. It holds whatever the process is set to, so that a server may give
        each request its share.

    Raises
    ------
    TypeError, ValueError
        If ``n`` is not an integer of at least 1.

    Examples
    --------
    >>> with limit_threads(1):
    ...     get_num_threads()
    1
    """
    token = _limit.set(min(check_size("n", n), MOST))
    try:
        yield
    finally:
        _limit.reset(token)


def default_num_threads() -> int:
    """Return the number of threads this process is given: the environment's, else cores within quota; `MOST` at most.

    Raises
    ------
    ValueError
        If ``RNNFAST_NUM_THREADS`` is set to anything but an integer of at least 1.
    """
    wanted = _from_environment()
    if wanted:
        return min(wanted, MOST)
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    cores, quota = count_cores(cpus), cpu_quota()
    return min(MOST, cores if quota is None else max(1, min(cores, math.ceil(quota))))


def count_cores(cpus: Iterable[int], folder: str = "/sys/devices/system/cpu") -> int:
    """Return how many cores some CPUs belong to.

    Parameters
    ----------
    cpus : iterable of int
        Their numbers.
    folder : str
        Where Linux tells of each which others are on its core. A CPU of which nothing is told there counts as a core.
    """
    cores = set()
    for cpu in cpus:
        topology = Path(folder, f"cpu{cpu}", "topology")
        # the first is the newer name of the second
        listed = _text(topology / "core_cpus_list") or _text(topology / "thread_siblings_list")
        cores.add(listed.strip() or str(cpu))
    return len(cores)


def cpu_quota(membership: str = "/proc/self/cgroup", mount: str = "/sys/fs/cgroup") -> float | None:
    """Return how many CPUs' worth of time the control groups of this process allow, or None where nothing limits it.

    Parameters
    ----------
    membership : str
        File that says which groups the process is in.
    mount : str
        Folder under which the groups are mounted: directly (version 2) or by controller (version 1).

    Notes
    -----
    A group is limited by its ancestors too, so the least quota on the way up counts. Inside a container the path of
    the group may be the host's while the mount starts at the container's own: the way up ends there as well.
    """
    quotas = []
    for line in _text(Path(membership)).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        second = number == "0" and not controllers
        if not second and "cpu" not in controllers.split(","):
            continue
        roots = [Path(mount), Path(mount, "unified")] if second else [Path(mount, "cpu"), Path(mount, controllers)]
        for root in roots:
            group = root / path.strip("/")
            for folder in [group, *group.parents]:
                quota = _quota_v2(folder) if second else _quota_v1(folder)
                if quota is not None:
                    quotas.append(quota)
                if folder == root:
                    break
    return min(quotas, default=None)


def _quota_v2(folder: Path) -> float | None:
    return _ratio(_text(folder / "cpu.max").split())


def _quota_v1(folder: Path) -> float | None:
    return _ratio([_text(folder / "cpu.cfs_quota_us").strip(), _text(folder / "cpu.cfs_period_us").strip()])


def _ratio(words: list[str]) -> float | None:
    """Return quota / period; "max", -1 and missing files mean no limit."""
    if len(words) != 2 or not all(word.isdecimal() for word in words) or int(words[1]) == 0:
        return None
    return int(words[0]) / int(words[1])


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _settle() -> int:
    global _threads
    _threads = default_num_threads()
    return _threads


def _from_environment() -> int:
    """Return what ``RNNFAST_NUM_THREADS`` asks for, 0 if it is not set."""
    wanted = os.environ.get("RNNFAST_NUM_THREADS", "").strip()
    if wanted and (not wanted.isdecimal() or int(wanted) < 1):
        raise ValueError(f"RNNFAST_NUM_THREADS must be an integer of at least 1; got {wanted!r}")
    return int(wanted or 0)


# A wrong value is to be told of at the start, not by the first call that is large enough for threads.
_from_environment()
