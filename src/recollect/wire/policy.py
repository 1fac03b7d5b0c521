"""May they: IAM policy documents, read strictly and evaluated fail-closed.

Explicit deny wins, then allow, then nothing is allowed. A document that holds anything not
understood is refused when it is read; where a statement cannot be decided (see `condition`), it
denies if its effect is Deny and does not allow if its effect is Allow.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
and .../reference_policies_evaluation-logic.html
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from recollect.wire import condition
from recollect.wire.condition import Kind, all_of, any_of, inverse, kind_of
from recollect.wire.wildcard import Pattern

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from recollect.wire.condition import Absence, Condition
    from recollect.wire.wildcard import Context

CHARS_MAX = 20_480
"""Longest policy document; AWS's longest, for the policies of one role together, is 10,240."""

_VERSIONS = ("2012-10-17", "2008-10-17")
_ACTION = re.compile(r"\*|\*:\*|[A-Za-z0-9-]+:[A-Za-z0-9*?]+")
_ARN = re.compile(r"arn:[^:]*:[a-z0-9-]+:")
_SID = re.compile(r"[A-Za-z0-9]*")


class PolicyError(ValueError):
    """A policy document is refused; the text says where and why."""


class _Number(str):
    """A number of a document, kept as it was written."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody wants to do."""

    action: str
    """`service:Operation`."""
    resource: str
    """An ARN, or `*` for an action that concerns no resource."""
    context: Context
    aliases: tuple[str, ...] = ()
    """Other names of the resource: a Deny that names one counts, an Allow does not."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether it is allowed, and which statement decided it."""

    allowed: bool
    policy: int | None = None
    """Position among the policies, from 0; None where no statement decided."""
    statement: int | None = None
    """Position in the policy, from 0."""
    sid: str = ""

    @property
    def denied_explicitly(self) -> bool:
        """Whether a statement denies it, rather than none allowing it."""
        return not self.allowed and self.statement is not None


@dataclass(frozen=True, slots=True)
class _Statement:
    sid: str
    allows: bool
    actions: tuple[Pattern, ...]
    other_actions: bool
    """The statement is about every action but these."""
    resources: tuple[Pattern, ...]
    other_resources: bool
    conditions: tuple[Condition | Absence, ...]

    def applies(self, request: Request) -> bool | None:
        context, action = request.context, request.action.lower()
        about_action = any_of(pattern.matches(action, context) for pattern in self.actions)
        # Named where naming excludes, or not named where naming includes.
        if about_action is self.other_actions:
            return False
        names = [request.resource]
        if not self.allows and not self.other_resources:
            names += request.aliases
        about_resource = any_of(
            pattern.matches(name, context) for name in names for pattern in self.resources
        )
        if self.other_resources:
            about_resource = inverse(about_resource)
        # Most statements are about something else; only the rest look at the conditions.
        if about_resource is False:
            return False
        return all_of([about_resource, *(test.holds(context) for test in self.conditions)])


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy document, read."""

    statements: tuple[_Statement, ...]
    keys: frozenset[str]
    """The condition keys it looks at, in lower case."""
    regions: frozenset[str]
    """One region for each way in which its resources name regions; `eu-` for `eu-*`."""

    @staticmethod
    def parse(text: str) -> Policy:
        """Read a document.

        Raises:
            PolicyError: it is not JSON, breaks the grammar or holds something not known here.
        """
        if len(text) > CHARS_MAX:
            raise PolicyError(f"a policy document has at most {CHARS_MAX} characters")
        return _document(_json(text))


@lru_cache(maxsize=512)
def compiled(text: str) -> Policy:
    """Read a document once; the last 512 are kept."""
    return Policy.parse(text)


def evaluate(policies: Sequence[Policy], request: Request) -> Decision:
    """Decide: the first statement that denies, else the first that allows, else no."""
    allowed = Decision(allowed=False)
    for number, policy in enumerate(policies):
        for position, statement in enumerate(policy.statements):
            applies = statement.applies(request)
            if not statement.allows and applies is not False:
                return Decision(False, number, position, statement.sid)
            if statement.allows and applies and not allowed.allowed:
                allowed = Decision(True, number, position, statement.sid)
    return allowed


# Reading a document ---------------------------------------------------------------------------


def _json(text: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        read = dict(pairs)
        if len(read) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise PolicyError(f"the element {twice!r} stands twice")
        return read

    def refuse(constant: str) -> Any:
        raise PolicyError(f"{constant} is not JSON")

    try:
        return json.loads(
            text,
            object_pairs_hook=unique,
            parse_int=_Number,
            parse_float=_Number,
            parse_constant=refuse,
        )
    except json.JSONDecodeError as error:
        raise PolicyError(f"not JSON: {error}") from error
    except RecursionError:
        raise PolicyError("not a policy: nested too deeply") from None


def _document(document: Any) -> Policy:
    _elements(document, "the policy", needed={"Statement"}, allowed={"Version", "Id"})
    version = document.get("Version", "2008-10-17")
    if version not in _VERSIONS:
        raise PolicyError(f"Version: one of {', '.join(_VERSIONS)}")
    if type(document.get("Id", "")) is not str:
        raise PolicyError("Id: a text")
    listed = document["Statement"]
    listed = listed if isinstance(listed, list) else [listed]
    if not listed:
        raise PolicyError("Statement: at least one is needed")
    keys: set[str] = set()
    statements = tuple(
        _statement(statement, f"Statement[{position}]", version == _VERSIONS[0], keys)
        for position, statement in enumerate(listed)
    )
    sids = [statement.sid for statement in statements if statement.sid]
    if len(set(sids)) < len(sids):
        raise PolicyError("Statement: a Sid stands twice")
    return Policy(statements, frozenset(keys), _regions(listed))


def _statement(statement: Any, where: str, variables: bool, keys: set[str]) -> _Statement:
    _elements(
        statement,
        where,
        needed={"Effect"},
        allowed={"Sid", "Action", "NotAction", "Resource", "NotResource", "Condition"},
    )
    sid = statement.get("Sid", "")
    if type(sid) is not str or not _SID.fullmatch(sid):
        raise PolicyError(f"{where}.Sid: letters and digits only")
    if statement["Effect"] not in ("Allow", "Deny"):
        raise PolicyError(f"{where}.Effect: Allow or Deny, in these capitals")
    action, resource = _either(statement, "Action", where), _either(statement, "Resource", where)
    return _Statement(
        sid=sid,
        allows=statement["Effect"] == "Allow",
        actions=tuple(
            _action(text, f"{where}.{action}") for text in _texts(statement, action, where)
        ),
        other_actions=action == "NotAction",
        resources=tuple(
            _resource(text, f"{where}.{resource}", variables, keys)
            for text in _texts(statement, resource, where)
        ),
        other_resources=resource == "NotResource",
        conditions=tuple(_conditions(statement.get("Condition", {}), where, variables, keys)),
    )


def _elements(value: Any, where: str, *, needed: set[str], allowed: set[str]) -> None:
    if not isinstance(value, dict):
        raise PolicyError(f"{where}: an object is needed")
    for name in sorted(needed - value.keys()):
        raise PolicyError(f"{where}: {name} is missing")
    for name in sorted(value.keys() - needed - allowed):
        # Principal and NotPrincipal belong to policies of resources; ours belong to a key.
        raise PolicyError(f"{where}: the element {name!r} is not known here")


def _either(statement: dict[str, Any], name: str, where: str) -> str:
    found = [each for each in (name, f"Not{name}") if each in statement]
    if len(found) != 1:
        raise PolicyError(f"{where}: exactly one of {name} and Not{name} is needed")
    return found[0]


def _texts(holder: dict[str, Any], name: str, where: str) -> list[str]:
    """One text or a list of some; numbers and truth values are refused."""
    value = holder[name]
    values = value if isinstance(value, list) else [value]
    if not values or any(type(each) is not str for each in values):
        raise PolicyError(f"{where}.{name}: a text or a list of texts is needed")
    return values


def _action(text: str, where: str) -> Pattern:
    if not _ACTION.fullmatch(text):
        raise PolicyError(f"{where}: {text!r} is not an action, e.g. 'rekognition:SearchFaces'")
    return Pattern(text.lower(), wildcards=True, variables=False)


def _resource(text: str, where: str, variables: bool, keys: set[str]) -> Pattern:
    # A shorter ARN can only be meant where its last field is wild and so covers the others.
    whole = _ARN.match(text) and (text.count(":") >= 5 or text.endswith("*"))
    if text != "*" and not whole:
        raise PolicyError(
            f"{where}: {text!r} is neither * nor an ARN with the name of a service, "
            "e.g. 'arn:aws:rekognition:*:*:collection/staff'"
        )
    try:
        keys |= _variables(text, variables)
        return Pattern(text, wildcards=True, variables=variables)
    except ValueError as error:
        raise PolicyError(f"{where}: {error}") from error


def _regions(statements: list[dict[str, Any]]) -> frozenset[str]:
    texts = [
        text
        for statement in statements
        for name in ("Resource", "NotResource")
        if name in statement
        for text in _texts(statement, name, "")
    ]
    fields = [text.split(":")[3] for text in texts if text.count(":") >= 5]
    return frozenset(field.replace("*", "").replace("?", "a") for field in fields)


def _conditions(
    block: Any, where: str, variables: bool, keys: set[str]
) -> Iterator[Condition | Absence]:
    if not isinstance(block, dict):
        raise PolicyError(f"{where}.Condition: an object is needed")
    for name, tests in block.items():
        if not isinstance(tests, dict) or not tests:
            raise PolicyError(f"{where}.Condition.{name}: an object of condition keys is needed")
        for key in tests:
            place = f"{where}.Condition.{name}.{key}"
            values = _scalars(tests[key], place)
            try:
                keys.update(*(_variables(value, variables) for value in values))
                test = condition.read(name, key, values, variables=variables)
            except ValueError as error:
                raise PolicyError(f"{place}: {error}") from error
            keys.add(test.key)
            yield test


def _scalars(value: Any, where: str) -> list[str]:
    """The values of a condition: texts, numbers and truth values, alone or in a list."""
    values = value if isinstance(value, list) else [value]
    texts = [str(each).lower() if isinstance(each, bool) else each for each in values]
    if not texts or not all(isinstance(each, str) for each in texts):
        raise PolicyError(f"{where}: a value or a list of values is needed")
    return texts


def _variables(text: str, variables: bool) -> frozenset[str]:
    """The condition keys that a text takes values from."""
    keys = Pattern(text, wildcards=True, variables=variables).variables
    for key in keys:
        if kind_of(key) is Kind.LIST:
            raise ValueError(f"the variable {key!r} has several values")
    return keys
