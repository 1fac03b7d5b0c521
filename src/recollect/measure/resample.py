"""Confidence intervals by drawing people again, with replacement (bootstrap)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from recollect.measure.metrics import Numbers

LEVEL = 0.95


def intervals(
    people_count: int,
    statistic: Callable[[Numbers], list[float]],
    *,
    resamples: int,
    seed: int,
    track: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> list[tuple[float, float]]:
    """The middle 95 % of each statistic when the same number of people is drawn again.

    People are drawn, not pictures or pairs: those of one person are not independent, and an
    interval that took them for independent would be far too narrow.

    Args:
        people_count: people in the data, at least 1.
        statistic: from how often each person was drawn, shape (people_count,), to values; NaN
            where a draw leaves one undefined.
        resamples: draws.
        seed: of the draws.
        track: wraps the draws, for a progress bar.

    Returns:
        Low and high for each value; NaN where no draw defined it.
    """
    random = np.random.default_rng(seed)
    even = np.full(people_count, 1 / people_count)
    values = np.array(
        [
            statistic(random.multinomial(people_count, even).astype(np.float64))
            for _ in track(range(resamples))
        ]
    )
    tail = (1 - LEVEL) / 2
    return [
        (float(np.quantile(known, tail)), float(np.quantile(known, 1 - tail)))
        if len(known)
        else (float("nan"), float("nan"))
        for known in (column[np.isfinite(column)] for column in values.T)
    ]
