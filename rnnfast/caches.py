"""How large a core's caches are."""

from __future__ import annotations

import os
from pathlib import Path


def cache_sizes() -> tuple[int, int]:
    """Return the bytes of a core's first-level data cache and second-level cache; 32 KiB and 1 MiB if nobody says."""
    sizes = []
    for name, level, usual in (("SC_LEVEL1_DCACHE_SIZE", "1", 32 << 10), ("SC_LEVEL2_CACHE_SIZE", "2", 1 << 20)):
        try:
            size = os.sysconf(name)
        except (ValueError, OSError):  # a C library without the name
            size = 0
        sizes.append(size if size > 0 else _listed(level) or usual)
    return sizes[0], sizes[1]


def _listed(level: str, folder: str = "/sys/devices/system/cpu/cpu0/cache") -> int:
    """Return the size of a cache as the kernel lists it, 0 if it does not."""
    for index in sorted(Path(folder).glob("index*")):
        try:
            found, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        if found == level and kind != "Instruction" and size[:-1].isdecimal() and size[-1] in "KM":
            return int(size[:-1]) << (10 if size[-1] == "K" else 20)
    return 0
