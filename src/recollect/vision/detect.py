"""How a picture is searched for faces: the largest first, or all of them, and what a miss tries.

Knows no particular detector. A search goes from cheap to dear and stops at the first success.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from recollect.vision.findings import Findings, suppress

if TYPE_CHECKING:
    from recollect.vision.face import Image
    from recollect.vision.findings import Detector

FACE_PX_MIN = 20
"""Smallest face looked for, in pixels of a small picture."""
CONTRACT_FACE_PX, CONTRACT_AREA_PX = 40, 1920 * 1080
"""Rekognition promises faces of 40 px at 1920x1080, proportionally larger ones above."""

LARGEST_SHARE = 0.15
"""The first look searches for faces of this share of the short side and larger."""
LARGEST_ACCEPTED = 0.9
"""A largest face below this share of what was looked for may have a larger one missed beside."""

RETRY_SHARE = 0.08
"""After a miss, faces of this share of the short side and larger are looked for."""

RETRY_SIDE_PX = 640
"""Short side of what is searched after a miss: then the smallest face has 51 pixels still."""

FACES_MAX = 100
AGAIN_MAX = 16
"""Doubtful faces of one picture that are looked at again, the largest first."""
AGAIN_MARGIN = 1.0
"""Room around a doubtful face when it is looked at again, in sides of its box."""
SURER = 0.25
"""A face at another turn replaces a doubtful one where its doubt, 1 - score, is this share."""
AGAIN_OVERLAP_MIN = 0.25
"""Intersection over union at which a box found in a turned part is the same face."""

BORDER_SHARE = 0.3
GAMMA_TARGET, GAMMA_MIN = 0.4, 0.25


class Search:
    """A detector and the ways to use it on a picture.

    Args:
        detector: what looks at an array.
        doubt_below: score under which a face may be one that lies on its side, 0..1.
    """

    def __init__(self, detector: Detector, *, doubt_below: float) -> None:
        self._detector = detector
        self._doubt_below = doubt_below

    def every(self, image: Image) -> Findings:
        """All faces by falling area of the box clipped to the picture, at most FACES_MAX."""
        found = self._detector.find(image, smallest_face_px(image))
        if not len(found):
            found = self._after_a_miss(image)
        elif found.scores.max() < self._doubt_below:
            # Nobody is sure: the whole picture may lie on its side.
            turned = self._at_other_turns(image)
            turned = turned.take(np.flatnonzero(_surer(turned, found)))
            found = turned if len(turned) else found
        found = by_area(found, image).take(slice(FACES_MAX))
        rows = [found.take(slice(row, row + 1)) for row in range(len(found))]
        rows[:AGAIN_MAX] = [self._settled(image, row) for row in rows[:AGAIN_MAX]]
        return by_area(Findings.of(rows), image)

    def largest(self, image: Image) -> Findings:
        """The largest face alone, none or one row; usually in a fraction of `every`'s time."""
        wanted = max(FACE_PX_MIN, LARGEST_SHARE * min(image.shape[:2]))
        found = by_area(self._detector.find(image, wanted), image)
        if not len(found) or _side_px(found) < LARGEST_ACCEPTED * wanted:
            found = by_area(self._detector.find(image, smallest_face_px(image)), image)
        if not len(found):
            found = by_area(self._after_a_miss(image), image)
        face = found.take(slice(1))
        if not len(face) or face.scores[0] >= self._doubt_below:
            return face
        settled = self._settled(image, face)
        if settled is not face:
            # Where one face lies the picture lies, and a larger one may have been missed.
            beside = self._turned(image, int(settled.turns[0]), wanted)
            return by_area(Findings.of([settled, beside]), image).take(slice(1))
        # Doubtful at every turn, so perhaps no face at all: a surer one elsewhere replaces it.
        turned = by_area(self._at_other_turns(image), image).take(slice(1))
        return turned if _surer(turned, face).any() else face

    def _settled(self, image: Image, face: Findings) -> Findings:
        """A face, or where it is doubtful the same face at a turn that leaves less doubt."""
        if face.scores[0] >= self._doubt_below:
            return face
        other = self.at_another_turn(image, face)
        return other if _surer(other, face).any() else face

    def at_another_turn(self, image: Image, face: Findings) -> Findings:
        """Look for one face at the other quarter turns; the one of the best score, if any.

        A face that lies on its side is often found, but with misplaced points, which would give
        it the template of somebody else. Only the part of the picture around it is searched.
        """
        left, top, right, bottom = face.boxes[0]
        side = max(right - left, bottom - top)
        height, width = image.shape[:2]
        x0, y0 = (max(0, int(v - AGAIN_MARGIN * side)) for v in (left, top))
        x1 = min(width, int(right + AGAIN_MARGIN * side) + 1)
        y1 = min(height, int(bottom + AGAIN_MARGIN * side) + 1)
        part = image[y0:y1, x0:x1]
        seen = []
        for turn in (1, 2, 3):
            turned = (int(face.turns[0]) + turn) % 4
            found = self._turned(part, turned, max(FACE_PX_MIN, side / 2)).moved(1.0, x0, y0)
            same = _overlap(found, face) >= AGAIN_OVERLAP_MIN
            seen.append(found.take(np.flatnonzero(same)))
        every = Findings.of(seen)
        return every.take(np.argsort(-every.scores, kind="stable")[:1])

    def _turned(self, image: Image, turn: int, face_px_min: float) -> Findings:
        """Find the faces that stand upright in numpy.rot90(image, turn)."""
        turned = np.ascontiguousarray(np.rot90(image, turn))
        found = self._detector.find(turned, face_px_min)
        return found.turned_back(turn, *image.shape[:2])

    def _after_a_miss(self, image: Image) -> Findings:
        """Quarter turns, then a black border, then the same in better light."""
        found = self._at_other_turns(image)
        if len(found):
            return found
        small, scale = _reduced(image)
        found = self._bordered(small)
        exponent = _exponent(small)
        if not len(found) and exponent < 1:
            found = self._bordered(_lit(small, exponent))
        return found.moved(scale, (scale - 1) / 2, (scale - 1) / 2)

    def _at_other_turns(self, image: Image) -> Findings:
        """The faces of the three other quarter turns, the best of overlapping ones."""
        small, scale = _reduced(image)
        face_px_min = _retried_face_px(small)
        turns = Findings.of([self._turned(small, turn, face_px_min) for turn in (1, 2, 3)])
        turns = turns.take(suppress(turns.boxes, turns.scores, 0.5))
        return turns.moved(scale, (scale - 1) / 2, (scale - 1) / 2)

    def _bordered(self, image: Image) -> Findings:
        """Search with black around the picture, for faces that fill it."""
        short, long = sorted(image.shape[:2])
        border = int(BORDER_SHARE * min(long, 2 * short))
        wide = cv2.copyMakeBorder(
            image, border, border, border, border, cv2.BORDER_CONSTANT, value=(0, 0, 0)
        )
        found = self._detector.find(np.asarray(wide, np.uint8), _retried_face_px(image))
        return found.moved(1.0, -border, -border)


def smallest_face_px(image: Image) -> float:
    """The smallest face to look for: what the contract promises, and smaller in small pictures."""
    area_px = float(image.shape[0] * image.shape[1])
    return max(FACE_PX_MIN, CONTRACT_FACE_PX * math.sqrt(area_px / CONTRACT_AREA_PX))


def _reduced(image: Image) -> tuple[Image, float]:
    """A picture small enough to be copied and turned at will, and the factor back."""
    height, width = image.shape[:2]
    scale = min(height, width) / RETRY_SIDE_PX
    if scale <= 1:
        return image, 1.0
    # One factor for both sides: rounding moves the far end by half a pixel at most.
    size = (round(width / scale), round(height / scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), scale


def _retried_face_px(image: Image) -> float:
    return max(FACE_PX_MIN, RETRY_SHARE * float(min(image.shape[:2])))


def _surer(others: Findings, face: Findings) -> npt.NDArray[np.bool_]:
    """Which of the others leave so much less doubt than the best of `face` that they replace it.

    Less alone is not enough: an upright face in doubt must not give way to chance.
    """
    return np.asarray(1 - others.scores <= SURER * (1 - face.scores.max()))


def by_area(found: Findings, image: Image) -> Findings:
    """Sort by falling area of the box clipped to the picture times the score; none outside of it.

    Clipped, because half a face at the border may have the largest box of all. Times the score,
    because of two boxes of nearly one size that of a profile or of half a face is the doubtful one.
    """
    areas = found.areas(*image.shape[:2])
    order = np.argsort(-areas * found.scores, kind="stable")
    return found.take(order[areas[order] > 0])


def _side_px(found: Findings) -> float:
    """Longer side of the first box, which is the side of the square that found it."""
    return float((found.boxes[0, 2:] - found.boxes[0, :2]).max())


def _overlap(found: Findings, face: Findings) -> npt.NDArray[np.float64]:
    """Intersection over union of each box with that of `face`."""
    low = np.maximum(found.boxes[:, :2], face.boxes[0, :2])
    high = np.minimum(found.boxes[:, 2:], face.boxes[0, 2:])
    common = np.prod((high - low).clip(0), axis=1)
    areas = [np.prod(f.boxes[:, 2:] - f.boxes[:, :2], axis=1) for f in (found, face)]
    return np.asarray(common / (areas[0] + areas[1] - common), np.float64)


def _exponent(image: Image) -> float:
    """The gamma that lifts the median brightness to GAMMA_TARGET; 1 where it is there already."""
    median = float(np.median(image)) / 255
    exponent = np.log(GAMMA_TARGET) / np.log(np.clip(median, 1e-3, 0.999))
    return float(np.clip(exponent, GAMMA_MIN, 1.0))


def _lit(image: Image, exponent: float) -> Image:
    table = (np.arange(256) / 255) ** exponent * 255
    return np.asarray(cv2.LUT(image, table.round().astype(np.uint8)), np.uint8)
