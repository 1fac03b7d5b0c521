"""Observations to figures: each with its interval, what it rests on, or why it is not given."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from recollect.measure import metrics
from recollect.measure.resample import intervals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from recollect.measure.metrics import Numbers
    from recollect.measure.observed import Comparisons, Searches, Turns

Figure = dict[str, Any]
"""value, low, high, of: a rate, its 95 % interval, and the trials behind it; or why: no value."""

FMRS = (1e-2, 1e-3, 1e-4)
FPIRS = (0.05, 0.01, 0.003)
RANK_MAX = 10
SIZES_PX = (0, 48, 64, 96, 128, 192, 256, 384, math.inf)


class Reckoning:
    """How figures get their intervals: the same draws of people for every one of them.

    Args:
        resamples: draws of people.
        seed: of the draws.
        track: makes a progress bar of the draws, with a description.
    """

    def __init__(
        self,
        resamples: int,
        seed: int,
        track: Callable[[Iterable[Any], str, int], Iterable[Any]],
    ) -> None:
        self.resamples, self.seed, self.track = resamples, seed, track

    def figures(
        self,
        people_count: int,
        of: Mapping[str, int],
        statistic: Callable[[Numbers | None], list[float]],
        title: str,
    ) -> dict[str, Figure]:
        """Value and interval of several rates at once.

        Args:
            people_count: people to draw from.
            of: the rates' names, in the order of the statistic, and their trials.
            statistic: from how often each person counts (None: once) to the rates.
            title: for the progress bar.
        """
        values = statistic(None)
        bounds = self.bounds(people_count, statistic, title)
        return {
            name: _figure(value, bound, count)
            for (name, count), value, bound in zip(of.items(), values, bounds, strict=True)
        }

    def bounds(
        self, people_count: int, statistic: Callable[[Numbers | None], list[float]], title: str
    ) -> list[tuple[float, float]]:
        """Interval of several values at once, by the same draws for all; see `figures`."""
        return intervals(
            max(people_count, 1),
            statistic,
            resamples=self.resamples,
            seed=self.seed,
            track=lambda draws: self.track(draws, f"intervals of {title}", self.resamples),
        )


def _figure(value: float, bound: tuple[float, float], count: int) -> Figure:
    # Where no trial failed, or every one, drawing again shows the same: it cannot say how rare
    # the other outcome is, and an interval of no width would claim that it never happens.
    low, high = (math.nan, math.nan) if value in (0, 1) else bound
    return {"value": _plain(value), "low": _plain(low), "high": _plain(high), "of": count}


def verification(
    seen: Comparisons, thresholds: Mapping[str, float], reckoning: Reckoning
) -> dict[str, Any]:
    """TAR at fixed FMRs, FMR and FNMR at fixed thresholds."""
    rates = [rate for rate in FMRS if metrics.carries(len(seen.nonmated), rate)]
    of = {f"TAR at FMR {rate:g}": len(seen.mated) for rate in rates}
    for name in thresholds:
        of |= {f"FMR at {name}": len(seen.nonmated), f"FNMR at {name}": len(seen.mated)}

    def statistic(drawn: Numbers | None) -> list[float]:
        of_mated = of_nonmated = None
        if drawn is not None:
            times = drawn[seen.person]
            of_mated = times[seen.mated_pair[:, 0]]
            of_nonmated = times[seen.nonmated_pair[:, 0]] * times[seen.nonmated_pair[:, 1]]
        cuts = metrics.thresholds_at(seen.nonmated, rates, of_nonmated)
        values = [metrics.share_reaching(seen.mated, cut, of_mated) for cut in cuts]
        for threshold in thresholds.values():
            values.append(metrics.share_reaching(seen.nonmated, threshold, of_nonmated))
            values.append(1 - metrics.share_reaching(seen.mated, threshold, of_mated))
        return values

    figures = reckoning.figures(seen.people_count, of, statistic, seen.title)
    at_rates = _at_every_rate(figures, "TAR at FMR", FMRS, len(seen.nonmated))
    finite = seen.mated[np.isfinite(seen.mated)]
    return {
        "title": seen.title,
        "people": seen.people_count,
        "mated": len(seen.mated),
        "mated_missing": int((~np.isfinite(seen.mated)).sum()),
        "nonmated": len(seen.nonmated),
        "lowest_mated": _plain(float(finite.min(initial=math.inf))),
        "highest_nonmated": _plain(float(seen.nonmated.max(initial=-math.inf))),
        "thresholds": {
            f"FMR {rate:g}": _plain(cut)
            for rate, cut in zip(rates, metrics.thresholds_at(seen.nonmated, rates), strict=True)
        },
        "figures": at_rates | figures,
    }


def identification(
    seen: Searches, thresholds: Mapping[str, float], reckoning: Reckoning
) -> dict[str, Any]:
    """Rank-1, FNIR at fixed FPIRs, FPIR and FNIR at fixed thresholds; R = 1."""
    mate = metrics.within_rank(seen.mate, seen.rank, 1)
    rates = [rate for rate in FPIRS if metrics.carries(len(seen.best), rate)]
    of = {f"FNIR at FPIR {rate:g}": len(mate) for rate in rates}
    of["rank-1"] = len(mate)
    for name in thresholds:
        of |= {f"FPIR at {name}": len(seen.best), f"FNIR at {name}": len(mate)}

    def statistic(drawn: Numbers | None) -> list[float]:
        of_mated, of_nonmated = _times(seen, drawn)
        values = _at_rates(seen, rates, drawn)
        for threshold in thresholds.values():
            values.append(metrics.share_reaching(seen.best, threshold, of_nonmated))
            values.append(1 - metrics.share_reaching(mate, threshold, of_mated))
        return values

    figures = reckoning.figures(seen.people_count, of, statistic, seen.title)
    at_rates = _at_every_rate(figures, "FNIR at FPIR", FPIRS, len(seen.best))
    return {
        "title": seen.title,
        "N": seen.enrolled_count,
        "R": 1,
        "mated": len(seen.mate),
        "nonmated": len(seen.best),
        "thresholds": {
            f"FPIR {rate:g}": _plain(cut)
            for rate, cut in zip(rates, metrics.thresholds_at(seen.best, rates), strict=True)
        },
        "rank": metrics.match_characteristic(seen.rank, RANK_MAX),
        "figures": at_rates | figures,
    }


def in_turn(seen: Turns, reckoning: Reckoning) -> dict[str, Any]:
    """Rank-1 over every choice of one enrolled photograph a person; N is the number of people."""
    return {
        "title": seen.title,
        "N": seen.people_count,
        "R": 1,
        "mated": len(seen.first),
        "nonmated": 0,
        "figures": reckoning.figures(
            seen.people_count,
            {"rank-1": len(seen.first)},
            lambda drawn: [_share_first(seen, drawn)],
            seen.title,
        ),
    }


def beside(ours: Searches, theirs: Searches, reckoning: Reckoning) -> dict[str, Any]:
    """By how much the rates of one subject differ from another's in the same searches."""
    rates = [r for r in FPIRS if metrics.carries(min(len(ours.best), len(theirs.best)), r)]
    names = [*(f"FNIR at FPIR {rate:g}" for rate in rates), "rank-1"]

    def statistic(drawn: Numbers | None) -> list[float]:
        pairs = zip(_at_rates(ours, rates, drawn), _at_rates(theirs, rates, drawn), strict=True)
        return [one - other for one, other in pairs]

    return _differences(ours, len(ours.mate), names, statistic, reckoning)


def beside_in_turn(ours: Turns, theirs: Turns, reckoning: Reckoning) -> dict[str, Any]:
    """By how much rank-1 over every choice of the enrolled photographs differs."""

    def statistic(drawn: Numbers | None) -> list[float]:
        return [_share_first(ours, drawn) - _share_first(theirs, drawn)]

    return _differences(ours, len(ours.first), ["rank-1"], statistic, reckoning)


def _differences(
    seen: Searches | Turns,
    mated_count: int,
    names: Sequence[str],
    statistic: Callable[[Numbers | None], list[float]],
    reckoning: Reckoning,
) -> dict[str, Any]:
    """Differences of two subjects' rates with their intervals.

    The same people are drawn for both, so that what is hard for both cancels out: the interval of
    a difference is narrower than those of the two rates, and tells more than whether they overlap.
    """
    bounds = reckoning.bounds(seen.people_count, statistic, f"{seen.title} beside the peer")
    return {
        "title": seen.title,
        "mated": mated_count,
        "differences": {
            name: {"value": _plain(value), "low": _plain(low), "high": _plain(high)}
            for name, value, (low, high) in zip(names, statistic(None), bounds, strict=True)
        },
    }


def _share_first(seen: Turns, drawn: Numbers | None) -> float:
    """Rank-1: the mean share of the choices, each photograph as often as its person was drawn."""
    times = np.ones(len(seen.first)) if drawn is None else drawn[seen.person]
    return float(times @ seen.first / times.sum()) if times.any() else math.nan


def _times(seen: Searches, drawn: Numbers | None) -> tuple[Numbers | None, Numbers | None]:
    """How often each mated and each non-mated search counts."""
    if drawn is None:
        return None, None
    return drawn[seen.mated_person], drawn[seen.nonmated_person]


def _at_rates(seen: Searches, rates: Sequence[float], drawn: Numbers | None) -> list[float]:
    """FNIR at each FPIR, then rank-1."""
    of_mated, of_nonmated = _times(seen, drawn)
    mate = metrics.within_rank(seen.mate, seen.rank, 1)
    cuts = metrics.thresholds_at(seen.best, rates, of_nonmated)
    missed = [1 - metrics.share_reaching(mate, cut, of_mated) for cut in cuts]
    return [*missed, metrics.share_reaching(mate, metrics.MISSING, of_mated)]


def by_size(scores: Numbers, size_px: Numbers, threshold: float) -> list[dict[str, Any]]:
    """Share of mated trials that fail at a threshold, by the size of the (smaller) face."""
    rows = []
    for low, high in itertools.pairwise(SIZES_PX):
        inside = (size_px >= low) & (size_px < high)
        if inside.any():
            title = f"{low:g} to {high:g} px" if high < math.inf else f"{low:g} px and more"
            failed = 1 - metrics.share_reaching(scores[inside], threshold)
            rows.append({"size": title, "of": int(inside.sum()), "failed": failed})
    return rows


def _at_every_rate(
    figures: Mapping[str, Figure], name: str, rates: Sequence[float], nonmated_count: int
) -> dict[str, Figure]:
    """The figures at fixed rates in their order; why there is none where the data is too small."""
    return {
        f"{name} {rate:g}": figures.get(f"{name} {rate:g}")
        or {
            "value": None,
            "of": nonmated_count,
            "why": f"{nonmated_count:,} non-mated are too few: "
            f"it takes {math.ceil(metrics.ERRORS_MIN / rate):,}",
        }
        for rate in rates
    }


def _plain(value: float) -> float | None:
    """A number as JSON has it: None for what is not finite."""
    return float(value) if math.isfinite(value) else None
