"""Every durable write to a file of our own goes through here; the database has its own way."""

from __future__ import annotations

import fcntl
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from recollect.gallery.store import StoreUnusable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB: Final = 1 << 20


def write_new(path: Path, data: bytes) -> None:
    """Make a file that only its owner may read; FileExistsError where there is one.

    When this returns, the bytes and the file's name are on stable storage.
    """
    # Written under another name first, so that nobody ever reads half of it.
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    file = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(file, data)
        os.fsync(file)
        path.hardlink_to(unfinished)
    finally:
        os.close(file)
        unfinished.unlink()
    sync_folder(path.parent)


def discard(path: Path) -> None:
    """Remove a file, and what a crash left of it when it was being written."""
    for leftover in path.parent.glob(f"{path.name}*"):
        leftover.unlink()


def replace(source: Path, target: Path) -> None:
    """Put a finished file in the place of another: readers see the one or the other, whole."""
    sync(source)
    source.replace(target)
    sync_folder(target.parent)


def lengthen(path: Path, size_bytes: int, step_bytes: int) -> bool:
    """Append zeros to a file, a step at a time; true where it was shorter than its size.

    They are not durable yet.
    """
    file = os.open(path, os.O_WRONLY)
    try:
        length = os.fstat(file).st_size
        missing = max(0, min(size_bytes - length, step_bytes))
        os.pwrite(file, bytes(missing), length)
    finally:
        os.close(file)
    return missing > 0


def sync(path: Path) -> None:
    """Make a file's bytes and its name durable."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@contextmanager
def turn(folder: Path) -> Iterator[None]:
    """Wait for a folder's turn, of which one process at a time has one; ends with the process."""
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


class FolderLock:
    """Keeps a data folder to one serving process; ends with the process, however it ends.

    Raises StoreUnusable where another holds it.
    """

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._file, 32).decode("ascii", "replace")
            os.close(self._file)
            raise StoreUnusable(
                f"{folder} is being served by process {holder}: stop it, or use another folder"
            ) from None
        os.truncate(self._file, 0)
        os.pwrite(self._file, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Let others have the folder."""
        os.close(self._file)


class Reserve:
    """A file that holds room on the disk, given back when deletions need it.

    A full disk must not keep a deleted face on disk: deleting writes too.

    Args:
        path: the file.
        size_bytes: the room it holds; 0 for none.
    """

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = path
        self._size_bytes = size_bytes

    def hold(self) -> bool:
        """Take the room; false where the disk has not got it (what was taken is given back)."""
        if not self._size_bytes:
            return True
        if self._path.exists() and self._path.stat().st_size == self._size_bytes:
            return True
        try:
            self._path.touch(mode=0o600)
            with self._path.open("wb") as file:
                if sys.platform == "linux":
                    os.posix_fallocate(file.fileno(), 0, self._size_bytes)
                else:
                    for start in range(0, self._size_bytes, MIB):
                        file.write(bytes(min(MIB, self._size_bytes - start)))
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            self.release()
            return False
        return True

    def release(self) -> None:
        """Give the room back to whoever needs it."""
        if self._size_bytes:
            self._path.unlink(missing_ok=True)
