"""Where the picture comes from that a caller names by bucket, object and version."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from recollect.errors import (
    InvalidS3ObjectException,
    ProvisionedThroughputExceededException,
)
from recollect.telemetry import log
from recollect.vision.folder import Folder
from recollect.vision.s3 import Credentials, ObjectUnavailable, S3Bucket, SlowDown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

BYTES_MAX = 15 * 1024 * 1024
"""Amazon says 15 MB; its 5 MB for pictures in a request are 5,242,880 bytes in the model."""

WAIT_S_MAX = 0.25
"""Longest wait until another read from a store is finished."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where the objects of one bucket are, by the configuration: at an endpoint or in a folder."""

    name: str
    """What callers write, and the bucket's name in the store."""
    endpoint: str = ""
    """``https://host[:port][/path]`` of a store that speaks S3."""
    region: str = "us-east-1"
    access_key_id: str = ""
    """Empty, with the secret, for a bucket that anybody may read."""
    secret_access_key: str = field(default="", repr=False)
    path: Path | None = None
    """Folder instead of an endpoint."""


class Buckets:
    """The buckets of the configuration, and no others.

    Args:
        buckets: by the name that callers write.
        deadline_s: for a whole read from a store.
        bytes_max: size of the largest object that is read.
        reads_max: reads from stores at once. Each holds the thread of its call, so with fewer than
            there are threads, a store that hangs cannot stop the calls that need none.

    Raises:
        ValueError: a bucket has both or neither of endpoint and folder, half a key, a malformed
            endpoint, or a folder that is not there.
    """

    def __init__(
        self,
        buckets: Mapping[str, Bucket],
        deadline_s: float,
        bytes_max: int = BYTES_MAX,
        *,
        reads_max: int = 16,
    ) -> None:
        self._readers = {
            name: _reader(bucket, deadline_s, bytes_max) for name, bucket in buckets.items()
        }
        self._reads = threading.BoundedSemaphore(reads_max)

    def read(self, bucket: str, name: str, version: str | None) -> bytes:
        """Read an object.

        Raises:
            ImageTooLargeException: it is too long.
            ProvisionedThroughputExceededException: the store asks to slow down, or enough reads
                are under way. SDKs come again by themselves.
            InvalidS3ObjectException: everything else, with one text, so that unknown and forbidden
                look the same. A store that fails or does not answer in time is among it: it is no
                bug of ours, and a caller who came again at once would make it worse.
        """
        reader = self._readers.get(bucket)
        if reader is None:
            raise InvalidS3ObjectException
        try:
            if isinstance(reader, Folder):
                return reader.read(name, version)
            return self._read_remote(reader, name, version)
        except SlowDown as error:
            log.warning("object not read", bucket=bucket, reason=str(error))
            raise ProvisionedThroughputExceededException("S3 download limit exceeded") from error
        except ObjectUnavailable as error:
            # The operator has to learn why; the object's name stays out, it may name a person.
            log.warning("object not read", bucket=bucket, reason=str(error))
            raise InvalidS3ObjectException from error

    def names(self, bucket: str, prefix: str) -> Iterator[str]:
        """List what a bucket holds; for the operator, who is told why where it fails.

        Raises:
            ObjectUnavailable: there is no such bucket, or its store does not list it.
        """
        reader = self._readers.get(bucket)
        if reader is None:
            raise ObjectUnavailable(f"no bucket {bucket} is configured")
        return reader.names(prefix)

    def _read_remote(self, reader: S3Bucket, name: str, version: str | None) -> bytes:
        if not self._reads.acquire(timeout=WAIT_S_MAX):
            raise SlowDown("as many reads as allowed are under way")
        try:
            return reader.read(name, version)
        finally:
            self._reads.release()

    def close(self) -> None:
        """Close the connections that are kept for later."""
        for reader in self._readers.values():
            if isinstance(reader, S3Bucket):
                reader.close()


def _reader(bucket: Bucket, deadline_s: float, bytes_max: int) -> Folder | S3Bucket:
    """The reader of one bucket; ValueError says what is wrong with it."""
    try:
        if bool(bucket.endpoint) == (bucket.path is not None):
            raise ValueError("it needs either an endpoint or a path")
        if bucket.path is not None:
            return Folder(bucket.path, bytes_max=bytes_max)
        if bool(bucket.access_key_id) != bool(bucket.secret_access_key):
            raise ValueError("it has half a key")
        credentials = None
        if bucket.access_key_id:
            credentials = Credentials(bucket.access_key_id, bucket.secret_access_key, bucket.region)
        return S3Bucket(
            bucket.endpoint, bucket.name, credentials, deadline_s=deadline_s, bytes_max=bytes_max
        )
    except ValueError as error:
        raise ValueError(f"bucket {bucket.name!r}: {error}") from None
