"""Templates as int8 codes, and how far a score of codes can be from the score itself.

A template x is kept as r = x - m, where m is the collection's centre: r ≈ s·c with c int8. The
score of x and a probe q, whose r is likewise s_q·c_q, is then

    x·q = r·r_q + m·x + m·q - m·m    and    |r·r_q - s·s_q·(c·c_q)| ≤ e·|r_q| + h·e_q

with e = |r - s·c|, e_q = |r_q - s_q·c_q|, h = |s·c|, by Cauchy and Schwarz:

    r·r_q - r̂·r̂_q = (r - r̂)·r_q + r̂·(r_q - r̂_q)

Any m gives the same scores; one near the mean of the templates gives finer codes.

The first stage of long templates looks at one bit a dimension. With one fixed random rotation R,
b = the signs of R·r and f = |r|² / Σ|(R·r)_i|, the product p = r·q is about f·Σ b_i·(R·q)_i. What
b has along R·r gives p itself; only what it has across meets the part of q across r, whose square
is |q|² - p²/|r|². So over rotations the error has the standard deviation
f·sqrt((|q|² - p²/|r|²)·(1 - a²)·d/(d - 1)), where a = |r| / (f·sqrt(d)) is the cosine of R·r and b.
This is a statistical statement, not a bound: six deviations miss about one pair in 10^9 of those
that score exactly the threshold. The score is r·q + m·q: here only the template is centred, so that
nothing but f differs from row to row.

Source of the first stage: J. Gao, C. Long, "RaBitQ: Quantizing High-Dimensional Vectors with a
Theoretical Error Bound for Approximate Nearest Neighbor Search", SIGMOD 2024.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from recollect.gallery.columns import code_bytes

if TYPE_CHECKING:
    from recollect.gallery.columns import Bytes, Chunk, Codes
    from recollect.gallery.store import Template, Templates

LEVEL_MAX: Final = 127
"""Codes are -127..127: -128 would not survive a change of sign."""

ERROR_FACTOR: Final = np.float32(1 + 1e-5)
ERROR_TERM: Final = np.float32(4e-7)
"""What float32 arithmetic can hide of e and h. With u = 2^-24: subtracting the centre, scaling and
subtracting the code each err by u·|r| ≤ 2.01·u at most, and a sum of d squares by d·u relative."""

ROUNDING: Final = np.float32(2e-6)
"""What evaluating the bound in float32 can lose: |s·s_q·c·c_q| ≤ 4.4 and |m·x| ≤ 1.01 for unit
templates, so three roundings of sums below 5.5 and the score's own come to 1e-6."""

SQUARE_ERROR: Final = 2e-3
"""How far |x|² of a template may be from 1."""

DEVIATIONS: Final = 6.0
"""Standard deviations that the first stage gives a row as the benefit of the doubt."""


@dataclass(frozen=True, slots=True)
class Centre:
    """The vector m that a collection's codes are relative to, for as long as it lives."""

    vector: Template
    exact: npt.NDArray[np.float64]
    square: float
    """m·m."""

    @classmethod
    def of(cls, vector: Template | None, dimension: int) -> Centre:
        """Prepare a centre; none is the origin."""
        vector = np.zeros(dimension, np.float32) if vector is None else vector
        assert vector.shape == (dimension,), "the centre belongs to another model"
        exact = vector.astype(np.float64)
        return cls(np.ascontiguousarray(vector, np.float32), exact, float(exact @ exact))


@dataclass(slots=True)
class Query:
    """A probe, ready to be compared with codes."""

    probe: Template
    rest: npt.NDArray[np.float64]
    """r_q."""
    codes: Codes
    """c_q, shape (code_bytes,), zero behind the dimension."""
    scale: np.float32
    """s_q."""
    length: np.float32
    """|r_q|, rounded up."""
    error: np.float32
    """e_q, rounded up."""
    base: float
    """m·q - m·m: what is added to every row's bound to make it a score."""
    tables: Bytes | None = None
    """What half bytes of sign bits count, shape (code_bytes / 4, 16), where there is a first stage:
    the sum of what |R·q| weighs in the dimensions whose bit is not the sign of R·q."""
    compiled: object = None
    """What a compiled kernel made of all this."""

    @classmethod
    def of(cls, probe: Template, centre: Centre) -> Query:
        """Prepare a probe of shape (dimension,), float32, unit length."""
        exact = probe.astype(np.float64)
        rest = exact - centre.exact
        scale = np.float32(np.abs(rest).max() / LEVEL_MAX) or np.float32(1)
        levels = np.rint(rest / float(scale))
        codes = np.zeros(code_bytes(len(probe)), np.int8)
        codes[: len(probe)] = levels
        left = rest - float(scale) * levels
        return cls(
            np.ascontiguousarray(probe, np.float32),
            rest,
            codes,
            scale,
            _up(float(rest @ rest) ** 0.5),
            _up(float(left @ left) ** 0.5),
            float(exact @ centre.exact) - centre.square,
        )


class Widest(NamedTuple):
    """The largest uncertainties of some rows."""

    error: float = 0.0
    """Of e."""
    norm: float = 0.0
    """Of h."""

    def or_(self, other: Widest) -> Widest:
        """The larger of each."""
        return Widest(*map(max, self, other))


def encode(templates: Templates, centre: Centre, chunk: Chunk, rows: slice) -> Widest:
    """Quantise templates, shape (count, dimension), into rows; each row has a scale of its own."""
    dimension = templates.shape[1]
    rest = templates - centre.vector
    scale = (np.abs(rest).max(axis=1) / np.float32(LEVEL_MAX)).astype(np.float32)
    scale[scale < np.float32(1e-30)] = 1
    levels = np.rint(rest / scale[:, None])
    rest -= scale[:, None] * levels
    error = np.sqrt(np.einsum("ij,ij->i", rest, rest)) * ERROR_FACTOR + ERROR_TERM
    norm = scale * np.sqrt(np.einsum("ij,ij->i", levels, levels)) * ERROR_FACTOR
    chunk.codes[rows, :dimension] = levels
    chunk.codes[rows, dimension:] = 0
    chunk.scale[rows] = scale
    chunk.offset[rows] = templates.astype(np.float64) @ centre.exact
    chunk.error[rows] = error
    chunk.norm[rows] = norm
    return Widest(float(error.max()), float(norm.max()))


def _up(value: float) -> np.float32:
    """The least float32 that is surely not below a float64 computed within 1e-12."""
    return np.float32(np.nextafter(np.float32(value * (1 + 1e-12)), np.float32(np.inf)))
