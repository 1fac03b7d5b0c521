"""The arena's memory: chunks of columns for one dimension, lent out as extents of rows."""

from __future__ import annotations

import math
import mmap
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterable

CHUNK_ROWS: Final = 1 << 16
"""Rows of a chunk, which is also the largest extent."""

EXTENT_ROWS_MIN: Final = 64
"""Rows of the smallest extent: what a collection of one face costs."""

GROUP_ROWS: Final = 64
"""Rows whose sign bits lie side by side, `GROUP` in `_scan.c`; extents begin with a group."""

HUGE_PAGE_BYTES: Final = 2 << 20

SIGNS: Final = 5
"""Place of the sign bits among the addresses of a row."""

TOPS: Final = 7
"""Place of the tops."""

Bytes = npt.NDArray[np.uint8]
Codes = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float32]
AnyColumn = npt.NDArray[Any]
Places = npt.NDArray[np.intp] | slice


@dataclass(frozen=True, slots=True)
class Layout:
    """What the columns of a chunk hold; all chunks of a shelf have the same."""

    dimension: int
    keeps_templates: bool = True
    """Whether the float32 templates are a column; else the truth is asked for them."""
    keeps_signs: bool = False
    """Whether there are sign bits for the first stage of a search."""

    def columns(self) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
        """Type and row shape of each column, by its name."""
        every: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
            "codes": (np.dtype(np.int8), (code_bytes(self.dimension),)),
            "scale": (np.dtype(np.float32), ()),
            "offset": (np.dtype(np.float32), ()),
            "error": (np.dtype(np.float32), ()),
            "norm": (np.dtype(np.float32), ()),
            "ids": (np.dtype(np.uint8), (16,)),
        }
        if self.keeps_signs:
            every["signs"] = np.dtype(np.uint8), (code_bytes(self.dimension) // 8,)
            every["factor"] = np.dtype(np.float32), ()
        if self.keeps_templates:
            every["templates"] = np.dtype(np.float32), (self.dimension,)
        return every

    def row_bytes(self) -> int:
        """Memory of one row: at 128 dimensions 160 bytes, and 512 more with its template."""
        return sum(kind.itemsize * math.prod(shape) for kind, shape in self.columns().values())


class Grouped:
    """A column whose rows do not lie one behind the other: in groups of 64, the first byte of each
    row, then the second of each, and so on, which is how a scan looks them up fastest.

    Args:
        rows: memory of the column, shape (count, bytes of a row), as if they did.
    """

    def __init__(self, rows: Bytes) -> None:
        self.memory = rows
        groups = rows.reshape(-1, rows.shape[1], GROUP_ROWS)
        self._rows = groups.transpose(0, 2, 1)

    def __getitem__(self, rows: Places) -> Bytes:
        return np.ascontiguousarray(self._rows[self._split(rows)])

    def __setitem__(self, rows: Places, values: Bytes | int) -> None:
        self._rows[self._split(rows)] = values

    def _split(self, rows: Places) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Groups of rows, and places in them."""
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self.memory)))
        return rows // GROUP_ROWS, rows % GROUP_ROWS


class Chunk:
    """Columns of rows, one behind the other in one anonymous mapping.

    A page that was never written takes no memory. Nothing here moves while it lives.

    Args:
        number: position in its shelf; an address is `number * CHUNK_ROWS + row`.
        layout: which columns there are.
        rows: whole groups of them; fewer only where none is lent out.
    """

    def __init__(self, number: int, layout: Layout, rows: int = CHUNK_ROWS) -> None:
        self.number = number
        columns = layout.columns()
        lengths = {
            name: rows * kind.itemsize * math.prod(shape) for name, (kind, shape) in columns.items()
        }
        # Every length is a multiple of a cache line, and in a whole chunk of 64 KiB: every column
        # starts on a line, and no huge page is left half empty.
        whole = mapped(sum(lengths.values()))
        arrays: dict[str, Any] = {}
        at = 0
        for name, (kind, shape) in columns.items():
            raw = whole[at : at + lengths[name]]
            arrays[name] = raw.view(kind).reshape(rows, *shape)
            at += lengths[name]

        self.codes: Codes = arrays["codes"]
        self.scale: Floats = arrays["scale"]
        self.offset: Floats = arrays["offset"]
        self.error: Floats = arrays["error"]
        self.norm: Floats = arrays["norm"]
        self.ids: Bytes = arrays["ids"]
        signs = arrays.get("signs")
        self.signs = None if signs is None else Grouped(signs)
        self.factor: Floats | None = arrays.get("factor")
        self.templates: Floats | None = arrays.get("templates")
        self.tops: Floats | None = None
        """The largest factor and the largest offset of each group of rows, shape (groups, 2), where
        there are sign bits. They follow from the columns and are none: see `top`."""
        if self.signs is not None:
            arrays["signs"] = self.signs
            self.tops = np.zeros((rows // GROUP_ROWS, 2), np.float32)
        self.columns: list[AnyColumn | Grouped] = list(arrays.values())
        """Every column, for what has to touch all of a row."""
        self._addressed = [
            (0, 0) if column is None else (column.ctypes.data, column.strides[0])
            for column in (
                *(self.codes, self.scale, self.offset, self.error, self.norm),
                *(signs, self.factor, self.tops, self.templates, self.ids),
            )
        ]

    def top(self, rows: slice) -> None:
        """Bring the tops up to date, after rows were written and before a search sees them.

        Rows of a group that are not in use count as well: a top may be too high, never too low.
        """
        if self.factor is None or self.tops is None:
            return
        groups = slice(rows.start // GROUP_ROWS, -(-rows.stop // GROUP_ROWS))
        for place, column in enumerate((self.factor, self.offset)):
            self.tops[groups, place] = column.reshape(-1, GROUP_ROWS)[groups].max(axis=1)

    def column_addresses(self, row: int) -> list[int]:
        """Where a row lies in each column, in the order of `Part` in `_scan.c`; 0 for none.

        Of the sign bits and of the tops, where the row's group begins.
        """
        places = [base + row * stride for base, stride in self._addressed]
        group, first = divmod(row, GROUP_ROWS)
        for place, number in ((SIGNS, row - first), (TOPS, group)):
            base, stride = self._addressed[place]
            places[place] = base + number * stride
        return places


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

    def column_addresses(self) -> list[int]:
        """Where its first row lies in each column."""
        return self.chunk.column_addresses(self.start)

    def wipe(self, rows: npt.NDArray[np.intp]) -> None:
        """Overwrite rows, counted from its first, with zeros; nobody may be reading them."""
        for column in self.chunk.columns:
            column[self.start + rows] = 0


class Shelf:
    """All chunks of one dimension, and which of their rows are free (a buddy system).

    Args:
        layout: of its chunks.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.row_bytes = layout.row_bytes()
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
                self._chunks[number] = Chunk(number, self.layout)
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
                extent.wipe(np.arange(extent.capacity))
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


def mapped(length_bytes: int) -> Bytes:
    """Zeroed memory of its own mapping, in huge pages where the system has them.

    It begins on a huge page, takes memory only where it is written, and is given back with the
    last array that looks at it.
    """
    # Private: memory shared with child processes is file memory and gets no huge pages.
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    memory = mmap.mmap(-1, length_bytes + HUGE_PAGE_BYTES, flags=flags)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    whole = np.frombuffer(memory, np.uint8)
    first = -whole.ctypes.data % HUGE_PAGE_BYTES
    return whole[first : first + length_bytes]
