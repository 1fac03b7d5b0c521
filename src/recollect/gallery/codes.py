"""Templates as int8 codes, and how far a score of codes can be from the score itself.

A template x is kept as r = x - m, where m is the collection's centre: r ≈ s·c with c int8. The
score of x and a probe q, whose r is likewise s_q·c_q, is then

    x·q = r·r_q + m·x + m·q - m·m    and    |r·r_q - s·s_q·(c·c_q)| ≤ e·|r_q| + h·e_q

with e = |r - s·c|, e_q = |r_q - s_q·c_q|, h = |s·c|, by Cauchy and Schwarz:

    r·r_q - r̂·r̂_q = (r - r̂)·r_q + r̂·(r_q - r̂_q)

Any m gives the same scores; one near the mean of the templates gives finer codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from recollect.gallery.columns import code_bytes

if TYPE_CHECKING:
    from recollect.gallery.columns import Codes, Floats
    from recollect.gallery.store import Template, Templates

LEVEL_MAX: Final = 127
"""Codes are -127..127: -128 would not survive a change of sign."""

ERROR_FACTOR: Final = np.float32(1 + 1e-5)
ERROR_TERM: Final = np.float32(4e-7)
"""What float32 arithmetic can hide of e and h. With u = 2^-24: subtracting the centre, scaling and
subtracting the code each err by u·|r| ≤ 2.01·u at most, and a sum of d squares by d·u relative."""

ROUNDING: Final = 2e-6
"""What evaluating the bound in float32 can lose: |s·s_q·c·c_q| ≤ 4.4 and |m·x| ≤ 1.01 for unit
templates, so three roundings of sums below 5.5 and the score's own come to 1e-6."""


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


@dataclass(frozen=True, slots=True)
class Query:
    """A probe, ready to be compared with codes."""

    probe: Template
    codes: Codes
    """c_q, shape (code_bytes,), zero behind the dimension."""
    scale: np.float32
    """s_q."""
    length: np.float32
    """|r_q|, rounded up."""
    error: np.float32
    """e_q, rounded up."""
    offset: float
    """m·q - m·m: what is added to every row's bound to make it a score."""

    @classmethod
    def of(cls, probe: Template, centre: Centre) -> Query:
        """Prepare a probe of shape (dimension,), float32, unit length."""
        exact = probe.astype(np.float64)
        rest = exact - centre.exact
        scale = np.float32(np.abs(rest).max() / LEVEL_MAX) or np.float32(1)
        levels = np.clip(np.rint(rest / float(scale)), -LEVEL_MAX, LEVEL_MAX)
        codes = np.zeros(code_bytes(len(probe)), np.int8)
        codes[: len(probe)] = levels
        return cls(
            np.ascontiguousarray(probe, np.float32),
            codes,
            scale,
            _up(float(np.linalg.norm(rest))),
            _up(float(np.linalg.norm(rest - float(scale) * levels))),
            float(exact @ centre.exact) - centre.square,
        )


@dataclass(frozen=True, slots=True)
class Coded:
    """Templates in codes: what the arena's columns hold for each row."""

    codes: Codes
    """Shape (count, code_bytes)."""
    scale: Floats
    offset: Floats
    """m·x."""
    error: Floats
    """e, never too small."""
    norm: Floats
    """h, never too small."""


def encode(templates: Templates, centre: Centre) -> Coded:
    """Quantise templates of shape (count, dimension); each row has a scale of its own."""
    count, dimension = templates.shape
    rest = templates - centre.vector
    scale = (np.abs(rest).max(axis=1) / np.float32(LEVEL_MAX)).astype(np.float32)
    scale[scale < np.float32(1e-30)] = 1
    levels = np.clip(np.rint(rest / scale[:, None]), -LEVEL_MAX, LEVEL_MAX)
    codes = np.zeros((count, code_bytes(dimension)), np.int8)
    codes[:, :dimension] = levels
    rest -= scale[:, None] * levels
    error = np.sqrt(np.einsum("ij,ij->i", rest, rest)) * ERROR_FACTOR + ERROR_TERM
    norm = scale * np.sqrt(np.einsum("ij,ij->i", levels, levels)) * ERROR_FACTOR
    offset = (templates.astype(np.float64) @ centre.exact).astype(np.float32)
    return Coded(codes, scale, offset, error, norm)


def _up(value: float) -> np.float32:
    """The least float32 that is surely not below a float64 computed within 1e-12."""
    return np.nextafter(np.float32(value * (1 + 1e-12)), np.float32(np.inf))
