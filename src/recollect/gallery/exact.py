"""The canonical score, and search by exhaustive comparison: the oracle of every faster path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from recollect.gallery.store import Candidate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recollect.gallery.store import Template, Templates

LANES = 16
"""Partial sums of a score: dimension i belongs to lane i mod 16."""

ROWS_AT_ONCE = 4096
"""Rows scored together, which bounds the memory that a float64 copy of them takes."""


def scores(templates: Templates, probe: Template) -> npt.NDArray[np.float32]:
    """Score templates against a probe: the cosine of two unit templates, to the bit.

    The product of two float32 values is exact in float64. Products are added in float64, 16 lanes
    one dimension apart, each in rising order; then the upper half of the lanes is added to the
    lower half until one is left; that sum is rounded to float32. The order is part of the
    definition: every path gives the same bits, so none disagrees with another at a threshold.

    Args:
        templates: float32, shape (count, dimension).
        probe: float32, shape (dimension,).

    Returns:
        float32, shape (count,), -1..1 within rounding.
    """
    count, dimension = templates.shape
    assert probe.shape == (dimension,), "probe and templates come from different models"
    padding = -dimension % LANES
    against = np.pad(probe.astype(np.float64), (0, padding)).reshape(-1, LANES)
    out = np.empty(count, np.float32)
    for first in range(0, count, ROWS_AT_ONCE):
        block = templates[first : first + ROWS_AT_ONCE].astype(np.float64)
        rows = np.pad(block, ((0, 0), (0, padding))).reshape(len(block), -1, LANES)
        lanes = np.zeros((len(block), LANES))
        for step, values in enumerate(against):
            lanes += rows[:, step, :] * values
        while lanes.shape[1] > 1:
            half = lanes.shape[1] // 2
            lanes = lanes[:, :half] + lanes[:, half:]
        out[first : first + ROWS_AT_ONCE] = lanes[:, 0]
    return out


def search(
    ids: Sequence[str],
    templates: Templates,
    probe: Template,
    *,
    count_max: int,
    score_min: float,
    exclude: str | None = None,
) -> list[Candidate]:
    """Find the references that reach a score: compare with everything, sort, cut.

    Args:
        ids: one lower-case UUID for each row of `templates`.
        templates: float32, shape (count, dimension), unit length.
        probe: float32, shape (dimension,), unit length.
        count_max: most candidates returned.
        score_min: lowest score returned, -1..1, compared after the score's rounding to float32.
        exclude: an id that is never returned.

    Returns:
        Candidates by falling score; equal scores by rising id.
    """
    scored = zip(ids, scores(templates, probe).tolist(), strict=True)
    passing = [(s, i) for i, s in scored if s >= score_min and i != exclude]
    passing.sort(key=lambda pair: (-pair[0], pair[1]))
    return [Candidate(i, s) for s, i in passing[:count_max]]
