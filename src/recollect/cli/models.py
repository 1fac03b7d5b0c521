"""models: which packs are here, what they are worth, and how to get others."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from recollect.settings import load, models_folder

if TYPE_CHECKING:
    from collections.abc import Iterable

    from recollect.vision.manifest import Manifest

app = typer.Typer(help="Model packs: set up, list, show, pull, verify, use.", no_args_is_help=True)

out = Console()
err = Console(stderr=True)

RECOMMENDED = "mobilefacenet"
SETUP_TIMEOUT_S = 5.0
GALLERIES = (1_000, 100_000, 10_000_000)
"""Gallery sizes for which the meaning of a Similarity is spelt out."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs")]
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
            f"serves, which misses about five times as many people.[/] {error}",
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
    table = Table("Pack", "Installed", "FaceModelVersion", "Dimension", "What it is")
    for row in rows:
        table.add_row(
            f"{row['name']} (default)" if row["default"] else str(row["name"]),
            "yes" if row["installed"] else f"recollect models pull {row['name']}",
            str(row["model_version"] or ""),
            str(row["dimension"] or ""),
            str(row["summary"]),
        )
    out.print(table)


@app.command()
def show(name: NameArgument, as_json: JsonOption = False) -> None:
    """Show a pack's files, licences, notice, and what its Similarity means."""
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
    files = Table("File", "Licence", "Origin", title="Files")
    for file, entry in manifest.files.items():
        files.add_row(file, entry.licence, entry.origin)
    out.print(files)
    meaning = Table(
        "Similarity",
        "False match rate",
        *(f"in {n:,} people" for n in GALLERIES),
        title="False candidates to expect of one search, in a gallery of N strangers",
    )
    for similarity, rate in manifest.false_match_rates:
        meaning.add_row(f"{similarity:g}", f"{rate:g}", *(f"{rate * n:,.3g}" for n in GALLERIES))
    if manifest.false_match_rates:
        out.print(meaning)
        out.print(f"Measured on {manifest.measured_on}.")
    else:
        out.print(
            "[bold yellow]Not measured:[/] nobody knows what a Similarity of this pack means. "
            "`recollect models calibrate` reads it off pictures of your own."
        )


@app.command(epilog="Example: recollect models pull mobilefacenet --accept-license")
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
    from recollect.cli.keys import CommandError
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
def verify(names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...")] = None) -> None:
    """Load installed packs as the server would: every digest and the known answer are checked."""
    from recollect.vision.pack import load as load_pack

    for name in names or [manifest.name for manifest in _installed()]:
        load_pack(models_folder(load({})) / name)
        out.print(f"{name}: every file is the one pinned, and the net gives its known answer")


@app.command(epilog="Example: recollect models use mobilefacenet")
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
    from recollect.vision.pack import read_manifest

    folders = sorted(models_folder(load({})).glob("*/manifest.toml"))
    return [read_manifest(path.parent) for path in folders]


def _manifest(name: str) -> Manifest:
    from recollect.cli.keys import CommandError

    for manifest in _installed():
        if manifest.name == name:
            return manifest
    raise CommandError(f"the pack {name!r} is not installed; see `recollect models list`")
