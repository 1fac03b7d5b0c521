"""One search of the arena: bounds of codes first, canonical scores of what they leave, cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from recollect.gallery import exact
from recollect.gallery.codes import ROUNDING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recollect.gallery.codes import Query
    from recollect.gallery.columns import Bytes, Extent

BLOCK_ROWS: Final = 1 << 14
"""Rows that the paths without a compiled kernel look at together; bounds their memory."""


class Part(NamedTuple):
    """What a search may see of one extent; never changed, only replaced."""

    extent: Extent
    rows: int
    """Rows in use, from the extent's first."""
    dead: npt.NDArray[np.bool_] | None
    """True for rows that are deleted, shape (extent.capacity,); none where no row is."""
    dead_count: int


SURVIVOR: Final = np.dtype(
    [("part", np.uint32), ("row", np.uint32), ("upper", np.float32), ("lower", np.float32)]
)


class Survivors:
    """Rows that can still be among the answers, and the score that a row has to reach.

    The floor begins at the lowest score wanted. Once more rows are in hand than are wanted, it
    rises to the `count_max`-th highest *lower* bound: that many rows score at least as much, so
    a row whose upper bound lies below can be no answer. Equal bounds stay, for ties go by id.

    Args:
        count_max: answers wanted.
        score_min: lowest score wanted.
    """

    def __init__(self, count_max: int, score_min: float) -> None:
        self.count_max = count_max
        self.floor = score_min - ROUNDING
        self._blocks: list[npt.NDArray[np.void]] = []
        self._count = 0
        self._prune_at = 4 * count_max + BLOCK_ROWS

    def add(self, block: npt.NDArray[np.void]) -> None:
        """Take rows in whose upper bound reaches the floor."""
        self._blocks.append(block)
        self._count += len(block)
        if self._count > self._prune_at:
            self._prune_at = max(2 * len(self.rows()), self._prune_at)

    def rows(self) -> npt.NDArray[np.void]:
        """Raise the floor as far as it can be, and give what still reaches it."""
        rows = np.concatenate([np.empty(0, SURVIVOR), *self._blocks])
        if len(rows) > self.count_max:
            lower = rows["lower"]
            enough = float(np.partition(lower, -self.count_max)[-self.count_max])
            self.floor = max(self.floor, enough)
            rows = rows[rows["upper"] >= self.floor]
        self._blocks, self._count = [rows], len(rows)
        return rows


class Kernel(Protocol):
    """Finds the rows of a part whose bound reaches a floor."""

    name: str

    def sift(self, index: int, part: Part, query: Query, survivors: Survivors) -> None:
        """Add to the survivors every live row of part number `index` that may reach the floor."""
        ...


class NumpyKernel:
    """The bounds in numpy: slow, obvious, always there."""

    name = "numpy"

    def sift(self, index: int, part: Part, query: Query, survivors: Survivors) -> None:
        """Sum products of codes in float32, where they are exact: below 2^24 up to 1,040 of them.

        Longer templates are summed in float64.
        """
        exact_kind = np.float32 if len(query.codes) <= 1024 else np.float64
        codes = query.codes.astype(exact_kind)
        for first in range(0, part.rows, BLOCK_ROWS):
            rows = _slice(part, first)
            dots = part.extent.chunk.codes[rows].astype(exact_kind) @ codes
            survivors.add(bounded(index, part, query, first, dots, survivors.floor))


def bounded(
    index: int,
    part: Part,
    query: Query,
    first: int,
    dots: npt.NDArray[np.floating],
    floor: float,
) -> npt.NDArray[np.void]:
    """Turn products of codes, c·c_q, into the live rows whose upper bound reaches a floor."""
    rows, chunk = _slice(part, first), part.extent.chunk
    middle = chunk.scale[rows] * query.scale * dots.astype(np.float32) + chunk.offset[rows]
    spread = chunk.error[rows] * query.length + chunk.norm[rows] * query.error
    passing = middle + spread >= np.float32(floor - query.offset - ROUNDING)
    if part.dead is not None:
        passing &= ~part.dead[first : first + len(dots)]
    kept = np.flatnonzero(passing)
    out = np.empty(len(kept), SURVIVOR)
    out["part"] = index
    out["row"] = first + kept
    out["upper"] = middle[kept] + spread[kept] + np.float32(query.offset + ROUNDING)
    out["lower"] = middle[kept] - spread[kept] + np.float32(query.offset - ROUNDING)
    return out


def _slice(part: Part, first: int) -> slice:
    start = part.extent.start
    return slice(start + first, start + min(first + BLOCK_ROWS, part.rows))


class Answers(NamedTuple):
    """Ids and canonical scores of rows."""

    ids: Bytes
    scores: npt.NDArray[np.float32]

    def best(self, count_max: int, score_min: float, exclude: bytes | None) -> Answers:
        """Sort by falling score, then rising id, and cut."""
        wanted = self.scores >= np.float64(score_min)
        if exclude is not None:
            wanted &= (self.ids != np.frombuffer(exclude, np.uint8)).any(axis=1)
        ids, scores = np.ascontiguousarray(self.ids[wanted]), self.scores[wanted]
        high, low = ids.view(">u8").reshape(-1, 2).T
        order = np.lexsort((low, high, -scores))[:count_max]
        return Answers(ids[order], scores[order])


def gather(parts: Sequence[Part], rows: npt.NDArray[np.void], query: Query) -> Answers:
    """Read the ids of surviving rows and score their templates canonically."""
    ids = np.empty((len(rows), 16), np.uint8)
    scores = np.empty(len(rows), np.float32)
    for index in np.unique(rows["part"]):
        here = np.flatnonzero(rows["part"] == index)
        extent = parts[index].extent
        places = extent.start + rows["row"][here].astype(np.int64)
        ids[here] = extent.chunk.ids[places]
        assert extent.chunk.templates is not None
        scores[here] = exact.scores(extent.chunk.templates[places], query.probe)
    return Answers(ids, scores)
