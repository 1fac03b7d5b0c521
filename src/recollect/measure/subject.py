"""What is measured: a system that finds, compares and searches faces, seen from outside."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from recollect.measure.data import Picture
    from recollect.measure.metrics import Numbers

Box = tuple[float, float, float, float]
"""Left, top, width, height as ratios of the upright picture."""

CANDIDATES = 10
"""Candidates asked for in a search."""


@dataclass(frozen=True, slots=True)
class Found:
    """The face that a system chose in a picture: the largest one."""

    box: Box
    quality: Mapping[str, float] = field(default_factory=dict)
    """What the system says of the face, by name; higher is better."""


@dataclass(frozen=True, slots=True)
class Search:
    """The answer to one search."""

    box: Box
    candidates: tuple[tuple[int, float], ...]
    """Position in the gallery and score, best first, at most `CANDIDATES`."""


class Subject(Protocol):
    """A system under measure; its scores rise with likeness."""

    @property
    def title(self) -> str:
        """What it is, in a few words, versions included."""
        ...

    @property
    def thresholds(self) -> Mapping[str, float]:
        """The thresholds that its users know, by name."""
        ...

    @property
    def default_threshold(self) -> str:
        """The one of them that applies where a user says nothing."""
        ...

    def compare_all(self, pictures: Sequence[Picture]) -> tuple[list[Found | None], Numbers]:
        """Compare each picture's face with each other's.

        Returns:
            The faces, None where none was found; scores, shape (count, count), symmetric,
            `MISSING` where a face is missing and on the diagonal.
        """
        ...

    def search_all(
        self, gallery: Sequence[Picture], probes: Sequence[Picture]
    ) -> tuple[list[Found | None], list[Search | None]]:
        """Enrol the gallery, then search each probe in it.

        Returns:
            The enrolled faces and the searches; None where no face was found.
        """
        ...

    def detect(self, picture: Picture) -> list[Box]:
        """The boxes of all faces of a picture, the largest first."""
        ...


def covers_middle(box: Box) -> bool:
    """Whether a face covers the middle of its picture, as that of the person labelled should."""
    return 0 <= 0.5 - box[0] <= box[2] and 0 <= 0.5 - box[1] <= box[3]
