"""How many threads and processes a server uses: from the settings, else from the machine."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recollect.settings import Settings

CGROUPS = Path("/sys/fs/cgroup")
CALLS_WAITED_FOR = 8
"""Of so many calls one is expected to wait rather than to want a processor."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Threads and processes of one server.

    A call works with one thread from its first byte to its answer. While its picture is decoded in
    one child and its faces are looked for in another that thread waits, and then for the disk. So
    there are a few calls more than processors: with as many, a tenth of two processors stayed idle
    under load. Models run on one thread a processor and no more.
    """

    processors: int
    call_threads: int
    decode_children: int
    """Half the processors: decoding takes a tenth to a third of a call."""
    model_processes: int
    """One a processor: finding and embedding faces is nearly all of a call."""
    search_threads: int

    def __str__(self) -> str:
        return (
            f"processors: {self.processors}; calls at once: {self.call_threads}; "
            f"decoding processes: {self.decode_children}; "
            f"processes that run models: {self.model_processes}; "
            f"threads of a search: {self.search_threads}"
        )


def plan(settings: Settings, processors: int | None = None) -> Plan:
    """Settle what the settings leave open.

    Args:
        settings: a 0 leaves it to the machine.
        processors: that may be used; found out where not given.
    """
    processors = processors or usable_processors()
    calls = settings.call_threads or processors + math.ceil(processors / CALLS_WAITED_FOR)
    busy = min(calls, processors)
    return Plan(
        processors=processors,
        call_threads=calls,
        decode_children=settings.decode_children or max(min(busy, 2), math.ceil(busy / 2)),
        model_processes=settings.model_processes or busy,
        search_threads=settings.search_threads,
    )


def usable_processors(cgroups: Path = CGROUPS) -> int:
    """Processors this process may run on: those it is bound to, or its control group's share.

    A container with a limit sees all processors of its host; threads for all of them would only
    wait for each other.
    """
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    share = _share(cgroups)
    return max(1, min(count, math.ceil(share))) if share is not None else count


def _share(cgroups: Path) -> float | None:
    """Processors' worth of time that the control group grants; None where it sets no limit."""
    try:
        # Version 2: "max 100000" or "150000 100000", microseconds of a period.
        quota, period = (cgroups / "cpu.max").read_text("ascii").split()
    except (OSError, ValueError):
        try:
            quota = (cgroups / "cpu/cpu.cfs_quota_us").read_text("ascii").strip()
            period = (cgroups / "cpu/cpu.cfs_period_us").read_text("ascii").strip()
        except (OSError, ValueError):
            return None
    if not (quota.isdecimal() and period.isdecimal() and int(period)):
        return None  # "max", or -1: no limit.
    return int(quota) / int(period)
