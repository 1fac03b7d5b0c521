"""The AWS dialect: JSON 1.1 bodies to Python values and back, led by the shape."""

from __future__ import annotations

import math
import secrets
import struct
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pybase64

from recollect.errors import AnswerError, SerializationException, ServiceError
from recollect.wire import timestamp
from recollect.wire.model import Shape

CONTENT_TYPE = "application/x-amz-json-1.1"

DEPTH_MAX = 32
VALUES_MAX = 100_000
"""Commas and brackets of one body: 8 MiB of `[],[],…` would otherwise become 200 MB of lists."""

ENCODED_CHARS_MIN = 32 * 1024
"""Length from which a string of base64 is taken out of the body before that is read as JSON, which
looks at every character three times and makes a string of them."""
QUOTES_MAX = 64
"""Quotation marks among which such a string is looked for: those of an SDK's call are a dozen."""
MARK = secrets.token_hex(16)
"""What stands in its place, with a number; nobody outside can know it."""

INTEGER_BITS = {"integer": 31, "long": 63}
SCALAR_WORDS = {"integer": "an Integer", "long": "a Long", "float": "a Float", "double": "a Double"}
SCALAR_WORDS |= {"string": "a String", "boolean": "a Boolean", "blob": "a Blob"}
SCALAR_WORDS |= {"timestamp": "a Timestamp"}


def decode(body: bytes, shape: Shape | None) -> dict[str, Any]:
    """Parse a request body into the values that its shape describes.

    Blobs become bytes, floats float, timestamps epoch seconds; nulls of structures count as absent
    and stay as None in lists and maps; unknown members are ignored; of a member that stands twice
    the last counts; 1.5 for an integer is 1. An operation without input takes an empty body too.

    Raises:
        SerializationException: the body is not JSON, nested deeper than 32, made of more than
            100,000 values, or a value is of another type than its shape. The texts are those that
            AWS was seen to answer; a note on the exception tells the place, which they leave out.
    """
    if shape is None and not body:
        return {}
    value = _parse(body)
    if isinstance(value, list):
        raise SerializationException("Start of list found where not expected")
    if not isinstance(value, dict):
        raise SerializationException
    return {} if shape is None else _structure(value, shape, "")


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A long string of base64."""

    text: memoryview
    decoded: bytes


def _parse(body: bytes) -> Any:
    body, encoded = _without_encoded(body)
    if len(body) > VALUES_MAX:  # A shorter one has not as many letters.
        letters = np.frombuffer(body, np.uint8)  # bytes.count takes six times as long.
        if sum(np.count_nonzero(letters == mark) for mark in b",[{") > VALUES_MAX:
            raise SerializationException(f"The body has more than {VALUES_MAX} values")
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # What msgspec says would quote the body; AWS says nothing here.
        raise SerializationException from None
    level = [value]
    for _ in range(DEPTH_MAX):
        if encoded:
            for outer in level:
                _put_back(outer, encoded)
        level = [part for outer in level for part in _parts(outer)]
        if not level:
            return value
    raise SerializationException(f"The body is nested deeper than {DEPTH_MAX}")


def _without_encoded(body: bytes) -> tuple[bytes, dict[str, _Encoded]]:
    """Take long strings of base64 out of a body; what is left of it, and they by their marks.

    Between two quotation marks base64 has no place in JSON but as a string: the body without it is
    right where the whole is, and wrong where that is.
    """
    whole, taken = memoryview(body), 0
    pieces: list[bytes | memoryview] = []
    encoded: dict[str, _Encoded] = {}
    opening = body.find(b'"')
    for _ in range(QUOTES_MAX):
        closing = body.find(b'"', opening + 1) if opening != -1 else -1
        if closing == -1:
            break
        # Neither a name of a member, nor the end of a string with an escaped quotation mark.
        alone = body[opening - 1 : opening] in b": ,[" and body[closing + 1 : closing + 2] in b",}]"
        if closing - opening > ENCODED_CHARS_MIN and alone:
            text = whole[opening + 1 : closing]
            try:
                decoded = pybase64.b64decode(text, validate=True)
            except ValueError:
                pass
            else:
                mark = f"{MARK}{len(encoded)}"
                encoded[mark] = _Encoded(text, decoded)
                pieces += [whole[taken : opening + 1], mark.encode("ascii")]
                taken = closing
        opening = closing
    return (b"".join([*pieces, whole[taken:]]) if encoded else body), encoded


def _put_back(value: Any, encoded: dict[str, _Encoded]) -> None:
    """Put what was taken out in the place of its mark."""
    places = value.items() if isinstance(value, dict) else enumerate(value)
    for place, part in list(places):
        if isinstance(part, str) and part in encoded:
            value[place] = encoded[part]


def _parts(value: Any) -> list[Any]:
    """The lists and objects directly inside a value."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [part for part in inner if isinstance(part, (dict, list))]


def _value(value: Any, shape: Shape, path: str) -> Any:
    """Read one value; None stays None, to be judged by `validate`."""
    if value is None or shape.document:
        return value
    match shape.type:
        case "structure":
            return _structure(value, shape, path)
        case "map":
            assert shape.value is not None
            entries = _object(value, path)
            return {
                key: _value(item, shape.value, f"{path}.{key}") for key, item in entries.items()
            }
        case "list":
            assert shape.member is not None
            if not isinstance(value, list):
                raise _mismatch(_container_text(value, "Expected list or null"), path)
            member = shape.member
            return [_value(item, member, f"{path}.{at}") for at, item in enumerate(value, 1)]
        case _:
            return _scalar(value, shape, path)


def _structure(value: Any, shape: Shape, path: str) -> dict[str, Any]:
    found = _object(value, path)
    return {
        member.name: _value(found[member.wire_name], member.shape, f"{path}.{member.name}")
        for member in shape.members.values()
        if found.get(member.wire_name) is not None
    }


def _object(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _mismatch(_container_text(value, "Expected null"), path)
    return value


def _scalar(value: Any, shape: Shape, path: str) -> Any:
    """Read a JSON scalar as the shape's Python type: str, bytes, bool, int or float."""
    kind = shape.type
    if isinstance(value, (dict, list)):
        raise _mismatch(_container_text(value, ""), path)
    if isinstance(value, _Encoded):
        if kind == "blob":
            return value.decoded
        value = str(value.text, "ascii")
    if isinstance(value, str):
        if kind == "string":
            return value
        if kind == "blob":
            return _blob(value, path)
        if kind == "timestamp":
            return _moment(value, path)
        raise _mismatch(f"STRING_VALUE can not be converted to {SCALAR_WORDS[kind]}", path)
    if isinstance(value, bool):
        if kind == "boolean":
            return value
        token = "TRUE_VALUE" if value else "FALSE_VALUE"
        raise _mismatch(f"{token} can not be converted to {SCALAR_WORDS[kind]}", path)
    number = _number(value, kind)
    if number is None:
        raise _mismatch(f"NUMBER_VALUE can not be converted to {SCALAR_WORDS[kind]}", path)
    return number


def _number(value: int | float, kind: str) -> int | float | None:
    """Read a JSON number; None where the kind has no place for it."""
    if kind in INTEGER_BITS:
        whole = int(value)
        bound = 1 << INTEGER_BITS[kind]
        return whole if -bound <= whole < bound else None
    if kind in {"float", "double", "timestamp"}:
        try:
            return float(value)
        except OverflowError:  # JSON's integers have no end.
            return None
    return None


def _blob(text: str, path: str) -> bytes:
    try:
        return pybase64.b64decode(text, validate=True)
    except ValueError:
        raise _mismatch("A blob must be base64 of the standard alphabet, padded", path) from None


def _moment(text: str, path: str) -> float:
    try:
        return timestamp.parse(text)
    except ValueError:
        raise _mismatch("STRING_VALUE can not be converted to a Timestamp", path) from None


def _container_text(value: Any, otherwise: str) -> str:
    if isinstance(value, list):
        return "Start of list found where not expected"
    if isinstance(value, dict):
        return "Start of structure or map found where not expected."
    return otherwise


def _mismatch(text: str, path: str) -> SerializationException:
    error = SerializationException(text)
    error.add_note(path.removeprefix("."))
    return error


def encode(result: dict[str, Any], shape: Shape | None) -> bytes:
    """Serialise a response; see `plainly` for what the values become."""
    return msgspec.json.encode({} if shape is None else plainly(result, shape))


def plainly(value: Any, shape: Shape) -> Any:
    """Turn a response into plain JSON values.

    Floats become the nearest float32, printed as the double it is, because that is what
    Rekognition's samples show; timestamps epoch seconds to the millisecond; blobs base64. Members
    that are None are left out, empty lists stay.

    Raises:
        LookupError: a structure has a member that the shape does not know: it may be something
            that must not leave the house.
        ValueError: a number is not finite.
    """
    if shape.document:
        return value
    match shape.type:
        case "structure":
            if unknown := value.keys() - shape.members.keys():
                raise LookupError(f"{shape.name} has no member {sorted(unknown)[0]}")
            return {
                shape.members[name].wire_name: plainly(item, shape.members[name].shape)
                for name, item in value.items()
                if item is not None
            }
        case "list":
            assert shape.member is not None
            return [plainly(item, shape.member) for item in value]
        case "map":
            assert shape.value is not None
            return {key: plainly(item, shape.value) for key, item in value.items()}
        case "float":
            (single,) = struct.unpack("f", struct.pack("f", value))
            return _finite(single)
        case "double":
            return _finite(float(value))
        case "timestamp":
            return timestamp.write(value, shape.timestamp_format)
        case "blob":
            return pybase64.b64encode(value).decode("ascii")
        case _:
            return value


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError("a response holds a number that is not finite")
    return number


def encode_error(error: AnswerError, request_id: str) -> bytes:
    """Serialise an error: services write a capital Message, the framework a small message."""
    text = str(error)
    body = {"__type": error.code}
    if isinstance(error, ServiceError):
        body |= {"Code": error.code, "Logref": request_id, "Message": text}
    elif text:
        body["message"] = text
    return msgspec.json.encode(body)
