"""Start a server, enrol a face, find it again; exits 0 when every answer is right."""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError

import boto3
from botocore.exceptions import ClientError
from rich.console import Console
from rich.table import Table

from demo.pictures import changed, photograph

READY_WITHIN_S = 60.0
COLLECTION = "demo"


@contextmanager
def server(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A server of its own on a free port: its URL and its root credentials."""
    log = folder / "server.log"
    command = [sys.executable, "-m", "recollect", "serve", "--port", "0", "--data", str(folder)]
    environ = {k: v for k, v in os.environ.items() if not k.startswith("RECOLLECT_")}
    for name in ("RECOLLECT_MODELS", "RECOLLECT_PACK"):
        if name in os.environ:
            environ[name] = os.environ[name]
    with (
        log.open("w") as output,
        subprocess.Popen(command, stdout=output, stderr=output, env=environ) as process,
    ):
        try:
            yield _ready(folder, process, log), credentials(folder)
        finally:
            process.terminate()


def credentials(folder: Path) -> dict[str, str]:
    """The root key that the server made at its first start."""
    return dict(json.loads((folder / "root-credentials.json").read_text()))


def _ready(folder: Path, process: "subprocess.Popen[bytes]", log: Path) -> str:
    address = folder / "address"
    for _ in range(int(READY_WITHIN_S * 10)):
        if process.poll() is not None:
            sys.exit(f"The server stopped:\n{log.read_text()}")
        if address.exists():
            url = address.read_text().strip()
            try:
                with urllib.request.urlopen(f"{url}/readyz", timeout=1):
                    return url
            except URLError:
                pass
        time.sleep(0.1)
    sys.exit(f"The server was not ready within {READY_WITHIN_S:.0f} s:\n{log.read_text()}")


def main() -> int:
    """Run the main job and print what came back."""
    console = Console()
    astronaut = photograph("astronaut")
    with tempfile.TemporaryDirectory() as folder, server(Path(folder)) as (url, key):
        console.print(f"A server is up at {url}; boto3 gets that as endpoint_url, nothing else.")
        rekognition = boto3.client(
            "rekognition",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id=key["AccessKeyId"],
            aws_secret_access_key=key["SecretAccessKey"],
        )
        made = rekognition.create_collection(CollectionId=COLLECTION)
        indexed = rekognition.index_faces(
            CollectionId=COLLECTION,
            Image={"Bytes": astronaut},
            ExternalImageId="Eileen_Collins",
            MaxFaces=1,
        )
        face_id = indexed["FaceRecords"][0]["Face"]["FaceId"]
        console.print(f"Enrolled {face_id} with face model {made['FaceModelVersion']}.")

        table = Table("Probe", "Answer", "Similarity", "ExternalImageId")
        right = True
        for title, picture, expected in (
            ("the same photograph", astronaut, face_id),
            ("turned, cropped, relit, as JPEG", changed(astronaut), face_id),
            ("somebody else (Grace Hopper)", photograph("hopper"), None),
            ("a cup of coffee", photograph("coffee"), "InvalidParameterException"),
        ):
            try:
                answer = rekognition.search_faces_by_image(
                    CollectionId=COLLECTION, Image={"Bytes": picture}
                )
            except ClientError as error:
                found, row = error.response["Error"]["Code"], [error.response["Error"]["Code"]]
            else:
                matches = answer["FaceMatches"]
                found = matches[0]["Face"]["FaceId"] if matches else None
                row = ["nobody"]
                if matches:
                    face = matches[0]["Face"]
                    similarity = f"{matches[0]['Similarity']:.2f}"
                    row = ["found", similarity, face["ExternalImageId"]]
            table.add_row(title, *row)
            right = right and found == expected
        rekognition.delete_collection(CollectionId=COLLECTION)
        console.print(table)
    console.print("Every answer is right." if right else "An answer is wrong.")
    return 0 if right else 1


sys.exit(main())
