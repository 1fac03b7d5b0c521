"""What a face is worth: brightness, sharpness, pose, and the decision of the quality filter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from recollect.vision.face import Pose

if TYPE_CHECKING:
    from collections.abc import Mapping

    from recollect.vision.face import Face, Image, Points

FILTERS = ("LOW", "AUTO", "MEDIUM", "HIGH")
"""Filters that refuse something, from the mildest to the strictest; NONE refuses nothing."""

# A mean face from the front, in units of the distance between the eyes, seen from the midpoint
# of the eyes: y downwards in the picture, z towards the camera. Eyes and mouth lie in one plane.
# Read off photographs by bench/pose.py. The six points that tutorials of OpenCV pass around say
# .54, .43 and 1.02, in units of 0.7 of the distance between the outer corners of their eyes.
NOSE_Y, NOSE_Z = 0.534, 0.515
MOUTH_Y, MOUTH_X = 1.030, 0.43
FLAT = np.array([-0.5, 0.5, complex(-MOUTH_X, MOUTH_Y), complex(MOUTH_X, MOUTH_Y)])
"""Eyes and corners of the mouth of that face, x + iy."""

SHARPNESS_A_DOUBLING = 25.0
"""Sharpness gained each time the mean absolute Laplacian of a chip doubles, from 0 at 1 grey level:
about 7 for a face blurred beyond recognition, 30..70 for press photographs, 100 at 16 levels."""

WEIGHT_MIN = 0.25


@dataclass(frozen=True, slots=True)
class Bar:
    """What a face has to reach to pass one filter."""

    confidence_min: float
    """Detector's belief, 0..100."""
    size_px_min: float
    """Shorter side of the box in pixels."""
    brightness_min: float
    brightness_max: float
    """Mean brightness of the face, 0..100."""
    sharpness_min: float
    """0..100."""
    yaw_max: float
    pitch_max: float
    """Turn of the head either way, degrees."""
    views_score_min: float
    """Least cosine between the first two views of the face; -1 where the pack has one view."""


def brightness(chip: Image) -> float:
    """Mean brightness of a chip, 0..100."""
    return float(_grey(chip).mean()) / 255 * 100


def sharpness(chip: Image) -> float:
    """Sharpness of a chip, 0..100: how much neighbouring pixels differ, on a logarithmic scale.

    A small face is enlarged to its chip and so counts as less sharp, as it should.
    """
    edges = float(np.abs(cv2.Laplacian(_grey(chip), cv2.CV_32F)).mean())
    return min(100.0, SHARPNESS_A_DOUBLING * math.log2(max(1.0, edges)))


def _grey(chip: Image) -> Image:
    return np.asarray(cv2.cvtColor(chip, cv2.COLOR_RGB2GRAY), np.uint8)


def pose(points: Points) -> Pose:
    """Estimate the turn of the head from eyes, nose and corners of the mouth.

    Weak perspective on a mean face:

    * roll = the turn in the picture that best carries the mean face's eyes and corners of the mouth
      onto these, by least squares; clockwise positive
    * yaw = atan(((n - e)·u / L) / NOSE_Z), positive when the nose points to the right of the
      picture
    * pitch = atan((NOSE_Y - p·MOUTH_Y) / NOSE_Z) with p = (n - e)·v / (m - e)·v, positive upwards

    where u and v point to the right and downwards of the upright face, e and m are the midpoints
    of eyes and mouth, n is the nose and L the distance of the eyes along u.

    Roll is measured. Yaw and pitch are estimates from a mean face: another shape of nose is taken
    for a turn. bench/pose.py has the errors that can be told without measuring heads.

    Args:
        points: shape (5, 2), pixels: eyes, nose, corners of the mouth; left before right.

    Source: D. DeMenthon, L. Davis, "Model-based object pose in 25 lines of code", International
    Journal of Computer Vision 15, 1995: a scaled orthographic picture of known points, here solved
    for one turn after the other.
    """
    complex_points = points[:, 0] + 1j * points[:, 1]
    seen = complex_points[[0, 1, 3, 4]]
    turn = complex(np.sum((seen - seen.mean()) * np.conj(FLAT - FLAT.mean())))
    roll = math.atan2(turn.imag, turn.real)
    # From here on along u and v.
    left, right, nose, mouth_left, mouth_right = complex_points * np.exp(-1j * roll)
    middle = (left + right) / 2
    length = max(float((right - left).real), 1e-6)
    yaw = math.atan(float((nose - middle).real) / length / NOSE_Z)
    drop = float(((mouth_left + mouth_right) / 2 - middle).imag)
    ratio = float((nose - middle).imag) / drop if abs(drop) > 1e-6 else NOSE_Y / MOUTH_Y
    pitch = math.atan((NOSE_Y - ratio * MOUTH_Y) / NOSE_Z)
    return Pose(roll=math.degrees(roll), yaw=math.degrees(yaw), pitch=math.degrees(pitch))


def reasons(face: Face, bar: Bar) -> tuple[str, ...]:
    """Why a filter refuses a face, in Rekognition's words; empty where it passes."""
    unsure = face.mirror_score is not None and face.mirror_score < bar.views_score_min
    found = {
        "EXTREME_POSE": abs(face.pose.yaw) > bar.yaw_max or abs(face.pose.pitch) > bar.pitch_max,
        "LOW_BRIGHTNESS": face.brightness < bar.brightness_min,
        "LOW_SHARPNESS": face.sharpness < bar.sharpness_min,
        "LOW_CONFIDENCE": face.confidence < bar.confidence_min,
        "SMALL_BOUNDING_BOX": face.size_px < bar.size_px_min,
        # Rekognition has no word for too bright, nor for a net that is unsure of the face.
        "LOW_FACE_QUALITY": face.brightness > bar.brightness_max or unsure,
    }
    return tuple(reason for reason, holds in found.items() if holds)


def weight(face: Face, bars: Mapping[str, Bar]) -> float:
    """Weight of a face's template among others of the same person, WEIGHT_MIN..1.

    Size, sharpness and the agreement of the views each count from WEIGHT_MIN at the LOW bar to 1
    at the HIGH bar; the weakest of them decides.
    """
    low, high = bars["LOW"], bars["HIGH"]
    shares = [
        _share(face.size_px, low.size_px_min, high.size_px_min),
        _share(face.sharpness, low.sharpness_min, high.sharpness_min),
    ]
    if face.mirror_score is not None:
        shares.append(_share(face.mirror_score, low.views_score_min, high.views_score_min))
    return WEIGHT_MIN + (1 - WEIGHT_MIN) * min(shares)


def _share(value: float, low: float, high: float) -> float:
    """Where a value lies between two bars, 0..1."""
    if high <= low:
        return float(value >= high)
    return min(1.0, max(0.0, (value - low) / (high - low)))
