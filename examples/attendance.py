"""Who was seen when: the frames of a camera against a collection of known people; boto3 only.

    python attendance.py frames/ --collection staff --log seen.csv

Each frame's largest face is searched, as suits a camera at a door.
"""

# ruff: noqa: T201 - a program for a terminal prints

from __future__ import annotations

import argparse
import csv
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

SUFFIXES = {".jpg", ".jpeg", ".png"}
BYTES_MAX = 5_242_880
THRESHOLD = 99.0
"""About one pair of strangers in a million reaches it, in a mixed population; 80 is for lists that
a person looks through."""


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Log who was seen when on the frames of a folder.",
        epilog='The server and its key come from the environment: eval "$(recollect env)".',
    )
    parser.add_argument("folder", type=Path, help="folder of frames, JPEG or PNG")
    parser.add_argument("--collection", required=True, help="collection of the known people")
    parser.add_argument(
        "--threshold",
        type=float,
        default=THRESHOLD,
        help="least Similarity (default: 99; lower ones name the wrong person too often to be "
        "used without somebody looking)",
    )
    parser.add_argument("--log", type=Path, help="CSV file to append to (default: the terminal)")
    parser.add_argument(
        "--gap-s", type=float, default=60.0, help="a person seen again within it is the same visit"
    )
    parser.add_argument(
        "--time-format",
        help="of the frames' names without suffix, in UTC, as %%Y%%m%%dT%%H%%M%%S; without it "
        "the files' own times count",
    )
    parser.add_argument("--endpoint-url", help="default: AWS_ENDPOINT_URL_REKOGNITION")
    given = parser.parse_args()
    if not given.folder.is_dir():
        parser.error(f"{given.folder} is no folder")
    return given


def taken_at(path: Path, time_format: str | None) -> datetime:
    """When a frame was taken."""
    if time_format is None:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    try:
        return datetime.strptime(path.stem, time_format).replace(tzinfo=UTC)
    except ValueError:
        sys.exit(f"attendance: {path.name} is not of the form {time_format}")


def seen(
    rekognition: Any, collection: str, threshold: float, frame: bytes
) -> tuple[str, float] | None:
    """Who is on a frame, and how similar; None for nobody who is known."""
    try:
        matches = rekognition.search_faces_by_image(
            CollectionId=collection,
            Image={"Bytes": frame},
            FaceMatchThreshold=threshold,
            MaxFaces=1,
            QualityFilter="AUTO",
        )["FaceMatches"]
    except rekognition.exceptions.InvalidParameterException as error:
        if "no faces" in str(error):
            return None
        raise
    if not matches:
        return None
    face = matches[0]["Face"]
    name = face.get("UserId") or face.get("ExternalImageId") or face["FaceId"]
    return name, matches[0]["Similarity"]


def main() -> int:
    """Run the program; the exit status."""
    given = arguments()
    if given.threshold < THRESHOLD:
        print(
            f"attendance: at {given.threshold:g} strangers are logged as somebody they resemble; "
            "let a person check the log, or stay at 99",
            file=sys.stderr,
        )
    frames = [path for path in given.folder.iterdir() if path.suffix.lower() in SUFFIXES]
    ordered = sorted((taken_at(path, given.time_format), path) for path in frames)
    rekognition = boto3.client("rekognition", endpoint_url=given.endpoint_url)
    new = given.log is None or not given.log.exists()
    log = given.log.open("a", newline="", encoding="utf-8") if given.log else sys.stdout
    last: dict[str, datetime] = {}
    visits = 0
    with log:
        rows = csv.writer(log)
        if new:
            rows.writerow(["time", "person", "similarity", "frame"])
        for number, (moment, path) in enumerate(ordered, 1):
            frame = path.read_bytes()
            if len(frame) > BYTES_MAX:
                print(f"{path}: larger than 5 MB, left out", file=sys.stderr)
                continue
            found = seen(rekognition, given.collection, given.threshold, frame)
            if found is not None:
                person, similarity = found
                before = last.get(person)
                if before is None or (moment - before).total_seconds() > given.gap_s:
                    rows.writerow([moment.isoformat(), person, f"{similarity:.2f}", path.name])
                    log.flush()
                    visits += 1
                last[person] = moment
            print(f"\r{number} of {len(ordered)} frames", end="", file=sys.stderr, flush=True)
        print(f", {visits} visits of {len(last)} people", file=sys.stderr)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ClientError, BotoCoreError, OSError) as error:
        sys.exit(f"attendance: {error}")
    except KeyboardInterrupt:
        sys.exit("Stopped.")
