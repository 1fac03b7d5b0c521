"""A server with a filled collection to put load on, and the calls that search it."""

from __future__ import annotations

import base64
import json
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

OPERATION = "SearchFacesByImage"
SIGNED_FOR_S = 60.0
"""A signature is made anew after so long: servers refuse old ones."""

MEMORY_EVERY_S = 0.5


class Signer(Protocol):
    """Signs a call; the command line's client does."""

    @property
    def path(self) -> str:
        """Where calls go."""
        ...

    def signed(self, operation: str, body: bytes) -> Mapping[str, str]:
        """The headers of a signed call."""
        ...


class SearchCalls:
    """Whole HTTP requests of SearchFacesByImage, made before they are needed.

    Args:
        signer: signs them.
        collection_id: that is searched.
        pictures: bytes of the probes, taken in turn.
    """

    def __init__(self, signer: Signer, collection_id: str, pictures: Sequence[bytes]) -> None:
        self._signer = signer
        self._bodies = [
            json.dumps(
                {
                    "CollectionId": collection_id,
                    "Image": {"Bytes": base64.b64encode(picture).decode("ascii")},
                    "MaxFaces": 5,
                }
            ).encode()
            for picture in pictures
        ]
        self._made: dict[int, tuple[float, bytes]] = {}

    def __call__(self, number: int) -> bytes:
        """The request of the call with this number."""
        place = number % len(self._bodies)
        made_at, request = self._made.get(place, (-SIGNED_FOR_S, b""))
        now = time.monotonic()
        if now - made_at >= SIGNED_FOR_S or not request:
            request = self._write(self._bodies[place])
            self._made[place] = now, request
        return request

    def _write(self, body: bytes) -> bytes:
        headers = self._signer.signed(OPERATION, body)
        lines = [f"POST {self._signer.path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"content-length: {len(body)}", "", ""]
        return "\r\n".join(lines).encode("latin-1") + body


@contextmanager
def watched(memory_bytes: Callable[[], int]) -> Iterator[list[tuple[float, int]]]:
    """Read a server's memory every half second while the body runs.

    Yields:
        A list that grows: seconds since the beginning, bytes.
    """
    samples: list[tuple[float, int]] = []
    over = threading.Event()
    began = time.perf_counter()

    def watch() -> None:
        while not over.is_set():
            samples.append((time.perf_counter() - began, memory_bytes()))
            over.wait(MEMORY_EVERY_S)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield samples
    finally:
        over.set()
        watcher.join()
