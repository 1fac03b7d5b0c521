"""Anonymous memory that two processes share, on no disk."""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import sys
import weakref

import numpy as np
import numpy.typing as npt

KEPT_BYTES = 40 << 20
"""Size of shared memory that is used again, enough for 13 megapixels. Fresh pages cost as much as
decoding half a JPEG does."""


class SharedMemory:
    """Anonymous shared memory, on no disk; pages take room from when they are first written.

    Its length is sealed: a child that was taken over could otherwise shorten it, and this process
    would be killed where it reads past the end.
    """

    def __init__(self, length: int) -> None:
        self.descriptor = _anonymous_memory()
        weakref.finalize(self, os.close, self.descriptor)
        os.ftruncate(self.descriptor, length)
        if sys.platform == "linux":
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, seals)
        self._lent: weakref.ref[Lent] | None = None

    def lend(self, length: int) -> Lent:
        """Map the first bytes to read them. The memory is taken while the mapping lives."""
        mapping = Lent(self.descriptor, length, prot=mmap.PROT_READ)
        mapping.lender = self
        self._lent = weakref.ref(mapping)
        return mapping

    def is_free(self) -> bool:
        """Whether nobody can see it any more."""
        return self._lent is None or self._lent() is None


class Lent(mmap.mmap):
    """A mapping of shared memory from its first byte."""

    lender: SharedMemory


def lender(array: npt.NDArray[np.uint8]) -> SharedMemory | None:
    """The shared memory whose first bytes are the array's, in its order; None where none is."""
    owner: object = array
    while isinstance(owner, np.ndarray | memoryview):
        owner = owner.base if isinstance(owner, np.ndarray) else owner.obj
    if not isinstance(owner, Lent) or not array.flags.c_contiguous:
        return None
    first = np.frombuffer(owner, np.uint8, 1)
    return owner.lender if first.ctypes.data == array.ctypes.data else None


def _anonymous_memory() -> int:
    """Descriptor of empty memory that has no name."""
    if sys.platform == "linux":
        return os.memfd_create("picture", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)

    # The C half of multiprocessing.shared_memory; its Python half would keep the name.
    import _posixshmem  # type: ignore[import-not-found]

    name = f"/recollect-{secrets.token_hex(8)}"
    descriptor: int = _posixshmem.shm_open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode=0o600)
    _posixshmem.shm_unlink(name)
    return descriptor
