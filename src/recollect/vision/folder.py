"""A local folder as a bucket: an object's name is a path below it, and never leads out of it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from recollect.errors import ImageTooLargeException
from recollect.vision.s3 import ObjectUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC
"""Not to wait for a writer where the name is a pipe's."""


class Folder:
    """A folder whose files are objects.

    Args:
        path: the folder; it may be a symbolic link itself, for the operator chose it.
        bytes_max: size of the largest file that is read.

    Raises:
        ValueError: there is no such folder.
    """

    def __init__(self, path: Path, *, bytes_max: int) -> None:
        if not path.is_dir():
            raise ValueError(f"{path} is not a folder")
        self._path = path
        self._bytes_max = bytes_max

    def read(self, name: str, version: str | None) -> bytes:
        """Read a file.

        The name is walked part by part, each opened inside the one before and none through a
        symbolic link, so that nothing can be swapped between a check and its use.

        Raises:
            ImageTooLargeException: it has more than ``bytes_max`` bytes.
            ObjectUnavailable: it is not there, not a plain file, may not be read, its name is not
                one of a path below the folder, or a version other than ``null`` is asked for.
        """
        if version not in (None, "null"):
            # S3 calls the only version of an object in a bucket without versions "null".
            raise ObjectUnavailable("a folder keeps no versions")
        try:
            parts = name.encode().split(b"/")
        except UnicodeEncodeError:
            raise ObjectUnavailable("the name cannot be written in UTF-8") from None
        if {b"", b".", b".."} & set(parts) or b"\0" in name.encode():
            raise ObjectUnavailable("the name is not one of a path below the folder")
        try:
            return self._read(parts)
        except OSError as error:
            raise ObjectUnavailable(os.strerror(error.errno or 0)) from error

    def names(self, prefix: str) -> Iterator[str]:
        """List the plain files whose names begin so, sorted; links are not followed."""
        for folder, below, files in os.walk(self._path):
            below.sort()
            for file in sorted(files):
                path = Path(folder, file)
                name = path.relative_to(self._path).as_posix()
                if name.startswith(prefix) and path.is_file() and not path.is_symlink():
                    yield name

    def _read(self, parts: list[bytes]) -> bytes:
        """Read the file at the end of the walk."""
        with open(self._opened(parts), "rb") as file:  # noqa: PTH123 - it is a descriptor
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise ObjectUnavailable("not a plain file")
            if facts.st_size > self._bytes_max:
                raise ImageTooLargeException
            data = file.read(self._bytes_max + 1)
        if len(data) > self._bytes_max:
            raise ImageTooLargeException
        return data

    def _opened(self, parts: list[bytes]) -> int:
        """Walk down and return the descriptor of the last part."""
        folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in parts[:-1]:
                below = os.open(part, FOLDER, dir_fd=folder)
                os.close(folder)
                folder = below
            return os.open(parts[-1], FILE, dir_fd=folder)
        finally:
            os.close(folder)
