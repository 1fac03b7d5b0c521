"""What compares a probe with codes: one interface, and its forms that need no compiler."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Protocol

import numkong
import numpy as np
import numpy.typing as npt

from recollect.gallery import codes, exact
from recollect.gallery.codes import ROUNDING, Query
from recollect.gallery.columns import code_bytes
from recollect.gallery.native import NativeKernel

if TYPE_CHECKING:
    from recollect.gallery.codes import Centre, Widest
    from recollect.gallery.columns import Bytes, Chunk, Floats
    from recollect.gallery.scan import Rows, Survivors
    from recollect.gallery.store import Template, Templates
    from recollect.gallery.view import Part, Span, View

log = logging.getLogger(__name__)

BLOCK_ROWS: Final = 1 << 13
"""Rows that the paths without a compiled kernel look at together; bounds their memory."""


class Kernel(Protocol):
    """Turns templates into codes, and finds and scores the rows that a probe may match."""

    name: str

    def keeps_signs(self, dimension: int) -> bool:
        """Whether columns of this dimension should hold sign bits for it."""
        ...

    def bytes_scanned(self, dimension: int) -> int:
        """Bytes of a row that a search usually reads, for cutting work into spans."""
        ...

    def encode(self, templates: Templates, centre: Centre, chunk: Chunk, rows: slice) -> Widest:
        """Fill the columns of rows, templates and ids apart."""
        ...

    def query(self, probe: Template, centre: Centre) -> Query:
        """Prepare a probe."""
        ...

    def sift(self, view: View, span: Span, query: Query, survivors: Survivors) -> None:
        """Add to the survivors every live row of a span that may reach their floor."""
        ...

    def ids(self, view: View, rows: Rows) -> Bytes:
        """Read the ids of rows, shape (count, 16)."""
        ...

    def scores(self, view: View, rows: Rows, query: Query) -> Floats:
        """Score rows canonically, shape (count,), from the column of templates."""
        ...


class NumpyKernel:
    """Everything in numpy: slow, obvious, always there."""

    name = "numpy"

    def keeps_signs(self, dimension: int) -> bool:
        """No: the first stage pays only where it is compiled."""
        return False

    def bytes_scanned(self, dimension: int) -> int:
        """Bytes of a row of codes."""
        return code_bytes(dimension)

    def encode(self, templates: Templates, centre: Centre, chunk: Chunk, rows: slice) -> Widest:
        """Fill the columns of rows, templates and ids apart."""
        return codes.encode(templates, centre, chunk, rows)

    def query(self, probe: Template, centre: Centre) -> Query:
        """Prepare a probe."""
        return Query.of(probe, centre)

    def sift(self, view: View, span: Span, query: Query, survivors: Survivors) -> None:
        """Add to the survivors every live row of a span that may reach their floor."""
        for index, part, first, end in view.pieces(span, BLOCK_ROWS):
            start = part.extent.start
            here = slice(start + first, start + end)
            dots = self.dots(part.extent.chunk, here, query)
            middle, spread = bounds(part.extent.chunk, here, query, dots)
            passing = middle + spread >= np.float32(survivors.floor - query.base)
            if part.dead is not None:
                passing &= ~part.dead[first:end]
            kept = np.flatnonzero(passing)
            room = survivors.room(len(kept))[: len(kept)]
            room["part"] = index
            room["row"] = first + kept
            room["upper"] = middle[kept] + spread[kept] + np.float32(query.base)
            room["lower"] = middle[kept] - spread[kept] + np.float32(query.base)
            survivors.took(len(kept))

    def dots(self, chunk: Chunk, rows: slice, query: Query) -> npt.NDArray[np.floating]:
        """Products of codes, c·c_q: exact in float32 below 2^24, that is up to 1,040 of them."""
        kind = np.float32 if len(query.codes) <= 1024 else np.float64
        products: npt.NDArray[np.floating] = chunk.codes[rows].astype(kind) @ query.codes.astype(
            kind
        )
        return products

    def ids(self, view: View, rows: Rows) -> Bytes:
        """Read the ids of rows, shape (count, 16)."""
        out = np.empty((len(rows), 16), np.uint8)
        for part, here, places in _by_part(view, rows):
            out[here] = part.extent.chunk.ids[places]
        return out

    def scores(self, view: View, rows: Rows, query: Query) -> Floats:
        """Score rows canonically, shape (count,), from the column of templates."""
        out = np.empty(len(rows), np.float32)
        for part, here, places in _by_part(view, rows):
            templates = part.extent.chunk.templates
            assert templates is not None
            out[here] = exact.scores(templates[places], query.probe)
        return out


class NumkongKernel(NumpyKernel):
    """The same with products from numkong, which brings compiled ones for most processors."""

    name = "numkong"

    def dots(self, chunk: Chunk, rows: slice, query: Query) -> npt.NDArray[np.floating]:
        """Products of codes, c·c_q, as float64."""
        products = numkong.cdist(query.codes[None], chunk.codes[rows], metric="dot")
        return np.asarray(products, np.float64).reshape(-1)


def choose(name: str) -> Kernel:
    """Make the kernel of a name; "auto" is the compiled one, or numkong's with the reason why.

    Raises:
        OSError: the compiled kernel was insisted on and cannot be had.
    """
    match name:
        case "numpy":
            return NumpyKernel()
        case "numkong":
            return NumkongKernel()
        case "native":
            return NativeKernel()
        case "auto":
            try:
                return NativeKernel()
            except OSError as error:
                kernel = NumkongKernel()
                kernel.name = f"numkong ({error})"
                log.warning("searches are several times slower than they could be: %s", error)
                return kernel
        case _:
            raise ValueError(f"no kernel is called {name!r}: auto, native, numkong or numpy")


def bounds(
    chunk: Chunk, rows: slice, query: Query, dots: npt.NDArray[np.floating]
) -> tuple[Floats, Floats]:
    """Middle and half width of where r·r_q + m·x lies, given the products of codes."""
    middle = chunk.scale[rows] * query.scale * dots.astype(np.float32) + chunk.offset[rows]
    spread = chunk.error[rows] * query.length + chunk.norm[rows] * query.error + ROUNDING
    return middle, spread


def _by_part(
    view: View, rows: Rows
) -> list[tuple[Part, npt.NDArray[np.intp], npt.NDArray[np.int64]]]:
    """Rows of each part: where they are in `rows`, and where in the part's chunk."""
    groups = []
    for index in np.unique(rows["part"]):
        here = np.flatnonzero(rows["part"] == index)
        part = view.parts[index]
        groups.append((part, here, part.extent.start + rows["row"][here].astype(np.int64)))
    return groups
