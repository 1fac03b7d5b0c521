"""Answers that were had already, kept in a file so that a long run can go on where it stopped."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Self

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class AnswersError(Exception):
    """The file is not one of ours."""


class Answers:
    """A file of JSON lines, key and answer, that only grows.

    An answer is written before it is used. A last line that a stop tore in two is cut off.

    Args:
        path: the file; made where it is missing, together with its folder.

    Raises:
        AnswersError: the file holds something else.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._known: dict[str, Any] = {}
        whole_bytes = 0
        if path.exists():
            for line in path.read_bytes().splitlines(keepends=True):
                if not line.endswith(b"\n"):
                    break
                try:
                    key, answer = msgspec.json.decode(line)
                except (msgspec.DecodeError, ValueError, TypeError):
                    raise AnswersError(f"{path} holds no answers: move it away") from None
                self._known[key] = answer
                whole_bytes += len(line)
        self._file = path.open("ab")
        self._file.truncate(whole_bytes)

    def get(self, question: list[Any], ask: Callable[[], Any]) -> Any:
        """The answer to a question: the kept one, or that of `ask`, which is kept from now on."""
        key = _key(question)
        if key not in self._known:
            answer = ask()
            self._file.write(json.dumps([key, answer]).encode() + b"\n")
            self._file.flush()
            self._known[key] = answer
        return self._known[key]

    def has(self, question: list[Any]) -> bool:
        """Whether the answer is kept."""
        return _key(question) in self._known

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _key(question: list[Any]) -> str:
    return hashlib.sha256(json.dumps(question).encode()).hexdigest()[:32]
