"""The process that holds the loaded models, seen from the server: it makes those that run them."""

from __future__ import annotations

import socket
import subprocess
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from recollect.vision import child
from recollect.vision.manifest import PackError
from recollect.vision.model_job import FORK, READY, encode, receive, send

if TYPE_CHECKING:
    from collections.abc import Mapping

CHILD: Final = "recollect.vision.model_child"
"""Not imported: it brings ONNX Runtime, which the server can do without."""
LOAD_S_MAX: Final = 60.0
"""Longest wait for the models to be loaded: half a second each, on a busy machine more."""


class Loader:
    """The process that holds the loaded models, or the next one after it died.

    Args:
        manifests: text of each pack's manifest by the pack's folder. A later process loads what
            they describe or nothing, whatever lies in the folders by then.
    """

    def __init__(self, manifests: Mapping[str, str]) -> None:
        self._manifests = encode(manifests)
        self._lock = threading.Lock()
        self._closed = False
        self._start()

    def fork(self) -> tuple[int, socket.socket]:
        """Make a process that runs the models; its number, and the connection to it.

        Raises:
            PackError: a pack cannot be used, with the reason.
            RuntimeError: the process that holds them does not start.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError("the models are closed")
            with suppress(OSError, EOFError):
                return self._fork()
            # It died since it was last asked.
            self._end()
            self._start()
            try:
                return self._fork()
            except (OSError, EOFError) as error:
                raise RuntimeError(
                    f"the process that loads the models did not start (status {self._end()}); "
                    "its own message is on standard error"
                ) from error

    def kill(self, pid: int) -> None:
        """Kill a process that was made here; one that has ended by itself is no error."""
        # Its parent has not waited for it, so the number is nobody else's.
        with self._lock, suppress(OSError, EOFError):
            send(self._socket, str(pid).encode())
            receive(self._socket)

    def close(self) -> None:
        """End it and all processes that it made."""
        with self._lock:
            self._closed = True
            self._end()

    def _start(self) -> None:
        """Start the process without waiting for it."""
        self._socket, theirs = socket.socketpair()
        self._loaded = False
        with theirs:
            self._process = child.start(CHILD, theirs)
        self._socket.settimeout(LOAD_S_MAX)
        send(self._socket, self._manifests)

    def _fork(self) -> tuple[int, socket.socket]:
        if not self._loaded:
            word = receive(self._socket)[0]
            if word != READY:
                raise PackError(word.decode())
            self._loaded = True
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                send(self._socket, FORK, [theirs.fileno()])
            return int(receive(self._socket)[0]), ours
        except BaseException:
            ours.close()
            raise

    def _end(self) -> int:
        self._socket.close()
        try:
            # It notices that we hung up, ends its forks, and then itself.
            return self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
