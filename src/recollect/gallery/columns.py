"""The arena's memory: chunks of columns for one dimension, lent out as extents of rows."""

from __future__ import annotations

import mmap
import threading
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterable

CHUNK_ROWS: Final = 1 << 16
"""Rows of a chunk, which is also the largest extent."""

EXTENT_ROWS_MIN: Final = 64
"""Rows of the smallest extent: what a collection of one face costs."""

HUGE_PAGE_BYTES: Final = 2 << 20

Bytes = npt.NDArray[np.uint8]
Codes = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float32]


class Chunk:
    """Columns of 65,536 rows in one anonymous mapping, each starting on a huge page.

    A page that was never written takes no memory. Nothing here moves while it lives.

    Args:
        number: position in its shelf; an address is `number * CHUNK_ROWS + row`.
        dimension: of the templates.
        keeps_templates: whether the float32 templates are a column too.
    """

    def __init__(self, number: int, dimension: int, *, keeps_templates: bool) -> None:
        self.number = number
        stride = code_bytes(dimension)
        sizes = [stride, 4, 4, 4, 4, 16, 4 * dimension if keeps_templates else 0]
        lengths = [-(-size * CHUNK_ROWS // HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES for size in sizes]
        memory = mmap.mmap(-1, sum(lengths) + HUGE_PAGE_BYTES)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            memory.madvise(mmap.MADV_HUGEPAGE)
        whole = np.frombuffer(memory, np.uint8)
        start = -whole.ctypes.data % HUGE_PAGE_BYTES
        starts = start + np.concatenate([[0], np.cumsum(lengths)]).astype(int)

        def column(index: int, kind: type[np.generic], width: int) -> npt.NDArray[np.generic]:
            length_bytes = CHUNK_ROWS * sizes[index]
            raw = whole[starts[index] : starts[index] + length_bytes]
            return raw.view(kind).reshape((CHUNK_ROWS, width) if width > 1 else (CHUNK_ROWS,))

        self.codes: Codes = column(0, np.int8, stride)  # type: ignore[assignment]
        self.scale: Floats = column(1, np.float32, 1)  # type: ignore[assignment]
        self.offset: Floats = column(2, np.float32, 1)  # type: ignore[assignment]
        self.error: Floats = column(3, np.float32, 1)  # type: ignore[assignment]
        self.norm: Floats = column(4, np.float32, 1)  # type: ignore[assignment]
        self.ids: Bytes = column(5, np.uint8, 16)  # type: ignore[assignment]
        self.templates: Floats | None = None
        if keeps_templates:
            self.templates = (
                whole[starts[6] : starts[6] + CHUNK_ROWS * 4 * dimension]
                .view(np.float32)
                .reshape(CHUNK_ROWS, dimension)
            )

    def columns(self) -> list[npt.NDArray[np.generic]]:
        """Every column, for what has to touch all of a row."""
        every: list[npt.NDArray[np.generic]] = [self.codes, self.scale, self.offset, self.error]
        every += [self.norm, self.ids]
        return every if self.templates is None else [*every, self.templates]


class Extent:
    """A run of rows of one chunk, owned by one collection until given back."""

    __slots__ = ("capacity", "chunk", "start")

    def __init__(self, chunk: Chunk, start: int, capacity: int) -> None:
        self.chunk = chunk
        self.start = start
        self.capacity = capacity

    @property
    def address(self) -> int:
        """Number of its first row in the shelf; what the directory of ids counts by."""
        return self.chunk.number * CHUNK_ROWS + self.start

    def wipe(self, rows: npt.NDArray[np.intp] | slice) -> None:
        """Overwrite rows with zeros; nobody may be reading them."""
        for column in self.chunk.columns():
            column[self.start : self.start + self.capacity][rows] = 0


class Shelf:
    """All chunks of one dimension, and which of their rows are free (a buddy system).

    Args:
        dimension: of the templates.
        keeps_templates: whether the float32 templates are kept.
    """

    def __init__(self, dimension: int, *, keeps_templates: bool) -> None:
        self.dimension = dimension
        self.keeps_templates = keeps_templates
        self._chunks: dict[int, Chunk] = {}
        self._free: dict[int, set[tuple[int, int]]] = {}
        self._lock = threading.Lock()

    def chunk(self, number: int) -> Chunk:
        """Look a chunk up by the number in an address."""
        return self._chunks[number]

    def take(self, rows: int) -> Extent:
        """Lend an extent of at least `rows` rows, or a whole chunk where that is less."""
        capacity = EXTENT_ROWS_MIN
        while capacity < min(rows, CHUNK_ROWS):
            capacity *= 2
        with self._lock:
            size = capacity
            while size <= CHUNK_ROWS and not self._free.get(size):
                size *= 2
            if size > CHUNK_ROWS:
                size = CHUNK_ROWS
                number = next(n for n in range(len(self._chunks) + 1) if n not in self._chunks)
                self._chunks[number] = Chunk(
                    number, self.dimension, keeps_templates=self.keeps_templates
                )
                start = 0
            else:
                number, start = self._free[size].pop()
            while size > capacity:
                size //= 2
                self._free.setdefault(size, set()).add((number, start + size))
            return Extent(self._chunks[number], start, capacity)

    def give(self, extents: Iterable[Extent]) -> None:
        """Take extents back and overwrite them; a chunk that is free as a whole is unmapped."""
        for extent in extents:
            if extent.capacity < CHUNK_ROWS:
                extent.wipe(slice(None))
            with self._lock:
                number, start, size = extent.chunk.number, extent.start, extent.capacity
                while size < CHUNK_ROWS:
                    buddies = self._free.setdefault(size, set())
                    if (number, start ^ size) not in buddies:
                        buddies.add((number, start))
                        break
                    buddies.remove((number, start ^ size))
                    start &= ~size
                    size *= 2
                else:
                    del self._chunks[number]


def code_bytes(dimension: int) -> int:
    """Bytes of a row of int8 codes: whole cache lines, the rest zero."""
    return -(-dimension // 64) * 64
