"""bench search: how fast the index alone searches, and how complete it is."""

from __future__ import annotations

import csv
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from recollect.cli.bench.load import SeedOption
from recollect.cli.failure import CommandError

if TYPE_CHECKING:
    from recollect.measure.searching import Line

err = Console(stderr=True)

CODES_ONLY_FROM = 1_000_000
"""Above so many faces templates stand outside of the arena: they are four times its codes."""

COLUMNS = (
    ("engine", 36, "{0.engine}"),
    ("templates", 11, "{0.kind}"),
    ("faces", 10, "{0.faces:,}"),
    ("from", 6, "{0.score_min:g}"),
    ("thr", 3, "{0.threads}"),
    ("best ms", 8, "{0.best_ms:.3f}"),
    ("p50", 8, "{0.p50_ms:.3f}"),
    ("p90", 8, "{0.p90_ms:.3f}"),
    ("p99", 8, "{0.p99_ms:.3f}"),
    ("Mfaces/s", 8, "{1:.1f}"),
    ("limit", 7, "{0.limit_ms:.3f}"),
    ("x", 5, "{0.of_limit:.2f}"),
    ("ours", 7, "{0.recollect_ms:.3f}"),
    ("x", 6, "{0.of_recollect:.1f}"),
    ("recall", 7, "{0.recall:.5f}"),
    ("answers", 7, "{0.answers}"),
    ("load/s", 9, "{0.load_per_s:,.0f}"),
    ("B/face", 6, "{0.bytes_per_face:.0f}"),
)


def search(
    kinds: Annotated[
        list[str] | None, typer.Option("--kind", help="resnet-128, mobile-128, arcface-512")
    ] = None,
    sizes: Annotated[
        list[int] | None, typer.Option("--faces", min=100, help="Size of a gallery, 1e4 to 2e7")
    ] = None,
    thresholds: Annotated[
        list[float] | None, typer.Option("--score-min", help="Lowest score; the kind's own else")
    ] = None,
    threads: Annotated[list[int] | None, typer.Option(min=1, help="Threads of one search")] = None,
    kernels: Annotated[
        list[str] | None, typer.Option("--kernel", help="auto, native, numkong or numpy")
    ] = None,
    probes: Annotated[int, typer.Option(min=10, help="Searches of each case")] = 300,
    peers: Annotated[bool, typer.Option(help="Other engines, as far as installed")] = False,
    only: Annotated[list[str] | None, typer.Option(help="A peer, by its name")] = None,
    seed: SeedOption = 1,
    out: Annotated[Path, typer.Option("--out", help="Folder of search.csv, search.svg")] = Path(
        "bench"
    ),
) -> None:
    """Measure the index on synthetic galleries, beside the limit that memory sets.

    Options may be given several times. Every answer is checked against exhaustive comparison; where
    ours differs in anything, the command exits 1. Columns: `x` behind the limit is the median as a
    multiple of it; `x` behind ours is another engine's median as a multiple of our own, measured
    in turns with it.
    """
    from recollect.measure import searching
    from recollect.measure.engines import ENGINES
    from recollect.measure.synthetic import KINDS, Synthetic

    for kind in kinds or ():
        if kind not in KINDS:
            raise CommandError(f"--kind knows {', '.join(KINDS)}, not {kind!r}")
    names = [engine.name for engine in ENGINES]
    for name in only or ():
        if name not in names:
            raise CommandError(f"--only knows {', '.join(names)}, not {name!r}")

    print(searching.machine(seed))
    print(" ".join(f"{name:>{width}}" for name, width, _ in COLUMNS))
    lines: list[Line] = []
    for kind in kinds or KINDS:
        for faces in sizes or (10_000, 100_000, 1_000_000):
            gallery = Synthetic(kind, faces, seed)
            for line in searching.measure(
                gallery,
                kernels=kernels or ["auto"],
                threads=threads or [1],
                thresholds=thresholds or gallery.thresholds,
                probes=probes,
                codes_only=faces > CODES_ONLY_FROM,
                engines=[e for e in ENGINES if peers and (not only or e.name in only)],
                missing=lambda name, why: err.print(f"{name}: {why}", highlight=False),
            ):
                print(_row(line), flush=True)
                lines.append(line)
                _write(out, lines)
    if any(line.recall < 1 for line in lines if line.engine.startswith("recollect")):
        err.print("[bold red]An answer of ours is not that of exhaustive comparison.")
        raise typer.Exit(1)


def _row(line: Line) -> str:
    return " ".join(
        f"{text.format(line, line.faces_per_s / 1e6):>{width}}" for _, width, text in COLUMNS
    )


def _write(out: Path, lines: list[Line]) -> None:
    """Write what was measured so far: a long run may be stopped."""
    from recollect.measure import searching

    out.mkdir(parents=True, exist_ok=True)
    with (out / "search.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, [field.name for field in fields(lines[0])])
        table.writeheader()
        table.writerows(asdict(line) for line in lines)
    try:
        from recollect.measure import plots
    except ImportError:
        return  # matplotlib comes with recollect[report]; the table is complete without it.
    (out / "search.svg").write_text(plots.of_searches(searching.curves(lines)), encoding="utf-8")
