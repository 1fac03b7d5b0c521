"""Similarity read off pairs: anchors of a scale, and what they are worth on people not used for it.

A scale puts each false match rate (FMR) at a Similarity of its own. What the data is too small for
is read off a straight line of score against the logarithm of the rate, through the last decade
that it carries.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from recollect.vision.similarity import SimilarityScale, rate_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recollect.measure.metrics import Numbers

Templates = npt.NDArray[np.float32]
People = npt.NDArray[np.intp]

RATES = (0.5, 0.1, 1e-2, 1e-3, 5e-4, 1e-4, 1e-5, 1e-6)
MODEST = (10.0, 25.0, 50.0, 67.0, 71.0, 80.0, 92.0, 99.0)
STRONG = (8.0, 22.0, 40.0, 54.0, 58.0, 67.0, 80.0, 99.0)
"""Similarities of the rates: 80 stands for 1e-4, and for 1e-5 with a pack that still accepts
`STRONG_TAR` of the true pairs there."""
STRONG_TAR = 0.9
LOWEST_RATE = 0.9999
HIGHEST_SHARE = 0.99
"""Share of the true pairs below 99.9."""
PAIRS_MIN = 10
"""A rate is read off directly where so many pairs of strangers stand behind it."""
THRESHOLDS = (80.0, 90.0, 99.0)
PICTURES_MAX = 10_000
"""All pairs of so many take 200 MB."""


class TooLittleData(ValueError):
    """The pictures are too few for a scale; the text says how many there have to be."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """All pairs of some pictures."""

    strangers: Numbers
    """Scores of pairs of different people, falling."""
    same: Numbers
    """Scores of pairs of one person."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A scale read off pairs."""

    anchors: tuple[tuple[float, float], ...]
    """Score and Similarity, rising."""
    rates: tuple[tuple[float, float], ...]
    """Similarity and the false match rate that it stands for."""


@dataclass(frozen=True, slots=True)
class Worth:
    """What one threshold is worth."""

    similarity: float
    nominal: float
    """The false match rate that it stands for."""
    measured: float
    pairs: int
    """Pairs of strangers that reached it."""
    of: int

    @property
    def factor(self) -> float:
        """Measured by nominal; 1 where they agree."""
        return self.measured / self.nominal


def pairs(templates: Templates, people: People) -> Pairs:
    """Compare everybody with everybody.

    Args:
        templates: unit length, shape (count, dimension).
        people: number of the person on each, shape (count,).

    Raises:
        TooLittleData: there are no pairs of strangers, or more pictures than PICTURES_MAX.
    """
    if len(templates) > PICTURES_MAX:
        raise TooLittleData(f"{len(templates)} pictures; at most {PICTURES_MAX} are compared")
    first, second = np.triu_indices(len(templates), 1)
    scores = (templates @ templates.T)[first, second].astype(np.float64)
    same = people[first] == people[second]
    if same.all():
        raise TooLittleData("the pictures have to show at least two people")
    return Pairs(np.sort(scores[~same])[::-1], np.sort(scores[same])[::-1])


def score_at(strangers: Numbers, rate: float) -> float:
    """The score that this share of the pairs of strangers reaches.

    Raises:
        TooLittleData: there are too few pairs for the line that reaches further.
    """
    count = len(strangers)
    if count < 100 * PAIRS_MIN:
        raise TooLittleData(f"{count} pairs of strangers; it takes {100 * PAIRS_MIN}")
    if rate * count >= PAIRS_MIN:
        return float(strangers[min(count, round(rate * count)) - 1])
    last, decade = strangers[PAIRS_MIN - 1], strangers[10 * PAIRS_MIN - 1]
    return float(last + (last - decade) * math.log10(PAIRS_MIN / count / rate))


def fitted(seen: Pairs) -> Fitted:
    """Read a scale off pairs.

    Raises:
        TooLittleData: there are too few, or a score of 1 is reached by strangers.
    """
    scores = [score_at(seen.strangers, rate) for rate in RATES]
    accepted = float((seen.same >= scores[RATES.index(1e-5)]).mean()) if len(seen.same) else 0.0
    similarities = STRONG if accepted >= STRONG_TAR else MODEST
    anchors = [(score_at(seen.strangers, LOWEST_RATE), 0.0)]
    anchors += zip(scores, similarities, strict=True)
    if len(seen.same):
        high = float(seen.same[int((1 - HIGHEST_SHARE) * len(seen.same))])
        if scores[-1] < high < 1:
            anchors.append((high, 99.9))
    anchors.append((1.0, 100.0))
    if not all(a < b for (a, _), (b, _) in pairwise(anchors)):
        raise TooLittleData("the scores of strangers do not thin out below 1: no scale fits them")
    return Fitted(tuple(anchors), tuple(zip(similarities, RATES, strict=True)))


def worth(
    strangers: Numbers, scale: SimilarityScale, rates: Sequence[tuple[float, float]]
) -> list[Worth]:
    """What Similarity 80, 90 and 99 of a scale are worth on pairs of strangers."""
    found = []
    for similarity in THRESHOLDS:
        count = int((strangers >= scale.score(similarity)).sum())
        found.append(
            Worth(
                similarity,
                rate_at(rates, similarity),
                count / len(strangers),
                count,
                len(strangers),
            )
        )
    return found


def held_out(templates: Templates, people: People, *, splits: int, seed: int) -> list[Worth]:
    """The same on people that the scale was not read off.

    The people are parted in two at random, a scale is read off either half and measured on the
    other; the counts of all splits are added up.

    Raises:
        TooLittleData: half of the people are too few.
    """
    rng = np.random.default_rng(seed)
    everybody = np.unique(people)
    totals = np.zeros((len(THRESHOLDS), 2), np.int64)
    expected = np.zeros(len(THRESHOLDS))
    for _ in range(splits):
        half = np.isin(people, rng.permutation(everybody)[: len(everybody) // 2])
        parts = [pairs(templates[rows], people[rows]) for rows in (half, ~half)]
        for used, unseen in (parts, parts[::-1]):
            scale = fitted(used)
            through = SimilarityScale.through(scale.anchors)
            for row, found in enumerate(worth(unseen.strangers, through, scale.rates)):
                totals[row] += found.pairs, found.of
                expected[row] += found.nominal * found.of
    return [
        Worth(similarity, float(expected[row] / of), float(count / of), int(count), int(of))
        for row, (similarity, (count, of)) in enumerate(zip(THRESHOLDS, totals, strict=True))
    ]


def interval(
    templates: Templates, people: People, score: float, *, resamples: int, seed: int
) -> tuple[float, float]:
    """95 % interval of the false match rate at a score, by drawing people anew."""
    first, second = np.triu_indices(len(templates), 1)
    scores = (templates @ templates.T)[first, second]
    reached = (people[first] != people[second]) & (scores >= score)
    first, second = people[first[reached]], people[second[reached]]
    pictures = np.bincount(people)
    rng = np.random.default_rng(seed)
    rates = []
    for _ in range(resamples):
        drawn = np.bincount(rng.integers(0, len(pictures), len(pictures)), minlength=len(pictures))
        weights = drawn * pictures
        # A person drawn twice is one person, and its pictures no strangers to each other.
        total = (weights.sum() ** 2 - (weights**2).sum()) / 2
        rates.append(float((drawn[first] * drawn[second]).sum()) / total if total else 0.0)
    low, high = np.quantile(rates, (0.025, 0.975))
    return float(low), float(high)
