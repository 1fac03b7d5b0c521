"""Untrusted bytes to an upright RGB array, decoded where it can be killed."""

from __future__ import annotations

import queue
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recollect.errors import ThrottlingException
from recollect.vision.decode_worker import Worker
from recollect.vision.familiar import Familiar
from recollect.vision.header import Limits, read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from recollect.vision.face import Image
    from recollect.vision.header import Header

WAIT_S_MAX = 10.0
"""Longest wait for a free child before the caller is told to slow down."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture."""

    pixels: Image
    """Upright RGB, shape (height, width, 3), read-only; smaller than the picture where it was
    reduced."""
    width: int
    """Pixels of the upright picture as sent."""
    height: int
    scale: float
    """Pixels of the array per pixel of the picture: 1, 1/2, 1/4 or 1/8, up to rounding."""


class Decoder:
    """A bounded pool of processes that decode, one picture each at a time.

    A hostile picture costs one child at most: it has its own limits of memory and CPU time and is
    replaced when it dies. Pictures travel in anonymous shared memory, in both directions.

    What comes out is what OpenCV makes of the picture: CMYK and YCCK converted, grey and palette
    spread to RGB, 16 bits scaled to 8, colour profiles ignored. Alpha is ignored, not composited;
    of an animated PNG the still image is taken.

    Args:
        children: how many pictures are decoded at once.
        cpu_s: CPU time for one picture, rounded up to whole seconds by the kernel.
        memory_bytes: address space of a child on top of what its libraries take (Linux only).
        limits: what the picture may claim to be.
    """

    def __init__(
        self,
        children: int,
        cpu_s: float = 5.0,
        memory_bytes: int = 1 << 30,
        *,
        limits: Limits | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self._closed = False
        self._workers = [Worker(cpu_s, memory_bytes, self._limits) for _ in range(children)]
        self._idle = Familiar[Worker]()
        for worker in self._workers:
            worker.start()
            self._idle.put(worker)

    def ready(self) -> None:
        """Wait until every child can decode; call it once, when everything else is built.

        Raises:
            RuntimeError: a child died or did not answer: the installation is broken. Its own words
                are on standard error.
        """
        with ExitStack() as borrowed:
            for worker in [borrowed.enter_context(self._worker()) for _ in self._workers]:
                worker.greet()

    def decode(self, data: bytes, *, long_side_max: int | None = None) -> Picture:
        """Decode a JPEG or PNG.

        Args:
            data: the whole file.
            long_side_max: a JPEG much larger than this is reduced to 1/2, 1/4 or 1/8 while it is
                decoded, which saves time. Its longer side stays at least this long, in pixels.

        Raises:
            InvalidImageFormatException: it is no JPEG or PNG, is broken, or made the child crash.
            ImageTooLargeException: it claims to be too large, or took too much memory or time.
            InvalidParameterException: a side is shorter than the limit.
            ThrottlingException: no child was free in time.
        """
        header = read(data, self._limits)
        denominator = _denominator(header, long_side_max)
        with self._worker() as worker:
            pixels = worker.decode(data, header, denominator)
        return Picture(pixels, *header.upright, scale=1 / denominator)

    @contextmanager
    def _worker(self) -> Iterator[Worker]:
        """Borrow a free worker; it comes back whatever happens to its process."""
        if self._closed:
            raise RuntimeError("the decoder is closed")
        try:
            worker = self._idle.get(timeout=WAIT_S_MAX)
        except queue.Empty:
            if self._closed:
                raise RuntimeError("the decoder is closed") from None
            raise ThrottlingException from None
        try:
            yield worker
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """End the children. Whoever still waits for one gets an error."""
        if self._closed:
            return
        self._closed = True
        for worker in self._workers:
            worker.kill()
        # Those who wait for a child notice that it is gone and bring their worker back.
        for _ in self._workers:
            self._idle.get(timeout=WAIT_S_MAX).end()


def _denominator(header: Header, long_side_max: int | None) -> int:
    """By how much the decoder may shrink the picture and still leave its long side long enough."""
    if long_side_max is None or header.format != "jpeg":
        return 1
    long_side = max(header.width, header.height)
    return next((d for d in (8, 4, 2) if long_side >= d * long_side_max), 1)
