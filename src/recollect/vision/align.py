"""Similarity transforms between points, and the one way a chip is cut from a picture.

A transform is a float64 array of shape (2, 3): multiplied by the column (x, y, 1) it carries a
point of one plane to another. Those made here turn, scale and shift, and never mirror.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from recollect.vision.face import Image

Transform = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating]

SPREAD_MIN = 1e-6
SCALE_MIN = 1e-6


class AlignmentError(ValueError):
    """The points are all one point, so no scale exists: the face is unusable."""


def similarity_transform(source: Floats, target: Floats) -> Transform:
    """Find the turn, scale and shift that best carry points onto others, by least squares.

    Args:
        source: shape (count, 2), x then y, at least two points.
        target: shape (count, 2), in the plane to reach.

    Returns:
        Shape (2, 3), from source to target.

    Raises:
        AlignmentError: the points of either side are one point, or one is not finite.

    Source: S. Umeyama, "Least-squares estimation of transformation parameters between two point
    patterns", IEEE Transactions on Pattern Analysis and Machine Intelligence 13(4), 1991. In the
    plane and without mirroring the solution has the closed form used here.
    """
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    s, d = source - source_mean, target - target_mean
    spread = float(np.sum(s * s))
    if not spread > SPREAD_MIN or not np.isfinite(d).all():
        raise AlignmentError("the landmarks of a face coincide")
    a = float(np.sum(s * d)) / spread
    b = float(np.sum(s[:, 0] * d[:, 1] - s[:, 1] * d[:, 0])) / spread
    if math.hypot(a, b) < SCALE_MIN:
        raise AlignmentError("the landmarks of a face coincide")
    turn = np.array([[a, -b], [b, a]])
    return np.column_stack([turn, target_mean - turn @ source_mean])


def compose(second: Transform, first: Transform) -> Transform:
    """The transform that does `first`, then `second`."""
    turn = second[:, :2] @ first[:, :2]
    return np.column_stack([turn, second[:, :2] @ first[:, 2] + second[:, 2]])


def invert(transform: Transform) -> Transform:
    """The way back."""
    turn = np.linalg.inv(transform[:, :2])
    return np.column_stack([turn, -turn @ transform[:, 2]])


def apply(transform: Transform, points: Floats) -> npt.NDArray[np.float64]:
    """Carry points, shape (count, 2)."""
    return np.asarray(points @ transform[:, :2].T + transform[:, 2], dtype=np.float64)


def cut_chip(image: Image, to_image: Transform, side_px: int) -> Image:
    """Cut an upright square out of a picture: bilinear, black outside the picture.

    The grid is dlib's: the chip's first and last pixel lie on the ends of the square. Where the
    square is reduced by 2 or more, its part of the picture is first shrunk by a power of two
    with area averaging, so that no pixel is passed over.

    Args:
        image: shape (height, width, 3).
        to_image: carries chip coordinates (0..side_px) to picture coordinates.
        side_px: side of the chip.

    Returns:
        Shape (side_px, side_px, 3).
    """
    scale = math.hypot(to_image[0, 0], to_image[1, 0])
    grid = to_image[:, :2] / scale * ((side_px * scale - 1) / (side_px - 1))
    centre = apply(to_image, np.array([[side_px / 2, side_px / 2]]))[0]
    shift = centre - grid @ np.full(2, (side_px - 1) / 2)
    if scale >= 2:
        image, grid, shift = _shrink(image, grid, shift, side_px, 2 ** int(math.log2(scale)))
    chip = cv2.warpAffine(
        image,
        np.column_stack([grid, shift]),
        (side_px, side_px),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(0, 0, 0),
    )
    return np.asarray(chip, dtype=np.uint8)


def _shrink(
    image: Image, grid: Transform, shift: Floats, side_px: int, factor: int
) -> tuple[Image, Transform, Floats]:
    """Shrink the part of the picture that the grid covers, and the grid with it."""
    height, width = image.shape[:2]
    last = side_px - 1
    ends = np.array([[0, 0], [last, 0], [0, last], [last, last]]) @ grid.T + shift
    low = np.floor(ends.min(axis=0)).astype(int) - factor
    # The last sample lies between two blocks, and only whole blocks are averaged below.
    high = np.ceil(ends.max(axis=0)).astype(int) + 2 * factor
    left, top = max(0, low[0] // factor * factor), max(0, low[1] // factor * factor)
    right, bottom = min(width, int(high[0]) + 1), min(height, int(high[1]) + 1)
    # Whole blocks only: area averaging by a whole number is exact then.
    columns, rows = (right - left) // factor, (bottom - top) // factor
    if columns < 1 or rows < 1:
        return np.zeros((1, 1, 3), np.uint8), grid, np.full(2, -2.0 * side_px)
    part = image[top : top + rows * factor, left : left + columns * factor]
    small = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA)
    shift = (shift - np.array([left, top])) / factor + (1 / factor - 1) / 2
    return np.asarray(small, dtype=np.uint8), grid / factor, shift
