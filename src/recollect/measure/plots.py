"""The plots of an evaluation, as SVG texts that come out the same from the same figures."""

from __future__ import annotations

import io
import itertools
import math
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from recollect.measure import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes

    from recollect.measure.evaluation import Evaluation

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "recollect",  # Ids inside the picture from its contents, not from chance.
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 8,
}
LINES = ("-", "--", ":")
POINTS = 200
BINS = 60
DISCARDED_MAX = 0.5
DISCARD_RATE = 0.05
"""The least error rate that the comparisons of a discard plot have to carry."""


def of_evaluations(evaluations: Sequence[Evaluation]) -> dict[str, str]:
    """Title to SVG; where there are several subjects, the first is drawn full, others dashed."""
    plots = {
        "FNMR against FMR, comparisons (DET)": _drawn(_det, evaluations),
        "FNIR against FPIR, open-set search, R = 1": _drawn(_open_set, evaluations),
        "Share found within the first candidates (CMC)": _drawn(_ranks, evaluations),
    }
    for evaluation in evaluations:
        for seen in evaluation.comparisons:
            if "all against all" in seen.title:
                title = f"Scores of {seen.title}: {evaluation.title}"
                plots[title] = _drawn(_histogram, seen.mated, seen.nonmated)
    for evaluation in evaluations:
        for name, (mated, qualities) in evaluation.qualities.items():
            if metrics.carries(len(mated), DISCARD_RATE):
                title = f"FNMR against discarded pictures, {name}: {evaluation.title}"
                plots[title] = _drawn(_discard, mated, qualities, evaluation.cut)
    return plots


def lines(
    x_title: str,
    y_title: str,
    series: dict[str, tuple[Sequence[float], Sequence[float]]],
    *,
    log_y: bool = False,
) -> str:
    """A plain plot of named lines, as SVG."""

    def draw(axes: Axes) -> None:
        for name, (x, y) in series.items():
            axes.plot(x, y, marker=".", label=name)
        axes.set(xlabel=x_title, ylabel=y_title)
        if log_y:
            axes.set_yscale("log")
        axes.legend()

    return _drawn(draw)


def of_searches(curves: dict[str, tuple[list[float], list[float]]]) -> str:
    """Median search over the number of faces, both logarithmic; limits are dashed or dotted."""

    def draw(axes: Axes) -> None:
        dashes = itertools.cycle(LINES[1:])
        for name, (faces, milliseconds) in curves.items():
            limit = name.startswith("limit")
            axes.plot(
                faces,
                milliseconds,
                next(dashes) if limit else "-",
                marker=None if limit else ".",
                color="0.4" if limit else None,
                lw=1.0,
                label=name,
            )
        axes.set(xscale="log", yscale="log", xlabel="faces", ylabel="median search, ms")
        axes.legend(fontsize=6)

    return _drawn(draw)


def _det(axes: Axes, evaluations: Sequence[Evaluation]) -> None:
    for evaluation, line in zip(evaluations, LINES, strict=False):
        for number, seen in enumerate(evaluation.comparisons):
            _tradeoff(axes, seen.mated, seen.nonmated, seen.title, line, number)
    _both_logarithmic(axes, "false match rate (FMR)", "false non-match rate (FNMR)")


def _open_set(axes: Axes, evaluations: Sequence[Evaluation]) -> None:
    for evaluation, line in zip(evaluations, LINES, strict=False):
        for number, seen in enumerate(evaluation.searches):
            mate = metrics.within_rank(seen.mate, seen.rank, 1)
            title = f"{seen.title}, N = {seen.enrolled_count}"
            _tradeoff(axes, mate, seen.best, title, line, number)
    _both_logarithmic(
        axes, "false positive identification rate (FPIR)", "false negative identification (FNIR)"
    )


def _tradeoff(
    axes: Axes,
    mated: metrics.Numbers,
    nonmated: metrics.Numbers,
    title: str,
    line: str,
    number: int,
) -> None:
    if not len(mated) or not len(nonmated):
        return
    rates = np.geomspace(1 / len(nonmated), 1, POINTS).tolist()
    x, y = metrics.curve(mated, nonmated, rates)
    axes.plot(
        x, y, line, color=f"C{number % 10}", label=title if line == LINES[0] else None, lw=1.2
    )


def _both_logarithmic(axes: Axes, x_title: str, y_title: str) -> None:
    axes.set(xscale="log", yscale="log", xlabel=x_title, ylabel=y_title, ylim=(1e-3, 1.2))
    if axes.lines:
        axes.legend(loc="lower left")


def _ranks(axes: Axes, evaluations: Sequence[Evaluation]) -> None:
    for evaluation, line in zip(evaluations, LINES, strict=False):
        # The second of each two is the same search with its mates left out.
        for number, seen in enumerate(evaluation.searches[::2]):
            shares = metrics.match_characteristic(seen.rank, 10)
            label = f"{seen.title}, N = {seen.enrolled_count}" if line == LINES[0] else None
            axes.plot(range(1, 11), shares, line, marker=".", color=f"C{number}", label=label)
    axes.set(xlabel="rank", ylabel="share of mated searches")
    if axes.lines:
        axes.legend(loc="lower right")


def _histogram(axes: Axes, mated: metrics.Numbers, nonmated: metrics.Numbers) -> None:
    found = mated[np.isfinite(mated)]
    both = np.concatenate([found, nonmated])
    edges = np.linspace(both.min(initial=0), both.max(initial=0) or 1, BINS + 1)
    for values, name in ((nonmated, "non-mated"), (found, "mated")):
        if len(values):
            weights = np.full(len(values), 1 / len(values))
            axes.hist(values, edges.tolist(), weights=weights, alpha=0.6, label=name)
    axes.set(xlabel="score", ylabel="share of comparisons", yscale="log")
    axes.legend()


def _discard(
    axes: Axes,
    mated: metrics.Numbers,
    qualities: dict[str, metrics.Numbers],
    threshold: float,
) -> None:
    shares = np.linspace(0, DISCARDED_MAX, 51).tolist()
    for name, quality in qualities.items():
        errors = metrics.error_against_discard(mated, quality, threshold, shares)
        axes.plot(shares, errors, label=f"by {name}", lw=1.2)
    first = 1 - metrics.share_reaching(mated, threshold)
    if not math.isnan(first):
        ideal = [max(0.0, (first - share) / (1 - share)) for share in shares]
        axes.plot(shares, ideal, ":", color="0.5", label="ideal")
    axes.set(xlabel="share discarded", ylabel="FNMR of the rest", ylim=(0, None))
    axes.legend()


def _drawn(draw: Callable[..., None], *what: Any) -> str:
    """Draw on one pair of axes and return the SVG."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        draw(figure.add_subplot(), *what)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
