"""models: which packs are here, what they are worth, and how to get others."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Column, Table

from recollect.cli.options import JsonOption
from recollect.settings import load, models_folder

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    import numpy.typing as npt

    from recollect.measure.calibration import Worth
    from recollect.measure.data import Picture
    from recollect.vision.manifest import Manifest
    from recollect.vision.pack import Pack

app = typer.Typer(
    help="Model packs: set up, list, show, pull, verify, use, calibrate.", no_args_is_help=True
)

out = Console()
err = Console(stderr=True)

RECOMMENDED = "mobilefacenet"
SETUP_TIMEOUT_S = 5.0
SHOWN = (80.0, 90.0, 99.0)
GALLERIES = (1_000, 100_000, 10_000_000)
"""Gallery sizes for which the meaning of a Similarity is spelt out."""

NameArgument = Annotated[str, typer.Argument(metavar="NAME")]


@app.command()
def setup(
    embedded: Annotated[
        bool, typer.Option("--embedded", help="The embedded pack only: no other network")
    ] = False,
) -> None:
    """Build the embedded pack, and try to pull the recommended one; nothing to do if both are here.

    Where the recommended pack cannot be had, the embedded one serves, and this says so.
    """
    from recollect.vision.manifest import PackError
    from recollect.vision.packs import default
    from recollect.vision.packs.pull import pull

    folder = models_folder(load({}))
    default.build(folder, err.print)
    if embedded or (folder / RECOMMENDED / "manifest.toml").exists():
        return
    try:
        pull(RECOMMENDED, folder, timeout_s=SETUP_TIMEOUT_S, say=err.print)
    except PackError as error:
        err.print(
            f"[bold yellow]The recommended pack {RECOMMENDED} is not here; the embedded pack "
            f"serves, which misses nearly four times as many people.[/] {error}",
            highlight=False,
            soft_wrap=True,
        )
    else:
        err.print(
            f"The pack {RECOMMENDED} (Apache-2.0) was pulled and serves new collections; "
            "`recollect models show` has its licence and limits.",
            soft_wrap=True,
        )


@app.command("list")
def list_packs(as_json: JsonOption = False) -> None:
    """List the packs that are installed and those that can be pulled."""
    from recollect.vision.packs.catalogue import CATALOGUE

    installed = {manifest.name: manifest for manifest in _installed()}
    default = _default(installed.values()) if installed else None
    rows = [
        {
            "name": name,
            "installed": name in installed,
            "default": name == default,
            "model_version": installed[name].model_version if name in installed else None,
            "dimension": installed[name].embedding.dimension if name in installed else None,
            "summary": installed[name].summary if name in installed else "",
        }
        for name in sorted(installed.keys() | CATALOGUE.keys())
    ]
    if as_json:
        print(json.dumps(rows))
        return
    table = Table(Column("Pack", no_wrap=True), "Installed", "Version", "Dimension", "What it is")
    for row in rows:
        table.add_row(
            str(row["name"]),
            ("yes, default" if row["default"] else "yes") if row["installed"] else "no",
            str(row["model_version"] or ""),
            str(row["dimension"] or ""),
            str(row["summary"]),
        )
    out.print(table)
    if not all(row["installed"] for row in rows):
        out.print("`recollect models pull NAME` installs one that is not here.", soft_wrap=True)


@app.command()
def show(name: NameArgument, as_json: JsonOption = False) -> None:
    """Show a pack's files, licences, notice, and what its Similarity means."""
    from recollect.vision.similarity import rate_at

    manifest = _manifest(name)
    facts: dict[str, Any] = {
        "name": manifest.name,
        "model_version": manifest.model_version,
        "summary": manifest.summary,
        "notice": manifest.notice,
        "measured_on": manifest.measured_on,
        "dimension": manifest.embedding.dimension,
        "files": {
            file: {"sha256": f.sha256, "licence": f.licence, "origin": f.origin}
            for file, f in manifest.files.items()
        },
        "false_match_rates": [
            {"similarity": similarity, "fmr": rate}
            for similarity, rate in manifest.false_match_rates
        ],
        "anchors": [
            {"score": score, "similarity": similarity}
            for score, similarity in zip(
                manifest.scale.scores, manifest.scale.similarities, strict=True
            )
        ],
    }
    if as_json:
        print(json.dumps(facts))
        return
    out.print(f"[bold]{manifest.name}[/], FaceModelVersion {manifest.model_version}")
    out.print(manifest.summary)
    out.print(" ".join(manifest.notice.split()), style="yellow")
    files = Table("File", "Licence", Column("Origin", overflow="fold"), title="Files")
    for file, entry in manifest.files.items():
        files.add_row(file, entry.licence, entry.origin)
    out.print(files)
    meaning = Table(
        "Similarity",
        "False match rate",
        *(f"in {n:,} people" for n in GALLERIES),
        title="False candidates to expect of one search, in a gallery of N strangers",
    )
    if manifest.false_match_rates:
        for similarity in SHOWN:
            rate = rate_at(manifest.false_match_rates, similarity)
            expected = (spelt(rate * n) for n in GALLERIES)
            meaning.add_row(f"{similarity:g}", f"{rate:.1e}", *expected)
        out.print(meaning)
        out.print(f"Measured on {manifest.measured_on}.")
    else:
        out.print(
            "[bold yellow]Not measured:[/] nobody knows what a Similarity of this pack means. "
            "`recollect models calibrate` reads it off pictures of your own."
        )


@app.command()
def pull(
    name: NameArgument,
    source: Annotated[
        str | None, typer.Option("--from", help="Folder or URL with the files, same pinned hashes")
    ] = None,
    accept_license: Annotated[
        bool, typer.Option("--accept-license", help="Do not ask about the licence")
    ] = False,
    timeout_s: Annotated[float, typer.Option(help="Longest silence of the other side")] = 30.0,
) -> None:
    """Fetch a pack from its official address and install it; nothing unpinned is ever loaded."""
    from recollect.cli.failure import CommandError
    from recollect.vision.manifest import PackError
    from recollect.vision.packs import pull as pulling

    try:
        licences = pulling.licences(name)
    except PackError as error:
        raise CommandError(str(error)) from None
    err.print(licences, highlight=False)
    if not accept_license:
        if not sys.stdin.isatty():
            raise CommandError("say --accept-license, since there is nobody here to ask")
        typer.confirm("Do these terms suit you?", abort=True, err=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=err,
    )
    with bar:
        tasks: dict[str, Any] = {}

        def progress(file: str, done: int, total: int) -> None:
            if file not in tasks:
                tasks[file] = bar.add_task(file, total=total)
            bar.update(tasks[file], completed=done)

        folder = pulling.pull(
            name,
            models_folder(load({})),
            source=source,
            timeout_s=timeout_s,
            say=err.print,
            progress=progress,
        )
    print(folder)


@app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...")] = None,
    as_json: JsonOption = False,
) -> None:
    """Load installed packs as the server would: every digest and the known answer are checked."""
    from recollect.vision.pack import load as load_pack

    verified = names or [manifest.name for manifest in _installed()]
    for name in verified:
        load_pack(models_folder(load({})) / name)
        if not as_json:
            out.print(f"{name}: every file is the one pinned, and the net gives its known answer")
    if as_json:
        print(json.dumps({"verified": verified}))


@app.command()
def calibrate(
    name: NameArgument,
    folder: Annotated[Path, typer.Argument(help="Labelled photographs, as for `evaluate`")],
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="Only this set of manifest.csv; repeatable")
    ] = None,
    splits: Annotated[int, typer.Option(min=1, max=1000, help="Halvings of the people")] = 10,
    resamples: Annotated[int, typer.Option(min=2, max=10_000, help="Draws of people")] = 500,
    seed: Annotated[int, typer.Option(help="Seed of halvings and draws")] = 7,
    as_json: JsonOption = False,
) -> None:
    """Measure what a pack's Similarity is worth, and read a scale off pictures of your own.

    Prints false match rates at 80, 90 and 99: of the pack's own scale, and of scales read off one
    half of the people and measured on the other; then the manifest's [similarity] for all of them.
    """
    import numpy as np

    from recollect.cli.failure import CommandError
    from recollect.measure import calibration, data
    from recollect.vision.pack import load as load_pack

    _manifest(name)
    pack = load_pack(models_folder(load({})) / name)
    try:
        asked = data.read(folder).sets
        if unknown := set(sets or ()) - asked.keys():
            raise CommandError(f"{folder} has no set {unknown.pop()!r}, only {', '.join(asked)}")
        chosen = [p for s, pictures in asked.items() if not sets or s in sets for p in pictures]
        templates, found = _templates(pack, chosen)
        _, people = np.unique([p.identity for p in found], return_inverse=True)
        seen = calibration.pairs(templates, people)
        own = calibration.worth(
            seen.strangers, pack.manifest.scale, pack.false_match_rates or [(0, 1)]
        )
        ranges = [
            calibration.interval(
                templates, people, pack.score(w.similarity), resamples=resamples, seed=seed
            )
            for w in own
        ]
        unseen = calibration.held_out(templates, people, splits=splits, seed=seed)
        scale = calibration.fitted(seen)
    except (data.DataError, calibration.TooLittleData) as problem:
        raise CommandError(str(problem)) from None
    facts = {
        "pack": name,
        "pictures": len(chosen),
        "faces": len(found),
        "people": len(set(people)),
        "strangers": len(seen.strangers),
        "same": len(seen.same),
        "seed": seed,
        "own_scale": [
            asdict(w) | {"low": low, "high": high}
            for w, (low, high) in zip(own, ranges, strict=True)
        ],
        "held_out": [asdict(w) for w in unseen],
        "anchors": scale.anchors,
        "false_match_rates": scale.rates,
    }
    if as_json:
        print(json.dumps(facts))
        return
    out.print(
        f"{name}: {len(found):,} faces of {facts['people']:,} people, {len(seen.strangers):,} "
        f"pairs of strangers, {len(seen.same):,} of one person; "
        f"{len(chosen) - len(found):,} pictures without a face in the middle left out; seed {seed}",
        highlight=False,
    )
    table = Table("", "Similarity", "stands for FMR", "measured", "95 %", "pairs", "factor")
    for w, (low, high) in zip(own, ranges, strict=True):
        # Where no pair reached it, drawing people again shows none either: that bounds nothing.
        table.add_row("its own scale", *_worth(w, f"{low:.1e} to {high:.1e}" if w.pairs else "-"))
    for w in unseen:
        table.add_row(f"read off half, {splits} times", *_worth(w, ""))
    out.print(table)
    print("\n[similarity]\nanchors = [")
    for score, similarity in scale.anchors:
        print(f"  [{score:.4f}, {similarity:g}],")
    print("]\nfalse_match_rates = [")
    for similarity, rate in scale.rates:
        print(f"  [{similarity:g}, {rate:g}],")
    print("]")


def spelt(expected: float) -> str:
    """A mean number of false candidates, to two digits."""
    return f"{expected:,.0f}" if expected >= 10 else f"{expected:.2g}"


def _worth(w: Worth, interval: str) -> list[str]:
    return [
        f"{w.similarity:g}", f"{w.nominal:.1e}", f"{w.measured:.1e}", interval,
        f"{w.pairs:,} of {w.of:,}", f"{w.factor:.2f}",
    ]  # fmt: skip


def _templates(
    pack: Pack, pictures: list[Picture]
) -> tuple[npt.NDArray[np.float32], list[Picture]]:
    """Templates of the largest faces that cover the middle of their pictures, and the pictures.

    A face beside the middle may be somebody else's than the label says: as a false match it would
    count where the net is right.
    """
    from contextlib import closing

    import numpy as np
    from rich.progress import track

    from recollect.measure.subject import covers_middle
    from recollect.vision.image import Decoder

    settings = load({})
    rows, found = [], []
    with closing(Decoder(1, settings.decode_cpu_s, settings.decode_memory_bytes)) as decoder:
        for picture in track(pictures, "Looking at pictures", console=err, transient=True):
            pixels = decoder.decode(picture.read(), long_side_max=settings.search_side_px).pixels
            face = pack.largest_face(pixels, "NONE")
            if face is not None and covers_middle(face.box):
                assert face.template is not None
                rows.append(face.template)
                found.append(picture)
    return np.array(rows, np.float32).reshape(-1, pack.dimension), found


@app.command()
def use(
    name: Annotated[str, typer.Argument(metavar="NAME|auto", help="auto: the best installed one")],
) -> None:
    """Choose the pack of new collections; collections that exist keep theirs for life.

    A server takes it at its next start, unless its setting `pack` names another.
    """
    from recollect.vision.pack import load as load_pack
    from recollect.vision.packs.choice import choose

    settings = load({})
    folder = models_folder(settings)
    if name != "auto":
        _manifest(name)
        # What cannot be loaded would stop the next start.
        load_pack(folder / name)
    choose(folder, None if name == "auto" else name)
    out.print(f"New collections take {_default(_installed())} once a server is started again.")
    if settings.pack != "auto":
        err.print(
            f"[bold yellow]The setting `pack` says {settings.pack}[/] here: where it is set, it "
            "decides.",
            soft_wrap=True,
        )


def _default(installed: Iterable[Manifest]) -> str:
    """The pack that new collections take where no setting says otherwise."""
    from recollect.vision.packs import choice

    ranks = {manifest.name: manifest.rank for manifest in installed}
    return choice.default(models_folder(load({})), ranks)


def _installed() -> list[Manifest]:
    from recollect.vision.manifest import read_manifest

    folders = sorted(models_folder(load({})).glob("*/manifest.toml"))
    return [read_manifest(path.parent) for path in folders]


def _manifest(name: str) -> Manifest:
    from recollect.cli.failure import CommandError

    for manifest in _installed():
        if manifest.name == name:
            return manifest
    raise CommandError(f"the pack {name!r} is not installed; see `recollect models list`")
