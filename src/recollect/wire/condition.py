"""Conditions of policies: one operator, one key, the values it is held against.

Answers are True, False or None, where None means that it cannot be decided: the request's value is
not of the operator's kind, or a variable has no value. What cannot be decided never allows.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
and .../reference_policies_multi-key-or-value-conditions.html
"""

from __future__ import annotations

import ipaddress
import operator
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING, Any

from recollect.wire.wildcard import Pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from recollect.wire.wildcard import Context

    _Network = ipaddress.IPv4Network | ipaddress.IPv6Network

    Fits = Callable[[str, Context], bool | None]
    """Whether a value of the request fits one value of the policy."""


class Kind(Enum):
    """What a condition key holds, which decides the operators that make sense for it."""

    TEXT = "text"
    ARN = "an ARN"
    BOOL = "true or false"
    DATE = "a date"
    EPOCH = "seconds since 1970"
    IP = "an IP address"
    LIST = "several texts"


KEYS = {
    "aws:currenttime": Kind.DATE,
    "aws:epochtime": Kind.EPOCH,
    "aws:principalaccount": Kind.TEXT,
    "aws:principalarn": Kind.ARN,
    "aws:requestedregion": Kind.TEXT,
    "aws:securetransport": Kind.BOOL,
    "aws:sourceip": Kind.IP,
    "aws:tagkeys": Kind.LIST,
    "aws:useragent": Kind.TEXT,
    "aws:username": Kind.TEXT,
}
"""The condition keys that a request here can have, in lower case."""

TAG_KEYS = ("aws:requesttag/", "aws:resourcetag/")
"""Beginnings of the keys that end in the key of a tag."""


def kind_of(key: str) -> Kind:
    """What a key in lower case holds; ValueError where no request here could ever have it."""
    if key in KEYS:
        return KEYS[key]
    if key.startswith(TAG_KEYS) and not key.endswith("/"):
        return Kind.TEXT
    raise ValueError(f"the condition key {key!r} is not known here")


def all_of(answers: Iterable[bool | None]) -> bool | None:
    """True if all are True, False if one is False, otherwise undecided."""
    undecided = False
    for answer in answers:
        if answer is False:
            return False
        undecided = undecided or answer is None
    return None if undecided else True


def any_of(answers: Iterable[bool | None]) -> bool | None:
    """True if one is True, False if all are False, otherwise undecided."""
    return inverse(all_of(inverse(answer) for answer in answers))


def inverse(answer: bool | None) -> bool | None:
    """True for False, False for True, undecided for undecided."""
    return None if answer is None else not answer


@dataclass(frozen=True, slots=True)
class Condition:
    """One operator, applied to one key."""

    key: str
    """In lower case."""
    quantifier: str
    """ForAllValues, ForAnyValue, or nothing for a key that has one value."""
    if_exists: bool
    negated: bool
    fits: tuple[Fits, ...]
    """One for each value of the policy."""

    def holds(self, context: Context) -> bool | None:
        """Whether the request satisfies it.

        A key that is absent fails every operator but the negated ones, ForAllValues and those
        that end in IfExists.
        """
        values = context.get(self.key, ())
        if not values and self.if_exists:
            return True
        if self.quantifier:
            # An empty text counts as no value here, and only here.
            answers = [self._fits(value, context) for value in values if value]
            return all_of(answers) if self.quantifier == "ForAllValues" else any_of(answers)
        if not values:
            return self.negated
        # Two tags of a resource may differ in capitals only; the key of a condition names both.
        return self._fits(values[0], context) if len(values) == 1 else None

    def _fits(self, value: str, context: Context) -> bool | None:
        answer = any_of(fits(value, context) for fits in self.fits)
        return inverse(answer) if self.negated else answer


@dataclass(frozen=True, slots=True)
class Absence:
    """The operator Null: whether a key is absent from the request."""

    key: str
    absent: frozenset[bool]
    """The answers that satisfy it."""

    def holds(self, context: Context) -> bool | None:
        """Whether the request satisfies it."""
        return (not context.get(self.key)) in self.absent


# The values of a policy, read once. A reader is given a text and whether variables mean anything.


def _text_equals(text: str, variables: bool) -> Fits:
    return Pattern(text, wildcards=False, variables=variables).matches


def _text_equals_ignoring_case(text: str, variables: bool) -> Fits:
    pattern = Pattern(text.lower(), wildcards=False, variables=variables)

    def fits(value: str, context: Context) -> bool | None:
        used = pattern.variables & context.keys()
        return pattern.matches(
            value.lower(), {key: [each.lower() for each in context[key]] for key in used}
        )

    return fits


def _text_like(text: str, variables: bool) -> Fits:
    return Pattern(text, wildcards=True, variables=variables).matches


def _arn_like(text: str, variables: bool) -> Fits:
    # A colon inside a variable's name divides nothing.
    plain = re.sub(r"\$\{[^}]*\}", lambda name: "_" * len(name[0]), text) if variables else text
    cuts = [colon.start() for colon in islice(re.finditer(":", plain), 5)]
    if len(cuts) < 5:
        raise ValueError(f"{text!r} is not an ARN of six fields")
    starts, ends = [0, *(cut + 1 for cut in cuts)], [*cuts, len(text)]
    patterns = [
        Pattern(text[start:end], wildcards=True, variables=variables)
        for start, end in zip(starts, ends, strict=True)
    ]

    def fits(value: str, context: Context) -> bool | None:
        fields = value.split(":", 5)
        if len(fields) < 6:
            return None
        pairs = zip(patterns, fields, strict=True)
        return all_of(pattern.matches(field, context) for pattern, field in pairs)

    return fits


def _typed(
    read: Callable[[str], Any], compare: Callable[[Any, Any], bool], what: str
) -> Callable[[str, bool], Fits]:
    """A reader for values that are compared as something other than texts."""

    def reader(text: str, variables: bool) -> Fits:
        limit = read(text)
        if limit is None:
            raise ValueError(f"{text!r} is not {what}")

        def fits(value: str, context: Context) -> bool | None:
            actual = read(value)
            return None if actual is None else compare(actual, limit)

        return fits

    return reader


def _number(text: str) -> Decimal | None:
    return Decimal(text) if re.fullmatch(r"-?[0-9]{1,18}(\.[0-9]{1,18})?", text) else None


_W3C_DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2}))?"
)


def _date(text: str) -> float | None:
    """Seconds since 1970 of a date of the W3C's profile of ISO 8601, or of such seconds."""
    if re.fullmatch(r"[0-9]{1,11}(\.[0-9]{1,6})?", text):
        return float(text)
    try:
        read = datetime.fromisoformat(text) if _W3C_DATE.fullmatch(text) else None
    except ValueError:
        return None
    return None if read is None else read.replace(tzinfo=read.tzinfo or UTC).timestamp()


def _truth(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text.lower())


def _network(text: str) -> _Network | None:
    """A range of addresses; an address alone is a range of one."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _within(address: _Network, network: _Network) -> bool:
    first = address.network_address
    # A server that listens on IPv6 sees the caller 192.0.2.1 as ::ffff:192.0.2.1.
    mapped = first.ipv4_mapped if isinstance(first, ipaddress.IPv6Address) else None
    return first in network or (mapped is not None and mapped in network)


@dataclass(frozen=True, slots=True)
class _Operator:
    read: Callable[[str, bool], Fits]
    kinds: frozenset[Kind]
    negated: bool = False


_TEXTS = frozenset(Kind)
_ARNS = frozenset({Kind.ARN, Kind.TEXT})
_NUMBERS = frozenset({Kind.EPOCH, Kind.TEXT})
_DATES = frozenset({Kind.DATE, Kind.EPOCH, Kind.TEXT})
_TRUTHS = frozenset({Kind.BOOL, Kind.TEXT})
_IPS = frozenset({Kind.IP})

_COMPARISONS = {
    "Equals": operator.eq,
    "LessThan": operator.lt,
    "LessThanEquals": operator.le,
    "GreaterThan": operator.gt,
    "GreaterThanEquals": operator.ge,
}

_OPERATORS = {
    "StringEquals": _Operator(_text_equals, _TEXTS),
    "StringNotEquals": _Operator(_text_equals, _TEXTS, negated=True),
    "StringEqualsIgnoreCase": _Operator(_text_equals_ignoring_case, _TEXTS),
    "StringNotEqualsIgnoreCase": _Operator(_text_equals_ignoring_case, _TEXTS, negated=True),
    "StringLike": _Operator(_text_like, _TEXTS),
    "StringNotLike": _Operator(_text_like, _TEXTS, negated=True),
    "ArnEquals": _Operator(_arn_like, _ARNS),
    "ArnLike": _Operator(_arn_like, _ARNS),
    "ArnNotEquals": _Operator(_arn_like, _ARNS, negated=True),
    "ArnNotLike": _Operator(_arn_like, _ARNS, negated=True),
    "Bool": _Operator(_typed(_truth, operator.eq, "true or false"), _TRUTHS),
    "IpAddress": _Operator(_typed(_network, _within, "an IP address or range"), _IPS),
    "NotIpAddress": _Operator(_typed(_network, _within, "an IP address or range"), _IPS, True),
    **{
        f"Numeric{name}": _Operator(_typed(_number, compare, "a number"), _NUMBERS)
        for name, compare in _COMPARISONS.items()
    },
    "NumericNotEquals": _Operator(_typed(_number, operator.eq, "a number"), _NUMBERS, True),
    **{
        f"Date{name}": _Operator(_typed(_date, compare, "a date"), _DATES)
        for name, compare in _COMPARISONS.items()
    },
    "DateNotEquals": _Operator(_typed(_date, operator.eq, "a date"), _DATES, True),
}

_NAME = re.compile(r"(?:(ForAllValues|ForAnyValue):)?([A-Za-z]+?)(IfExists)?")


def read(name: str, key: str, values: Sequence[str], *, variables: bool) -> Condition | Absence:
    """Read one operator with one key and its values.

    Raises:
        ValueError: the operator or the key is unknown, they do not go together, or a value cannot
            be read.
    """
    parsed = _NAME.fullmatch(name)
    quantifier, base, if_exists = parsed.groups() if parsed else (None, "", None)
    key = key.lower()
    kind = kind_of(key)
    if base == "Null" and not quantifier and not if_exists:
        answers = [_truth(value) for value in values]
        if None in answers:
            raise ValueError("Null takes true or false")
        return Absence(key, frozenset(answer is True for answer in answers))
    found = _OPERATORS.get(base)
    if found is None:
        raise ValueError(f"the operator {name!r} is not known; known are {', '.join(_OPERATORS)}")
    if kind not in found.kinds:
        raise ValueError(f"{base} cannot test {key!r}, which holds {kind.value}")
    if kind is Kind.LIST and not quantifier:
        raise ValueError(
            f"{key!r} has several values: use ForAllValues:{name} or ForAnyValue:{name}"
        )
    fits = tuple(found.read(value, variables) for value in values)
    return Condition(key, quantifier or "", bool(if_exists), found.negated, fits)
