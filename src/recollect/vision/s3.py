"""One signed GET of an S3 object, bounded in bytes and in time, to one endpoint and no other.

Written on the standard library because a general client does more than may be done here: obstore
0.12 follows redirects, takes proxies and settings from the environment, and reads the key ``a``
where ``/a`` or ``a/`` was asked for.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import io
import ipaddress
import queue
import random
import re
import select
import socket
import ssl
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import unescape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_plus

from recollect.errors import ImageTooLargeException

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENDPOINT = re.compile(
    r"(https?)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?((?:/[\w.~%-]+)*)/?", re.ASCII
)
"""Scheme, host, port and path."""

PAUSES_S = (0.05, 0.1)
"""Longest pauses before the second and the third try, which is the last."""

CONNECT_S_MAX = 3.0
"""Longest wait for one of a host's addresses, so that a dead one leaves time for the next."""

IDLE_S_MAX = 10.0
"""Longest time a connection is kept for the next read; stores close theirs after some more."""

IDLE_COUNT_MAX = 8
"""Connections kept."""

ERROR_BYTES_MAX = 4096
"""Bytes of an error answer that are looked at."""

ERROR_CODE = re.compile(rb"<Code>([A-Za-z0-9]{1,64})</Code>")

METADATA_ADDRESSES = frozenset(map(ipaddress.ip_address, ("100.100.100.200", "fd00:ec2::254")))
"""Services that hand out a machine's credentials and are not link-local: Alibaba's, and Amazon's
over IPv6."""

PAGE_KEYS_MAX = 1000
"""Names of one answer to a listing; S3 gives no more."""

LISTED_KEY = re.compile(rb"<Key>([^<]*)</Key>")
LISTED_MORE = re.compile(rb"<NextContinuationToken>([^<]+)</NextContinuationToken>")
"""Of a listing whose names were asked for in percent-encoding: nothing in them looks like XML."""

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


class ObjectUnavailable(Exception):
    """The object could not be read. The text is for the operator, never for the caller."""


class SlowDown(ObjectUnavailable):
    """The store says that it is asked too often."""


class _Passing(ObjectUnavailable):
    """It may work a moment later."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who asks."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    region: str

    def __post_init__(self) -> None:
        """Refuse what does not fit into a header, ValueError."""
        if not re.fullmatch(r"[!-~]+", self.access_key_id + self.region):
            raise ValueError("access_key_id and region are printable ASCII without blanks")


class S3Bucket:
    """One bucket of one store.

    The host is the endpoint's, for every request; what a caller names is only ever a part of the
    path or of the query, percent-encoded. Redirects are not followed, and no proxy, no credential
    and no setting is taken from the environment (but OpenSSL's own for the trusted roots).

    Args:
        endpoint: ``https://host[:port][/path]``; http only if it says so.
        bucket: the bucket's name there, addressed as a part of the path.
        credentials: None asks without a signature, for public buckets.
        deadline_s: for a whole read, every try, pause and byte of it included.
        bytes_max: size of the largest object that is read.

    Raises:
        ValueError: the endpoint is no such URL, or the bucket's name is no name.
    """

    def __init__(
        self,
        endpoint: str,
        bucket: str,
        credentials: Credentials | None,
        *,
        deadline_s: float,
        bytes_max: int,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        url = ENDPOINT.fullmatch(endpoint)
        if url is None:
            raise ValueError(f"{endpoint!r} is not of the form https://host[:port][/path]")
        if bucket in ("", ".", ".."):
            raise ValueError(f"{bucket!r} is not the name of a bucket")
        scheme, host, port, path = url.groups(default="")
        self._host = host.strip("[]")
        self._port = int(port or {"http": 80, "https": 443}[scheme])
        self._host_header = f"{host}:{port}" if port else host
        self._tls = ssl.create_default_context() if scheme == "https" else None
        self._base = f"{path}/{quote(bucket, safe='')}/"
        self._credentials = credentials
        self._deadline_s = deadline_s
        self._bytes_max = bytes_max
        self._clock = clock
        self._idle: deque[tuple[socket.socket, float]] = deque()

    def read(self, name: str, version: str | None) -> bytes:
        """Read the object, or one version of it.

        Raises:
            ImageTooLargeException: it has more than ``bytes_max`` bytes.
            SlowDown: the store said so until the tries were used up.
            ObjectUnavailable: anything else: not there, not allowed, wrong region, a redirect, a
                broken or endless answer, no answer in time.
        """
        return self._read(self._request(name, version))

    def names(self, prefix: str) -> Iterator[str]:
        """List the objects whose names begin so, in the store's order: ListObjectsV2.

        Raises:
            SlowDown, ObjectUnavailable: as `read` does.
        """
        asked = {"encoding-type": "url", "list-type": "2", "max-keys": str(PAGE_KEYS_MAX)}
        more: str | None = None
        while True:
            told = (
                asked | {"prefix": prefix} | ({} if more is None else {"continuation-token": more})
            )
            query = "&".join(f"{key}={quote(told[key], safe='-_.~')}" for key in sorted(told))
            page = self._read(self._head(self._base, query))
            for key in LISTED_KEY.findall(page):
                yield unquote_plus(key.decode("ascii", "replace"))
            found = LISTED_MORE.search(page)
            if found is None:
                return
            more = unescape(found[1].decode("utf-8", "replace"))

    def _read(self, request: bytes) -> bytes:
        """Send a request until it is answered, within the deadline."""
        deadline = time.monotonic() + self._deadline_s
        for pause_s in (*PAUSES_S, None):
            try:
                return self._get(request, deadline)
            except TimeoutError:
                raise ObjectUnavailable("no answer in time") from None
            except (_Passing, SlowDown):
                if pause_s is None or time.monotonic() + pause_s >= deadline:
                    raise
            # Those who failed together shall not come back together.
            time.sleep(random.uniform(pause_s / 2, pause_s))  # noqa: S311 - no secret
        raise AssertionError("the last try returns or raises")

    def close(self) -> None:
        """Close the connections that are kept."""
        while self._idle:
            self._idle.pop()[0].close()

    def _request(self, name: str, version: str | None) -> bytes:
        """Write the head of a request for an object; nothing follows it."""
        try:
            path = self._base + quote(name, safe="/-_.~", errors="strict")
            query = "" if version is None else "versionId=" + quote(version, safe="-_.~")
        except UnicodeEncodeError:
            raise ObjectUnavailable("the name cannot be written in UTF-8") from None
        if {".", ".."} & set(name.split("/")):
            # A proxy in front of the store could resolve these and leave the bucket.
            raise ObjectUnavailable("the name holds . or .. as a part of the path")
        return self._head(path, query)

    def _head(self, path: str, query: str) -> bytes:
        """Sign a path and a query, both percent-encoded."""
        headers = {"Host": self._host_header}
        if self._credentials is not None:
            headers |= signature(self._credentials, path, query, self._host_header, self._clock())
        headers |= {"Accept-Encoding": "identity", "User-Agent": "recollect"}
        target = f"{path}?{query}" if query else path
        lines = [f"GET {target} HTTP/1.1", *(f"{key}: {value}" for key, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode("ascii")

    def _get(self, request: bytes, deadline: float) -> bytes:
        """Try once."""
        try:
            connection = self._idle_connection() or self._connect(deadline)
        except TimeoutError:
            raise
        except (OSError, UnicodeError) as error:
            raise _Passing(f"cannot connect: {error}") from error
        kept = False
        try:
            connection.settimeout(_left(deadline))
            connection.sendall(request)
            answer = http.client.HTTPResponse(_Incoming(connection, deadline), method="GET")  # type: ignore[arg-type]
            answer.begin()
            body = self._body(answer)
            kept = answer.isclosed() and not answer.will_close
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            # http.client raises ValueError for some nonsense in the place of a number.
            raise _Passing(f"broken answer: {error!r}") from error
        finally:
            if kept and len(self._idle) < IDLE_COUNT_MAX:
                self._idle.append((connection, time.monotonic()))
            else:
                connection.close()
        return body

    def _body(self, answer: http.client.HTTPResponse) -> bytes:
        """Read the object out of the answer, or say why there is none."""
        if answer.status != 200:
            found = ERROR_CODE.search(answer.read(ERROR_BYTES_MAX))
            code = found[1].decode() if found else "no code"
            reason = f"{answer.status} {code}"
            if answer.status == 429 or code in ("SlowDown", "RequestLimitExceeded"):
                raise SlowDown(reason)
            if answer.status >= 500:
                raise _Passing(reason)
            raise ObjectUnavailable(reason)

        length = answer.length
        if length is None and not answer.chunked:
            raise ObjectUnavailable("an answer without its length: nobody could tell its end")
        if length is not None and length > self._bytes_max:
            raise ImageTooLargeException
        body = answer.read(self._bytes_max + 1)
        if len(body) > self._bytes_max:
            raise ImageTooLargeException
        if length is not None and len(body) != length:
            raise _Passing(f"{len(body)} bytes instead of {length}")
        return body

    def _idle_connection(self) -> socket.socket | None:
        """Take a connection that was used before and is still quiet."""
        while True:
            try:
                connection, since = self._idle.pop()
            except IndexError:
                return None
            fresh = time.monotonic() - since < IDLE_S_MAX
            # Anything to read here is an end, or bytes that nobody asked for.
            if fresh and not select.select([connection], [], [], 0)[0]:
                return connection
            connection.close()

    def _connect(self, deadline: float) -> socket.socket:
        """Open a connection to the first of the host's addresses that answers."""
        failure: OSError = OSError(f"{self._host} has no address that may be used")
        for family, address in self._addresses(deadline):
            connection = socket.socket(family, socket.SOCK_STREAM)
            try:
                connection.settimeout(min(_left(deadline), CONNECT_S_MAX))
                connection.connect(address)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._tls is not None:
                    connection.settimeout(_left(deadline))
                    connection = self._tls.wrap_socket(connection, server_hostname=self._host)
            except OSError as error:
                connection.close()
                failure = error
            except BaseException:
                connection.close()
                raise
            else:
                return connection
        raise failure

    def _addresses(self, deadline: float) -> Iterator[tuple[int, tuple[str | int, ...]]]:
        """Yield the host's addresses; what was checked here is what is connected to."""
        answers: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()

        def look_up() -> None:
            try:
                found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError) as error:
                answers.put(error)
            else:
                answers.put(found)

        # The resolver knows no deadline. The thread that waits for it is left to itself.
        threading.Thread(target=look_up, daemon=True).start()
        try:
            answer = answers.get(timeout=_left(deadline))
        except queue.Empty:
            raise TimeoutError from None
        if isinstance(answer, Exception):
            raise answer
        for family, _, _, _, address in answer:
            if address[0] == self._host or not _hands_out_credentials(str(address[0])):
                yield family, address


class _Incoming(io.RawIOBase):
    """Bytes as they come in, each awaited within the deadline; to http.client it is a socket."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self, 1 << 16)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.settimeout(_left(self._deadline))
        return self._connection.recv_into(buffer)


def _left(deadline: float) -> float:
    """Seconds until the deadline; TimeoutError if there are none."""
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


def _hands_out_credentials(address: str) -> bool:
    """Whether it is an address where no store lives, but a metadata service may."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip in METADATA_ADDRESSES


def signature(
    credentials: Credentials, path: str, query: str, host: str, now: datetime
) -> dict[str, str]:
    """Headers that sign a GET without a body.

    Args:
        credentials: whose request it is.
        path: percent-encoded once and sent exactly so; S3 does not normalise it.
        query: percent-encoded, sorted.
        host: value of the Host header.
        now: time of the request, in UTC.

    Source: Amazon S3 API reference, "Authenticating Requests (AWS Signature Version 4)".
    """
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{stamp[:8]}/{credentials.region}/s3/aws4_request"
    signed = {"host": host, "x-amz-content-sha256": EMPTY_SHA256, "x-amz-date": stamp}
    names = ";".join(signed)
    headers = "".join(f"{name}:{value}\n" for name, value in signed.items())
    canonical = "\n".join(["GET", path, query, headers, names, EMPTY_SHA256])
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = b"AWS4" + credentials.secret_access_key.encode()
    for part in [*scope.split("/"), "\n".join(["AWS4-HMAC-SHA256", stamp, scope, digest])]:
        key = hmac.digest(key, part.encode(), "sha256")
    return {
        "x-amz-content-sha256": EMPTY_SHA256,
        "x-amz-date": stamp,
        "Authorization": f"AWS4-HMAC-SHA256 Credential={credentials.access_key_id}/{scope}, "
        f"SignedHeaders={names}, Signature={key.hex()}",
    }
