"""Pack folders on disk: written beside their place, made durable, then renamed into it."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import time
from typing import TYPE_CHECKING

from recollect.vision.manifest import PackError, parse, read_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from recollect.vision.manifest import Manifest

UNFINISHED_S_MAX = 3600.0
"""Age at which an unfinished folder belongs to nobody alive."""
UNFINISHED = ".unfinished"
"""Folder of folders not yet in place: one level deeper than packs, so never taken for one."""


def place(
    models_dir: Path,
    manifest: str,
    files: Mapping[str, bytes],
    check: Callable[[Path], object],
) -> Path:
    """Make the pack folder `models_dir/NAME`, replacing an older or damaged one.

    A crash leaves the old folder, the new one or none, never half of one. Of two processes at
    once either wins, with the same result.

    Args:
        models_dir: where packs live; made if missing.
        manifest: text of the manifest.toml.
        files: the files that it names.
        check: called with the finished folder before it is put in place; what it raises leaves
            the place as it was.

    Raises:
        PackError: the manifest is wrong, or a file is missing, superfluous or another.
        OSError: the folder cannot be written.
    """
    described = parse(manifest)
    check_digests(described, files)
    (models_dir / UNFINISHED).mkdir(parents=True, exist_ok=True)
    _sweep(models_dir)
    unfinished = models_dir / UNFINISHED / secrets.token_hex(8)
    unfinished.mkdir()
    try:
        for name, data in {**files, "manifest.toml": manifest.encode()}.items():
            _write(unfinished / name, data)
        _sync(unfinished)
        check(unfinished)
        folder = models_dir / described.name
        _move(unfinished, folder)
        _sync(models_dir)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def check_digests(described: Manifest, files: Mapping[str, bytes]) -> None:
    """Refuse files that are not exactly those of a manifest, with PackError."""
    if set(files) != set(described.files):
        raise PackError(f"pack {described.name} has to consist of {', '.join(described.files)}")
    for name, data in files.items():
        if hashlib.sha256(data).hexdigest() != described.files[name].sha256:
            raise PackError(f"{name} is not the file of the manifest: its SHA-256 differs")


def is_whole(folder: Path, manifest: str) -> bool:
    """Whether a folder holds exactly this manifest and the files it names, unchanged."""
    try:
        if (folder / "manifest.toml").read_text("utf-8") != manifest:
            return False
        described = read_manifest(folder)
        return all(
            hashlib.sha256((folder / name).read_bytes()).hexdigest() == entry.sha256
            for name, entry in described.files.items()
        )
    except (OSError, PackError, UnicodeDecodeError):
        return False


def _move(unfinished: Path, folder: Path) -> None:
    """Rename a folder into place; what stands there is moved away first and deleted."""
    for _ in range(10):
        try:
            unfinished.rename(folder)
            return
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        away = folder.parent / UNFINISHED / secrets.token_hex(8)
        try:
            folder.rename(away)
        except FileNotFoundError:  # another process moved it first
            continue
        shutil.rmtree(away, ignore_errors=True)
    raise PackError(f"{folder} is being replaced by too many processes")


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(models_dir: Path) -> None:
    """Delete what crashed processes have left."""
    for left in (models_dir / UNFINISHED).iterdir():
        try:
            if time.time() - left.stat().st_mtime > UNFINISHED_S_MAX:
                shutil.rmtree(left)
        except FileNotFoundError:  # another process swept first
            continue
