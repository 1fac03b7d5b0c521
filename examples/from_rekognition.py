"""Move a collection of Amazon Rekognition here, by indexing its pictures again; boto3 only.

    eval "$(recollect env --data ./data)"
    python from_rekognition.py staff --source-profile aws --source-region eu-west-1 \\
        --bucket photos --name 'people/{id}.jpg'

Templates of two models cannot be compared, so pictures are needed: each ExternalImageId of the
source's faces has to name one, in a bucket or in a local folder.
"""

# ruff: noqa: T201 - a program for a terminal prints

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

SUFFIXES = ("", ".jpg", ".jpeg", ".png")
BYTES_MAX = 5_242_880


class PictureMissing(Exception):
    """The picture of an ExternalImageId cannot be had; the text says why."""


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Index the pictures of an Amazon Rekognition collection again, in recollect.",
        epilog="Give the two sides different credentials: a profile here, the environment there.",
    )
    parser.add_argument("collection", help="CollectionId of the source")
    parser.add_argument("--target-collection", help="CollectionId here (default: the same)")
    pictures = parser.add_mutually_exclusive_group(required=True)
    pictures.add_argument("--bucket", help="S3 bucket of the source that holds the pictures")
    pictures.add_argument("--pictures", type=Path, metavar="FOLDER", help="or a local folder")
    parser.add_argument(
        "--name",
        default="{id}",
        help="name of a picture, with {id} for its ExternalImageId (default: {id}; in a folder "
        ".jpg, .jpeg and .png are tried too)",
    )
    parser.add_argument(
        "--by-reference",
        action="store_true",
        help="let the target read the bucket itself, up to 15 MB a picture; its configuration "
        "has to name the bucket",
    )
    parser.add_argument("--source-endpoint-url", help="default: Amazon's own")
    parser.add_argument("--source-profile", help="AWS profile that may read the source")
    parser.add_argument("--source-region", help="region of the source")
    parser.add_argument("--target-endpoint-url", help="default: AWS_ENDPOINT_URL_REKOGNITION")
    parser.add_argument("--target-profile", help="AWS profile with the key of the target")
    given = parser.parse_args()
    if given.by_reference and not given.bucket:
        parser.error("--by-reference goes with --bucket")
    if "{id}" not in given.name:
        parser.error("--name needs {id}")
    return given


def source_client(given: argparse.Namespace, service: str) -> Any:
    """A client of the source; the environment's endpoint is the target's, so it is ignored."""
    session = boto3.Session(profile_name=given.source_profile, region_name=given.source_region)
    own = given.source_endpoint_url if service == "rekognition" else None
    return session.client(
        service,
        endpoint_url=own,
        config=None if own else Config(ignore_configured_endpoint_urls=True),
    )


def faces_by_picture(rekognition: Any, collection: str) -> dict[str, list[dict[str, Any]]]:
    """The faces of a collection by ExternalImageId; those without one cannot be moved."""
    by_picture: dict[str, list[dict[str, Any]]] = defaultdict(list)
    nameless = count = 0
    for page in rekognition.get_paginator("list_faces").paginate(CollectionId=collection):
        for face in page["Faces"]:
            count += 1
            if face.get("ExternalImageId"):
                by_picture[face["ExternalImageId"]].append(face)
            else:
                nameless += 1
    print(f"{collection}: {count} faces, {len(by_picture)} ExternalImageIds", file=sys.stderr)
    if nameless:
        print(f"{nameless} faces without ExternalImageId cannot be moved", file=sys.stderr)
    return by_picture


def image(given: argparse.Namespace, s3: Any, external_id: str) -> dict[str, Any]:
    """The Image of a request."""
    name = given.name.replace("{id}", external_id)
    if given.by_reference:
        return {"S3Object": {"Bucket": given.bucket, "Name": name}}
    if given.bucket:
        try:
            content = s3.get_object(Bucket=given.bucket, Key=name)["Body"].read(BYTES_MAX + 1)
        except ClientError as error:
            raise PictureMissing(f"{given.bucket}/{name}: {error}") from None
    else:
        found = [p for s in SUFFIXES if (p := given.pictures / f"{name}{s}").is_file()]
        if not found:
            raise PictureMissing(f"{given.pictures / name} does not exist")
        content = found[0].read_bytes()
    if len(content) > BYTES_MAX:
        raise PictureMissing(f"{name} is larger than 5 MB; with --by-reference 15 MB will do")
    return {"Bytes": content}


def move(
    target: Any, collection: str, external_id: str, faces: list[dict[str, Any]], picture: Any
) -> str:
    """Index one picture and give its face to the user that it had; what was done, in words."""
    if len({face["ImageId"] for face in faces}) > 1:
        raise PictureMissing("several pictures have this ExternalImageId; index them yourself")
    records = target.index_faces(
        CollectionId=collection,
        Image=picture,
        ExternalImageId=external_id,
        MaxFaces=len(faces),
    )["FaceRecords"]
    if len(records) != len(faces):
        return f"{len(records)} of {len(faces)} faces found"
    user = faces[0].get("UserId")
    if len(faces) == 1 and user:
        with suppress(target.exceptions.ConflictException):
            target.create_user(CollectionId=collection, UserId=user)
        # The source knows who it is: no threshold second-guesses that.
        target.associate_faces(
            CollectionId=collection,
            UserId=user,
            FaceIds=[records[0]["Face"]["FaceId"]],
            UserMatchThreshold=0,
        )
        return f"1 face of {user}"
    if any(face.get("UserId") for face in faces):
        return f"{len(records)} faces; give them to their users yourself"
    return f"{len(records)} face{'s' if len(records) > 1 else ''}"


def main() -> int:
    """Run the program; the exit status."""
    given = arguments()
    collection = given.target_collection or given.collection
    session = boto3.Session(profile_name=given.target_profile)
    target = session.client("rekognition", endpoint_url=given.target_endpoint_url)
    if ".amazonaws.com" in target.meta.endpoint_url:
        sys.exit("from_rekognition: name the target by --target-endpoint-url")
    wanted = faces_by_picture(source_client(given, "rekognition"), given.collection)
    s3 = source_client(given, "s3") if given.bucket and not given.by_reference else None
    with suppress(target.exceptions.ResourceAlreadyExistsException):
        target.create_collection(CollectionId=collection)
    pages = target.get_paginator("list_faces").paginate(CollectionId=collection)
    done = {face.get("ExternalImageId") for page in pages for face in page["Faces"]}
    failed = 0
    for number, (external_id, faces) in enumerate(sorted(wanted.items()), 1):
        before = f"[{number}/{len(wanted)}] {external_id}"
        if external_id in done:
            print(f"{before}: is there already")
            continue
        try:
            picture = image(given, s3, external_id)
            print(f"{before}: {move(target, collection, external_id, faces, picture)}")
        except (
            PictureMissing,
            target.exceptions.ImageTooLargeException,
            target.exceptions.InvalidImageFormatException,
            target.exceptions.InvalidParameterException,
            target.exceptions.InvalidS3ObjectException,
        ) as error:
            failed += 1
            print(f"{before}: {error}", file=sys.stderr)
    print(f"{len(wanted) - failed} of {len(wanted)} pictures are here", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ClientError, BotoCoreError, OSError) as error:
        sys.exit(f"from_rekognition: {error}")
    except KeyboardInterrupt:
        sys.exit("Stopped; the same command goes on from here.")
