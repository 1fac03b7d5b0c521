"""The views of one face that a pack embeds: chips cut by points, by finer points, mirrored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from recollect.vision.align import (
    Transform,
    apply,
    compose,
    cut_chip,
    invert,
    similarity_transform,
)

if TYPE_CHECKING:
    from recollect.vision.face import Image, Points
    from recollect.vision.landmarks import RegressionTrees

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Refinement:
    """Finer landmarks, found on an upright patch around a chip.

    The chip is the regression trees' own, dlib's 150 px for instance; the patch is that chip with
    a margin on every side.
    """

    trees: RegressionTrees
    chip_px: int
    margin_px: int
    box_px: tuple[int, int, int, int]
    """Left, top, right, bottom of the face in the patch, as dlib's detector would frame it."""
    trees_points: Floats
    """Where the trees' points belong in the chip, shape (count, 2)."""
    detector_points: Floats
    """Where the detector's five points lie in the chip, shape (5, 2); a median over faces."""

    def coarse(self, points: Points) -> Transform:
        """From the chip to the picture, by the detector's points alone."""
        return similarity_transform(self.detector_points, points)

    def fine(self, image: Image, points: Points) -> Transform:
        """From the chip to the picture, by the trees' points on the upright patch."""
        margin = float(self.margin_px)
        patch_to_chip = np.array([[1.0, 0.0, -margin], [0.0, 1.0, -margin]])
        patch_to_image = compose(self.coarse(points), patch_to_chip)
        patch = cut_chip(image, patch_to_image, self.chip_px + 2 * self.margin_px)
        found = apply(patch_to_image, self.trees.points(patch, self.box_px))
        return similarity_transform(self.trees_points, found)


@dataclass(frozen=True, slots=True)
class Views:
    """How a pack looks at a face.

    Each view is a chip: "points" is cut by the detector's points, "ert" by the finer ones, and
    "mirror" is the mirror image of the chip before it.
    """

    names: tuple[str, ...]
    side_px: int
    points: Floats
    """Where the detector's five points belong in the embedding net's chip, shape (5, 2)."""
    refinement: Refinement

    def chips(self, image: Image, points: Points) -> list[Image]:
        """Cut the views of one face, each of shape (side_px, side_px, 3).

        Raises:
            AlignmentError: the points coincide.
        """
        chips: list[Image] = []
        for name in self.names:
            if name == "mirror":
                chips.append(np.ascontiguousarray(chips[-1][:, ::-1]))
            elif name == "points":
                to_image = similarity_transform(self.points, points)
                chips.append(cut_chip(image, to_image, self.side_px))
            else:
                # What lies where in the trees' chip, brought to where the net wants it.
                place = invert(similarity_transform(self.refinement.detector_points, self.points))
                to_image = compose(self.refinement.fine(image, points), place)
                chips.append(cut_chip(image, to_image, self.side_px))
        return chips
