"""Untrusted bytes to an upright RGB array, decoded where it can be killed."""

from __future__ import annotations

import fcntl
import mmap
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import weakref
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recollect.errors import (
    ImageTooLargeException,
    InvalidImageFormatException,
    ThrottlingException,
)
from recollect.vision import decode_child
from recollect.vision.header import Limits, bare_png, read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from recollect.vision.face import Image
    from recollect.vision.header import Header

START_S_MAX = 30.0
"""Longest wait for a new child. It takes about 0.2 s; a busy machine takes longer."""

WALL_PER_CPU = 4.0
"""A child may take this many times its CPU time by the clock, because others want the cores too."""

WAIT_S_MAX = 10.0
"""Longest wait for a free child before the caller is told to slow down."""

KEPT_BYTES = 40 << 20
"""Size of shared memory that is used again, enough for 13 megapixels. Fresh pages cost as much as
decoding half a JPEG does."""

KEPT_PICTURES_MAX = 2
"""Pieces kept for the pictures of one child: the last picture is often still looked at when the
next one comes."""


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
        self._workers = [_Worker(cpu_s, memory_bytes, self._limits) for _ in range(children)]
        # Last in, first out: the child that worked last has the warmest caches.
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        for worker in self._workers:
            worker.start()
            self._idle.put(worker)

    def ready(self) -> None:
        """Wait until every child can decode; call it once, when everything else is built.

        Raises:
            RuntimeError: a child died or did not answer: the installation is broken. Its own words
                are on standard error.
        """
        for worker in self._workers:
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
    def _worker(self) -> Iterator[_Worker]:
        """Borrow a free worker; it comes back whatever happens to its process."""
        if self._closed:
            raise RuntimeError("the decoder is closed")
        try:
            worker = self._idle.get(timeout=WAIT_S_MAX)
        except queue.Empty:
            raise ThrottlingException from None
        try:
            yield worker
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """End the children. Whoever still waits for one gets an error."""
        self._closed = True
        for worker in self._workers:
            worker.close()


class _Worker:
    """One place in the pool: a child process, or the next one after it died."""

    def __init__(self, cpu_s: float, memory_bytes: int, limits: Limits) -> None:
        self._command = [
            *(sys.executable, "-P", "-s", "-m", decode_child.__name__),
            *(str(cpu_s), str(memory_bytes)),
        ]
        self._environment = {
            # Where this process found its modules, so that the child finds the same ones.
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "OPENBLAS_NUM_THREADS": "1",
            # glibc would return the memory of each picture to the kernel and fault it in anew.
            "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
            "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
            # A second guard behind the header reader.
            "OPENCV_IO_MAX_IMAGE_PIXELS": str(limits.pixels_max),
        }
        self._deadline_s = WALL_PER_CPU * cpu_s
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._greeted = False
        self._closed = False
        self._file = _Memory(KEPT_BYTES)
        self._pictures: list[_Memory] = []
        self._lock = threading.Lock()
        """Held while a process is started or ended, so that ``close`` leaves none behind."""

    def start(self) -> None:
        """Start a process without waiting for it."""
        with self._lock:
            if self._closed:
                raise RuntimeError("the decoder is closed")
            ours, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603 - nothing of it comes from a caller
                    self._command,
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    env=self._environment,
                    cwd="/",
                    # Ctrl-C is for the server, which ends its children itself.
                    start_new_session=True,
                )
            self._socket = ours
            self._greeted = False

    def greet(self) -> socket.socket:
        """Wait until the process can decode, and return the way to reach it."""
        assert self._socket is not None
        if not self._greeted:
            self._socket.settimeout(START_S_MAX)
            with suppress(OSError):  # A timeout or a reset: no greeting either way.
                self._greeted = self._socket.recv(1) == decode_child.READY
            if not self._greeted:
                status = self._end()
                raise RuntimeError(
                    f"the decoding process did not start (status {status}); "
                    "its own message is on standard error"
                )
            self._socket.settimeout(self._deadline_s)
        return self._socket

    def decode(self, data: bytes, header: Header, denominator: int) -> Image:
        """Have one picture decoded; see `Decoder.decode` for the errors."""
        if self._process is None or self._process.poll() is not None:
            # It died idle, or could not be replaced when it died: no fault of this picture.
            self._end()
            self.start()
        child = self.greet()

        if header.format == "png":
            data = bare_png(data)
        width, height = -(-header.width // denominator), -(-header.height // denominator)
        upright = (width, height) if header.orientation >= 5 else (height, width)
        job = decode_child.JOB.pack(len(data), width, height, denominator, header.orientation)
        file = self._file if len(data) <= KEPT_BYTES else _Memory(len(data))
        os.pwrite(file.descriptor, data, 0)
        picture = self._picture(width * height * 3)
        # Lent while the array lives, and for as long as this frame holds it.
        pixels = picture.lend(width * height * 3)
        answer = self._ask(child, job, file, picture)

        if answer == decode_child.TOO_LARGE:
            raise ImageTooLargeException
        if answer != decode_child.DONE:
            raise InvalidImageFormatException
        return np.frombuffer(pixels, np.uint8).reshape(*upright, 3)

    def _ask(self, child: socket.socket, job: bytes, file: _Memory, picture: _Memory) -> bytes:
        """Send the job and wait for the answer. A child that gives none is replaced."""
        answer = b""
        late = False
        try:
            socket.send_fds(child, [job], [file.descriptor, picture.descriptor])
            answer = child.recv(1)
        except TimeoutError:
            late = True
        except OSError:
            pass  # A broken connection says the same as an empty answer: the child is gone.
        if answer:
            return answer

        status = self._end()
        self.start()
        # The kernel ends a child with these when it has used up its CPU time or the memory of all.
        if late or status in (-signal.SIGXCPU, -signal.SIGKILL):
            raise ImageTooLargeException
        raise InvalidImageFormatException

    def _end(self) -> int | None:
        """End the process; return its status, negative if a signal ended it before we did."""
        with self._lock:
            if self._process is None or self._socket is None:
                return None
            self._socket.close()
            with suppress(subprocess.TimeoutExpired):
                # It hung up first, or notices now that we did; what computes on is killed.
                self._process.wait(timeout=0.1)
            self._process.kill()
            status = self._process.wait()
            self._process = self._socket = None
            # The next child shall not see what this one saw.
            self._file = _Memory(KEPT_BYTES)
            self._pictures.clear()
            return status

    def _picture(self, length: int) -> _Memory:
        """Shared memory of at least that many bytes that no living array uses."""
        if length > KEPT_BYTES:
            return _Memory(length)
        free = next((memory for memory in self._pictures if memory.is_free()), None)
        if free is None:
            free = _Memory(KEPT_BYTES)
            if len(self._pictures) < KEPT_PICTURES_MAX:
                self._pictures.append(free)
        return free

    def close(self) -> None:
        """End the process for good."""
        self._closed = True
        self._end()


def _denominator(header: Header, long_side_max: int | None) -> int:
    """By how much the decoder may shrink the picture and still leave its long side long enough."""
    if long_side_max is None or header.format != "jpeg":
        return 1
    long_side = max(header.width, header.height)
    return next((d for d in (8, 4, 2) if long_side >= d * long_side_max), 1)


class _Memory:
    """Anonymous shared memory, on no disk; pages take room from when they are first written.

    Its length is sealed: a child that was taken over could otherwise shorten it, and this process
    would be killed where it reads past the end.
    """

    def __init__(self, length: int) -> None:
        self.descriptor = os.memfd_create("picture", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.descriptor, length)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, seals)
        self._lent: weakref.ref[mmap.mmap] | None = None

    def lend(self, length: int) -> mmap.mmap:
        """Map the first bytes to read them. The memory is taken while the mapping lives."""
        mapping = mmap.mmap(self.descriptor, length, prot=mmap.PROT_READ)
        self._lent = weakref.ref(mapping)
        return mapping

    def is_free(self) -> bool:
        """Whether nobody can see it any more."""
        return self._lent is None or self._lent() is None

    def __del__(self) -> None:
        os.close(self.descriptor)
