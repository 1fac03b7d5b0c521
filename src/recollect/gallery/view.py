"""What a search sees: extents with their row counts and deletions, frozen."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from recollect.gallery.codes import Widest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from recollect.gallery.columns import AnyColumn, Extent

DESCRIPTION = struct.Struct("@11QI2f0Q")
"""`Part` in `_scan.c`, with the padding at its end."""


class Part:
    """What a search may see of one extent; never changed, only replaced."""

    __slots__ = ("_description", "dead", "dead_count", "extent", "rows", "widest")

    def __init__(
        self,
        extent: Extent,
        rows: int = 0,
        dead: npt.NDArray[np.bool_] | None = None,
        dead_count: int = 0,
        widest: Widest = Widest(),  # noqa: B008 - a tuple
    ) -> None:
        self.extent = extent
        self.rows = rows
        """Rows in use, from the extent's first."""
        self.dead = dead
        """True for rows that are deleted, shape (extent.capacity,); none where no row is."""
        self.dead_count = dead_count
        self.widest = widest
        """Largest uncertainties of its codes."""
        self._description = b""

    @property
    def room(self) -> int:
        """Rows that can be appended."""
        return self.extent.capacity - self.rows

    @property
    def sparse(self) -> bool:
        """Whether the greater part of its rows is deleted."""
        return 2 * self.dead_count > self.rows

    def live(self) -> npt.NDArray[np.intp]:
        """Rows that are not deleted, counted from the extent's first."""
        return (
            np.arange(self.rows) if self.dead is None else np.flatnonzero(~self.dead[: self.rows])
        )

    def live_columns(self) -> list[AnyColumn]:
        """Copies of all columns of the rows that are not deleted."""
        live = self.extent.start + self.live()
        return [column[live] for column in self.extent.chunk.columns]

    def longer(self, count: int, widest: Widest) -> Part:
        """The same with `count` more rows, which have been written."""
        widest = self.widest.or_(widest) if self.rows else widest
        return Part(self.extent, self.rows + count, self.dead, self.dead_count, widest)

    def without(self, rows: npt.NDArray[np.intp]) -> Part:
        """The same with rows deleted that were live."""
        dead = np.zeros(self.extent.capacity, np.bool_) if self.dead is None else self.dead.copy()
        dead[rows] = True
        return Part(self.extent, self.rows, dead, self.dead_count + len(rows), self.widest)

    def description(self) -> bytes:
        """Where its columns are, for compiled code; valid as long as the part lives."""
        if not self._description:
            self._description = DESCRIPTION.pack(
                *self.extent.column_addresses(),
                0 if self.dead is None else self.dead.ctypes.data,
                self.rows,
                *self.widest,
            )
        return self._description


class Span(NamedTuple):
    """Rows of a view from one place to another, across parts."""

    part: int
    row: int
    end_part: int
    end_row: int


class View:
    """The parts of a space that one search sees from beginning to end."""

    __slots__ = ("_descriptions", "parts", "readers", "rows", "sequence", "version")

    def __init__(self, version: int, parts: Sequence[Part], sequence: int) -> None:
        self.version = version
        """Rises with every view of the space."""
        self.parts = tuple(parts)
        self.sequence = sequence
        """The last change of the truth that it shows."""
        self.rows = sum(part.rows for part in parts)
        self.readers = 0
        """Searches that hold it; its region counts them."""
        self._descriptions = b""

    def descriptions(self) -> bytes:
        """All parts' descriptions, one behind the other."""
        if not self._descriptions:
            self._descriptions = b"".join(part.description() for part in self.parts)
        return self._descriptions

    def spans(self, rows_max: int) -> list[Span]:
        """Cut the view into spans of about equally many rows, at most `rows_max`."""
        count = -(-self.rows // rows_max)
        each = -(-self.rows // count) if count else 0
        spans, begin, left = [], (0, 0), each
        for index, part in enumerate(self.parts):
            row = 0
            while part.rows - row >= left > 0:
                row += left
                spans.append(Span(*begin, index, row))
                begin, left = (index, row), each
            left -= part.rows - row
        if begin != (len(self.parts) - 1, self.parts[-1].rows if self.parts else 0) and self.rows:
            spans.append(Span(*begin, len(self.parts) - 1, self.parts[-1].rows))
        return spans

    def pieces(self, span: Span, rows_max: int) -> Iterator[tuple[int, Part, int, int]]:
        """Walk a span: index of a part, the part, and first and last row of at most `rows_max`."""
        for index in range(span.part, span.end_part + 1):
            part = self.parts[index]
            first = span.row if index == span.part else 0
            end = span.end_row if index == span.end_part else part.rows
            for row in range(first, end, rows_max):
                yield index, part, row, min(row + rows_max, end)
