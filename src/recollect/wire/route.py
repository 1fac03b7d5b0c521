"""Where a request goes: the dialect it speaks and the operation it names."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl

from recollect.errors import ValidationException
from recollect.wire import model
from recollect.wire.caller import HttpRequest
from recollect.wire.dialect import Dialect, spoken
from recollect.wire.model import OperationModel

FIELDS_MAX = 64
"""Fields of one query; a presigned request has eight."""


@dataclass(frozen=True, slots=True)
class Route:
    """What stop 1 knows of a request: nothing is verified yet."""

    dialect: Dialect
    operation: OperationModel | None
    """None where the name is unknown."""
    known_path: bool = True
    """Whether the path is one of ours, `/` or `/v1/{Operation}` under the prefix."""


def find(request: HttpRequest, path_prefix: str = "") -> Route:
    """Tell where a request goes.

    Args:
        request: method, path, query and headers; the body is not looked at.
        path_prefix: path in front of every route, such as `/rekognition`.

    Raises:
        ValidationException: a request of the plain dialect names no operation.
    """
    prefix = path_prefix.strip("/")
    stem = f"/{prefix}" if prefix else ""
    below = request.path.startswith(f"{stem}/")
    path = request.path.removeprefix(stem) if below or request.path == stem else "?"
    by_path = path.startswith("/v1/")
    content_type, accept = request.header("content-type"), request.header("accept")
    dialect = spoken(content_type, accept, by_path=by_path)
    if by_path:
        is_plain = dialect is Dialect.PLAIN
        served = model.plain_operations() if is_plain else model.every_operation()
        return Route(dialect, served.get(path.removeprefix("/v1/")))
    if path not in {"", "/"}:
        return Route(dialect, None, known_path=False)
    if dialect is Dialect.PLAIN:
        return Route(dialect, _named(request))
    return Route(dialect, model.operation(request.header("x-amz-target") or ""))


def _named(request: HttpRequest) -> OperationModel | None:
    """The operation of a plain request: the target in header or query, with or without prefix."""
    target = request.header("x-amz-target")
    if target is None:
        target = _from_query(request.query)
    if not target:
        raise ValidationException(
            "The request names no operation: set X-Amz-Target to RekognitionService.<Operation> "
            "in a header or in the query, or post to /v1/<Operation>"
        )
    found = model.operation(target)
    return model.plain_operations().get(found.name if found else target)


def _from_query(query: str) -> str | None:
    try:
        fields = parse_qsl(query, max_num_fields=FIELDS_MAX)
    except ValueError:
        raise ValidationException(f"The query has more than {FIELDS_MAX} fields") from None
    return next((value for name, value in fields if name.lower() == "x-amz-target"), None)
