"""One search of a view: bounds of codes first, then canonical scores of what they leave."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from recollect.gallery.codes import Query
    from recollect.gallery.columns import Bytes, Floats
    from recollect.gallery.kernel import Kernel
    from recollect.gallery.view import Span, View

SURVIVOR: Final = np.dtype(
    [("part", np.uint32), ("row", np.uint32), ("upper", np.float32), ("lower", np.float32)]
)
"""`Survivor` in `_scan.c`: a row that can be an answer, and bounds of its score."""

Rows = npt.NDArray[np.void]

SPAN_BYTES: Final = 4 << 20
"""Codes that one thread takes at a time: a few hundred microseconds, worth waking a thread."""


class Survivors:
    """Rows that can still be among the answers, and the score that a row has to reach.

    The floor begins at the lowest score wanted. Once more rows are in hand than are wanted, it
    rises to the `count_max`-th highest *lower* bound: that many rows score at least as much, so
    a row whose upper bound lies below can be no answer. Equal bounds stay, for ties go by id.

    Args:
        count_max: answers wanted.
        score_min: lowest score wanted.
        rows_max: rows of the view; there are never more survivors.
    """

    def __init__(self, count_max: int, score_min: float, rows_max: int) -> None:
        self.count_max = count_max
        self.floor = score_min
        self.count = 0
        self._buffer = np.empty(min(rows_max, 2 * count_max + 8192) + 4096, SURVIVOR)

    def room(self, least: int) -> Rows:
        """Where at least `least` more rows can be written; `took` says how many were."""
        if self.count + least > len(self._buffer):
            self._prune()
            if self.count + least > len(self._buffer) // 2:
                grown = np.empty(2 * (self.count + least), SURVIVOR)
                grown[: self.count] = self._buffer[: self.count]
                self._buffer = grown
        return self._buffer[self.count :]

    def took(self, count: int) -> None:
        """Count rows in that were written."""
        self.count += count

    def rows(self) -> Rows:
        """Raise the floor as far as it can be, and give what still reaches it."""
        self._prune()
        return self._buffer[: self.count]

    def _prune(self) -> None:
        if self.count > self.count_max:
            rows = self._buffer[: self.count]
            enough = np.partition(rows["lower"], -self.count_max)[-self.count_max]
            self.floor = max(self.floor, float(enough))
            rows = rows[rows["upper"] >= np.float64(self.floor)]
            self._buffer[: len(rows)] = rows
            self.count = len(rows)


class Scanner:
    """Looks through views; lends idle threads to a search that is alone.

    Args:
        kernel: compares a probe with codes.
        threads: most threads that one search may use.
    """

    def __init__(self, kernel: Kernel, threads: int) -> None:
        self._kernel = kernel
        self._threads = threads
        self._idle = threads
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(threads - 1, "scan") if threads > 1 else None

    def survivors(self, view: View, query: Query, count_max: int, score_min: float) -> Rows:
        """Find every row of a view that can be among the `count_max` best from `score_min` up."""
        rows_max = max(SPAN_BYTES // self._kernel.bytes_scanned(len(query.probe)), 1)
        with self._lock:
            helpers = max(min(self._idle, -(-view.rows // rows_max)) - 1, 0)
            self._idle -= 1 + helpers
        try:
            # A thread that is alone has nobody to share with.
            waiting = iter(view.spans(rows_max if helpers else max(view.rows, 1)))
            futures = [
                self._pool.submit(self._sift, view, query, waiting, count_max, score_min)
                for _ in range(helpers)
                if self._pool is not None
            ]
            own = self._sift(view, query, waiting, count_max, score_min)
            found = [own, *(future.result() for future in futures)]
        finally:
            with self._lock:
                self._idle += 1 + helpers
        if len(found) == 1:
            return found[0].rows()
        together = Survivors(count_max, score_min, sum(each.count for each in found))
        for each in found:
            rows = each.rows()
            together.room(len(rows))[: len(rows)] = rows
            together.took(len(rows))
        return together.rows()

    def close(self) -> None:
        """Let the helping threads go."""
        if self._pool is not None:
            self._pool.shutdown()

    def _sift(
        self, view: View, query: Query, spans: Iterator[Span], count_max: int, score_min: float
    ) -> Survivors:
        survivors = Survivors(count_max, score_min, view.rows)
        while True:
            with self._lock:
                span = next(spans, None)
            if span is None:
                return survivors
            self._kernel.sift(view, span, query, survivors)


def best(
    ids: Bytes, scores: Floats, count_max: int, score_min: float, exclude: bytes | None
) -> tuple[Bytes, Floats]:
    """Keep what reaches a score, by falling score, then rising id, and cut.

    Args:
        ids: shape (count, 16).
        scores: canonical, shape (count,); NaN is no score.
        count_max: most answers.
        score_min: lowest score.
        exclude: an id that is no answer, 16 bytes.
    """
    wanted = scores >= np.float64(score_min)
    if exclude is not None:
        wanted &= (ids != np.frombuffer(exclude, np.uint8)).any(axis=1)
    ids, scores = ids[wanted], scores[wanted]
    if len(scores) < 2:
        return ids[:count_max], scores[:count_max]
    if len(scores) > count_max:
        # Sorting by id as well is slow: first leave out what cannot be among the best.
        least = np.partition(scores, -count_max)[-count_max]
        ids, scores = ids[scores >= least], scores[scores >= least]
    order = np.argsort(-scores, kind="stable")
    equal = np.diff(scores[order]) == 0
    if equal.any():
        # Only among those that are not alone with their score.
        tied = np.append(equal, False) | np.append(False, equal)
        some = order[tied]
        high, low = np.ascontiguousarray(ids[some]).view(">u8").reshape(-1, 2).T
        order[tied] = some[np.lexsort((low, high, -scores[some]))]
    return ids[order[:count_max]], scores[order[:count_max]]
