"""backup, restore, check, audit, subject: tending what is kept."""

from __future__ import annotations

import json
import sys
import time
import uuid
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from recollect.cli.failure import CommandError
from recollect.cli.intake import connect
from recollect.cli.options import DataOption, JsonOption, UrlOption
from recollect.settings import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from recollect.cli.client import Client
    from recollect.gallery.store import Store

audit_app = typer.Typer(help="The audit log: verify, tail, export.", no_args_is_help=True)
subject_app = typer.Typer(
    help="Everything about one person: export it, erase it.", no_args_is_help=True
)

out = Console()
err = Console(stderr=True)

PAGE = 4096


def backup(
    target: Annotated[Path, typer.Argument(help="Folder of the copies")],
    data: DataOption = None,
    keep: Annotated[int, typer.Option(help="Copies to keep; 0 keeps all")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Copy one moment of the data folder, while it is served; encrypted as it is.

    The master key is not in the copy: keep it elsewhere.
    """
    from recollect.gallery.backup import backup as copy
    from recollect.gallery.backup import prune
    from recollect.gallery.sqlite import SQLiteStore

    with _store(data) as store, _bar("Copying") as progress:
        if not isinstance(store, SQLiteStore):
            raise CommandError("a shared store is copied with pg_dump: see docs/scaling.md")
        path = copy(store, target, clock=time.time, progress=progress)
    removed = prune(target, keep=keep) if keep else []
    if as_json:
        print(json.dumps({"copy": str(path), "removed": [str(p) for p in removed]}))
    else:
        print(path)


def restore(
    copy: Annotated[Path, typer.Argument(help="A recollect-*.db that `backup` wrote")],
    data: DataOption = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the data that the folder holds")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a data folder from a copy; what was deleted since the copy stays deleted.

    The master key has to be where the settings say: by default `master.key` in the data folder.
    """
    from recollect import truth
    from recollect.gallery.backup import restore as take

    settings = load({"data": data})
    key_file = truth.master_key_file(settings)
    if not (settings.master_key or settings.master_key_command or key_file.exists()):
        raise CommandError(f"put the master key of the copied folder into {key_file} first")
    restored = take(
        copy,
        settings.data,
        truth.master_key(settings),
        clock=time.time,
        ids=lambda: str(uuid.uuid4()),
        replace=replace,
    )
    if as_json:
        print(json.dumps(restored._asdict()))
    else:
        print(
            f"{restored.collections} collections with {restored.faces} faces; "
            f"{restored.forgotten} entries of the copy had been deleted since and stay deleted"
        )


def check(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Read everything that is kept and name what is damaged; exits 1 where something is."""
    from recollect.gallery import audit
    from recollect.gallery.crypt import Damaged

    damages: list[str] = []
    faces = 0
    with _store(data) as store:
        collections = store.every_collection()
        total = sum(store.counts(collection)[0] for collection in collections)
        with _bar("Reading templates") as progress:
            for collection in collections:
                try:
                    for block in store.scan([collection])[1]:
                        if block.kind == "faces":
                            faces += len(block.ids)
                            progress(faces, total)
                except Damaged as damage:
                    damages.append(
                        f"collection {collection.account}/{collection.collection_id}: {damage}"
                    )
        damages += [f"audit log: {problem}" for problem in audit.verify(store)]
    if as_json:
        print(json.dumps({"collections": len(collections), "faces": faces, "damages": damages}))
    else:
        print(f"{len(collections)} collections, {faces} faces read")
        for line in damages:
            print(f"  damaged: {line}")
    raise typer.Exit(1 if damages else 0)


@audit_app.command("verify")
def audit_verify(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Check the whole chain; exits 1 and names the first record that is wrong."""
    from recollect.gallery import audit

    with _store(data) as store:
        problems = audit.verify(store)
        head = store.audit_head()
    count = head.sequence if head else 0
    if as_json:
        print(json.dumps({"records": count, "problems": problems}))
    else:
        for problem in problems:
            print(problem)
        if not problems:
            print(f"{count} records, none altered, none missing")
    raise typer.Exit(1 if problems else 0)


@audit_app.command("tail")
def audit_tail(
    count: Annotated[int, typer.Option("-n", help="Records")] = 20,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the newest records."""
    from recollect.gallery import audit

    with _store(data) as store:
        entries = [json.loads(record.entry) for record in audit.tail(store, count)]
    if as_json:
        for entry in entries:
            print(json.dumps(entry))
        return
    table = Table("When", "Who", "What", "Answer", "Matches", "From")
    for entry in entries:
        table.add_row(
            entry["eventTime"],
            entry["userIdentity"].get("arn", "nobody"),
            str(entry["eventName"]),
            entry.get("errorCode", "OK"),
            str(len(entry["additionalEventData"]["matches"])),
            entry["sourceIPAddress"],
        )
    out.print(table)


@audit_app.command("export")
def audit_export(
    file: Annotated[Path, typer.Argument(help="File to write, one JSON record a line")],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the whole log to a file."""
    from recollect.gallery import audit

    with _store(data) as store, file.open("wb") as target:
        count = audit.export(store, target)
    print(json.dumps({"records": count}) if as_json else f"{count} records")


@subject_app.command("export")
def subject_export(
    external_image_id: Annotated[str | None, typer.Option(help="Their ExternalImageId")] = None,
    user_id: Annotated[str | None, typer.Option(help="Their UserId")] = None,
    data: DataOption = None,
    url: UrlOption = None,
) -> None:
    """Print everything that is kept about a person, in every collection, as JSON.

    Templates are not part of it: they are never given out.
    """
    with connect(data, url) as client:
        print(json.dumps(list(_about(client, external_image_id, user_id)), indent=2))


@subject_app.command("erase")
def subject_erase(
    external_image_id: Annotated[str | None, typer.Option(help="Their ExternalImageId")] = None,
    user_id: Annotated[str | None, typer.Option(help="Their UserId")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask")] = False,
    data: DataOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Erase everything about a person, in every collection, for good."""
    with connect(data, url) as client:
        found = list(_about(client, external_image_id, user_id))
        count = sum(len(entry["Faces"]) for entry in found)
        if found and not yes:
            if not sys.stdin.isatty():
                raise CommandError("say --yes, since there is nobody here to ask")
            question = f"Erase {count} faces in {len(found)} collections?"
            typer.confirm(question, abort=True, err=True)
        for entry in found:
            _erase(client, entry)
    summary = {"collections": len(found), "faces": count}
    print(json.dumps(summary) if as_json else f"erased {count} faces in {len(found)} collections")


def _about(
    client: Client, external_image_id: str | None, user_id: str | None
) -> Iterator[dict[str, Any]]:
    """Each collection that knows the person, with the faces and users that are theirs."""
    from recollect.errors import ResourceNotFoundException

    if (external_image_id is None) == (user_id is None):
        raise CommandError("say either --external-image-id or --user-id")
    for collection in _pages(client, "ListCollections", "CollectionIds"):
        users = []
        try:
            query = {"UserId": user_id} if user_id is not None else {}
            listed = _pages(client, "ListFaces", "Faces", CollectionId=collection, **query)
            faces = [
                face
                for face in listed
                if user_id is not None or face.get("ExternalImageId") == external_image_id
            ]
            users = [user_id] if user_id is not None else []
        except ResourceNotFoundException:
            continue  # No such user here, or the collection was deleted meanwhile.
        if faces or users:
            yield {"CollectionId": collection, "Users": users, "Faces": faces}


def _erase(client: Client, entry: dict[str, Any]) -> None:
    collection, faces = entry["CollectionId"], entry["Faces"]
    for user in entry["Users"]:
        client.call("DeleteUser", CollectionId=collection, UserId=user)
    if not entry["Users"]:
        for face in faces:
            if "UserId" in face:
                client.call(
                    "DisassociateFaces",
                    CollectionId=collection,
                    UserId=face["UserId"],
                    FaceIds=[face["FaceId"]],
                )
    ids = [face["FaceId"] for face in faces]
    for begin in range(0, len(ids), PAGE):
        client.call("DeleteFaces", CollectionId=collection, FaceIds=ids[begin : begin + PAGE])


def _pages(client: Client, operation: str, member: str, **params: Any) -> Iterator[Any]:
    token = None
    while True:
        answer = client.call(operation, MaxResults=PAGE, NextToken=token, **params)
        yield from answer[member]
        token = answer.get("NextToken")
        if not token:
            return


@contextmanager
def _store(data: Path | None) -> Iterator[Store]:
    """The store, beside a server that may be running."""
    from recollect import truth

    with closing(truth.open_store(load({"data": data}), exclusive=False)) as store:
        yield store


@contextmanager
def _bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar fed with how much is done and how much there is."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=err,
        disable=not err.is_terminal,
    )
    with bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
