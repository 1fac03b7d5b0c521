"""import: many pictures into a collection, with progress, and again after any interruption."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from recollect import errors
from recollect.cli import pictures
from recollect.cli.client import Client, ServerUnreachable, from_data, from_environment
from recollect.cli.failure import CommandError
from recollect.cli.options import ConfigOption, DataOption, JsonOption, UrlOption

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from recollect.cli.pictures import Entry

err = Console(stderr=True)

IN_FLIGHT_PER_THREAD = 2


def import_(
    source: Annotated[
        str,
        typer.Argument(
            help="Folder, tar file, CSV or Parquet list with a path column, or s3://BUCKET/PREFIX"
        ),
    ],
    collection: Annotated[str, typer.Option(help="CollectionId; made where it does not exist")],
    external_id: Annotated[
        str, typer.Option(help="ExternalImageId from {stem}, {name}, {folder} and {path}")
    ] = "{path}",
    user_from: Annotated[
        str, typer.Option(help="`folder` makes each picture's folder its user")
    ] = "",
    max_faces: Annotated[int, typer.Option(help="Faces enrolled from one picture")] = 100,
    quality: Annotated[str, typer.Option(help="QualityFilter")] = "AUTO",
    threads: Annotated[int, typer.Option(help="Calls in flight; leave room for live traffic")] = 2,
    config: ConfigOption = None,
    journal: Annotated[
        Path | None, typer.Option(help="File that remembers what is done; makes a resume exact")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="JSON file of every picture's outcome")
    ] = None,
    data: DataOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import pictures; after Ctrl-C or a crash the same command goes on where it stopped.

    A picture whose answer was lost is sent again: indexing the same picture under the same
    ExternalImageId adds nothing, so the collection is the same as without the interruption.
    """
    if user_from not in ("", "folder"):
        raise CommandError("--user-from takes `folder`")
    client = connect(data, url)
    journal = journal or Path(f".recollect-import-{collection}.jsonl")
    with suppress(errors.ResourceAlreadyExistsException):
        client.call("CreateCollection", CollectionId=collection)
    intake = _Intake(client, collection, external_id, user_from, max_faces, quality)
    done = dict(remembered(journal, collection))
    started = time.monotonic()
    with ExitStack() as stack:
        log = stack.enter_context(journal.open("a", encoding="utf-8"))
        outcomes = run(
            "Importing",
            intake.send,
            pictures.entries(source, config),
            pictures.count(source),
            done,
            threads,
            log,
        )
    seconds = time.monotonic() - started
    _print_summary(outcomes, seconds, len(done), report, as_json)


def connect(data: Path | None, url: str | None) -> Client:
    """A client of the server on a data folder, or of the one the environment names."""
    if data is not None:
        return from_data(data, url)
    try:
        return from_environment(url)
    except ServerUnreachable:
        if Path("data", "root-credentials.json").exists():
            return from_data(Path("data"), url)
        raise


class _Intake:
    """Sends one picture and says what became of it; one connection a thread."""

    def __init__(
        self,
        client: Client,
        collection: str,
        template: str,
        user_from: str,
        max_faces: int,
        quality: str,
    ) -> None:
        self._client = client
        self._collection = collection
        self._template = template
        self._user_from = user_from
        self._max_faces = max_faces
        self._quality = quality
        self._local = threading.local()

    def send(self, entry: Entry) -> dict[str, Any]:
        """Index one picture, and give its faces to its user where it has one."""
        outcome: dict[str, Any] = {"collection": self._collection, "path": entry.path}
        image: dict[str, Any] = {"S3Object": entry.s3_object}
        if entry.s3_object is None:
            try:
                data = entry.read()
            except OSError as error:
                return outcome | {"error": "Unreadable", "message": str(error)}
            if len(data) > pictures.BYTES_MAX:
                message = f"longer than {pictures.BYTES_MAX} bytes: use S3, or a smaller copy"
                return outcome | {"error": "TooLong", "message": message}
            image = {"Bytes": data}
        client = self._own_client()
        try:
            answer = client.call(
                "IndexFaces",
                CollectionId=self._collection,
                Image=image,
                ExternalImageId=entry.external_image_id
                or pictures.external_image_id(self._template, entry.path),
                MaxFaces=self._max_faces,
                QualityFilter=self._quality,
            )
            faces = [record["Face"]["FaceId"] for record in answer["FaceRecords"]]
            reasons = [face["Reasons"] for face in answer["UnindexedFaces"]]
            user = entry.user_id or self._user(entry.path)
            if user and faces:
                self._associate(client, user, faces)
        except ServerUnreachable:
            raise
        except errors.AnswerError as error:
            return outcome | {"error": error.code, "message": str(error)}
        return outcome | {"faces": faces, "unindexed": reasons}

    def _own_client(self) -> Client:
        if not hasattr(self._local, "client"):
            self._local.client = self._client.another()
        return self._local.client  # type: ignore[no-any-return]

    def _user(self, path: str) -> str | None:
        folder = PurePosixPath(path).parent.name
        return pictures.cleaned(folder)[-128:] if self._user_from and folder else None

    def _associate(self, client: Client, user: str, faces: list[str]) -> None:
        with suppress(errors.ConflictException):
            client.call("CreateUser", CollectionId=self._collection, UserId=user)
        # The owner of the pictures says who it is: no threshold second-guesses that.
        client.call(
            "AssociateFaces",
            CollectionId=self._collection,
            UserId=user,
            FaceIds=faces,
            UserMatchThreshold=0,
        )


def run(
    title: str,
    send: Callable[[Entry], dict[str, Any]],
    entries: Iterator[Entry],
    total: int | None,
    done: Mapping[str, dict[str, Any]],
    threads: int,
    log: TextIO,
) -> list[dict[str, Any]]:
    """Send everything that is not done; each outcome is in the journal before it counts.

    Args:
        title: of the progress bar.
        send: does one picture and says what became of it; called from several threads.
        entries: the pictures.
        total: how many they are, where that is known.
        done: outcomes of earlier runs by path; those pictures are left alone.
        threads: pictures in work at once.
        log: the journal, open at its end.

    Returns:
        All outcomes, those done before first.
    """
    outcomes: list[dict[str, Any]] = list(done.values())
    stopped = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: stopped.set())
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.1f}/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
        disable=not err.is_terminal,
    )
    pending: set[Future[dict[str, Any]]] = set()
    started, sent = time.monotonic(), 0
    try:
        with progress, ThreadPoolExecutor(threads) as pool:
            task = progress.add_task(title, total=total, completed=len(done), rate=0.0)

            def collect(until: int) -> None:
                nonlocal pending, sent
                while len(pending) > until:
                    finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for future in finished:
                        outcome = future.result()
                        log.write(json.dumps(outcome) + "\n")
                        log.flush()
                        outcomes.append(outcome)
                        sent += 1
                    rate = sent / (time.monotonic() - started)
                    progress.update(task, completed=len(outcomes), rate=rate)

            for entry in entries:
                if stopped.is_set():
                    break
                if entry.path not in done:
                    pending.add(pool.submit(send, entry))
                    collect(threads * IN_FLIGHT_PER_THREAD)
            collect(0)
    finally:
        signal.signal(signal.SIGINT, before)
    if stopped.is_set():
        err.print("Stopped; the same command goes on from here.")
        sys.exit(130)
    return outcomes


def remembered(journal: Path, collection: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """What earlier runs have finished; a line torn by a crash is sent again."""
    if not journal.exists():
        return
    for line in journal.read_text(encoding="utf-8").splitlines():
        try:
            outcome = json.loads(line)
        except ValueError:
            continue
        if outcome.get("collection") != collection:
            raise CommandError(f"{journal} belongs to another collection; name one with --journal")
        yield outcome["path"], outcome


def _print_summary(
    outcomes: list[dict[str, Any]], seconds: float, before: int, report: Path | None, as_json: bool
) -> None:
    enrolled = sum(len(outcome.get("faces", ())) for outcome in outcomes)
    faceless = [o for o in outcomes if "faces" in o and not o["faces"]]
    failed = [o for o in outcomes if "error" in o]
    summary = {
        "pictures": len(outcomes),
        "faces": enrolled,
        "without_face": len(faceless),
        "failed": dict(Counter(o["error"] for o in failed)),
        "seconds": round(seconds, 1),
        "pictures_per_s": round((len(outcomes) - before) / seconds, 1) if seconds else 0.0,
    }
    if report is not None:
        report.write_text(json.dumps(outcomes, indent=1), encoding="utf-8")
    if as_json:
        print(json.dumps(summary))
        return
    print(f"{summary['pictures']} pictures, {enrolled} faces enrolled in {summary['seconds']} s")
    for outcome in faceless[:20]:
        reasons = sorted({reason for face in outcome["unindexed"] for reason in face})
        print(f"  no face: {outcome['path']} {', '.join(reasons)}")
    for outcome in failed[:20]:
        print(f"  {outcome['error']}: {outcome['path']} {outcome['message']}")
    if len(faceless) > 20 or len(failed) > 20:
        print("  … --report FILE has all of them")


def search(
    picture: Annotated[Path, typer.Argument(help="JPEG or PNG with the face to look for")],
    collection: Annotated[str, typer.Option(help="CollectionId")],
    threshold: Annotated[float, typer.Option(help="Least Similarity")] = 80.0,
    max_faces: Annotated[int, typer.Option(help="Most matches")] = 20,
    data: DataOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search a collection for the largest face of a picture; exits 1 where nobody matches."""
    from rich.table import Table

    try:
        content = picture.read_bytes()
    except OSError as error:
        raise CommandError(f"{picture} cannot be read: {error.strerror}") from None
    with connect(data, url) as client:
        answer = client.call(
            "SearchFacesByImage",
            CollectionId=collection,
            Image={"Bytes": content},
            FaceMatchThreshold=threshold,
            MaxFaces=max_faces,
        )
    matches = answer["FaceMatches"]
    if as_json:
        print(json.dumps(answer))
    else:
        table = Table("Similarity", "ExternalImageId", "UserId", "FaceId")
        for match in matches:
            face = match["Face"]
            table.add_row(
                f"{match['Similarity']:.2f}",
                face.get("ExternalImageId", ""),
                face.get("UserId", ""),
                face["FaceId"],
            )
        Console().print(table if matches else "Nobody is similar enough.")
    raise typer.Exit(0 if matches else 1)
