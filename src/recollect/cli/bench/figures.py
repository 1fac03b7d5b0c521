"""Figures of a bench: one row a load, said at once, written as tables and plots at the end."""

from __future__ import annotations

import csv
import json
import math
import os
import platform
import time
from typing import TYPE_CHECKING, Any

import uvloop
from rich.console import Console

from recollect import __version__
from recollect.cli.failure import CommandError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from pathlib import Path

    from recollect.measure.load import Outcome

err = Console(stderr=True)


def row(title: str, seconds: float, calls: Coroutine[Any, Any, list[Outcome]]) -> dict[str, Any]:
    """Run a load and sum it up, with the processors that the generator itself took."""
    from recollect.measure import load

    before_s = time.process_time()
    outcomes = uvloop.run(calls)
    own_s = time.process_time() - before_s
    lasted_s = max(seconds, max((outcome.done_s for outcome in outcomes), default=0.0))
    summary = load.summary(outcomes, seconds)
    return {"load": title, **summary, "generator_processors": own_s / lasted_s}


def capacity(rows: Sequence[dict[str, Any]]) -> float:
    """The highest goodput of some loads, in calls a second."""
    peak = max(map(goodput, rows))
    if not peak:
        raise CommandError(f"no call was answered well: {rows[0]['codes']}")
    return peak


def ms(row: dict[str, Any], percentile: str) -> float:
    """A latency of a load; infinite where no call was answered well."""
    value = row[f"{percentile}_ms"]
    return math.inf if value is None else float(value)


def goodput(row: dict[str, Any]) -> float:
    """Calls answered well in a second of a load."""
    return float(row["goodput_per_s"])


def say(row: dict[str, Any]) -> None:
    """One line about one load, as soon as it is over."""
    codes = ", ".join(f"{count} {code}" for code, count in row["codes"].items())
    err.print(
        f"{row['load']}: offered {row['offered_per_s']:.1f}/s, good {row['goodput_per_s']:.1f}/s, "
        f"p50 {row['p50_ms'] or 0:.1f} ms, p95 {row['p95_ms'] or 0:.1f} ms, "
        f"p99 {row['p99_ms'] or 0:.1f} ms; {codes}; generator "
        f"{row['generator_processors']:.2f} processors",
        highlight=False,
    )


def write(
    path: Path,
    rows: list[dict[str, Any]],
    swept: list[dict[str, Any]],
    memory: list[tuple[float, int]],
    seed: int,
    faces: int,
) -> None:
    """Write a table of the loads, the memory over time, and a page of plots where there can be.

    Args:
        path: of the files, without their suffix.
        rows: all loads.
        swept: those that were offered at rising rates, for the plots.
        memory: seconds and bytes.
        seed: of the run.
        faces: strangers enrolled.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(row | {"codes": json.dumps(row["codes"])} for row in rows)
    with path.with_name(f"{path.name}-memory.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("second", "bytes"), *memory])
    run = (
        f"recollect {__version__}, {platform.machine()}, {os.cpu_count()} processors, Python "
        f"{platform.python_version()}, {faces} strangers enrolled, seed {seed}; the generator "
        "shares the machine with the server"
    )
    err.print(run, highlight=False)
    try:
        from recollect.measure import plots, report
    except ImportError:
        err.print("No plots: pip install 'recollect[report]'")
        return
    offered = [row["offered_per_s"] for row in swept]
    shown = {
        "Latency of calls answered well, from when they were due": plots.lines(
            "calls offered a second",
            "ms",
            {name: (offered, [ms(row, name) for row in swept]) for name in ("p50", "p95", "p99")},
            log_y=True,
        ),
        "Goodput": plots.lines(
            "calls offered a second",
            "calls answered well a second",
            {"goodput": (offered, [goodput(row) for row in swept])},
        ),
        "Memory of the server, MiB": plots.lines(
            "second",
            "MiB",
            {"memory": ([t for t, _ in memory], [held / 2**20 for _, held in memory])},
        ),
    }
    html = report.load_page(run, rows, shown)
    path.with_suffix(".html").write_text(html, encoding="utf-8")
    err.print(f"Report: {path.with_suffix('.html')}", highlight=False)
