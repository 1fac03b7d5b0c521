"""Who is on which photo of an event, and all the photos of one person; boto3 only.

python event_photos.py photos/                             # who is on which
python event_photos.py photos/ --find me.jpg --copy-to mine/
"""

# ruff: noqa: T201 - a program for a terminal prints

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

SUFFIXES = {".jpg", ".jpeg", ".png"}
BYTES_MAX = 5_242_880
"""The most that a call takes inline."""


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Find out who is on which photo of a folder, or all photos of one person.",
        epilog='The server and its key come from the environment: eval "$(recollect env)".',
    )
    parser.add_argument("folder", type=Path, help="folder of photos, searched with its subfolders")
    parser.add_argument("--collection", default="event", help="CollectionId (default: event)")
    parser.add_argument("--find", type=Path, metavar="PICTURE", help="a picture of one person")
    parser.add_argument("--copy-to", type=Path, metavar="FOLDER", help="copy what --find found")
    parser.add_argument(
        "--threshold", type=float, default=80.0, help="least Similarity (default: 80)"
    )
    parser.add_argument("--endpoint-url", help="default: AWS_ENDPOINT_URL_REKOGNITION")
    given = parser.parse_args()
    if not given.folder.is_dir():
        parser.error(f"{given.folder} is no folder")
    if given.copy_to and not given.find:
        parser.error("--copy-to goes with --find")
    return given


def photo_id(path: str) -> str:
    """The ExternalImageId of a photo: its path, made unique where a character had to go."""
    kept = re.sub(r"[^a-zA-Z0-9_.:-]", "_", path)[-200:]
    return kept if kept == path else f"{kept}-{hashlib.sha256(path.encode()).hexdigest()[:12]}"


def photos(folder: Path) -> dict[str, Path]:
    """Every photo by its ExternalImageId."""
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    return {photo_id(path.relative_to(folder).as_posix()): path for path in found}


def enrol(rekognition: Any, collection: str, by_id: dict[str, Path]) -> None:
    """Index every photo that the collection does not have yet."""
    with suppress(rekognition.exceptions.ResourceAlreadyExistsException):
        rekognition.create_collection(CollectionId=collection)
    done = {face.get("ExternalImageId") for face in faces(rekognition, collection)}
    todo = [(name, path) for name, path in by_id.items() if name not in done]
    for number, (name, path) in enumerate(todo, 1):
        picture = path.read_bytes()
        if len(picture) > BYTES_MAX:
            print(f"[{number}/{len(todo)}] {path}: larger than 5 MB, left out", file=sys.stderr)
            continue
        try:
            answer = rekognition.index_faces(
                CollectionId=collection, Image={"Bytes": picture}, ExternalImageId=name
            )
        except rekognition.exceptions.InvalidImageFormatException:
            print(f"[{number}/{len(todo)}] {path}: no JPEG or PNG, left out", file=sys.stderr)
            continue
        except rekognition.exceptions.InvalidParameterException:
            print(f"[{number}/{len(todo)}] {path}: too small, left out", file=sys.stderr)
            continue
        print(f"[{number}/{len(todo)}] {path}: {len(answer['FaceRecords'])} faces", file=sys.stderr)


def faces(rekognition: Any, collection: str) -> list[dict[str, Any]]:
    """Every face of a collection."""
    pages = rekognition.get_paginator("list_faces").paginate(CollectionId=collection)
    return [face for page in pages for face in page["Faces"]]


def find(rekognition: Any, given: argparse.Namespace, by_id: dict[str, Path]) -> int:
    """Print, and copy where asked, the photos of the person on a picture."""
    answer = rekognition.search_faces_by_image(
        CollectionId=given.collection,
        Image={"Bytes": given.find.read_bytes()},
        FaceMatchThreshold=given.threshold,
    )
    best: dict[Path, float] = {}
    for match in answer["FaceMatches"]:
        path = by_id.get(match["Face"].get("ExternalImageId", ""))
        if path is not None:
            best[path] = max(match["Similarity"], best.get(path, 0.0))
    for path, similarity in best.items():
        print(f"{similarity:6.2f}  {path}")
        if given.copy_to:
            target = given.copy_to / path.relative_to(given.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
    if not best:
        print("No photo shows this person.", file=sys.stderr)
    return 0 if best else 1


def people(rekognition: Any, given: argparse.Namespace, by_id: dict[str, Path]) -> int:
    """Print groups of faces that are one person: whoever matches is joined, and so on."""
    photo_of = {
        face["FaceId"]: by_id[face["ExternalImageId"]]
        for face in faces(rekognition, given.collection)
        if face.get("ExternalImageId") in by_id
    }
    left = dict(photo_of)
    groups: list[set[Path]] = []
    while left:
        face, path = left.popitem()
        waiting, group = [face], {path}
        while waiting:
            answer = rekognition.search_faces(
                CollectionId=given.collection,
                FaceId=waiting.pop(),
                FaceMatchThreshold=given.threshold,
            )
            for match in answer["FaceMatches"]:
                alike = match["Face"]["FaceId"]
                if alike in left:
                    group.add(left.pop(alike))
                    waiting.append(alike)
        groups.append(group)
        print(f"{len(photo_of) - len(left)} of {len(photo_of)} faces grouped", file=sys.stderr)
    for number, group in enumerate(sorted(groups, key=len, reverse=True), 1):
        print(f"person {number}: {', '.join(str(path) for path in sorted(group))}")
    return 0


def main() -> int:
    """Run the program; the exit status."""
    given = arguments()
    rekognition = boto3.client("rekognition", endpoint_url=given.endpoint_url)
    by_id = photos(given.folder)
    enrol(rekognition, given.collection, by_id)
    if given.find:
        return find(rekognition, given, by_id)
    return people(rekognition, given, by_id)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ClientError, BotoCoreError, OSError) as error:
        sys.exit(f"event_photos: {error}")
    except KeyboardInterrupt:
        sys.exit("Stopped; the same command goes on from here.")
