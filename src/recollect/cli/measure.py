"""evaluate and bench: how accurate and how fast a server is."""

from __future__ import annotations

import json
import platform
import shutil
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from recollect.cli.client import Client, from_data, from_environment
from recollect.cli.failure import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from recollect.measure.evaluation import Evaluation
    from recollect.measure.server import Track

err = Console(stderr=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print the figures as JSON")]
OutOption = Annotated[Path, typer.Option("--out", help="Folder of the report and of kept answers")]
UrlOption = Annotated[
    str | None,
    typer.Option(help="A running server, with the key of the environment; without, one is started"),
]
PackOption = Annotated[str, typer.Option(help="Model pack of the server that is started")]


def evaluate(
    folder: Annotated[Path, typer.Argument(help="Folder with manifest.csv, pairs/, ident/")],
    url: UrlOption = None,
    pack: PackOption = "auto",
    out: OutOption = Path("evaluation"),
    peer: Annotated[str | None, typer.Option(help="A peer beside it: dlib")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the intervals")] = 7,
    resamples: Annotated[int, typer.Option(min=2, max=10_000, help="Draws of people")] = 500,
    as_json: JsonOption = False,
) -> None:
    """Measure error rates on labelled photographs, through the API, with 95 % intervals.

    Writes report.html and figures.json. Stopped with Ctrl-C, the same command goes on where it
    was: answers are kept in the folder, by picture, pack and server version.
    """
    from recollect.measure import data, figures, report
    from recollect.measure.answers import Answers, AnswersError
    from recollect.measure.figures import Reckoning
    from recollect.measure.own import OwnServerError
    from recollect.measure.peer import PeerMissing
    from recollect.measure.server import SubjectError

    if find_spec("matplotlib") is None:
        raise CommandError("the plots need matplotlib: pip install 'recollect[report]'")
    if peer not in (None, "dlib"):
        raise CommandError(f"--peer knows dlib, not {peer!r}")
    try:
        asked = data.read(folder)
        with Answers(out / "answers.jsonl") as answers, _bars() as track:
            evaluations = [_of_server(asked, url, pack, out, answers, seed, resamples, track)]
            beside = []
            if peer is not None:
                evaluations.append(_of_peer(asked, answers, seed, resamples, track))
                reckoning = Reckoning(resamples, seed, track)
                ours, theirs = evaluations
                beside = [
                    figures.beside_in_turn(one, other, reckoning)
                    for one, other in zip(ours.turns, theirs.turns, strict=True)
                ] + [
                    figures.beside(one, other, reckoning)
                    for one, other in zip(ours.searches, theirs.searches, strict=True)
                ]
    except (data.DataError, AnswersError, OwnServerError, PeerMissing, SubjectError) as problem:
        raise CommandError(str(problem)) from None

    from recollect.measure import plots

    pictures = [picture for pictures in asked.sets.values() for picture in pictures]
    document = {
        "run": {
            "pictures": len(pictures),
            "people": len({picture.identity for picture in pictures}),
            "seed": seed,
            "resamples": resamples,
            "machine": f"{platform.machine()}, {platform.system()}, Python "
            f"{platform.python_version()}",
        },
        "subjects": [evaluation.document for evaluation in evaluations],
        "beside": beside,
    }
    text = json.dumps(document, indent=1)
    (out / "figures.json").write_text(text + "\n", encoding="utf-8")
    html = report.page(document, plots.of_evaluations(evaluations))
    (out / "report.html").write_text(html, encoding="utf-8")
    if as_json:
        print(text)
    else:
        _print_figures(evaluations)
        err.print(f"Report: {out / 'report.html'}; figures: {out / 'figures.json'}")


def _of_server(
    asked: Any,
    url: str | None,
    pack: str,
    out: Path,
    answers: Any,
    seed: int,
    resamples: int,
    track: Track,
) -> Evaluation:
    """Evaluate a server; one that is started here keeps its data in `out` until it is done."""
    from recollect.measure.evaluation import evaluate as run
    from recollect.measure.figures import Reckoning
    from recollect.measure.server import Server

    own_data = out / "server"
    with ExitStack() as stack:
        client = stack.enter_context(_client(url, pack, own_data))
        subject = Server(client.call, answers, version=_version(client), track=track)
        result = run(asked, subject, Reckoning(resamples, seed, track), track)
        result.document["refusals"] = subject.refusals
        subject.close()
    if url is None:
        shutil.rmtree(own_data)
    return result


def _of_peer(asked: Any, answers: Any, seed: int, resamples: int, track: Track) -> Evaluation:
    from recollect.measure.evaluation import evaluate as run
    from recollect.measure.figures import Reckoning
    from recollect.measure.peer import Peer

    return run(asked, Peer(answers, track=track), Reckoning(resamples, seed, track), track)


@contextmanager
def _client(url: str | None, pack: str, own_data: Path) -> Iterator[Client]:
    """A client of the server that was named, or of one that runs meanwhile."""
    from recollect.measure import own

    if url is not None:
        with from_environment(url) as client:
            yield client
        return
    with (
        own.running(own_data, {"pack": pack, "log_level": "warning"}) as server,
        from_data(own_data, server.url) as client,
    ):
        yield client


def _version(client: Client) -> str:
    """The server's version, from its own description."""
    status, text = client.get(f"{client.path}openapi.json")
    if status != 200:
        raise CommandError(f"{client.url}: openapi.json was answered {status}")
    return str(json.loads(text)["info"]["version"])


@contextmanager
def _bars() -> Iterator[Track]:
    """Progress bars on standard error, one for each thing that is worked through."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
    ) as progress:

        def track(items: Iterable[Any], description: str, count: int) -> Iterable[Any]:
            task = progress.add_task(description, total=count)
            for item in items:
                yield item
                progress.advance(task)
            progress.remove_task(task)

        yield track


COLUMNS = {
    "verification": ("TAR at FMR 0.01", "TAR at FMR 0.001", "TAR at FMR 0.0001"),
    "identification": ("rank-1", "FNIR at FPIR 0.05", "FNIR at FPIR 0.01"),
}


def _print_figures(evaluations: list[Evaluation]) -> None:
    """The main figures as two tables; the report has the rest."""
    from recollect.measure.report import rate

    console = Console()
    for evaluation in evaluations:
        console.print(f"\n[bold]{evaluation.title}[/]", highlight=False)
        for row in evaluation.document["detection"]:
            console.print(
                f"  {row['set']}: a face in {row['found']:,} of {row['pictures']:,} pictures",
                highlight=False,
            )
        at = evaluation.default_threshold
        for kind, names in COLUMNS.items():
            errors = ("FMR", "FNMR") if kind == "verification" else ("FPIR", "FNIR")
            columns = [*names, *(f"{error} at {at}" for error in errors)]
            table = Table("", "mated / non-mated", *columns)
            for measured in evaluation.document[kind]:
                enrolled = f", N = {measured['N']:,}, R = 1" if "N" in measured else ""
                table.add_row(
                    measured["title"] + enrolled,
                    f"{measured['mated']:,} / {measured['nonmated']:,}",
                    *(
                        "-" if figure is None or figure["value"] is None else rate(figure)
                        for figure in map(measured["figures"].get, columns)
                    ),
                )
            console.print(table)
