"""The calls that load a server, signed before they are needed, and what its memory does."""

from __future__ import annotations

import base64
import json
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

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


class Calls:
    """Whole HTTP requests of one operation, made before they are needed.

    Args:
        signer: signs them.
        operation: that is called.
        params: of the calls, taken in turn; `bytes` are sent as base64.
    """

    def __init__(
        self, signer: Signer, operation: str, params: Sequence[Mapping[str, object]]
    ) -> None:
        self._signer = signer
        self._operation = operation
        self._bodies = [json.dumps(one, default=_as_base64).encode() for one in params]
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
        headers = self._signer.signed(self._operation, body)
        lines = [f"POST {self._signer.path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"content-length: {len(body)}", "", ""]
        return "\r\n".join(lines).encode("latin-1") + body


def _as_base64(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    raise TypeError(f"{type(value).__name__} cannot be sent")


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
