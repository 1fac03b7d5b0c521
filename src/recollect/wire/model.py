"""The service model: operations by name or target, and the shapes of their parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(eq=False, slots=True)
class Shape:
    """One shape of the model with every rule it states; what a type does not have is empty.

    Shapes may reach themselves, so members are filled in after the shape exists.
    """

    name: str
    type: str
    """structure, list, map, string, integer, long, float, double, boolean, blob or timestamp."""
    members: Mapping[str, Member] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    member: Shape | None = None
    key: Shape | None = None
    value: Shape | None = None
    min: float | None = None
    max: float | None = None
    """Bounds: of a number's value, or of a length in characters, bytes, items or entries."""
    pattern: str | None = None
    enum: tuple[str, ...] = ()
    timestamp_format: str = "unixTimestamp"
    document: bool = False
    """Any JSON value whatever, taken as it is."""
    sensitive: bool = False
    """A secret: it is answered, and kept nowhere."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a structure."""

    name: str
    wire_name: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class OperationModel:
    """One operation: what it takes, what it answers, which errors it declares."""

    name: str
    input: Shape | None
    output: Shape | None
    errors: tuple[str, ...]


class ServiceModel:
    """A service of AWS's JSON protocol, as a `service-2.json` document describes it."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._shapes: dict[str, Shape] = {}
        self.target_prefix: str = document["metadata"]["targetPrefix"]
        self.api_version: str = document["metadata"]["apiVersion"]
        self.operations: Mapping[str, OperationModel] = {
            name: OperationModel(
                name,
                self._maybe(operation.get("input")),
                self._maybe(operation.get("output")),
                tuple(error["shape"] for error in operation.get("errors", ())),
            )
            for name, operation in document["operations"].items()
        }

    def operation(self, target: str) -> OperationModel | None:
        """Find the operation that an `X-Amz-Target` value names, or None."""
        prefix, _, name = target.rpartition(".")
        return self.operations.get(name) if prefix == self.target_prefix else None

    def shape(self, name: str) -> Shape:
        """Find a shape by its name; KeyError where there is none."""
        return self._made(name)

    def _referred(self, reference: Mapping[str, Any]) -> Shape:
        """Follow a reference; it may state the timestamp format of its own place."""
        shape = self._made(reference["shape"])
        if "timestampFormat" in reference:
            return Shape(shape.name, shape.type, timestamp_format=reference["timestampFormat"])
        return shape

    def _maybe(self, reference: Mapping[str, Any] | None) -> Shape | None:
        return None if reference is None else self._referred(reference)

    def _made(self, name: str) -> Shape:
        if name in self._shapes:
            return self._shapes[name]
        stated = self._document["shapes"][name]
        shape = self._shapes[name] = Shape(
            name,
            stated["type"],
            required=tuple(stated.get("required", ())),
            min=stated.get("min"),
            max=stated.get("max"),
            pattern=stated.get("pattern"),
            enum=tuple(stated.get("enum", ())),
            timestamp_format=stated.get("timestampFormat", "unixTimestamp"),
            document=stated.get("document", False),
            sensitive=stated.get("sensitive", False),
        )
        shape.members = {
            key: Member(
                key,
                reference.get("locationName", key),
                self._referred(reference),
            )
            for key, reference in stated.get("members", {}).items()
        }
        shape.member = self._maybe(stated.get("member"))
        shape.key = self._maybe(stated.get("key"))
        shape.value = self._maybe(stated.get("value"))
        return shape


@cache
def rekognition() -> ServiceModel:
    """Rekognition's model, trimmed to what is served; read once."""
    return _read("rekognition.json")


@cache
def plain() -> ServiceModel:
    """Rekognition's model with the members that only the plain dialect has; read once.

    Apart from it, so that the AWS dialect knows nothing of them: there they are members like any
    other that nobody knows.
    """
    document, more = _document("rekognition.json"), _document("plain.json")
    document["shapes"] |= more["shapes"]
    for shape, members in more["members"].items():
        document["shapes"][shape]["members"] |= members
    return ServiceModel(document)


@cache
def administration() -> ServiceModel:
    """Our own model of keys, policies and audit, in the same form; read once."""
    return _read("administration.json")


def operations() -> Mapping[str, OperationModel]:
    """The operations of Rekognition that are served, by name."""
    return rekognition().operations


@cache
def every_operation() -> Mapping[str, OperationModel]:
    """The operations of both models, by name, as the AWS dialect has them."""
    return {**operations(), **administration().operations}


@cache
def plain_operations() -> Mapping[str, OperationModel]:
    """The operations of both models, by name, as the plain dialect has them."""
    return {**plain().operations, **administration().operations}


def operation(target: str) -> OperationModel | None:
    """Find the operation that an `X-Amz-Target` value names, or None."""
    return rekognition().operation(target) or administration().operation(target)


def _read(name: str) -> ServiceModel:
    return ServiceModel(_document(name))


def _document(name: str) -> dict[str, Any]:
    text = files("recollect.wire").joinpath(name).read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return document
