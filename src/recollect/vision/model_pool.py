"""Model packs at work in processes of their own, so that calls share no interpreter's lock."""

from __future__ import annotations

import os
import queue
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from recollect.errors import InternalServerError, ThrottlingException
from recollect.telemetry import log
from recollect.vision.familiar import Familiar
from recollect.vision.manifest import PackError, manifest_text, parse, unusable
from recollect.vision.model_job import Job, answers, encode, receive, send
from recollect.vision.model_loader import Loader
from recollect.vision.model_pack import Described
from recollect.vision.shared_memory import KEPT_BYTES, SharedMemory, lender

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from recollect.vision.face import Face, Image
    from recollect.vision.manifest import Manifest
    from recollect.vision.model_pack import ModelPack

JOB_S_MAX: Final = 120.0
"""Longest wait for one job. The largest picture full of faces takes a few seconds."""
WAIT_S_MAX: Final = 10.0
"""Longest wait for a free process before the caller is told to slow down."""


class ModelPool:
    """A bounded pool of processes that run the packs' nets, one job each at a time.

    One process loads the packs and is forked for each place, so what was loaded is there
    once. A process that dies, or takes too long, fails its own job and is replaced.

    Args:
        folders: of the packs.
        processes: how many jobs are done at once.

    Raises:
        PackError: a folder holds no manifest, or a wrong one.
    """

    def __init__(self, folders: Sequence[Path], processes: int) -> None:
        self.packs: dict[str, ModelPack] = {}
        texts = {}
        for folder in folders:
            try:
                texts[str(folder.absolute())] = text = manifest_text(folder)
                manifest = parse(text)
            except PackError as error:
                raise unusable(folder, error) from error
            self.packs[manifest.name] = PooledPack(manifest, self._run)
        self._closed = False
        self._loader = Loader(texts)
        self._places = [_Place(self._loader) for _ in range(processes)]
        self._idle = Familiar[_Place]()
        for place in self._places:
            self._idle.put(place)

    def ready(self) -> None:
        """Wait until every process can work; call it once, before the first job.

        Raises:
            PackError: a pack cannot be used, with the reason.
            RuntimeError: a process died: the installation is broken.
        """
        for place in self._places:
            place.start()

    def close(self) -> None:
        """End the processes; what they still do fails."""
        if self._closed:
            return
        self._closed = True
        self._loader.close()
        # Those who wait for a process notice that it is gone and bring their place back.
        for _ in self._places:
            self._idle.get(timeout=WAIT_S_MAX).close()

    def _run(self, job: Job, image: Image) -> tuple[Face, ...]:
        """Have a job done by the next free process.

        Raises:
            ThrottlingException: none was free in time.
            InternalServerError: the process died or took too long.
        """
        if self._closed:
            raise RuntimeError("the models are closed")
        try:
            place = self._idle.get(timeout=WAIT_S_MAX)
        except queue.Empty:
            raise ThrottlingException from None
        try:
            return place.run(job, image)
        finally:
            self._idle.put(place)


class PooledPack(Described):
    """A pack whose nets run in the pool; see ModelPack for its methods."""

    def __init__(self, manifest: Manifest, run: Callable[[Job, Image], tuple[Face, ...]]) -> None:
        super().__init__(manifest)
        self._run = run

    def faces(self, image: Image) -> list[Face]:
        """See ModelPack.faces."""
        return list(self._run(Job(self.name, "faces", image.shape), image))

    def largest_face(self, image: Image, quality_filter: str) -> Face | None:
        """See ModelPack.largest_face."""
        job = Job(self.name, "largest_face", image.shape, quality_filter=quality_filter)
        return next(iter(self._run(job, image)), None)

    def embed(self, image: Image, faces: Sequence[Face]) -> list[Face]:
        """See ModelPack.embed."""
        if not faces:
            return []
        return list(self._run(Job(self.name, "embed", image.shape, faces=tuple(faces)), image))


class _Place:
    """One place in the pool: a process, or the next one after it died."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._picture = SharedMemory(KEPT_BYTES)
        self._process: tuple[int, socket.socket] | None = None

    def start(self) -> socket.socket:
        """The connection to the process, which is made where there is none."""
        if self._process is None:
            self._process = self._loader.fork()
            self._process[1].settimeout(JOB_S_MAX)
        return self._process[1]

    def run(self, job: Job, image: Image) -> tuple[Face, ...]:
        """Do one job; see `ModelPool` for the errors."""
        process = self.start()
        picture = lender(image) or self._copied(image)
        try:
            send(process, encode(job), [picture.descriptor])
            answer = answers.decode(receive(process)[0])
        except (OSError, EOFError, msgspec.MsgspecError) as error:
            self._end()
            log.error("models", failed=job.method, pack=job.pack, why=repr(error))
            raise InternalServerError("A process that runs the models ended; try again") from error
        if answer.fault:
            raise RuntimeError(answer.fault)
        return answer.faces

    def _copied(self, image: Image) -> SharedMemory:
        picture = self._picture if image.nbytes <= KEPT_BYTES else SharedMemory(image.nbytes)
        os.pwrite(picture.descriptor, np.ascontiguousarray(image).data, 0)
        return picture

    def close(self) -> None:
        """Let go of the connection to a process that is gone."""
        if self._process is not None:
            self._process[1].close()

    def _end(self) -> None:
        assert self._process is not None
        pid, connection = self._process
        self._process = None
        connection.close()
        self._loader.kill(pid)
        # The next process shall not see what this one saw.
        self._picture = SharedMemory(KEPT_BYTES)
