"""A second evaluator of policies, written from IAM's public rules and not from ours.

Slow and plain on purpose: a recursive matcher, and instead of undecided answers the set of all
answers that are possible.
"""

import itertools
import re
from datetime import UTC, datetime
from fractions import Fraction
from ipaddress import ip_address, ip_network

YES, NO, EITHER = frozenset({True}), frozenset({False}), frozenset({True, False})


def evaluate(documents, action, resource, context):
    """Allowed, ExplicitlyDenied or ImplicitlyDenied."""
    context = {key.lower(): values for key, values in context.items()}
    verdicts = {"Allow": [], "Deny": []}
    for document in documents:
        new = document.get("Version") == "2012-10-17"
        for statement in listed(document["Statement"]):
            verdicts[statement["Effect"]].append(applies(statement, action, resource, context, new))
    if any(True in verdict for verdict in verdicts["Deny"]):
        return "ExplicitlyDenied"
    if any(verdict == YES for verdict in verdicts["Allow"]):
        return "Allowed"
    return "ImplicitlyDenied"


def applies(statement, action, resource, context, new):
    parts = []
    for name, text, fold in (("Action", action, True), ("Resource", resource, False)):
        for negated in (False, True):
            key = "Not" * negated + name
            if key in statement:
                patterns = [p.lower() if fold else p for p in listed(statement[key])]
                text = text.lower() if fold else text
                found = some(like(p, text, context, new and not fold) for p in patterns)
                parts.append(turned(found) if negated else found)
    for operator, tests in statement.get("Condition", {}).items():
        for key, wanted in tests.items():
            wanted = [scalar(value) for value in listed(wanted)]
            parts.append(condition(operator, wanted, context.get(key.lower(), []), context, new))
    return every(parts)


def condition(operator, wanted, present, context, new):
    if operator == "Null":
        return YES if ("true" if not present else "false") in [w.lower() for w in wanted] else NO
    quantifier, _, operator = operator.rpartition(":")
    if operator.endswith("IfExists"):
        operator = operator.removesuffix("IfExists")
        if not present:
            return YES
    negated = "Not" in operator
    operator = operator.replace("Not", "")

    def one(value):
        found = some(compare(operator, w, value, context, new) for w in wanted)
        return turned(found) if negated else found

    if quantifier == "ForAllValues":
        return every(one(value) for value in present if value != "")
    if quantifier == "ForAnyValue":
        return some(one(value) for value in present if value != "")
    if not present:
        return YES if negated else NO
    return one(present[0]) if len(present) == 1 else EITHER


def compare(operator, wanted, value, context, new):
    if operator == "StringEquals":
        return equal(wanted, value, context, new)
    if operator == "StringEqualsIgnoreCase":
        lowered = {key: [v.lower() for v in values] for key, values in context.items()}
        return equal(wanted.lower(), value.lower(), lowered, new)
    if operator == "StringLike":
        return like(wanted, value, context, new)
    if operator in ("ArnLike", "ArnEquals"):
        fields, patterns = value.split(":", 5), split_outside_variables(wanted, new)
        if len(fields) < 6:
            return EITHER
        return every(like(p, f, context, new) for p, f in zip(patterns, fields, strict=True))
    if operator == "Bool":
        known = value.lower() in ("true", "false")
        return truth(value.lower() == wanted.lower()) if known else EITHER
    if operator == "IpAddress":
        try:
            address = ip_address(value)
        except ValueError:
            return EITHER
        spellings = [address, getattr(address, "ipv4_mapped", None)]
        return truth(any(a in ip_network(wanted, strict=False) for a in spellings if a))
    kind, comparison = re.fullmatch("(Numeric|Date)(.*)", operator).groups()
    try:
        left, right = (number if kind == "Numeric" else date)(value), None
    except ValueError:
        return EITHER
    right = (number if kind == "Numeric" else date)(wanted)
    return truth(
        {
            "Equals": left == right,
            "LessThan": left < right,
            "LessThanEquals": left <= right,
            "GreaterThan": left > right,
            "GreaterThanEquals": left >= right,
        }[comparison]
    )


# Texts ----------------------------------------------------------------------------------------


def tokens(text, context, new, wild):
    """The ways in which a pattern can be read: one, or none where a variable has no one value."""
    read = []
    for token in re.findall(r"\$\{[^}]*\}|.", text, re.DOTALL) if new else list(text):
        if len(token) == 1:
            read.append(("wild" if wild and token in "*?" else "plain", token))
            continue
        name, comma, default = token[2:-1].partition(",")
        if name in ("*", "?", "$"):
            values = [name]
        else:
            values = context.get(name.strip().lower(), [])
            if not values and comma:
                values = [default.strip()[1:-1]]
        if len(values) != 1:
            return None
        read += [("plain", character) for character in values[0]]
    return read


def equal(wanted, value, context, new):
    read = tokens(wanted, context, new, wild=False)
    return EITHER if read is None else truth("".join(c for _, c in read) == value)


def like(pattern, text, context, new):
    read = tokens(pattern, context, new, wild=True)
    return EITHER if read is None else truth(glob(read, text))


def glob(pattern, text):
    if not pattern:
        return not text
    kind, character = pattern[0]
    if (kind, character) == ("wild", "*"):
        return glob(pattern[1:], text) or (text != "" and glob(pattern, text[1:]))
    if not text:
        return False
    return ((kind, character) == ("wild", "?") or character == text[0]) and glob(
        pattern[1:], text[1:]
    )


def split_outside_variables(text, new):
    fields, inside = [""], False
    for at, character in enumerate(text):
        inside = new and (inside or text[at : at + 2] == "${")
        if character == "}":
            inside = False
        if character == ":" and not inside and len(fields) < 6:
            fields.append("")
        else:
            fields[-1] += character
    return fields


# Values ---------------------------------------------------------------------------------------


def number(text):
    if not re.fullmatch(r"-?\d+(\.\d+)?", text, re.ASCII):
        raise ValueError(text)
    return Fraction(text)


def date(text):
    if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
        return float(text)
    if not re.match(r"\d{4}-\d\d-\d\d(T\d\d:\d\d|$)", text, re.ASCII):
        raise ValueError(text)
    read = datetime.fromisoformat(text)
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


def scalar(value):
    return str(value).lower() if isinstance(value, bool) else str(value)


def listed(value):
    return value if isinstance(value, list) else [value]


# Sets of possible answers -----------------------------------------------------------------------


def truth(answer):
    return YES if answer else NO


def turned(answers):
    return frozenset(not answer for answer in answers)


def every(parts):
    return frozenset(all(answers) for answers in itertools.product(*parts))


def some(parts):
    return frozenset(any(answers) for answers in itertools.product(*parts))
