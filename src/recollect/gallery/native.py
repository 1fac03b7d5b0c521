"""The compiled kernel, `_scan.c`: built with the package where there is a C compiler."""

from __future__ import annotations

import ctypes
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from recollect.gallery.codes import (
    DEVIATIONS,
    ROUNDING,
    SQUARE_ERROR,
    Query,
    Widest,
)
from recollect.gallery.columns import GROUP_ROWS, code_bytes

if TYPE_CHECKING:
    import numpy.typing as npt

    from recollect.gallery.codes import Centre
    from recollect.gallery.columns import Bytes, Chunk, Floats
    from recollect.gallery.scan import Rows, Survivors
    from recollect.gallery.store import Template, Templates
    from recollect.gallery.view import Span, View

SOURCE: Final = Path(__file__).with_name("_scan.c")
LIBRARY: Final = Path(__file__).with_name("_scan.so")

DIMENSION_MAX: Final = 4096
"""Longest template that the kernel has buffers for."""

SIGNS_DIMENSIONS: Final = range(256, 1025)
"""Dimensions with a first stage of sign bits. Below, one bit a dimension is too coarse."""

CROWD: Final = 0.15
"""Share of a block's rows that the first stage may leave. Where it leaves more, as it does at low
thresholds, it costs more than it spares, and the next blocks are scanned without it."""

BLOCK: Final = 8192
"""Rows that the kernel looks at together: it stops where fewer survivors have room."""

ROTATION_SEED: Final = 20_240_609
"""Of the one rotation for each dimension. Changing it only changes which codes are made."""


def source_digest() -> str:
    """Digest of the kernel's source beside this file, which the library must be built from."""
    return hashlib.sha256(SOURCE.read_bytes()).hexdigest()


class _Query(ctypes.Structure):
    """`Query` in `_scan.c`."""

    _fields_ = (
        ("codes", ctypes.c_void_p),
        ("tables", ctypes.c_void_p),
        ("stride", ctypes.c_uint32),
        ("bias", ctypes.c_int32),
        ("scale", ctypes.c_float),
        ("length", ctypes.c_float),
        ("error", ctypes.c_float),
        ("base", ctypes.c_float),
        ("common", ctypes.c_float),
        ("whole", ctypes.c_float),
        ("unit", ctypes.c_float),
        ("rounding", ctypes.c_float),
        ("agreement", ctypes.c_float),
        ("step", ctypes.c_float),
        ("weight_error", ctypes.c_float),
        ("deviations", ctypes.c_float),
        ("crowd", ctypes.c_float),
    )


class _Place(ctypes.Structure):
    """`Place` in `_scan.c`."""

    _fields_ = (("part", ctypes.c_uint32), ("row", ctypes.c_uint32))


class _Columns(ctypes.Structure):
    """`Columns` in `_scan.c`."""

    _fields_ = (
        ("codes", ctypes.c_void_p),
        ("scale", ctypes.c_void_p),
        ("offset", ctypes.c_void_p),
        ("error", ctypes.c_void_p),
        ("norm", ctypes.c_void_p),
        ("signs", ctypes.c_void_p),
        ("factor", ctypes.c_void_p),
        ("dimension", ctypes.c_uint32),
        ("stride", ctypes.c_uint32),
        ("before", ctypes.c_uint32),
        ("error_max", ctypes.c_float),
        ("norm_max", ctypes.c_float),
    )


class NativeKernel:
    """The compiled kernel with one of its instruction sets.

    Args:
        index: which of the sets that this processor can run, 0 the fastest.
        library: the shared library.

    Raises:
        OSError: there is no library, or it is for another machine or of another version.
        IndexError: there are fewer sets.
    """

    def __init__(self, index: int = 0, library: Path = LIBRARY) -> None:
        if not library.exists():
            raise OSError("no compiled kernel: there was no C compiler when this was installed")
        try:
            self._library = ctypes.CDLL(str(library))
        except OSError as error:
            # Without the loader's own words: they name folders, and the reason is told by /readyz.
            raise OSError("the compiled kernel is for another machine: install again") from error
        self._library.recollect_source.restype = ctypes.c_char_p
        if self._library.recollect_source().decode() != source_digest():
            raise OSError("the compiled kernel is of another version: install recollect again")
        self._library.recollect_set_name.restype = ctypes.c_char_p
        self._library.recollect_scan.restype = ctypes.c_size_t
        self._library.recollect_scan.argtypes = (
            *(ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p),
            *(ctypes.c_float, ctypes.c_void_p, ctypes.c_size_t),
        )
        self._library.recollect_score.argtypes = (
            *(ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t),
            *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p),
        )
        self._library.recollect_ids.argtypes = (
            *(ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p),
        )
        self._library.recollect_encode.argtypes = (
            *(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p),
            ctypes.c_void_p,
        )
        self._library.recollect_encode_probe.argtypes = (
            *(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p),
            ctypes.c_void_p,
        )
        self._library.recollect_stream.restype = ctypes.c_uint64
        self._library.recollect_stream.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
        name = self._library.recollect_set_name(index)
        if name is None:
            raise IndexError(f"this processor runs fewer than {index + 1} instruction sets")
        self._index = index
        self._flips: dict[int, npt.NDArray[np.float32]] = {}
        self.name = f"native ({name.decode()})"

    def keeps_signs(self, dimension: int) -> bool:
        """Whether columns of this dimension should hold sign bits."""
        return dimension in SIGNS_DIMENSIONS

    def bytes_scanned(self, dimension: int) -> int:
        """Bytes of a row that a search usually reads."""
        codes = code_bytes(dimension)
        return codes // 8 if self.keeps_signs(dimension) else codes + 8

    def encode(self, templates: Templates, centre: Centre, chunk: Chunk, rows: slice) -> Widest:
        """Fill the columns of rows, templates and ids apart."""
        count, dimension = templates.shape
        assert dimension <= DIMENSION_MAX
        templates = np.ascontiguousarray(templates, np.float32)
        stride = code_bytes(dimension)
        signed = chunk.signs is not None
        addresses = chunk.column_addresses(rows.start)
        to = _Columns(*addresses[:7], dimension, stride, rows.start % GROUP_ROWS)
        self._library.recollect_encode(
            self._index,
            templates.ctypes.data,
            count,
            centre.vector.ctypes.data,
            self._rotation(stride).ctypes.data if signed else None,
            ctypes.addressof(to),
        )
        return Widest(to.error_max, to.norm_max)

    def query(self, probe: Template, centre: Centre) -> Query:
        """Prepare a probe."""
        query = Query.of(probe, centre)
        stride = len(query.codes)
        compiled = _Query(
            codes=query.codes.ctypes.data,
            stride=stride,
            bias=128 * int(query.codes.sum(dtype=np.int64)),
            scale=query.scale,
            length=query.length,
            error=query.error,
            base=query.base,
            common=query.base + centre.square,
            whole=float(np.linalg.norm(query.probe)),
            unit=1 - SQUARE_ERROR + centre.square,
            rounding=ROUNDING,
            deviations=DEVIATIONS,
            crowd=CROWD,
        )
        if self.keeps_signs(len(probe)):
            rest = np.zeros(stride, np.float32)
            rest[: len(probe)] = probe
            query.tables = np.empty((stride // 4, 16), np.uint8)
            self._library.recollect_encode_probe(
                self._index,
                rest.ctypes.data,
                stride,
                self._rotation(stride).ctypes.data,
                query.tables.ctypes.data,
                ctypes.addressof(compiled),
            )
        query.compiled = compiled
        return query

    def sift(self, view: View, span: Span, query: Query, survivors: Survivors) -> None:
        """Add to the survivors every live row of a span that may reach their floor."""
        assert isinstance(query.compiled, _Query)
        place = _Place(span.part, span.row)
        end = _Place(span.end_part, span.end_row)
        descriptions = view.descriptions()
        while True:
            room = survivors.room(BLOCK)
            count = self._library.recollect_scan(
                self._index,
                descriptions,
                ctypes.addressof(query.compiled),
                ctypes.addressof(place),
                ctypes.addressof(end),
                survivors.floor,
                room.ctypes.data,
                len(room),
            )
            survivors.took(count)
            if (place.part, place.row) >= (end.part, end.row):
                return

    def ids(self, view: View, rows: Rows) -> Bytes:
        """Read the ids of rows, shape (count, 16)."""
        out = np.empty((len(rows), 16), np.uint8)
        self._library.recollect_ids(
            view.descriptions(), rows.ctypes.data, len(rows), out.ctypes.data
        )
        return out

    def scores(self, view: View, rows: Rows, query: Query) -> Floats:
        """Score rows canonically, shape (count,), from the column of templates."""
        out = np.empty(len(rows), np.float32)
        probe = query.probe.astype(np.float64)
        self._library.recollect_score(
            self._index,
            view.descriptions(),
            rows.ctypes.data,
            len(rows),
            probe.ctypes.data,
            len(probe),
            out.ctypes.data,
        )
        return out

    def stream(self, words: npt.NDArray[np.uint64]) -> int:
        """Read memory as fast as this processor can, for measuring a scan against the limit."""
        return int(self._library.recollect_stream(self._index, words.ctypes.data, len(words)))

    def _rotation(self, size: int) -> npt.NDArray[np.float32]:
        """Factors of the rotation, shape (4, size): random signs, and for each round's Hadamard
        transform, over the first or the last power of two of dimensions, what keeps lengths."""
        flips = self._flips.get(size)
        if flips is None:
            # Raw bits, because NumPy promises the same ones in every version.
            bits = np.random.PCG64(ROTATION_SEED).random_raw(4 * size) & 1
            flips = 1 - 2 * bits.astype(np.float32).reshape(4, size)
            power = 1 << (size.bit_length() - 1)
            flips[::2, :power] /= np.float32(power**0.5)
            flips[1::2, size - power :] /= np.float32(power**0.5)
            self._flips[size] = flips
        return flips
