"""Patterns of policies: `*` any characters, `?` one, `${key}` a value of the request."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Context = Mapping[str, list[str]]
    """Values of a request by condition key in lower case; a key without a value is absent."""


class Wild(Enum):
    """A part of a pattern that stands for characters of the text."""

    ANY = "*"
    ONE = "?"


@dataclass(frozen=True, slots=True)
class Variable:
    """A part of a pattern that stands for the value of a condition key, read literally."""

    key: str
    """In lower case."""
    default: str | None


# Between two `*`: a string, or, where a `?` is in it, its characters with None for each `?`.
_Piece = str | tuple[str | None, ...]

_VARIABLE = re.compile(r"([^,'${}]+?)\s*(?:,\s*'([^'${}]*)')?")


class Pattern:
    """A pattern of a policy, read once and matched often.

    Args:
        text: as it stands in the policy.
        wildcards: whether `*` and `?` are wild; `${*}` and `${?}` never are.
        variables: whether `${…}` means anything; it does not before version 2012-10-17.

    Raises:
        ValueError: a variable is not closed or cannot be read.
    """

    __slots__ = ("_parts", "_pieces", "variables")

    def __init__(self, text: str, *, wildcards: bool, variables: bool) -> None:
        self._parts = _parse(text, wildcards=wildcards, variables=variables)
        self.variables = frozenset(p.key for p in self._parts if isinstance(p, Variable))
        self._pieces = None if self.variables else _pieces(_resolve(self._parts, {}) or [])

    def matches(self, text: str, context: Context) -> bool | None:
        """Whether the whole text fits; None where a variable has no value, or several."""
        pieces = self._pieces
        if pieces is None:
            resolved = _resolve(self._parts, context)
            if resolved is None:
                return None
            pieces = _pieces(resolved)
        return _matches(pieces, text)


def _parse(text: str, *, wildcards: bool, variables: bool) -> list[str | Wild | Variable]:
    parts: list[str | Wild | Variable] = []
    at = 0
    while at < len(text):
        if variables and text.startswith("${", at):
            end = text.find("}", at)
            if end < 0:
                raise ValueError(f"the variable {text[at:]!r} is not closed")
            parts.append(_variable(text[at + 2 : end]))
            at = end + 1
        else:
            wild = wildcards and text[at] in "*?"
            parts.append(Wild(text[at]) if wild else text[at])
            at += 1
    return parts


def _variable(text: str) -> str | Variable:
    if text in ("*", "?", "$"):
        return text
    read = _VARIABLE.fullmatch(text)
    if read is None:
        raise ValueError(f"the variable ${{{text}}} cannot be read")
    return Variable(read[1].lower(), read[2])


def _resolve(parts: Iterable[str | Wild | Variable], context: Context) -> list[str | Wild] | None:
    """Put values in the place of variables; None where that cannot be done."""
    resolved: list[str | Wild] = []
    for part in parts:
        if not isinstance(part, Variable):
            resolved.append(part)
            continue
        values = context.get(part.key, ())
        if len(values) == 1:
            resolved.append(values[0])
        elif not values and part.default is not None:
            resolved.append(part.default)
        else:
            return None
    return resolved


def _pieces(parts: Iterable[str | Wild]) -> tuple[_Piece, ...]:
    """Cut a pattern at each `*`."""
    pieces: list[list[str | None]] = [[]]
    for part in parts:
        if part is Wild.ANY:
            pieces.append([])
        elif isinstance(part, Wild):
            pieces[-1].append(None)
        else:
            pieces[-1].extend(part)
    return tuple(_piece(piece) for piece in pieces)


def _piece(characters: list[str | None]) -> _Piece:
    known = [character for character in characters if character is not None]
    return "".join(known) if len(known) == len(characters) else tuple(characters)


def _matches(pieces: Sequence[_Piece], text: str) -> bool:
    """Match without trying anything twice, so that no pattern takes long.

    Each piece between the first and the last is taken where it first occurs: a later place could
    only leave less room for the pieces after it.
    """
    head, tail = pieces[0], pieces[-1]
    if len(pieces) == 1:
        return len(text) == len(head) and _fits(head, text, 0)
    at, end = len(head), len(text) - len(tail)
    if at > end or not _fits(head, text, 0) or not _fits(tail, text, end):
        return False
    for piece in pieces[1:-1]:
        found = _find(piece, text, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


def _fits(piece: _Piece, text: str, at: int) -> bool:
    """Whether a piece stands at a place where the text is long enough for it."""
    if isinstance(piece, str):
        return text.startswith(piece, at)
    return all(want in (None, text[at + i]) for i, want in enumerate(piece))


def _find(piece: _Piece, text: str, start: int, end: int) -> int:
    """The first place of a piece between start and end, or -1.

    A `?` at its ends only takes room. With one inside: shift-and, one step for each character of
    the text. Bit i of `state` says that the first i + 1 characters of the piece stand before this
    place.

    Source: R. Baeza-Yates and G. Gonnet, "A new approach to text searching", Communications of
    the ACM 35(10), 1992.
    """
    if isinstance(piece, str):
        return text.find(piece, start, end)
    known = [i for i, want in enumerate(piece) if want is not None]
    if not known:
        return start if start + len(piece) <= end else -1
    first, after = known[0], known[-1] + 1
    if len(known) == after - first:
        found = text.find("".join(map(str, piece[first:after])), start + first, end)
        return found - first if 0 <= found <= end - len(piece) + first else -1
    anything = sum(1 << i for i, want in enumerate(piece) if want is None)
    fits = {
        want: anything | sum(1 << i for i, other in enumerate(piece) if other == want)
        for want in set(piece)
    }
    whole, state = 1 << (len(piece) - 1), 0
    for at in range(start, end):
        state = ((state << 1) | 1) & fits.get(text[at], anything)
        if state & whole:
            return at - len(piece) + 1
    return -1
