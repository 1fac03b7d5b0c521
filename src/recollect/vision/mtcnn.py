"""MTCNN: three small nets in a row, each looking closer at what the one before let through.

Source: K. Zhang, Z. Zhang, Z. Li, Y. Qiao, "Joint face detection and alignment using multi-task
cascaded convolutional networks", IEEE Signal Processing Letters 23(10), 2016. The boxes' odd
ones (inclusive ends, pixels counted from 1) are those of the original, because the nets were
trained with them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from recollect.vision.findings import Findings, Floats, suppress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recollect.vision.face import Image
    from recollect.vision.session import Session

CELL_PX, STRIDE_PX = 12, 2
SCALE_STEP = 0.709
REFINE_PX, OUTPUT_PX = 24, 48
LEVEL_PX_MIN = 96

PROPOSALS_SCALE_MAX = 4000
"""Cells of one scale that are looked at, the best first."""
PROPOSALS_MAX = 1500
"""Boxes that reach the second net: about 0.15 s."""
REFINED_MAX = 400
"""Boxes that reach the third net: about 0.2 s. The 100 largest faces are all a caller can see."""
BATCH = 128


class Pyramid:
    """A picture and its halvings, each by area averaging, made when first asked for."""

    def __init__(self, image: Image) -> None:
        self.levels = [image]

    def level(self, wanted: int) -> tuple[Image, int]:
        """The picture halved `wanted` times, or as often as its short side allows."""
        while len(self.levels) <= wanted and min(self.levels[-1].shape[:2]) > LEVEL_PX_MIN:
            height, width = self.levels[-1].shape[:2]
            # Whole pairs only, so that a pixel of a level is exactly four of the one before.
            even = self.levels[-1][: height // 2 * 2, : width // 2 * 2]
            half = cv2.resize(even, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
            self.levels.append(np.asarray(half, np.uint8))
        level = min(wanted, len(self.levels) - 1)
        return self.levels[level], level


class Mtcnn:
    """The three nets as one detector.

    Args:
        nets: proposal, refining and output net.
        thresholds: the least score that passes each of them.
    """

    def __init__(self, nets: Sequence[Session], thresholds: Sequence[float]) -> None:
        self.proposal, self.refining, self.output = nets
        self.thresholds = tuple(thresholds)

    def find(self, image: Image, face_px_min: float) -> Findings:
        """Find the upright faces whose shorter side is about `face_px_min` or more.

        Args:
            image: RGB, shape (height, width, 3).
            face_px_min: smallest face to look for, in pixels; the cost grows with 1/face_px_min².
        """
        pyramid = Pyramid(image)
        boxes = self._propose(pyramid, face_px_min)
        if len(boxes):
            boxes = self._refine(pyramid, boxes)
        return self._finish(pyramid, boxes) if len(boxes) else Findings.of([])

    def _propose(self, pyramid: Pyramid, face_px_min: float) -> Floats:
        """Squares that may hold a face, shape (count, 4)."""
        height, width = pyramid.levels[0].shape[:2]
        scale = min(1.0, CELL_PX / face_px_min)
        rows: list[Floats] = []
        while min(height, width) * scale >= CELL_PX:
            rows.append(self._cells(pyramid, scale))
            scale *= SCALE_STEP
        found = np.concatenate(rows) if rows else np.empty((0, 9))
        found = found[suppress(found[:, :4], found[:, 4], 0.7)[:PROPOSALS_MAX]]
        boxes = found[:, :4]
        sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        return _square(boxes + found[:, 5:] * sides)

    def _cells(self, pyramid: Pyramid, scale: float) -> Floats:
        """Cells of one scale that pass: box, score, regression; shape (count, 9)."""
        height, width = pyramid.levels[0].shape[:2]
        size = int(width * scale + 1), int(height * scale + 1)
        image, _ = pyramid.level(int(math.log2(1 / scale)))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        planes = np.ascontiguousarray(small.transpose(2, 0, 1)[None], np.float32)
        face, box = self.proposal.run({"image": planes}, ("face", "box"))
        score = face[0, 1]
        y, x = np.nonzero(score >= self.thresholds[0])
        if len(x) > PROPOSALS_SCALE_MAX:
            best = np.argsort(-score[y, x], kind="stable")[:PROPOSALS_SCALE_MAX]
            y, x = y[best], x[best]
        low = np.stack([x, y], axis=1) * STRIDE_PX + 1
        corners = np.floor(np.concatenate([low, low + CELL_PX - 1], axis=1) / scale)
        cells = np.column_stack([corners, score[y, x], box[0][:, y, x].T]).astype(np.float64)
        return cells[suppress(cells[:, :4], cells[:, 4], 0.5)]

    def _refine(self, pyramid: Pyramid, boxes: Floats) -> Floats:
        face, shift = self._run(self.refining, pyramid, boxes, REFINE_PX, ("face", "box"))
        score = face[:, 1]
        passed = score > self.thresholds[1]
        boxes, score, shift = boxes[passed], score[passed], shift[passed]
        kept = suppress(boxes, score, 0.7)[:REFINED_MAX]
        boxes, shift = boxes[kept], shift[kept]
        return _square(boxes + shift * np.tile(boxes[:, 2:] - boxes[:, :2] + 1, 2))

    def _finish(self, pyramid: Pyramid, boxes: Floats) -> Findings:
        names = ("face", "box", "points")
        face, shift, points = self._run(self.output, pyramid, boxes, OUTPUT_PX, names)
        score = face[:, 1]
        passed = score > self.thresholds[2]
        boxes, score, shift = boxes[passed], score[passed], shift[passed]
        sides = boxes[:, 2:] - boxes[:, :2] + 1
        # The net gives five x, then five y, as fractions of the square.
        fractions = points[passed].reshape(-1, 2, 5).transpose(0, 2, 1)
        found = fractions * sides[:, None, :] + boxes[:, None, :2] - 1
        boxes = boxes + shift * np.tile(sides, 2)
        findings = Findings.upright(boxes, score, found)
        return findings.take(suppress(boxes, score, 0.7, "smaller"))

    def _run(
        self, net: Session, pyramid: Pyramid, boxes: Floats, side_px: int, names: Sequence[str]
    ) -> list[Floats]:
        """Run a net over the crops of all boxes; one array for each output."""
        parts: list[list[npt.NDArray[np.float32]]] = []
        for start in range(0, len(boxes), BATCH):
            crops = np.stack([_crop(pyramid, b, side_px) for b in boxes[start : start + BATCH]])
            planes = np.ascontiguousarray(crops.transpose(0, 3, 1, 2), np.float32)
            parts.append(net.run({"image": planes}, names))
        return [np.concatenate(p).astype(np.float64) for p in zip(*parts, strict=True)]


def _square(boxes: Floats) -> Floats:
    """Squares of the same centres whose side is the longer one."""
    sides = boxes[:, 2:] - boxes[:, :2]
    side = sides.max(axis=1, keepdims=True)
    low = boxes[:, :2] + (sides - side) / 2
    return np.concatenate([low, low + side], axis=1)


def _crop(pyramid: Pyramid, box: Floats, side_px: int) -> Image:
    """One square, from the pyramid level nearest above the wanted size, black outside."""
    side = max(1.0, float(box[2] - box[0]) + 1)
    image, level = pyramid.level(max(0, int(math.log2(max(1.0, side / side_px)))))
    step = side / side_px / 2**level
    # The square's first pixel is the one before `box` where pixels count from 0.
    left, top = (box[:2] - 1) / 2**level + (step - 1) / 2
    grid = np.array([[step, 0, left], [0, step, top]])
    crop = cv2.warpAffine(
        image,
        grid,
        (side_px, side_px),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(0, 0, 0),
    )
    return np.asarray(crop, np.uint8)
