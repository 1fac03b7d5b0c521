"""The command line's own client: signed calls over one kept connection, with retries."""

from __future__ import annotations

import base64
import http.client
import json
import os
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import msgspec

from recollect import errors
from recollect.wire import plain, sigv4

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TARGET = "RekognitionService"
CONTENT_TYPE = "application/x-amz-json-1.1"
ANSWER_BYTES_MAX = 64 << 20
"""The longest answer: 4,096 matches take about 2 MB, and no call answers more."""

PLAIN_CODES = {plain.code_of(name): kind for name, kind in vars(errors).items()} | {
    "VALIDATION_ERROR": errors.ValidationException
}
"""Error classes by their codes in the plain dialect."""

BUSY = (errors.ThrottlingException, errors.ProvisionedThroughputExceededException)
BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 5.0


class ServerUnreachable(errors.AnswerError):
    """No server answers at this address, or it stopped in the middle of an answer."""


class UnexpectedAnswer(errors.AnswerError):
    """The server answered something that is not part of the API."""


class Client:
    """Calls one server with one key over one connection, which is opened again where it broke.

    A client is for one thread; `another` makes a second one for a second thread.

    Args:
        url: `http://` or `https://` address, with a path where the server has a prefix.
        key_id: of the access key.
        secret: of the access key.
        region: signed into the call.
        session_token: of temporary credentials.
        attempts: how often a call is sent before a busy server's refusal is raised.
        timeout_s: longest silence of the server.
        sleep: takes seconds; waits between attempts.

    Raises:
        ServerUnreachable: the address is no http or https address.
    """

    def __init__(
        self,
        url: str,
        key_id: str,
        secret: str,
        *,
        region: str = "us-east-1",
        session_token: str | None = None,
        attempts: int = 5,
        timeout_s: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or parts.hostname is None:
            raise ServerUnreachable(f"{url!r} is no address such as http://127.0.0.1:8080")
        self.url = url
        self.region = region
        self._key_id, self._secret, self._session_token = key_id, secret, session_token
        self.path = parts.path.rstrip("/") + "/"
        self._host = parts.netloc.rpartition("@")[2]
        self._attempts, self._timeout_s, self._sleep = attempts, timeout_s, sleep
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._connection = kind(parts.hostname, parts.port, timeout=timeout_s)

    def another(self) -> Client:
        """A client like this one with a connection of its own."""
        return Client(
            self.url,
            self._key_id,
            self._secret,
            region=self.region,
            session_token=self._session_token,
            attempts=self._attempts,
            timeout_s=self._timeout_s,
            sleep=self._sleep,
        )

    def call(self, operation: str, /, **params: Any) -> dict[str, Any]:
        """Call an operation of Rekognition's and return its answer.

        A refusal of a busy server is tried again after a pause that doubles and is part chance,
        so that many clients do not come back at once.

        Args:
            operation: `SearchFacesByImage` and the like.
            params: as boto3 takes them; `bytes` are sent as base64. None means not given.

        Raises:
            AnswerError: the server's error, by its class; `ServerUnreachable`; `UnexpectedAnswer`.
        """
        return self._call(operation, CONTENT_TYPE, params)

    def call_plainly(self, operation: str, /, **params: Any) -> dict[str, Any]:
        """The same in the plain dialect, for what the AWS dialect does not know; its `data`."""
        data: dict[str, Any] = self._call(operation, plain.CONTENT_TYPE, params)["data"]
        return data

    def _call(self, operation: str, dialect: str, params: Mapping[str, Any]) -> dict[str, Any]:
        body = json.dumps(
            {name: value for name, value in params.items() if value is not None},
            default=_as_base64,
            separators=(",", ":"),
        ).encode()
        for attempt in range(self._attempts):
            try:
                return self._call_once(operation, body, dialect)
            except BUSY:
                if attempt + 1 == self._attempts:
                    raise
                pause_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2**attempt)
                self._sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads clients
        raise AssertionError("attempts is at least 1")

    def signed(
        self, operation: str, body: bytes, now: float | None = None, dialect: str = CONTENT_TYPE
    ) -> dict[str, str]:
        """The headers of a signed call, for those who send it by their own means."""
        target = f"{TARGET}.{operation}" if dialect == CONTENT_TYPE else operation
        described = {"content-type": dialect, "x-amz-target": target}
        return self._signed("POST", self.path, described, body, now)

    def get(self, path: str) -> tuple[int, str]:
        """Read one of the server's pages, `/metrics` and the like: status and text."""
        headers = self._signed("GET", path, {}, b"")
        status, _, answer = self._exchange("GET", path, b"", headers)
        return status, answer.decode("utf-8", "replace")

    def _signed(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        now: float | None = None,
    ) -> dict[str, str]:
        return sigv4.sign(
            method,
            path,
            {"host": self._host, **headers},
            body,
            key_id=self._key_id,
            secret=self._secret,
            region=self.region,
            now=time.time() if now is None else now,
            session_token=self._session_token,
        )

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call_once(self, operation: str, body: bytes, dialect: str) -> dict[str, Any]:
        headers = self.signed(operation, body, dialect=dialect)
        status, answer_headers, answer = self._exchange("POST", self.path, body, headers)
        request_id = answer_headers.get("x-amzn-requestid", "")
        try:
            document = msgspec.json.decode(answer) if answer else {}
            if not isinstance(document, dict):
                raise msgspec.DecodeError("the answer is no object")
        except (msgspec.DecodeError, UnicodeDecodeError) as problem:
            raise UnexpectedAnswer(
                f"{operation} was answered {status} with {answer[:80]!r}"
            ) from problem
        if status == 200:
            return document
        raise _error(operation, status, document, request_id)

    def _exchange(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Send one request and read its whole answer; status, headers in lower case, body."""
        kept = self._connection.sock is not None
        try:
            return self._send(method, path, body, headers)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as problem:
            self._connection.close()
            if not kept:
                raise self._unreachable(problem) from problem
        except (OSError, http.client.HTTPException) as problem:
            self._connection.close()
            raise self._unreachable(problem) from problem

        # A server may close a kept connection at any moment between two calls: a call that met
        # this was not answered and most likely never read.
        try:
            return self._send(method, path, body, headers)
        except (OSError, http.client.HTTPException) as problem:
            self._connection.close()
            raise self._unreachable(problem) from problem

    def _send(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        self._connection.request(method, path, body or None, dict(headers))
        response = self._connection.getresponse()
        answer = response.read(ANSWER_BYTES_MAX + 1)
        if len(answer) > ANSWER_BYTES_MAX:
            self._connection.close()
            raise UnexpectedAnswer(f"the answer is longer than {ANSWER_BYTES_MAX} bytes")
        return response.status, {k.lower(): v for k, v in response.getheaders()}, answer

    def _unreachable(self, problem: Exception) -> ServerUnreachable:
        reason = str(problem) or type(problem).__name__
        return ServerUnreachable(f"{self.url} does not answer: {reason}")


def from_data(folder: Path, url: str | None = None, region: str = "us-east-1") -> Client:
    """A client with the root key of a data folder, of the server that runs on it.

    Raises:
        ServerUnreachable: the folder holds no key, or no server has written its address there.
    """
    try:
        root = json.loads((folder / "root-credentials.json").read_text(encoding="utf-8"))
        address = url or (folder / "address").read_text(encoding="utf-8").strip()
    except FileNotFoundError as problem:
        raise ServerUnreachable(
            f"{problem.filename} does not exist: is `recollect serve --data {folder}` running?"
        ) from None
    return Client(address, root["AccessKeyId"], root["SecretAccessKey"], region=region)


def from_environment(url: str | None = None, environ: Mapping[str, str] = os.environ) -> Client:
    """A client with the variables that `recollect env` prints.

    Raises:
        ServerUnreachable: a variable is missing.
    """
    names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
    names += [] if url else ["AWS_ENDPOINT_URL_REKOGNITION"]
    if missing := [name for name in names if not environ.get(name)]:
        raise ServerUnreachable(f'{missing[0]} is not set: eval "$(recollect env --data DIR)"')
    return Client(
        url or environ["AWS_ENDPOINT_URL_REKOGNITION"],
        environ["AWS_ACCESS_KEY_ID"],
        environ["AWS_SECRET_ACCESS_KEY"],
        region=environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1",
        session_token=environ.get("AWS_SESSION_TOKEN"),
    )


def _as_base64(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    raise TypeError(f"{type(value).__name__} cannot be sent")


def _error(
    operation: str, status: int, document: dict[str, Any], request_id: str
) -> errors.AnswerError:
    """The exception that stands for an error answer."""
    told = document.get("error")
    if isinstance(told, dict):
        code, text = str(told.get("code")), str(told.get("message"))
        kind = PLAIN_CODES.get(code)
    else:
        code = str(document.get("__type", "")).rpartition("#")[2]
        text = str(document.get("Message") or document.get("message") or "")
        kind = getattr(errors, code, None)
    if isinstance(kind, type) and issubclass(kind, errors.AnswerError):
        error = kind(text)
    else:
        error = UnexpectedAnswer(f"{operation} was answered {status} {code or document}: {text}")
    if request_id:
        error.add_note(f"request id {request_id}")
    return error
