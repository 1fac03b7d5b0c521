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


@dataclass(frozen=True, slots=True)
class Plan:
    """Threads and processes of one server.

    A call works with one thread from its first byte to its answer, and as many calls are in work as
    there are processors: that keeps all of them busy under load without ever having more threads
    than processors want to run. While a picture is decoded in one child and its faces are looked
    for in another its thread waits.
    """

    processors: int
    call_threads: int
    decode_children: int
    """Half the calls: decoding takes a tenth to a third of a call."""
    model_processes: int
    """One for each call: finding and embedding faces is nearly all of it."""
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
    calls = settings.call_threads or processors
    return Plan(
        processors=processors,
        call_threads=calls,
        decode_children=settings.decode_children or max(min(calls, 2), math.ceil(calls / 2)),
        model_processes=settings.model_processes or calls,
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
