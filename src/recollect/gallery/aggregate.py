"""One template for a user: the weighted mean of its faces' templates at unit length."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recollect.gallery.store import Template, Templates

LENGTH_MIN = 1e-6


def aggregate(templates: Templates, weights: Sequence[float]) -> Template:
    """Average a user's templates.

    Args:
        templates: at least one, in rising order of FaceId, so that the same faces always give
            the same bits.
        weights: one for each, above 0.

    Returns:
        Unit length. Where the templates cancel out and the mean has no direction, the first
        template stands for the user.
    """
    share = np.asarray(weights, np.float64) / np.sum(weights)
    mean = share @ templates.astype(np.float64)
    length = float(np.linalg.norm(mean))
    if length < LENGTH_MIN:
        return np.array(templates[0], np.float32)
    return np.asarray(mean / length, np.float32)
