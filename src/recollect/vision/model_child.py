"""The process that loads the models once, and its forks, which run them for one call at a time.

Forks share what was loaded: each further one has some 20 MB of its own and takes milliseconds. A
fork holds no secret and no file but its connection, can open none, and reaches nothing else.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import resource
import signal
import socket
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import cv2
import msgspec
import numpy as np

from recollect.vision import jail
from recollect.vision.decode_child import MAPPED
from recollect.vision.manifest import PackError, parse, unusable
from recollect.vision.model_job import FORK, READY, Answer, encode, jobs, receive, send
from recollect.vision.pack import Pack, load

if TYPE_CHECKING:
    from collections.abc import Mapping


def main() -> None:
    """Load the packs that the parent names, then fork for it until it hangs up."""
    with socket.socket(fileno=0) as parent:
        folders = msgspec.msgpack.decode(receive(parent)[0], type=dict[str, str])
        cv2.setNumThreads(1)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        packs = {}
        for folder, text in folders.items():
            try:
                pack = load(Path(folder), parse(text))
            except PackError as error:
                send(parent, str(unusable(Path(folder), error)).encode())
                return
            packs[pack.name] = pack
        # What is alive now stays in pages that all forks share: the collector leaves it alone.
        gc.collect()
        gc.freeze()
        with suppress(AttributeError):  # glibc's, which keeps what loading took for a moment.
            ctypes.CDLL(None).malloc_trim(0)
        send(parent, READY)
        nurse(parent, packs)


def nurse(parent: socket.socket, packs: Mapping[str, Pack]) -> None:
    """Fork and kill as the parent says, until it hangs up; then end all."""
    children: set[int] = set()
    try:
        while True:
            message, descriptors = receive(parent)
            # Until it is waited for, nobody else gets a process's number.
            while children and (gone := os.waitpid(-1, os.WNOHANG)[0]):
                children.discard(gone)
            if message == FORK:
                pid = os.fork()
                if pid == 0:
                    serve(parent, descriptors[0], packs)
                os.close(descriptors[0])
                children.add(pid)
                send(parent, str(pid).encode())
            else:
                if int(message) in children:
                    os.kill(int(message), signal.SIGKILL)
                send(parent, message)
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def serve(parent: socket.socket, descriptor: int, packs: Mapping[str, Pack]) -> NoReturn:
    """Be a fork from here to the end: nothing of what is above in the stack is its own."""
    status = 1
    try:
        parent.close()
        with socket.socket(fileno=descriptor) as caller:
            confine()
            work(caller, packs)
    except (ConnectionError, EOFError):
        status = 0
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(status)


def confine() -> None:
    """Give up what running models does not need."""
    if sys.platform == "linux":
        # Should the machine run out of memory, this has to go before the server.
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:  # noqa: PTH123
            score.write("900")
    jail.enter()


def work(caller: socket.socket, packs: Mapping[str, Pack]) -> NoReturn:
    """Do one job after the other, until EOFError: the caller hung up."""
    while True:
        message, descriptors = receive(caller)
        job = jobs.decode(message)
        try:
            pixels = mmap.mmap(descriptors[0], int(np.prod(job.shape)), MAPPED, mmap.PROT_READ)
        finally:
            os.close(descriptors[0])
        image = np.frombuffer(pixels, np.uint8).reshape(job.shape)
        try:
            answer = Answer(job.run(packs[job.pack], image))
        except Exception:
            answer = Answer(fault=traceback.format_exc())
        send(caller, encode(answer))


if __name__ == "__main__":
    # The server may end at any moment: then nobody is left to be told.
    with suppress(ConnectionError, EOFError):
        main()
