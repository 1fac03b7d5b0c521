"""One place in the pool of decoders: a child process, or the next one after it died."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import numpy as np

from recollect.errors import ImageTooLargeException, InvalidImageFormatException
from recollect.vision import child, decode_child
from recollect.vision.header import bare_png
from recollect.vision.shared_memory import KEPT_BYTES, SharedMemory

if TYPE_CHECKING:
    from recollect.vision.face import Image
    from recollect.vision.header import Header, Limits

START_S_MAX = 30.0
"""Longest wait for a new child. It takes about 0.2 s; a busy machine takes longer."""

WALL_PER_CPU = 4.0
"""A child may take this many times its CPU time by the clock, because others want the cores too."""

KEPT_PICTURES_MAX = 2
"""Pieces kept for the pictures of one child: the last picture is often still looked at when the
next one comes."""


class Worker:
    """One place in the pool: a child process, or the next one after it died."""

    def __init__(self, cpu_s: float, memory_bytes: int, limits: Limits) -> None:
        self._arguments = str(cpu_s), str(memory_bytes)
        # A second guard behind the header reader.
        self._environment = {"OPENCV_IO_MAX_IMAGE_PIXELS": str(limits.pixels_max)}
        self._deadline_s = WALL_PER_CPU * cpu_s
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._greeted = False
        self._closed = False
        self._file = SharedMemory(KEPT_BYTES)
        self._pictures: list[SharedMemory] = []
        self._lock = threading.Lock()
        """Held while a process is started, so that ``kill`` misses none."""

    def start(self) -> None:
        """Start a process without waiting for it."""
        with self._lock:
            if self._closed:
                raise RuntimeError("the decoder is closed")
            ours, theirs = socket.socketpair()
            with theirs, ExitStack() as on_failure:
                on_failure.enter_context(ours)
                self._process = child.start(
                    decode_child.__name__, theirs, self._arguments, self._environment
                )
                on_failure.pop_all()
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
                status = self.end()
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
            self.end()
            self.start()
        child = self.greet()

        if header.format == "png":
            data = bare_png(data)
        width, height = -(-header.width // denominator), -(-header.height // denominator)
        upright = (width, height) if header.orientation >= 5 else (height, width)
        job = decode_child.JOB.pack(len(data), width, height, denominator, header.orientation)
        file = self._file if len(data) <= KEPT_BYTES else SharedMemory(len(data))
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

    def _ask(
        self, child: socket.socket, job: bytes, file: SharedMemory, picture: SharedMemory
    ) -> bytes:
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

        status = self.end()
        self.start()
        # The kernel ends a child with these when it has used up its CPU time or the memory of all.
        if late or status in (-signal.SIGXCPU, -signal.SIGKILL):
            raise ImageTooLargeException
        raise InvalidImageFormatException

    def end(self) -> int | None:
        """End the process; return its status if it ended by itself, negative for a signal."""
        if self._process is None or self._socket is None:
            return None
        self._socket.close()
        try:
            # It hung up first, or notices at once that we did.
            status: int | None = self._process.wait(timeout=0.1)
        except subprocess.TimeoutExpired:
            status = None
            self._process.kill()
            self._process.wait()
        self._process = self._socket = None
        # The next child shall not see what this one saw.
        self._file = SharedMemory(KEPT_BYTES)
        self._pictures.clear()
        return status

    def kill(self) -> None:
        """Kill the process for good, whoever waits for it; ``end`` clears up after it."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()

    def _picture(self, length: int) -> SharedMemory:
        """Shared memory of at least that many bytes that no living array uses."""
        if length > KEPT_BYTES:
            return SharedMemory(length)
        free = next((memory for memory in self._pictures if memory.is_free()), None)
        if free is None:
            free = SharedMemory(KEPT_BYTES)
            if len(self._pictures) < KEPT_PICTURES_MAX:
                self._pictures.append(free)
        return free
