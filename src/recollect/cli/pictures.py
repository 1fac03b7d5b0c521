"""Where pictures to import come from: a folder, a tar file, a list, or a bucket."""

from __future__ import annotations

import csv
import re
import tarfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from recollect import errors
from recollect.cli.failure import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SUFFIXES = {".jpg", ".jpeg", ".png"}
BYTES_MAX = 5_242_880
EXTERNAL_ID_CHARS_MAX = 255
S3_ADDRESS = re.compile(r"s3://([^/]+)(?:/(.*))?")
LIST_COLUMNS = ("path", "external_image_id", "user_id")
PARQUET_ROWS = 1000
"""Rows of a Parquet list that are held at once."""
BUCKET_READS_MAX = 1000
"""Reads from a bucket at once: as many as the command has threads, for no call of others waits."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture to import, not yet read."""

    path: str
    """Path inside the source, with forward slashes: the entry's name in journal and report."""
    read: Callable[[], bytes]
    """Its bytes; OSError where they cannot be had."""
    external_image_id: str | None = None
    """Given by the list; None leaves it to the template."""
    user_id: str | None = None
    s3_object: dict[str, str] | None = None
    """Bucket and Name where the server can read it by itself."""


def entries(source: str, config: Path | None = None) -> Iterator[Entry]:
    """List the pictures of a source, in a fixed order, one at a time.

    Args:
        source: a folder, a tar file, a CSV or Parquet list, or `s3://BUCKET/PREFIX`.
        config: the server's configuration, in which the bucket stands.

    Raises:
        CommandError: the source is none of these, or it cannot be listed.
    """
    bucket = S3_ADDRESS.fullmatch(source)
    path = Path(source)
    if bucket is not None:
        yield from _bucket(bucket[1], bucket[2] or "", config)
    elif path.is_dir():
        yield from _folder(path)
    elif path.suffix == ".csv":
        yield from _listed(path, _csv(path))
    elif path.suffix == ".parquet":
        yield from _listed(path, _parquet(path))
    elif tarfile.is_tarfile(path) if path.is_file() else False:
        yield from _tar(path)
    else:
        raise CommandError(
            f"{source} is no folder, no tar file, no .csv or .parquet list and no s3://BUCKET/PREFIX"
        )


def count(source: str) -> int | None:
    """How many pictures a source has, where that costs nothing."""
    path = Path(source)
    return sum(1 for _ in _folder(path)) if path.is_dir() else None


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


def _listed(source: Path, rows: Iterator[Mapping[str, Any]]) -> Iterator[Entry]:
    """The pictures that a list names, by paths relative to it."""
    for row in rows:
        if not row.get("path"):
            raise CommandError(
                f"{source} needs a column path; external_image_id and user_id may stand beside it"
            )
        path = str(row["path"])
        yield Entry(
            path,
            (source.parent / path).read_bytes,
            row.get("external_image_id") or None,
            row.get("user_id") or None,
        )


def _csv(source: Path) -> Iterator[Mapping[str, Any]]:
    with source.open(newline="", encoding="utf-8-sig") as file:
        yield from csv.DictReader(file)


def _parquet(source: Path) -> Iterator[Mapping[str, Any]]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise CommandError("Parquet lists need: pip install 'recollect[parquet]'") from None
    try:
        with ParquetFile(source) as file:
            columns = [name for name in LIST_COLUMNS if name in file.schema_arrow.names]
            for rows in file.iter_batches(PARQUET_ROWS, columns=columns):
                yield from rows.to_pylist()
    except ArrowException as error:
        raise CommandError(f"{source} cannot be read: {error}") from None


def _bucket(bucket: str, prefix: str, config: Path | None) -> Iterator[Entry]:
    """The pictures of a bucket of the configuration, which a server may read by itself."""
    from recollect import app, settings
    from recollect.vision.s3 import ObjectUnavailable

    buckets = app.open_buckets(settings.load({}, config=config), reads_max=BUCKET_READS_MAX)

    def read(name: str) -> bytes:
        try:
            return buckets.read(bucket, name, None)
        except errors.AnswerError as error:
            raise OSError(f"{error.code}: {error}") from error

    try:
        for name in buckets.names(bucket, prefix):
            if PurePosixPath(name).suffix.lower() in SUFFIXES:
                yield Entry(name, partial(read, name), s3_object={"Bucket": bucket, "Name": name})
    except ObjectUnavailable as error:
        raise CommandError(
            f"s3://{bucket}/{prefix} cannot be listed: {error}. The bucket has to stand in the "
            "server's configuration (--config), with a key that may list it"
        ) from None
    finally:
        buckets.close()
