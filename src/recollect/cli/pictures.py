"""Where pictures to import come from: a folder, a tar file, or a CSV list."""

from __future__ import annotations

import csv
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from recollect.cli.failure import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SUFFIXES = {".jpg", ".jpeg", ".png"}
BYTES_MAX = 5_242_880
EXTERNAL_ID_CHARS_MAX = 255


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture to import, not yet read."""

    path: str
    """Path inside the source, with forward slashes: the entry's name in journal and report."""
    read: Callable[[], bytes]
    external_image_id: str | None = None
    """Given by the list; None leaves it to the template."""
    user_id: str | None = None


def entries(source: Path) -> Iterator[Entry]:
    """List the pictures of a source, in a fixed order, one at a time.

    Raises:
        CommandError: the source is none of the three, or its list cannot be read.
    """
    if source.is_dir():
        yield from _folder(source)
    elif source.suffix == ".csv":
        yield from _list(source)
    elif tarfile.is_tarfile(source) if source.is_file() else False:
        yield from _tar(source)
    else:
        raise CommandError(f"{source} is no folder, no tar file and no CSV list")


def cleaned(text: str) -> str:
    """Bring a text to ExternalImageId's alphabet: whatever is not in it becomes `_`."""
    return re.sub(r"[^a-zA-Z0-9_.:-]", "_", text)[-EXTERNAL_ID_CHARS_MAX:]


def external_image_id(template: str, path: str) -> str:
    """Fill a template for one path.

    Args:
        template: may name {stem}, {name}, {folder} and {path} of the picture.
        path: inside the source.
    """
    where = PurePosixPath(path)
    try:
        filled = template.format(
            stem=where.stem, name=where.name, folder=where.parent.name, path=path
        )
    except (KeyError, IndexError, ValueError) as error:
        raise CommandError(
            f"the template {template!r} names {error}; it may name stem, name, folder, path"
        ) from None
    return cleaned(filled)


def _folder(source: Path) -> Iterator[Entry]:
    for path in sorted(source.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file():
            yield Entry(path.relative_to(source).as_posix(), path.read_bytes)


def _tar(source: Path) -> Iterator[Entry]:
    # Members are read in the order of the file, each while it is at hand; nothing is unpacked.
    with tarfile.open(source) as archive:
        for member in archive:
            if not member.isfile() or PurePosixPath(member.name).suffix.lower() not in SUFFIXES:
                continue
            file = archive.extractfile(member)
            assert file is not None
            data = file.read(BYTES_MAX + 1)
            yield Entry(member.name, lambda data=data: data)  # type: ignore[misc]


def _list(source: Path) -> Iterator[Entry]:
    with source.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if "path" not in (rows.fieldnames or ()):
            raise CommandError(
                f"{source} needs a column path; external_image_id and user_id may stand beside it"
            )
        for row in rows:
            path = source.parent / row["path"]
            yield Entry(
                row["path"],
                path.read_bytes,
                row.get("external_image_id") or None,
                row.get("user_id") or None,
            )
