"""What vision says about one face, before and after it has a template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
"""Upright RGB picture, shape (height, width, 3), values 0..255."""

Template = npt.NDArray[np.float32]
"""Unit-length float32 vector of one face, shape (dimension,)."""

Points = npt.NDArray[np.float64]
"""Points in pixels of the upright image, x then y, shape (count, 2)."""


@dataclass(frozen=True, slots=True)
class Pose:
    """Turn of the head in degrees, as Rekognition signs it."""

    roll: float
    yaw: float
    pitch: float


@dataclass(frozen=True, slots=True)
class Face:
    """One detected face of a picture."""

    box: tuple[float, float, float, float]
    """Left, top, width, height as ratios of the upright image; may leave 0..1 at the border."""
    confidence: float
    """Detector's belief that this is a face, 0..100."""
    landmarks: Mapping[str, tuple[float, float]]
    """Rekognition's landmark type (eyeLeft, eyeRight, nose, mouthLeft, mouthRight) to x and y as
    ratios of the upright image. Left is the left side of the picture, as in Rekognition."""
    pose: Pose
    brightness: float
    """Mean brightness of the face, 0..100."""
    sharpness: float
    """Sharpness of the face, 0..100."""
    size_px: float
    """Shorter side of the box in pixels of the picture as sent."""
    points: Points
    """The five landmarks in pixels of the array that was searched, shape (5, 2)."""
    turn: int = 0
    """Quarter turns counter-clockwise (numpy.rot90) at which the detector found it, 0..3."""
    mirror_score: float | None = None
    """Cosine between the first two views of the face, chip and mirrored chip for instance: how sure
    the embedding net is of it. None until embedded, and for a pack with one view."""
    template: Template | None = None
