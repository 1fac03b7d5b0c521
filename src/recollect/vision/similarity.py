"""Score (cosine, -1..1) to similarity (0..100) and back, by a pack's calibration."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class SimilarityScale:
    """Piecewise linear between anchors; 0 below the first one, 100 at score 1.

    Both rows of anchors rise strictly, the scores from above -1 and the similarities from 0, and
    end at (1, 100).
    """

    scores: tuple[float, ...]
    similarities: tuple[float, ...]

    @classmethod
    def through(cls, anchors: Sequence[tuple[float, float]]) -> SimilarityScale:
        """Lay the scale through (score, similarity) pairs.

        Raises:
            ValueError: the anchors do not rise, or do not begin at 0 and end at (1, 100).
        """
        scores, similarities = zip(*anchors, strict=True) if anchors else ((), ())
        rising = all(a < b for row in (scores, similarities) for a, b in pairwise(row))
        if len(anchors) < 2 or not rising or scores[0] <= -1:
            raise ValueError("similarity anchors have to rise in score and in similarity")
        if similarities[0] != 0 or (scores[-1], similarities[-1]) != (1, 100):
            raise ValueError("similarity anchors have to begin at 0 and end with [1, 100]")
        return cls(tuple(map(float, scores)), tuple(map(float, similarities)))

    def similarity(self, score: float) -> float:
        """How alike two faces are, 0..100; rises with the score."""
        return float(np.interp(score, self.scores, self.similarities))

    def score(self, similarity: float) -> float:
        """The least score whose similarity reaches `similarity`; -1 for 0, so all are accepted."""
        if similarity <= 0:
            return -1.0
        score = float(np.interp(similarity, self.similarities, self.scores))
        # Rounding may land a hair below: a face at the threshold itself has to be accepted by
        # the score that stands for it, and by no lower one.
        while score < 1 and self.similarity(score) < similarity:
            score = math.nextafter(score, 2.0)
        return score


def rate_at(rates: Sequence[tuple[float, float]], similarity: float) -> float:
    """The false match rate at a similarity: between two measured ones by the logarithm.

    Args:
        rates: similarity and false match rate, rising and falling; at least one. Beyond its ends
            the first and the last rate count.
        similarity: 0..100.
    """
    similarities, logarithms = zip(*((at, math.log(rate)) for at, rate in rates), strict=True)
    return math.exp(float(np.interp(similarity, similarities, logarithms)))
