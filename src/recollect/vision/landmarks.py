"""Five landmarks again, on an upright patch: dlib's regression trees in NumPy.

Source: V. Kazemi, J. Sullivan, "One millisecond face alignment with an ensemble of regression
trees", CVPR 2014, as dlib's `shape_predictor` runs it.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from recollect.vision.align import similarity_transform

if TYPE_CHECKING:
    from recollect.vision.face import Image, Points

ARRAY_BYTES_MAX = 64 << 20


class TreesError(ValueError):
    """The file does not hold an ensemble of regression trees."""


@dataclass(frozen=True, slots=True)
class RegressionTrees:
    """An ensemble of regression trees for `count` points.

    Shapes, with L levels of T trees with S splits and S + 1 leaves, F features a level: initial
    (count, 2); pixels (L, T, S, 2); thresholds (L, T, S); leaves (L, T, S + 1, 2·count); anchors
    (L, F); deltas (L, F, 2).
    """

    initial: npt.NDArray[np.float32]
    pixels: npt.NDArray[np.int16]
    thresholds: npt.NDArray[np.float32]
    leaves: npt.NDArray[np.float32]
    anchors: npt.NDArray[np.uint8]
    deltas: npt.NDArray[np.float32]

    @classmethod
    def from_npz(cls, data: bytes) -> RegressionTrees:
        """Read the arrays of an .npz file; nothing in it is unpickled.

        Raises:
            TreesError: an array is missing or does not fit the others.
        """
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > ARRAY_BYTES_MAX:
                    raise TreesError(f"the trees hold more than {ARRAY_BYTES_MAX} bytes")
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            trees = cls(**arrays)
        except (zipfile.BadZipFile, ValueError, TypeError, KeyError, OSError) as error:
            raise TreesError(f"not a file of regression trees: {error}") from error
        trees._check()
        return trees

    def _check(self) -> None:
        count = len(self.initial)
        levels, trees, splits = self.thresholds.shape if self.thresholds.ndim == 3 else (0, 0, 0)
        features = self.anchors.shape[1] if self.anchors.ndim == 2 else 0
        depth = (splits + 1).bit_length() - 1
        fits = (
            self.initial.shape == (count, 2)
            and levels > 0
            and depth > 0
            and splits + 1 == 2**depth
            and self.pixels.shape == (levels, trees, splits, 2)
            and self.leaves.shape == (levels, trees, splits + 1, 2 * count)
            and self.anchors.shape == (levels, features)
            and self.deltas.shape == (levels, features, 2)
            and all(a.dtype.kind == "f" for a in (self.initial, self.thresholds, self.leaves))
            and self.deltas.dtype.kind == "f"
            and self.pixels.dtype.kind in "iu"
            and self.anchors.dtype.kind in "iu"
        )
        if not fits:
            raise TreesError("the arrays of the regression trees do not fit each other")
        if self.pixels.min() < 0 or self.pixels.max() >= features or self.anchors.max() >= count:
            raise TreesError("a split or an anchor points outside the regression trees")

    def points(self, patch: Image, box_px: tuple[int, int, int, int]) -> Points:
        """Find the points of the one face in an upright patch.

        Args:
            patch: shape (height, width, 3), RGB.
            box_px: left, top, right, bottom of the face, as dlib's detector would frame it.

        Returns:
            Shape (count, 2), whole pixels of the patch.
        """
        red, green, blue = patch.astype(np.uint16).transpose(2, 0, 1)
        grey = ((red + green + blue) // 3).astype(np.float32)
        left, top, right, bottom = box_px
        size = np.array([right - left, bottom - top], np.float32)
        corner = np.array([left, top], np.float32)
        shape = self.initial.copy()
        for level in range(len(self.thresholds)):
            turn = similarity_transform(self.initial, shape)[:, :2].astype(np.float32)
            features = self.deltas[level] @ turn.T + shape[self.anchors[level]]
            values = _pixels(grey, features * size + corner)
            shape = shape + self._fall(level, values).sum(axis=0).reshape(-1, 2)
        return np.asarray(np.floor(shape * size + corner + np.float32(0.5)), np.float64)

    def _fall(self, level: int, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Let the features fall through all trees of a level at once; the leaves they reach."""
        pixels, thresholds = self.pixels[level].reshape(-1, 2), self.thresholds[level].ravel()
        trees, splits = self.thresholds[level].shape
        tree = np.arange(trees)
        node = np.zeros(trees, np.intp)
        for _ in range((splits + 1).bit_length() - 1):
            split = tree * splits + node
            first, second = values.take(pixels.take(split, axis=0)).T
            node = 2 * node + 2 - (first - second > thresholds.take(split))
        leaves = self.leaves[level].reshape(trees * (splits + 1), -1)
        return np.asarray(leaves.take(tree * (splits + 1) + node - splits, axis=0))


def _pixels(grey: npt.NDArray[np.float32], at: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Brightness at the nearest pixels, 0 outside; `at` has shape (count, 2), x then y."""
    height, width = grey.shape
    x, y = np.floor(at + np.float32(0.5)).astype(np.intp).T
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return np.where(inside, grey[y * inside, x * inside], np.float32(0))
