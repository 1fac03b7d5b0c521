"""What a detector finds in an array, before it is called a face: boxes, scores, points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recollect.vision.face import Image

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Findings:
    """Rows of one search."""

    boxes: Floats
    """Left, top, right, bottom in pixels of the array searched, shape (count, 4)."""
    scores: Floats
    """Detector's belief that this is a face, 0..1, shape (count,)."""
    points: Floats
    """Eyes, nose, corners of the mouth in pixels, left before right, shape (count, 5, 2)."""
    turns: npt.NDArray[np.int64]
    """Quarter turns of the array (numpy.rot90) at which the face stood upright, shape (count,)."""

    @classmethod
    def upright(cls, boxes: Floats, scores: Floats, points: Floats) -> Findings:
        """Rows found in the array as it is."""
        return cls(boxes, scores, points, np.zeros(len(scores), np.int64))

    @classmethod
    def of(cls, parts: Sequence[Findings]) -> Findings:
        """The rows of several searches, one after the other."""
        parts = [cls.upright(np.empty((0, 4)), np.empty(0), np.empty((0, 5, 2))), *parts]
        return cls(
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.points for part in parts]),
            np.concatenate([part.turns for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, rows: npt.NDArray[np.intp] | slice) -> Findings:
        """Some rows, in the order given."""
        return Findings(self.boxes[rows], self.scores[rows], self.points[rows], self.turns[rows])

    def moved(self, scale: float, left: float, top: float) -> Findings:
        """The same rows in an array whose pixel is x·scale + left, y·scale + top."""
        shift = np.array([left, top])
        boxes = self.boxes * scale + np.tile(shift, 2)
        return Findings(boxes, self.scores, self.points * scale + shift, self.turns)

    def turned_back(self, turn: int, height: int, width: int) -> Findings:
        """Rows found in numpy.rot90(image, turn), in pixels of the image itself.

        Args:
            turn: quarter turns counter-clockwise, 0..3.
            height: of the image before it was turned.
            width: of the image before it was turned.
        """
        corners = _turned_back(self.boxes.reshape(-1, 2, 2), turn, height, width)
        boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
        points = _turned_back(self.points, turn, height, width)
        return Findings(boxes, self.scores, points, (self.turns + turn) % 4)

    def areas(self, height: int, width: int) -> Floats:
        """Area of each box clipped to the picture, in pixels; shape (count,)."""
        low = self.boxes[:, :2].clip(0, [width, height])
        high = self.boxes[:, 2:].clip(0, [width, height])
        return np.asarray(np.prod(high - low, axis=1))


def _turned_back(points: Floats, turn: int, height: int, width: int) -> Floats:
    """Carry points of numpy.rot90(image, turn) back; the last axis is x, y."""
    x, y = points[..., 0], points[..., 1]
    back = {
        0: (x, y),
        1: (width - 1 - y, x),
        2: (width - 1 - x, height - 1 - y),
        3: (y, height - 1 - x),
    }[turn]
    return np.stack(back, axis=-1)


class Detector(Protocol):
    """A face detector at work; safe from any thread."""

    def find(self, image: Image, face_px_min: float) -> Findings:
        """Find the upright faces whose shorter side is about `face_px_min` or more."""
        ...


def suppress(
    boxes: Floats, scores: Floats, overlap_max: float, share: Literal["union", "smaller"] = "union"
) -> npt.NDArray[np.intp]:
    """Keep the best of overlapping boxes (non-maximum suppression).

    Args:
        boxes: left, top, right, bottom, shape (count, 4).
        scores: shape (count,).
        overlap_max: a box that overlaps a better one by more is dropped.
        share: what the intersection is a share of: the union, or the smaller of the two.

    Returns:
        Rows kept, by falling score, ties by row.
    """
    order = np.argsort(-scores, kind="stable")
    low, high = boxes[order, :2].T, boxes[order, 2:].T  # Rows of x and of y.
    width, height = np.maximum(high - low, 0)
    areas = width * height
    kept: list[int] = []
    while len(order):
        kept.append(int(order[0]))
        sides = np.minimum(high[:, :1], high[:, 1:]) - np.maximum(low[:, :1], low[:, 1:])
        width, height = np.maximum(sides, 0)
        common = width * height
        if share == "union":
            whole = areas[0] + areas[1:] - common
        else:
            whole = np.minimum(areas[0], areas[1:])
        left = np.flatnonzero(common <= overlap_max * whole) + 1
        order, areas, low, high = order[left], areas[left], low[:, left], high[:, left]
    return np.array(kept, np.intp)
