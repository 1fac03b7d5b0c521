"""Error rates of comparisons (1:1) and searches (1:N), from scores that rise with likeness.

Names as in ISO/IEC 19795-1: FMR and FNMR over non-mated and mated comparisons, FPIR and FNIR over
non-mated and mated searches. A face that was not found has the score `MISSING`: no threshold
accepts it, so a mated one counts as an error at every threshold. Non-mated ones with a missing
face are left out before they come here, since a system must not look better for finding less.

Weights say how often each score counts; they are how people are resampled (`resample`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

Numbers = npt.NDArray[np.float64]

MISSING = -np.inf

ERRORS_MIN = 5
"""A rate is quoted only where at least so many errors stand behind it."""


def carries(count: int, rate: float) -> bool:
    """Whether `count` trials are enough to speak of an error rate as small as `rate`."""
    return count * rate >= ERRORS_MIN


def accepted(scores: Numbers, threshold: float) -> npt.NDArray[np.bool_]:
    """Which scores are at least the threshold; a missing one never is."""
    return (scores >= threshold) & (scores > MISSING)


def share_reaching(scores: Numbers, threshold: float, weights: Numbers | None = None) -> float:
    """Share of the scores that are at least the threshold; NaN where there are none."""
    reaching = accepted(scores, threshold)
    if weights is None:
        return float(reaching.mean()) if len(scores) else float("nan")
    total = float(weights.sum())
    return float(weights @ reaching) / total if total > 0 else float("nan")


def thresholds_at(
    scores: Numbers, rates: Sequence[float], weights: Numbers | None = None
) -> list[float]:
    """For each rate the lowest threshold that at most this share of the scores reaches.

    Scores that are equal are accepted or refused together. `MISSING` where every threshold
    will do, NaN where there are no scores.
    """
    order = np.argsort(scores, kind="stable")[::-1]
    reaching = np.arange(1, len(scores) + 1) if weights is None else np.cumsum(weights[order])
    if not len(scores) or reaching[-1] <= 0:
        return [float("nan") for _ in rates]
    shares = reaching / reaching[-1]
    refused = [int(np.searchsorted(shares, rate, side="right")) for rate in rates]
    return [
        float(np.nextafter(scores[order[first]], np.inf) if first < len(scores) else MISSING)
        for first in refused
    ]


def curve(
    mated: Numbers, nonmated: Numbers, rates: Sequence[float]
) -> tuple[list[float], list[float]]:
    """Errors of both kinds at the threshold of each wanted rate, for a DET plot.

    Returns:
        The rates that non-mated scores really reach, and the share of mated scores that fail.
    """
    thresholds = thresholds_at(nonmated, rates)
    return (
        [share_reaching(nonmated, t) for t in thresholds],
        [1 - share_reaching(mated, t) for t in thresholds],
    )


def within_rank(scores: Numbers, ranks: Numbers, rank_max: int) -> Numbers:
    """Mate scores as a search of `rank_max` candidates sees them: `MISSING` beyond that rank."""
    return np.where(ranks <= rank_max, scores, MISSING)


def match_characteristic(ranks: Numbers, rank_max: int) -> list[float]:
    """Share of mated searches whose mate is among the first 1, 2 … `rank_max` candidates (CMC)."""
    return [float((ranks <= rank).mean()) for rank in range(1, rank_max + 1)]


def error_against_discard(
    mated: Numbers, quality: Numbers, threshold: float, shares: Sequence[float]
) -> list[float]:
    """FNMR on what is left after the worst share of comparisons was discarded.

    Args:
        mated: scores of mated comparisons.
        quality: of each comparison, rising; the worse of its two faces.
        threshold: decides whether a comparison fails.
        shares: to discard, each 0..1 and below 1.

    Returns:
        One FNMR for each share; NaN where nothing is left.

    Source: P. Grother, E. Tabassi, "Performance of biometric quality measures", IEEE Transactions
    on Pattern Analysis and Machine Intelligence 29(4), 2007.
    """
    failed = ~accepted(mated, threshold)[np.argsort(quality, kind="stable")]
    kept = [failed[int(share * len(failed)) :] for share in shares]
    return [float(part.mean()) if len(part) else float("nan") for part in kept]
