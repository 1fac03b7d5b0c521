"""bench: how fast a server is, what it does under too much, and how it stops."""

from __future__ import annotations

import asyncio
import csv
import json
import math
import os
import platform
import re
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.table import Table

from recollect import __version__
from recollect.cli.client import Client, from_data, from_environment
from recollect.cli.keys import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from recollect.measure.load import Outcome
    from recollect.measure.own import OwnServer
    from recollect.measure.target import SearchCalls

app = typer.Typer(help="Load: serve, overload, stop.", no_args_is_help=True)

err = Console(stderr=True)

ACCOUNT = "000000000000"
WARM_UP_CALLS = 20
CLIENTS = (1, 2, 4, 8)
LEISURE = 0.2
"""Share of the capacity at which a server counts as unloaded."""

GOODPUT_MIN = 0.9
P99_GROWTH_MAX = 3.0
REFUSAL_MS_MAX = 50.0
BURST_S = 5.0
FINISHED_MIN = 0.999
STOP_S_MAX = 10.0
IN_FLIGHT, HALF_OPEN = 200, 100

PicturesArgument = Annotated[
    list[Path], typer.Argument(metavar="PICTURE...", help="Photographs with a face: the probes")
]
UrlOption = Annotated[
    str | None,
    typer.Option(help="A running server, with the key of the environment; without, one is started"),
]
PackOption = Annotated[str, typer.Option(help="Model pack of the server that is started")]
FacesOption = Annotated[
    int, typer.Option(min=0, max=5_000_000, help="Strangers enrolled in the server started here")
]
SecondsOption = Annotated[float, typer.Option(min=1, max=3600, help="Length of each load")]
SeedOption = Annotated[int, typer.Option(help="Seed of the arrivals and of the strangers")]
OutOption = Annotated[Path, typer.Option("--out", help="Folder of figures and plots")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="A setting of the server started, as NAME=VALUE")
]


@dataclass(frozen=True, slots=True)
class Target:
    """The server under load."""

    client: Client
    calls: SearchCalls
    memory_bytes: Callable[[], int]
    own: OwnServer | None


@app.command()
def serve(
    pictures: PicturesArgument,
    url: UrlOption = None,
    pack: PackOption = "auto",
    faces: FacesOption = 1000,
    seconds: SecondsOption = 10.0,
    factors: Annotated[
        str, typer.Option(help="Rates to offer, as multiples of the measured capacity")
    ] = "0.25,0.5,0.75,1,1.5,2",
    seed: SeedOption = 7,
    out: OutOption = Path("bench"),
    other: SetOption = None,
) -> None:
    """Measure latency and goodput of searches at several rates, open loop.

    First a few clients that wait for their answers, for the capacity and how it grows with
    clients; then calls that are sent when they are due. Writes serve.csv and serve.html.
    """
    from recollect.measure import load, target

    rates = [float(factor) for factor in factors.split(",")]
    rows: list[dict[str, Any]] = []
    with (
        _target(pictures, url, pack, faces, seed, other) as under,
        target.watched(under.memory_bytes) as memory,
    ):
        for clients in CLIENTS:
            rows.append(_closed(under, clients, seconds))
            _say(rows[-1])
        capacity = _capacity(rows)
        for number, factor in enumerate(rates):
            due = load.poisson(factor * capacity, seconds, seed + number)
            outcomes = asyncio.run(load.open_loop(under.client.url, under.calls, due))
            rows.append({"load": f"{factor:g} x capacity", **load.summary(outcomes, seconds)})
            _say(rows[-1])
    _write(out / "serve", rows, rows[len(CLIENTS) :], memory, seed, faces)


@app.command()
def overload(
    pictures: PicturesArgument,
    url: UrlOption = None,
    pack: PackOption = "auto",
    faces: FacesOption = 1000,
    factor: Annotated[float, typer.Option(min=1, max=20, help="Multiple of the capacity")] = 4.0,
    seconds: SecondsOption = 60.0,
    seed: SeedOption = 7,
    out: OutOption = Path("bench"),
    other: SetOption = None,
) -> None:
    """Offer several times what the server can do, and check what becomes of it.

    Goodput at least 90 % of the peak, p99 of accepted calls at most 3 times the unloaded one,
    refusals of the kinds that SDKs try again within 50 ms, no connection lost, memory bounded;
    after a burst of 5 s, 99.9 % of the clients that make 5 attempts finish. Exits 1 otherwise.
    """
    from recollect.measure import load, target

    def run(due: list[float], **more: Any) -> list[Outcome]:
        return asyncio.run(load.open_loop(under.client.url, under.calls, due, **more))

    rows: list[dict[str, Any]] = []
    with (
        _target(pictures, url, pack, faces, seed, other) as under,
        target.watched(under.memory_bytes) as memory,
    ):
        peak = max((_closed(under, n, seconds / 6) for n in CLIENTS), key=_goodput)
        rows.append(peak | {"load": "peak"})
        capacity = _capacity(rows)
        idle = run(load.poisson(LEISURE * capacity, max(seconds / 3, 300 / capacity), seed))
        rows.append({"load": "unloaded", **load.summary(idle, max(seconds / 3, 300 / capacity))})
        before = memory[-1][1]
        crowd = run(load.poisson(factor * capacity, seconds, seed))
        rows.append({"load": f"{factor:g} x capacity", **load.summary(crowd, seconds)})
        after = max(held for _, held in memory)
        finished = {}
        for attempts in (5, 3):
            due = load.poisson(factor * capacity, BURST_S, seed)
            due += [BURST_S + t for t in load.poisson(0.5 * capacity, 4 * BURST_S, seed)]
            burst = run(due, attempts=attempts, seed=seed)
            finished[attempts] = sum(one.code == load.OK for one in burst) / len(burst)
            title = f"burst, clients of {attempts} attempts"
            rows.append({"load": title, **load.summary(burst, 5 * BURST_S)})
    for row in rows:
        _say(row)

    unloaded, crowded = rows[1], rows[2]
    growth = _ms(crowded, "p99") / _ms(unloaded, "p99")
    kinds = set(crowded["codes"]) - {load.OK} - load.BUSY
    checks = [
        (
            f"goodput at least {GOODPUT_MIN:.0%} of the peak",
            f"{crowded['goodput_per_s'] / capacity:.1%}",
            crowded["goodput_per_s"] >= GOODPUT_MIN * capacity,
        ),
        (
            f"p99 of accepted calls at most {P99_GROWTH_MAX:g} times the unloaded one",
            f"{growth:.2f} times",
            growth <= P99_GROWTH_MAX,
        ),
        (
            f"p99 of refusals below {REFUSAL_MS_MAX:g} ms",
            f"{crowded['refused_p99_ms'] or 0:.1f} ms",
            (crowded["refused_p99_ms"] or 0) < REFUSAL_MS_MAX,
        ),
        ("nothing but answers and busy refusals", ", ".join(sorted(kinds)) or "nothing", not kinds),
        (
            "memory bounded (at most 512 MiB more)",
            f"{(after - before) / 2**20:+.0f} MiB",
            after - before <= 512 << 20,
        ),
        (
            f"{FINISHED_MIN:.1%} of clients with 5 attempts finish after a burst",
            f"{finished[5]:.2%} (3 attempts: {finished[3]:.2%})",
            finished[5] >= FINISHED_MIN,
        ),
    ]
    _write(out / "overload", rows, rows[1:3], memory, seed, faces)
    _conclude(checks)


@app.command()
def stop(
    pictures: PicturesArgument,
    pack: PackOption = "auto",
    seed: SeedOption = 7,
    other: SetOption = None,
) -> None:
    """Send SIGTERM with 200 calls in flight and 100 half-open connections.

    Every call is answered, well or with a busy refusal, and the process is gone within 10 s. Exits
    1 otherwise. The queue is made long enough for all of them, so that the server has work to do.
    """
    from recollect.measure import load

    patient = ["call_queue_max=256", "call_wait_max_s=60", *(other or [])]
    with _target(pictures, None, pack, 0, seed, patient) as under:
        assert under.own is not None
        process = under.own.process
        where = urlsplit(under.client.url)
        with ExitStack() as half_open:
            for number in range(HALF_OPEN):
                connection = socket.create_connection((where.hostname, where.port))
                half_open.callback(connection.close)
                # Some have said nothing, some half a header, some a header without its body.
                request = under.calls(number)
                connection.sendall(request[: (0, 40, request.index(b"\r\n\r\n") + 4)[number % 3]])
            outcomes, stopped_s = asyncio.run(_stopped(under, process))
    codes = load.summary(outcomes, 1.0)["codes"]
    answered = codes.get(load.OK, 0) + sum(codes.get(code, 0) for code in load.BUSY)
    _conclude(
        [
            (
                f"{IN_FLIGHT} calls in flight are answered",
                ", ".join(f"{count} {code}" for code, count in codes.items()),
                answered == IN_FLIGHT,
            ),
            (
                f"the process is gone within {STOP_S_MAX:g} s",
                f"{stopped_s:.2f} s",
                stopped_s <= STOP_S_MAX,
            ),
        ]
    )


async def _stopped(under: Target, process: subprocess.Popen[bytes]) -> tuple[list[Outcome], float]:
    """Send the calls, then SIGTERM once they are all there; outcomes and the time it took."""
    from recollect.measure import load

    flying = asyncio.create_task(load.open_loop(under.client.url, under.calls, [0.0] * IN_FLIGHT))
    await asyncio.sleep(1.0)
    began = time.perf_counter()
    process.send_signal(signal.SIGTERM)
    outcomes = await flying
    await asyncio.to_thread(process.wait, 3 * STOP_S_MAX)
    return outcomes, time.perf_counter() - began


@contextmanager
def _target(
    pictures: Sequence[Path],
    url: str | None,
    pack: str,
    faces: int,
    seed: int,
    other: list[str] | None,
) -> Iterator[Target]:
    """A server with a collection that holds the pictures' faces and strangers."""
    from recollect.measure import own, strangers
    from recollect.measure.target import SearchCalls

    try:
        probes = [path.read_bytes() for path in pictures]
    except OSError as problem:
        raise CommandError(f"{problem.filename} cannot be read: {problem.strerror}") from None
    collection = f"bench-{uuid.uuid4()}"
    settings: dict[str, object] = {"pack": pack, "log_level": "warning", "account": ACCOUNT}
    settings |= dict(pair.split("=", 1) for pair in other or [])
    with ExitStack() as stack:
        if url is not None:
            client = stack.enter_context(from_environment(url))
            reader = stack.enter_context(client.another())
            client.call("CreateCollection", CollectionId=collection)
            stack.callback(client.call, "DeleteCollection", CollectionId=collection)
            _index(client, collection, probes)
            calls = SearchCalls(client, collection, probes)
            _warm_up(client, collection, probes)
            yield Target(client, calls, lambda: _resident_bytes(reader), None)
            return
        data = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "data"
        with own.running(data, settings) as server, from_data(data, server.url) as client:
            client.call("CreateCollection", CollectionId=collection)
            _index(client, collection, probes)
        strangers.enrol(data, ACCOUNT, collection, faces, seed)
        server = stack.enter_context(own.running(data, settings))
        client = stack.enter_context(from_data(data, server.url))
        _warm_up(client, collection, probes)
        calls = SearchCalls(client, collection, probes)
        yield Target(client, calls, server.memory_bytes, server)


def _index(client: Client, collection: str, probes: Sequence[bytes]) -> None:
    for probe in probes:
        client.call("IndexFaces", CollectionId=collection, Image={"Bytes": probe}, MaxFaces=1)


def _warm_up(client: Client, collection: str, probes: Sequence[bytes]) -> None:
    for number in range(WARM_UP_CALLS):
        probe = probes[number % len(probes)]
        client.call("SearchFacesByImage", CollectionId=collection, Image={"Bytes": probe})


def _resident_bytes(client: Client) -> int:
    """Resident memory of a server elsewhere, from its own metrics; 0 where it gives none."""
    _, text = client.get("/metrics")
    found = re.search(r"^process_resident_memory_bytes (\S+)", text, re.MULTILINE)
    return int(float(found[1])) if found else 0


def _closed(under: Target, clients: int, seconds: float) -> dict[str, Any]:
    from recollect.measure import load

    outcomes = asyncio.run(
        load.closed_loop(under.client.url, under.calls, clients=clients, seconds=seconds)
    )
    title = "1 client" if clients == 1 else f"{clients} clients"
    return {"load": title, **load.summary(outcomes, seconds)}


def _capacity(rows: Sequence[dict[str, Any]]) -> float:
    """The highest goodput of some loads, in calls a second."""
    peak = max(map(_goodput, rows))
    if not peak:
        raise CommandError(f"no call was answered well: {rows[0]['codes']}")
    return peak


def _ms(row: dict[str, Any], percentile: str) -> float:
    """A latency of a load; infinite where no call was answered well."""
    value = row[f"{percentile}_ms"]
    return math.inf if value is None else float(value)


def _goodput(row: dict[str, Any]) -> float:
    return float(row["goodput_per_s"])


def _say(row: dict[str, Any]) -> None:
    """One line about one load, as soon as it is over."""
    codes = ", ".join(f"{count} {code}" for code, count in row["codes"].items())
    err.print(
        f"{row['load']}: offered {row['offered_per_s']:.1f}/s, good {row['goodput_per_s']:.1f}/s, "
        f"p50 {row['p50_ms'] or 0:.1f} ms, p95 {row['p95_ms'] or 0:.1f} ms, "
        f"p99 {row['p99_ms'] or 0:.1f} ms; {codes}",
        highlight=False,
    )


def _conclude(checks: list[tuple[str, str, bool]]) -> None:
    """Print what was aimed at and what was reached; exit 1 where they differ."""
    table = Table("Aim", "Reached", "")
    for aim, reached, held in checks:
        table.add_row(aim, reached, "[green]yes" if held else "[bold red]no")
    Console().print(table)
    if not all(held for _, _, held in checks):
        raise typer.Exit(1)


def _write(
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
            {name: (offered, [_ms(row, name) for row in swept]) for name in ("p50", "p95", "p99")},
            log_y=True,
        ),
        "Goodput": plots.lines(
            "calls offered a second",
            "calls answered well a second",
            {"goodput": (offered, [_goodput(row) for row in swept])},
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
