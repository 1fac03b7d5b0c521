"""reindex: a collection made again with another pack, from pictures where their owner has them."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recollect import errors
from recollect.cli import intake, pictures
from recollect.cli.client import Client, ServerUnreachable
from recollect.cli.failure import CommandError
from recollect.cli.options import ConfigOption, DataOption, JsonOption, UrlOption
from recollect.operations.service import image_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from recollect.cli.pictures import Entry

FACES_MAX = 100
"""Faces of one picture, and FaceIds of one call."""
PAGE = 4096
USERS_PAGE = 500
OVERLAP_MIN = 0.25
"""Intersection over union at which two detectors mean the same face."""


def reindex(
    collection: Annotated[str, typer.Argument(help="CollectionId")],
    pack: Annotated[str, typer.Option(help="Model pack that it shall have")],
    source: Annotated[
        str,
        typer.Option(
            "--from", help="Its pictures: folder, tar file, CSV or Parquet list, s3://BUCKET/PREFIX"
        ),
    ],
    switch: Annotated[
        bool, typer.Option(help="Give the new collection the name when it is complete")
    ] = True,
    drop_missing: Annotated[
        bool,
        typer.Option("--drop-missing", help="Switch although some faces were not found again"),
    ] = False,
    delete_old: Annotated[
        bool, typer.Option("--delete-old", help="Delete the old collection after the switch")
    ] = False,
    threads: Annotated[int, typer.Option(help="Calls in flight; leave room for live traffic")] = 2,
    config: ConfigOption = None,
    journal: Annotated[
        Path | None, typer.Option(help="File that remembers what is done; makes a resume exact")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="JSON file of every picture's outcome, old FaceId to new")
    ] = None,
    data: DataOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a collection again with another pack; callers notice the switch, nothing before it.

    ExternalImageIds, ImageIds, users and tags stay; FaceIds are new. Pictures are recognised by
    their bytes, whatever they are called. After Ctrl-C or a crash the same command goes on. The
    old collection stays as COLLECTION.PACK, and swapping back is this command's way again.
    """
    client = intake.connect(data, url)
    beside = f"{collection}.{pack}"
    journal = journal or Path(f".recollect-reindex-{beside}.jsonl")
    switched = _described(client, collection)["Pack"] == pack
    if switched and _find(client, beside) is None:
        raise CommandError(f"{collection} has the pack {pack} already")
    if not switched:
        _make(client, collection, beside, pack)
    names = (beside, collection) if switched else (collection, beside)
    work = _Reindexing(client, source, config, threads, journal, beside)
    left = work.copy(*names)
    missing = left.missing
    if missing and not drop_missing:
        _write(report, left)
        some = ", ".join(str(face.get("ExternalImageId")) for face in islice(missing.values(), 5))
        raise CommandError(
            f"{len(missing)} faces of {collection} were not found again in {source} (of {some} …); "
            f"nothing is switched. --report FILE has them all, --drop-missing goes on without them"
        )
    if switch and not switched:
        client.call_plainly("SwapCollections", CollectionId=collection, OtherCollectionId=beside)
        # Whoever looked the old one up before the switch may have written to it since.
        left = work.copy(beside, collection)
    if (switch or switched) and delete_old:
        client.call("DeleteCollection", CollectionId=beside)
    _write(report, left)
    _print(collection, beside, left, switch or switched, delete_old, as_json)


@dataclass(slots=True)
class _Contents:
    """What a collection holds."""

    faces: dict[str, dict[str, Any]]
    """By FaceId."""
    users: set[str]
    tags: dict[str, str]
    by_image: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    by_external_id: dict[str | None, set[str]] = field(default_factory=lambda: defaultdict(set))
    """ImageIds by ExternalImageId."""

    def __post_init__(self) -> None:
        for face in self.faces.values():
            self.by_image[face["ImageId"]].append(face)
            self.by_external_id[face.get("ExternalImageId")].add(face["ImageId"])


@dataclass(slots=True)
class _Left:
    """What came of a copy."""

    outcomes: list[dict[str, Any]]
    new_ids: dict[str, str]
    """FaceIds of the new collection by those of the old one."""
    old: _Contents

    @property
    def missing(self) -> dict[str, dict[str, Any]]:
        """Faces of the old collection that have no new one."""
        return {i: face for i, face in self.old.faces.items() if i not in self.new_ids}


class _Reindexing:
    """Copies a collection into another, as far as the pictures go; again and again the same."""

    def __init__(
        self,
        client: Client,
        source: str,
        config: Path | None,
        threads: int,
        journal: Path,
        name: str,
    ) -> None:
        self._client, self._source, self._config = client, source, config
        self._threads, self._journal, self._name = threads, journal, name
        self._local = threading.local()

    def copy(self, old: str, new: str) -> _Left:
        """Enrol what `old` has and `new` lacks, and bring faces, users and tags of `new` level."""
        account = _described(self._client, old)["CollectionARN"].split(":")[4]
        held = _contents(self._client, old)
        there = _contents(self._client, new).faces
        # What was no picture of this collection in an earlier run may have become one.
        done = {
            path: outcome
            for path, outcome in intake.remembered(self._journal, self._name)
            if "error" not in outcome
            and outcome["images"].keys() >= self._known(outcome, held)
            and all(i in there for pairs in outcome["images"].values() for i in pairs.values())
        }

        def send(entry: Entry) -> dict[str, Any]:
            return self._send(entry, account, held, new)

        with self._journal.open("a", encoding="utf-8") as log:
            outcomes = intake.run(
                "Reindexing",
                send,
                pictures.entries(self._source, self._config),
                pictures.count(self._source),
                done,
                self._threads,
                log,
            )
        new_ids: dict[str, str] = {}
        for outcome in outcomes:
            for pairs in outcome.get("images", {}).values():
                new_ids |= pairs
        present = _contents(self._client, new)
        new_ids = {a: b for a, b in new_ids.items() if a in held.faces and b in present.faces}
        self._level(held, present, new_ids, new)
        return _Left(outcomes, new_ids, held)

    @staticmethod
    def _known(outcome: Mapping[str, Any], held: _Contents) -> set[str]:
        """ImageIds under which the old collection has a picture of the source."""
        same = {
            image_id(outcome["account"], outcome["sha256"], external_id)
            for external_id in outcome["candidates"]
        }
        # The owner's list may name a picture that has been encoded anew since.
        listed = held.by_external_id.get(outcome["listed"], set()) if outcome["listed"] else set()
        return same & held.by_image.keys() or (listed if len(listed) == 1 else set())

    def _send(self, entry: Entry, account: str, held: _Contents, new: str) -> dict[str, Any]:
        """Enrol one picture under every ExternalImageId that the old collection has it under."""
        outcome: dict[str, Any] = {"collection": self._name, "path": entry.path}
        try:
            content = entry.read()
        except OSError as error:
            return outcome | {"error": "Unreadable", "message": str(error)}
        outcome |= {
            "account": account,
            "sha256": hashlib.sha256(content).hexdigest(),
            "candidates": _candidates(entry),
            "listed": entry.external_image_id,
        }
        images: dict[str, dict[str, str]] = {}
        try:
            for image in sorted(self._known(outcome, held)):
                images[image] = self._enrol(content, held.by_image[image], new)
        except ServerUnreachable:
            raise
        except errors.AnswerError as error:
            return outcome | {"error": error.code, "message": str(error)}
        return outcome | {"images": images}

    def _enrol(self, content: bytes, faces: list[dict[str, Any]], new: str) -> dict[str, str]:
        """Enrol a picture's faces as they are in the old collection; new FaceIds by old ones."""
        if not hasattr(self._local, "client"):
            self._local.client = self._client.another()
        client = self._local.client
        answer = client.call(
            "IndexFaces",
            CollectionId=new,
            Image={"Bytes": content},
            ExternalImageId=faces[0].get("ExternalImageId"),
            MaxFaces=FACES_MAX,
            QualityFilter="NONE",
        )
        found = [record["Face"] for record in answer["FaceRecords"]]
        pairs = _paired(faces, found)
        # Faces that were never enrolled, or have been deleted since, stay away.
        extra = [face["FaceId"] for face in found if face["FaceId"] not in pairs.values()]
        _delete(client, new, extra)
        return pairs

    def _level(
        self, held: _Contents, present: _Contents, new_ids: Mapping[str, str], new: str
    ) -> None:
        """Bring users, associations, tags and deletions of the new collection to the old one's."""
        client = self._client
        wanted = {new_id: held.faces[i].get("UserId") for i, new_id in new_ids.items()}
        astray: dict[str, list[str]] = defaultdict(list)
        join: dict[str, list[str]] = defaultdict(list)
        for face_id, face in present.faces.items():
            has, user = face.get("UserId"), wanted.get(face_id)
            if has is not None and has != user:
                astray[has].append(face_id)
            if user is not None and has != user:
                join[user].append(face_id)
        for user, face_ids in astray.items():
            for part in _parts(face_ids):
                client.call("DisassociateFaces", CollectionId=new, UserId=user, FaceIds=part)
        _delete(client, new, [i for i in present.faces if i not in wanted])
        for user in sorted(present.users - held.users):
            client.call("DeleteUser", CollectionId=new, UserId=user)
        for user in sorted(held.users - present.users):
            client.call("CreateUser", CollectionId=new, UserId=user)
        for user, face_ids in join.items():
            for part in _parts(face_ids):
                # They were this user's: no threshold of another model second-guesses that.
                client.call(
                    "AssociateFaces",
                    CollectionId=new,
                    UserId=user,
                    FaceIds=part,
                    UserMatchThreshold=0,
                )
        arn = _described(client, new)["CollectionARN"]
        if stale := sorted(present.tags.keys() - held.tags.keys()):
            client.call("UntagResource", ResourceArn=arn, TagKeys=stale)
        if held.tags != present.tags and held.tags:
            client.call("TagResource", ResourceArn=arn, Tags=held.tags)


def _candidates(entry: Entry) -> list[str | None]:
    """The ExternalImageIds that `import` may have given a picture; bytes decide which it was."""
    where = PurePosixPath(entry.path)
    names = [entry.external_image_id, None]
    names += map(pictures.cleaned, (entry.path, where.name, where.stem, where.parent.name))
    return list(dict.fromkeys(name for name in names if name != ""))


def _paired(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> dict[str, str]:
    """Pair the faces of one picture by their boxes, the best overlaps first."""
    overlaps = sorted(
        (
            (_overlap(a["BoundingBox"], b["BoundingBox"]), a["FaceId"], b["FaceId"])
            for a in old
            for b in new
        ),
        key=lambda row: (-row[0], row[1], row[2]),
    )
    pairs: dict[str, str] = {}
    for overlap, first, second in overlaps:
        if overlap >= OVERLAP_MIN and first not in pairs and second not in pairs.values():
            pairs[first] = second
    return pairs


def _overlap(a: Mapping[str, float], b: Mapping[str, float]) -> float:
    """Intersection over union of two boxes."""
    width, height = (
        min(a[at] + a[side], b[at] + b[side]) - max(a[at], b[at])
        for at, side in (("Left", "Width"), ("Top", "Height"))
    )
    common = max(0.0, width) * max(0.0, height)
    whole = a["Width"] * a["Height"] + b["Width"] * b["Height"] - common
    return common / whole if whole > 0 else 0.0


def _described(client: Client, collection: str) -> dict[str, Any]:
    return client.call_plainly("DescribeCollection", CollectionId=collection, WithPack=True)


def _find(client: Client, collection: str) -> dict[str, Any] | None:
    with suppress(errors.ResourceNotFoundException):
        return _described(client, collection)
    return None


def _make(client: Client, collection: str, beside: str, pack: str) -> None:
    """Make the new collection beside the old one, where an earlier run has not."""
    with suppress(errors.ResourceAlreadyExistsException):
        client.call_plainly("CreateCollection", CollectionId=beside, Pack=pack)
    if _described(client, beside)["Pack"] != pack:
        raise CommandError(
            f"{beside} exists and has another pack: delete it before {collection} is indexed again"
        )


def _contents(client: Client, collection: str) -> _Contents:
    """Read everything of a collection that is not a template."""
    arn = _described(client, collection)["CollectionARN"]
    return _Contents(
        faces={
            face["FaceId"]: face
            for page in _pages(client, "ListFaces", collection, PAGE)
            for face in page["Faces"]
        },
        users={
            user["UserId"]
            for page in _pages(client, "ListUsers", collection, USERS_PAGE)
            for user in page["Users"]
        },
        tags=client.call("ListTagsForResource", ResourceArn=arn)["Tags"],
    )


def _pages(client: Client, operation: str, collection: str, size: int) -> Iterator[dict[str, Any]]:
    token = None
    while True:
        page = client.call(operation, CollectionId=collection, MaxResults=size, NextToken=token)
        yield page
        token = page.get("NextToken")
        if token is None:
            return


def _delete(client: Client, collection: str, face_ids: list[str]) -> None:
    for part in _parts(face_ids):
        client.call("DeleteFaces", CollectionId=collection, FaceIds=part)


def _parts(items: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(items)
    while part := list(islice(rest, FACES_MAX)):
        yield part


def _write(report: Path | None, left: _Left) -> None:
    if report is not None:
        document = {
            "face_ids": left.new_ids,
            "missing": list(left.missing.values()),
            "pictures": left.outcomes,
        }
        report.write_text(json.dumps(document, indent=1), encoding="utf-8")


def _print(
    collection: str, beside: str, left: _Left, switched: bool, deleted: bool, as_json: bool
) -> None:
    failed = [outcome for outcome in left.outcomes if "error" in outcome]
    summary = {
        "collection": collection,
        "switched": switched,
        "faces": len(left.new_ids),
        "missing": len(left.missing),
        "users": len(left.old.users),
        "pictures": len(left.outcomes),
        "of_other_collections": sum(outcome.get("images") == {} for outcome in left.outcomes),
        "failed": len(failed),
    }
    if as_json:
        print(json.dumps(summary))
        return
    print(
        f"{summary['faces']} faces and {summary['users']} users, from {summary['pictures']} "
        f"pictures; {summary['missing']} faces were not found again"
    )
    for outcome in failed[:20]:
        print(f"  {outcome['error']}: {outcome['path']} {outcome['message']}")
    if not switched:
        print(f"{beside} stands beside {collection}; the same command with --switch switches over")
    elif deleted:
        print(f"{collection} is switched over; the old one is deleted")
    else:
        print(f"{collection} is switched over; the old one is {beside} until you delete it")
