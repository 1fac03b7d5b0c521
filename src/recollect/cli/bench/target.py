"""The server that a bench puts under load: one of its own, or one that runs elsewhere."""

from __future__ import annotations

import re
import tempfile
import uuid
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recollect.cli.client import Client, from_data, from_environment
from recollect.cli.failure import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from recollect.measure.own import OwnServer
    from recollect.measure.target import Calls

ACCOUNT = "000000000000"
WARM_UP_CALLS = 20


@dataclass(frozen=True, slots=True)
class Target:
    """The server under load."""

    client: Client
    calls: Calls
    """Of SearchFacesByImage."""
    cheap_calls: Calls
    """Of SearchFaces: no picture in them."""
    memory_bytes: Callable[[], int]
    own: OwnServer | None


@contextmanager
def prepared(
    pictures: Sequence[Path],
    url: str | None,
    pack: str,
    faces: int,
    seed: int,
    other: list[str] | None,
) -> Iterator[Target]:
    """A server with a collection that holds the pictures' faces and strangers."""
    from recollect.measure import own, strangers

    try:
        probes = [path.read_bytes() for path in pictures]
    except OSError as problem:
        raise CommandError(f"{problem.filename} cannot be read: {problem.strerror}") from None
    collection = f"bench-{uuid.uuid4()}"
    settings: dict[str, object] = {"pack": pack, "log_level": "warning", "account": ACCOUNT}
    settings |= dict(pair.split("=", 1) for pair in other or [])
    with ExitStack() as stack:
        if url is not None:
            client = stack.enter_context(from_environment(url))
            reader = stack.enter_context(client.another())
            client.call("CreateCollection", CollectionId=collection)
            stack.callback(client.call, "DeleteCollection", CollectionId=collection)
            face_id = _index(client, collection, probes)
            yield _warm(client, collection, probes, face_id, lambda: _resident_bytes(reader), None)
            return
        data = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "data"
        with own.running(data, settings) as server, from_data(data, server.url) as client:
            client.call("CreateCollection", CollectionId=collection)
            face_id = _index(client, collection, probes)
        strangers.enrol(data, ACCOUNT, collection, faces, seed)
        server = stack.enter_context(own.running(data, settings))
        client = stack.enter_context(from_data(data, server.url))
        yield _warm(client, collection, probes, face_id, server.memory_bytes, server)


def _index(client: Client, collection: str, probes: Sequence[bytes]) -> str:
    """Enrol the faces of the pictures; the FaceId of one of them."""
    for probe in probes:
        answer = client.call(
            "IndexFaces", CollectionId=collection, Image={"Bytes": probe}, MaxFaces=1
        )
    if not answer["FaceRecords"]:
        raise CommandError("the last picture shows no face")
    return str(answer["FaceRecords"][0]["Face"]["FaceId"])


def _warm(
    client: Client,
    collection: str,
    probes: Sequence[bytes],
    face_id: str,
    memory_bytes: Callable[[], int],
    server: OwnServer | None,
) -> Target:
    """The target, once a few calls were answered."""
    from recollect.measure.target import Calls

    searches = [
        {"CollectionId": collection, "Image": {"Bytes": probe}, "MaxFaces": 5} for probe in probes
    ]
    for number in range(WARM_UP_CALLS):
        client.call("SearchFacesByImage", **searches[number % len(searches)])
    cheap = [{"CollectionId": collection, "FaceId": face_id, "MaxFaces": 5}]
    return Target(
        client,
        Calls(client, "SearchFacesByImage", searches),
        Calls(client, "SearchFaces", cheap),
        memory_bytes,
        server,
    )


def _resident_bytes(client: Client) -> int:
    """Resident memory of a server elsewhere, from its own metrics; 0 where it gives none."""
    _, text = client.get("/metrics")
    found = re.search(r"^process_resident_memory_bytes (\S+)", text, re.MULTILINE)
    return int(float(found[1])) if found else 0
