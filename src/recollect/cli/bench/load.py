"""bench: how fast a server is, what it does under too much, and how it stops."""

from __future__ import annotations

import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer
import uvloop
from rich.console import Console
from rich.table import Table

from recollect.cli.bench import figures
from recollect.cli.bench.target import Target, prepared

if TYPE_CHECKING:
    from recollect.measure.load import Outcome
    from recollect.measure.target import Calls

app = typer.Typer(help="Speed: serve, overload, stop; the index alone.", no_args_is_help=True)

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
BUSY_S = 1.0
"""Time for which the calls have been coming when the server is told to stop."""

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
        prepared(pictures, url, pack, faces, seed, other) as under,
        target.watched(under.memory_bytes) as memory,
    ):
        for clients in CLIENTS:
            rows.append(_closed(under, clients, seconds))
            figures.say(rows[-1])
        capacity = figures.capacity(rows)
        for number, factor in enumerate(rates):
            due = load.poisson(factor * capacity, seconds, seed + number)
            calls = load.open_loop(under.client.url, under.calls, due)
            rows.append(figures.row(f"{factor:g} x capacity", seconds, calls))
            figures.say(rows[-1])
    figures.write(out / "serve", rows, rows[len(CLIENTS) :], memory, seed, faces)


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
    after a burst of 5 s, 99.9 % of the clients that make 3 attempts, as boto3 does, finish. Exits 1
    otherwise.
    """
    from recollect.measure import load, target

    rows: list[dict[str, Any]] = []

    def offer(title: str, due: list[float], seconds: float, **more: Any) -> dict[str, Any]:
        calls = load.open_loop(under.client.url, under.calls, due, **more)
        rows.append(figures.row(title, seconds, calls))
        figures.say(rows[-1])
        return rows[-1]

    with (
        prepared(pictures, url, pack, faces, seed, other) as under,
        target.watched(under.memory_bytes) as memory,
    ):
        peak = max((_closed(under, n, seconds / 6) for n in CLIENTS), key=figures.goodput)
        rows.append(peak | {"load": "peak"})
        figures.say(rows[-1])
        capacity = figures.capacity(rows)
        idle_s = max(seconds / 3, 300 / capacity)
        unloaded = offer("unloaded", load.poisson(LEISURE * capacity, idle_s, seed), idle_s)
        before = memory[-1][1]
        due = load.poisson(factor * capacity, seconds, seed)
        crowded = offer(f"{factor:g} x capacity", due, seconds)
        after = max(held for _, held in memory)
        finished = {}
        for attempts in (3, 5):
            due = load.poisson(factor * capacity, BURST_S, seed)
            due += [BURST_S + t for t in load.poisson(0.5 * capacity, 4 * BURST_S, seed)]
            title = f"burst, clients of {attempts} attempts"
            burst = offer(title, due, 5 * BURST_S, attempts=attempts, seed=seed)
            finished[attempts] = burst["codes"].get(load.OK, 0) / len(due)

    growth = figures.ms(crowded, "p99") / figures.ms(unloaded, "p99")
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
            f"{FINISHED_MIN:.1%} of clients with 3 attempts finish after a burst",
            f"{finished[3]:.2%} (5 attempts: {finished[5]:.2%})",
            finished[3] >= FINISHED_MIN,
        ),
    ]
    figures.write(out / "overload", rows, [unloaded, crowded], memory, seed, faces)
    _conclude(checks)


@app.command()
def stop(
    pictures: PicturesArgument,
    pack: PackOption = "auto",
    seed: SeedOption = 7,
    other: SetOption = None,
) -> None:
    """Send SIGTERM with 200 calls in flight and 100 half-open connections.

    Every call gets a whole answer: with its result as far as the time allows, else a refusal that
    SDKs try again. Cheap ones get their results all. The process is gone within 10 s. Exits 1
    otherwise. The queue is made long enough for all of them, so that the server has work to do.
    """
    from recollect.measure import load

    patient = ["call_queue_max=256", "call_wait_max_s=60", *(other or [])]
    checks = []
    for title, cheap in (("SearchFaces", True), ("SearchFacesByImage", False)):
        with prepared(pictures, None, pack, 0, seed, patient) as under:
            calls = under.cheap_calls if cheap else under.calls
            outcomes, stopped_s = _stopped(under, calls)
        codes = load.summary(outcomes, 1.0)["codes"]
        whole = codes.get(load.OK, 0)
        answered = whole + sum(codes.get(code, 0) for code in load.BUSY)
        checks += [
            (
                f"{IN_FLIGHT} calls of {title} in flight are answered"
                + (" with results" if cheap else ""),
                ", ".join(f"{count} {code}" for code, count in codes.items()),
                (whole if cheap else answered) == IN_FLIGHT,
            ),
            (
                f"the process is gone within {STOP_S_MAX:g} s",
                f"{stopped_s:.2f} s",
                stopped_s <= STOP_S_MAX,
            ),
        ]
    _conclude(checks)


def _stopped(under: Target, calls: Calls) -> tuple[list[Outcome], float]:
    """Stop a busy server; what became of the calls in flight, and the seconds until it was gone."""
    from recollect.measure import load

    assert under.own is not None
    process, where = under.own.process, urlsplit(under.client.url)
    told_at = [0.0]

    def tell() -> None:
        told_at[0] = time.perf_counter()
        process.send_signal(signal.SIGTERM)

    with ExitStack() as half_open:
        for number in range(HALF_OPEN):
            connection = socket.create_connection((where.hostname, where.port))
            half_open.callback(connection.close)
            # Some have said nothing, some half a header, some a header without its body.
            request = calls(number)
            connection.sendall(request[: (0, 40, request.index(b"\r\n\r\n") + 4)[number % 3]])
        outcomes = uvloop.run(
            load.closed_loop(
                under.client.url, calls, clients=IN_FLIGHT, seconds=BUSY_S, at_end=tell
            )
        )
        process.wait(3 * STOP_S_MAX)
        stopped_s = time.perf_counter() - told_at[0]
    return outcomes[-IN_FLIGHT:], stopped_s


def _closed(under: Target, clients: int, seconds: float) -> dict[str, Any]:
    from recollect.measure import load

    calls = load.closed_loop(under.client.url, under.calls, clients=clients, seconds=seconds)
    return figures.row("1 client" if clients == 1 else f"{clients} clients", seconds, calls)


def _conclude(checks: list[tuple[str, str, bool]]) -> None:
    """Print what was aimed at and what was reached; exit 1 where they differ."""
    table = Table("Aim", "Reached", "")
    for aim, reached, held in checks:
        table.add_row(aim, reached, "[green]yes" if held else "[bold red]no")
    Console().print(table)
    if not all(held for _, _, held in checks):
        raise typer.Exit(1)
