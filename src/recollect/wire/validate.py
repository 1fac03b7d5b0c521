"""Check a request against its shape: every rule that the service model states."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from recollect.errors import ValidationException
from recollect.wire.model import Shape
from recollect.wire.pattern import compiled

VIOLATIONS_SHOWN_MAX = 100
VALUE_SHOWN_MAX = 256
"""Characters of an offending value that its message repeats."""


def check(params: dict[str, Any], shape: Shape | None) -> None:
    """Refuse parameters that break a rule.

    Args:
        params: what `codec.decode` made; the types are right already.

    Raises:
        ValidationException: with the number of violations and the texts of the first hundred, as
            AWS's framework words them.
    """
    if shape is None:
        return
    found = violations(params, shape)
    shown = list(islice(found, VIOLATIONS_SHOWN_MAX))
    if shown:
        count = len(shown) + sum(1 for _ in found)
        noun = "error" if count == 1 else "errors"
        raise ValidationException(f"{count} validation {noun} detected: {'; '.join(shown)}")


def violations(value: Any, shape: Shape, path: str = "") -> Iterator[str]:
    """Yield one sentence for each broken rule, in the order of the model; nothing when all fit."""
    if value is None:
        yield _sentence(None, path, "Member must not be null")
        return
    yield from (_sentence(value, path, rule) for rule in _broken(value, shape))
    if shape.type == "structure":
        for name, member in shape.members.items():
            if value.get(name) is not None or name in shape.required:
                yield from violations(value.get(name), member.shape, _join(path, _lower(name)))
    elif shape.type == "list":
        assert shape.member is not None
        for position, item in enumerate(value, 1):
            yield from violations(item, shape.member, f"{path}.{position}.member")
    elif shape.type == "map":
        assert shape.key is not None
        assert shape.value is not None
        for key, item in value.items():
            for rule in _broken(key, shape.key):
                yield _sentence({key: item}, path, f"Map keys must satisfy constraint: [{rule}]")
            yield from violations(item, shape.value, f"{path}.{_short(key)}.member")


def _broken(value: Any, shape: Shape) -> Iterator[str]:
    """Yield the rules of one shape that its value breaks, without those of its parts."""
    if shape.type in {"integer", "long", "float", "double"}:
        measured, noun = value, "value"
    elif shape.type in {"string", "blob", "list", "map"}:
        measured, noun = len(value), "length"
    else:
        return
    if shape.max is not None and measured > shape.max:
        yield f"Member must have {noun} less than or equal to {shape.max}"
    if shape.min is not None and measured < shape.min:
        yield f"Member must have {noun} greater than or equal to {shape.min}"
    if shape.pattern is not None and not compiled(shape.pattern).matches(value):
        yield f"Member must satisfy regular expression pattern: {shape.pattern}"
    if shape.enum and value not in shape.enum:
        yield f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"


def _sentence(value: Any, path: str, rule: str) -> str:
    return f"Value {_shown(value)} at '{path}' failed to satisfy constraint: {rule}"


def _shown(value: Any) -> str:
    """An offending value as Java prints it, shortened."""
    if value is None:
        return "null"
    if isinstance(value, bytes):
        return f"'java.nio.HeapByteBuffer[pos=0 lim={len(value)} cap={len(value)}]'"
    if isinstance(value, list):
        return f"'[{_few(str(item) for item in value)}]'"
    if isinstance(value, dict):
        return f"'{{{_few(f'{key}={item}' for key, item in value.items())}}}'"
    return f"'{_short(str(value))}'"


def _few(items: Iterator[str]) -> str:
    # A handful is enough to fill what is shown; a list of 4,096 is not printed first.
    return _short(", ".join(_short(item) for item in islice(items, 16)))


def _short(text: str) -> str:
    return text if len(text) <= VALUE_SHOWN_MAX else text[:VALUE_SHOWN_MAX] + "..."


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _lower(name: str) -> str:
    return name[0].lower() + name[1:]
