"""Requests derived from the service model, and a judge of requests and answers of its own.

The judge reads the shipped service model through botocore and shares no code with
`recollect.wire`.
"""

import base64
import binascii
import copy
import json
import math
import re
import unicodedata
import uuid
from importlib.resources import files

import botocore.model
import botocore.validate

MODEL = botocore.model.ServiceModel(
    json.loads(files("recollect.wire").joinpath("rekognition.json").read_text()), "rekognition"
)
OPERATIONS = sorted(MODEL.operation_names)
ERRORS = sorted(
    {error.name for name in OPERATIONS for error in MODEL.operation_model(name).error_shapes}
)

# Shapes that requests and answers share, whose bounds can only be meant for requests.
EMPTY_IN_ANSWERS = {"FaceIdList": "DeletedFaces where nothing was deleted"}

CATEGORIES = r"\p{L}\p{Z}\p{N}"
"""All that the model asks of Unicode: letters, blanks and digits, in one class."""

SAME_WORDS = {
    "NextToken": "PaginationToken",
    "CollectionArn": "ResourceArn",
    "CollectionARN": "ResourceArn",
}
"""Members of answers whose values a later request may send, though their shape is another."""

ALPHABETS = ("aZ9", "aZ9_.-", "aZ9_.-:", "aé9 +@", "a b", "\U0001f642a", "\u2028\x00\n", "../%")
RARE = 0.3
"""How often something is deleted, where any other operation is called once."""

WHATEVER = (None, True, False, 0, -1, 1.5, 1e39, 1 << 70, "", "x", "\u2028\x00", [], {}, [None])


# The judge.


def faults(value, shape, *, answer=False):
    """Yield "type" or "rule" for everything about a JSON value that its shape does not allow.

    Args:
        value: parsed JSON.
        shape: botocore's.
        answer: judge it as an answer: no nulls, no unknown members, whole numbers whole.
    """
    kind = shape.type_name
    if kind == "structure":
        if not isinstance(value, dict):
            yield "type"
            return
        given = {name: item for name, item in value.items() if answer or item is not None}
        if answer and not given.keys() <= shape.members.keys():
            yield "type"
        yield from ("rule" for name in shape.required_members if name not in given)
        for name, member in shape.members.items():
            if name in given:
                yield from _part(given[name], member, answer)
    elif kind == "list":
        if not isinstance(value, list):
            yield "type"
            return
        if not (answer and not value and shape.name in EMPTY_IN_ANSWERS):
            yield from _bounds(len(value), shape)
        for item in value:
            yield from _part(item, shape.member, answer)
    elif kind == "map":
        if not isinstance(value, dict):
            yield "type"
            return
        yield from _bounds(len(value), shape)
        for key, item in value.items():
            yield from faults(key, shape.key, answer=answer)
            yield from _part(item, shape.value, answer)
    else:
        yield from _scalar(value, shape, answer)


def _part(value, shape, answer):
    if value is None:
        yield "rule"
    else:
        yield from faults(value, shape, answer=answer)


def _scalar(value, shape, answer):
    kind = shape.type_name
    if kind in ("string", "blob"):
        if not isinstance(value, str):
            yield "type"
            return
        if kind == "blob":
            try:
                value = base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                yield "type"
                return
        yield from _bounds(len(value), shape)
        yield from _words(value, shape)
    elif kind == "boolean":
        if not isinstance(value, bool):
            yield "type"
    else:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            yield "type"
            return
        if kind in ("integer", "long"):
            bits = 31 if kind == "integer" else 63
            if not -(1 << bits) <= value < 1 << bits or (answer and not isinstance(value, int)):
                yield "type"
                return
            value = int(value)
        elif isinstance(value, int) and abs(value) > 1 << 1023:
            yield "type"
            return
        if not math.isfinite(value):
            yield "rule"
        yield from _bounds(value, shape)


def _bounds(measured, shape):
    if measured < shape.metadata.get("min", -math.inf):
        yield "rule"
    if measured > shape.metadata.get("max", math.inf):
        yield "rule"


def _words(value, shape):
    enum, pattern = shape.metadata.get("enum"), shape.metadata.get("pattern")
    if enum and value not in enum:
        yield "rule"
    if pattern and CATEGORIES in pattern:
        # Letters, blanks and digits beyond ASCII are as good as an "a".
        value = "".join(
            "a" if not c.isascii() and unicodedata.category(c)[0] in "LZN" else c for c in value
        )
        pattern = pattern.replace(CATEGORIES, "a-zA-Z 0-9")
    if pattern and not re.fullmatch(pattern, value, re.ASCII):
        yield "rule"


def refusal_due(operation, value):
    """The framework's error that a body of this JSON deserves, or None."""
    found = set(faults(value, MODEL.operation_model(operation).input_shape))
    if "type" in found:
        return "SerializationException"
    return "ValidationException" if found else None


def complaint(operation, status, body):
    """What is wrong with an answer of the AWS dialect, or None where it keeps to the model."""
    model = MODEL.operation_model(operation)
    try:
        answer = json.loads(body)
    except ValueError:
        return "no JSON"
    if status == 200:
        found = list(faults(answer, model.output_shape, answer=True))
        return f"breaks the output shape {len(found)} times" if found else None
    if status != 400:
        return f"status {status}"
    code = answer.get("__type")
    if code in ("ValidationException", "SerializationException", "AccessDeniedException"):
        return None if answer.keys() <= {"__type", "message"} else "another form of error"
    if code not in {shape.name for shape in model.error_shapes}:
        return f"{code} is no error of {operation}"
    if answer.keys() != {"__type", "Code", "Logref", "Message"} or answer["Code"] != code:
        return "another form of error"
    return None


def botocore_complaint(operation, value):
    """What botocore's own validator says of a request that we let in, or None.

    Nulls, unknown members and 1.5 for an integer are no errors on AWS; botocore cannot be given
    them, or does not let them through.
    """
    shape = MODEL.operation_model(operation).input_shape
    report = botocore.validate.ParamValidator().validate(_as_given(value, shape), shape)
    return report.generate_report() if report.has_errors() else None


def _as_given(value, shape):
    """JSON as a caller of botocore would give it."""
    match shape.type_name:
        case "structure":
            return {
                name: _as_given(item, shape.members[name])
                for name, item in value.items()
                if name in shape.members and item is not None
            }
        case "list":
            return [_as_given(item, shape.member) for item in value]
        case "map":
            return {key: _as_given(item, shape.value) for key, item in value.items()}
        case "blob":
            return base64.b64decode(value)
        case "integer" | "long":
            return int(value)
        case _:
            return value


# The author.


class Author:
    """Writes requests: half of them keep every rule, the others break some or are whatever.

    It learns from what it is answered, so that faces, users, collections and page tokens of later
    requests exist, or existed once.

    Args:
        random: a `random.Random`; what it writes follows from it and from what it learns.
        words: values by the name of their shape, to begin with.
    """

    def __init__(self, random, words):
        self.random = random
        self.words = {name: list(values) for name, values in words.items()}

    def request(self):
        """An operation's name and a JSON value to send to it."""
        weights = [RARE if name.startswith("Delete") else 1.0 for name in OPERATIONS]
        (operation,) = self.random.choices(OPERATIONS, weights)
        shape = MODEL.operation_model(operation).input_shape
        value = self._structure(shape)
        chance = self.random.random()
        if chance < 0.45:
            value = copy.deepcopy(value)  # Parts come from the words and are not to be changed.
            for _ in range(self.random.choice((1, 1, 1, 2, 4))):
                self._break(value, shape)
        elif chance < 0.5:
            value = self._whatever(3)
        return operation, value

    def learn(self, value, shape):
        """Remember what a request or an answer says."""
        if shape.type_name == "structure":
            for name, member in shape.members.items():
                item = value.get(name)
                if item is None:
                    continue
                if member.type_name == "string":
                    self._remember(SAME_WORDS.get(name, member.name), item)
                elif member.type_name in ("structure", "list"):
                    self.learn(item, member)
        elif shape.type_name == "list":
            for item in value[:20]:
                if shape.member.type_name == "string":
                    self._remember(shape.member.name, item)
                else:
                    self.learn(item, shape.member)

    def _remember(self, name, word):
        known = self.words.setdefault(name, [])
        if word and word not in known:
            if len(known) >= 40:
                known.pop(self.random.randrange(len(known)))
            known.append(word)

    def _value(self, shape):
        match shape.type_name:
            case "structure":
                return self._structure(shape)
            case "list":
                return [self._value(shape.member) for _ in range(self._size(shape, 3))]
            case "map":
                size = self._size(shape, 3)
                return {self._string(shape.key): self._value(shape.value) for _ in range(size)}
            case "float":
                return self.random.choice((0, 100, 0.0, 50, 79.99, 80.0, 99.9, 100.0))
            case "integer" | "long":
                low, high = shape.metadata.get("min", 0), shape.metadata.get("max", 1 << 20)
                return self.random.choice((low, low + 1, 2, 3, 100, high))
            case "blob":
                return self.random.choice(self.words["Blob"])
            case _:
                return self._string(shape)

    def _structure(self, shape):
        wanted = [
            name
            for name in shape.members
            if name in shape.required_members or self.random.random() < 0.5
        ]
        if shape.name == "Image" and self.random.random() < 0.9:
            wanted = self.random.choices(["Bytes", "S3Object"], [4, 1])
        if shape.name == "S3Object":
            wanted = list(shape.members)[: self.random.choice((1, 2, 2, 2, 3))]
        return {name: self._value(shape.members[name]) for name in wanted}

    def _size(self, shape, usual):
        """A length within the bounds, rarely the longest, as that is a large request."""
        low, high = shape.metadata.get("min", 0), shape.metadata.get("max", usual)
        if self.random.random() < (0.05 if high <= 300 else 0.004):
            return high
        return min(high, max(low, self.random.choice((low, 1, 2, usual))))

    def _string(self, shape):
        enum = shape.metadata.get("enum")
        if enum:
            return self.random.choice(enum)
        known = self.words.get(shape.name)
        if known and self.random.random() < 0.95:
            return self.random.choice(known)
        if shape.name == "FaceId":
            return str(uuid.UUID(int=self.random.getrandbits(128)))
        size = self._size(shape, 12)
        letters = self.random.choice(ALPHABETS)
        word = "".join(self.random.choice(letters) for _ in range(size))
        return word if not list(faults(word, shape)) else "a" * size

    def _break(self, value, shape):
        """Change one place of a request, often so that it breaks a rule."""
        if self.random.random() < 0.1:
            value[self.random.choice(("Unknown", "collectionId", ""))] = self._whatever(1)
            return
        place, key, of = self.random.choice(list(_places(value, shape)))
        how = self.random.random()
        if how < 0.15 and isinstance(place, dict):
            place.pop(key, None)
        elif how < 0.45:
            place[key] = self._whatever(2)
        else:
            place[key] = self._just_beyond(of)

    def _just_beyond(self, shape):
        """A value of the right type on either side of a bound, or with a wrong letter."""
        low, high = shape.metadata.get("min"), shape.metadata.get("max")
        sizes = [low - 1 if low else 0]
        if high is not None and (high <= 5000 or self.random.random() < 0.002):
            sizes += [high, high + 1]
        match shape.type_name:
            case "list":
                return [self._value(shape.member)] * self.random.choice(sizes)
            case "map":
                size = self.random.choice(sizes)
                return {f"k{n}": self._value(shape.value) for n in range(size)}
            case "float":
                return self.random.choice((-0.0001, -1, 100.0001, 101, 1e39, -1e300))
            case "integer" | "long":
                edges = {low or 0, (low or 0) - 1, *sizes, (1 << 31) - 1, 1 << 31, -(1 << 31) - 1}
                return self.random.choice([*sorted(edges), 1.5, 0.5, 1e12])
            case "blob":
                size = self.random.choice(sizes)
                return self.random.choice((base64.b64encode(b"x" * size).decode(), "x", "=", "eA"))
            case "structure":
                return {}
            case _:
                letters = self.random.choice(ALPHABETS)
                size = self.random.choice([*sizes, 1, 5])
                return "".join(self.random.choice(letters) for _ in range(size))

    def _whatever(self, depth):
        """JSON of any type."""
        chance = self.random.random()
        if depth and chance < 0.15:
            return [self._whatever(depth - 1) for _ in range(self.random.randrange(4))]
        if depth and chance < 0.3:
            names = (*SAME_WORDS, "CollectionId", "Image", "é", "")
            return {
                self.random.choice(names): self._whatever(depth - 1)
                for _ in range(self.random.randrange(4))
            }
        return copy.copy(self.random.choice(WHATEVER))


def _places(value, shape):
    """Every container, key and shape below a request whose value may be changed."""
    if shape.type_name == "structure" and isinstance(value, dict):
        for name, member in shape.members.items():
            yield value, name, member
            if name in value:
                yield from _places(value[name], member)
    elif shape.type_name == "list" and isinstance(value, list):
        for at in range(min(len(value), 5)):
            yield value, at, shape.member
            yield from _places(value[at], shape.member)
    elif shape.type_name == "map" and isinstance(value, dict):
        for key in list(value)[:5]:
            yield value, key, shape.value
