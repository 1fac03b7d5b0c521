"""YuNet: one small net, boxes and points at three strides.

Source: W. Wu, H. Peng, S. Yu, "YuNet: a tiny millisecond-level face detector", Machine
Intelligence Research 20, 2023, and the decoding of its authors' libfacedetection.train.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from recollect.vision.findings import Findings, Floats, suppress

if TYPE_CHECKING:
    from recollect.vision.face import Image
    from recollect.vision.session import Session

STRIDES_PX = (8, 16, 32)
OUTPUTS = [f"{kind}_{s}" for kind in ("cls", "obj", "bbox", "kps") for s in STRIDES_PX]

FACE_PX = 16
"""A face of this size in the net's input is found reliably."""
LONG_SIDE_PX_MIN = 640
"""Input of less than this saves nothing and places the points worse."""

OVERLAP_MAX = 0.45
CANDIDATES_MAX = 4000


class YuNet:
    """The net as a detector.

    Args:
        net: takes BGR 0..255, sides multiples of 32.
        threshold: least score, 0..1.
    """

    def __init__(self, net: Session, threshold: float) -> None:
        self._net = net
        self._input = next(iter(net.inputs))
        self._threshold = threshold

    def find(self, image: Image, face_px_min: float) -> Findings:
        """Find the faces whose shorter side is about `face_px_min` or more."""
        long_side = max(image.shape[:2])
        scale = min(1.0, max(FACE_PX / face_px_min, LONG_SIDE_PX_MIN / long_side))
        height, width = (max(1, round(side * scale)) for side in image.shape[:2])
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        bottom, right = -height % STRIDES_PX[-1], -width % STRIDES_PX[-1]
        padded = cv2.copyMakeBorder(
            small, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=(0, 0, 0)
        )
        planes = np.ascontiguousarray(padded[..., ::-1].transpose(2, 0, 1)[None], np.float32)
        outputs = self._net.run({self._input: planes}, OUTPUTS)
        columns = padded.shape[1]
        found = Findings.of([
            self._decode(stride, columns, *(outputs[i + 3 * k][0] for k in range(4)))
            for i, stride in enumerate(STRIDES_PX)
        ])  # fmt: skip
        found = found.take(np.argsort(-found.scores, kind="stable")[:CANDIDATES_MAX])
        found = found.take(suppress(found.boxes, found.scores, OVERLAP_MAX))
        factor = image.shape[1] / width
        # Pixel centres: an enlarged pixel's centre is not a multiple of its number.
        return found.moved(factor, (factor - 1) / 2, (factor - 1) / 2)

    def _decode(
        self, stride: int, columns_px: int, cls: Floats, obj: Floats, bbox: Floats, kps: Floats
    ) -> Findings:
        """Rows of one stride above the threshold, in pixels of the net's input."""
        score = np.sqrt(cls.ravel().clip(0, 1).astype(np.float64) * obj.ravel().clip(0, 1))
        cells = np.flatnonzero(score >= self._threshold)
        row, column = np.divmod(cells, columns_px // stride)
        corner = np.stack([column, row], axis=1).astype(np.float64)
        centre = (corner + bbox[cells, :2]) * stride
        half = np.exp(bbox[cells, 2:].clip(max=10).astype(np.float64)) * stride / 2
        points = (corner[:, None] + kps[cells].reshape(-1, 5, 2)) * stride
        boxes = np.concatenate([centre - half, centre + half], axis=1)
        return Findings.upright(boxes, score[cells], points)
