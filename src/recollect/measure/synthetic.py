"""Templates that no face belongs to, with the statistics of templates of real faces.

A template is a pure function of its row number, so that galleries larger than memory can be made,
searched and checked block by block. Person and picture are sums of rows of small pools of noise
whose spectrum decays, so that impostor scores spread as those of real nets do.

What is modelled, for each kind: the spread of impostor scores, what all faces have in common, 12
groups of people who look more alike, 1 % of people who look like somebody else, four pictures a
person in the mean, and one person with very many.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from recollect.gallery.store import Template, Templates

Rows = npt.NDArray[np.int64]

POOL: Final = 1 << 15
GROUPS: Final = 12
BLOCK_ROWS: Final = 16_384


@dataclass(frozen=True, slots=True)
class Kind:
    """Statistics of one model's templates."""

    dimension: int
    impostor_sd: float
    """Spread of the spectrum's cosines; the sums lose a little of it."""
    common: float
    """Length of the mean template."""
    noise: float
    """Length of what differs between pictures of one person, against the person's own."""
    thresholds: tuple[float, ...]


KINDS: Final = {
    # dlib's ResNet, the embedded pack: mean template .916 long, impostor scores .84 ± .037.
    "resnet-128": Kind(128, 0.365, 0.916, 0.55, (0.9426, 0.9284)),
    # MobileFaceNet: impostor scores 0 ± .104.
    "mobile-128": Kind(128, 0.12, 0.0, 0.55, (0.6, 0.5)),
    # Nets of the ArcFace kind: impostor scores 0 ± .058.
    "arcface-512": Kind(512, 0.07, 0.1, 0.6, (0.4, 0.3)),
}


class Synthetic:
    """A gallery of `faces` templates of one kind."""

    def __init__(self, kind: str, faces: int, seed: int) -> None:
        self.kind, self.faces = kind, faces
        self._kind = KINDS[kind]
        self.dimension = self._kind.dimension
        random = np.random.default_rng(seed)
        spread = spectrum(self.dimension, self._kind.impostor_sd)

        def noise(count: int) -> Templates:
            return random.standard_normal((count, self.dimension), np.float32)

        self._pools = [noise(POOL) * spread / np.float32(2) for _ in range(4)]
        self._noise = noise(POOL) * np.float32(self._kind.noise / np.sqrt(self.dimension))
        self._groups = noise(GROUPS) * spread
        self._mean = unit(noise(1))[0] * np.float32(self._kind.common)
        self.centre: Template | None = None
        """The mean of some templates, not of these, as a pack would state it."""
        if self._kind.common:
            others = np.arange(4096) + (1 << 40)
            self.centre = self._compose(others, others).mean(axis=0)

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Scores that a server with such a model would ask for."""
        return self._kind.thresholds

    def blocks(self) -> Iterator[tuple[Rows, Templates]]:
        """All rows with their templates, block by block."""
        for first in range(0, self.faces, BLOCK_ROWS):
            rows = np.arange(first, min(first + BLOCK_ROWS, self.faces))
            yield rows, self.templates(rows)

    def templates(self, rows: Rows) -> Templates:
        """Templates of rows, shape (count, dimension)."""
        # The person with very many pictures has one row in 200; all others four in the mean.
        people = np.where(_scatter(rows, 0) % 200 == 0, 0, 1 + rows // 4)
        return self._compose(people, rows)

    def probes(self, count: int) -> Templates:
        """New pictures: two thirds of enrolled people, one third of unknown ones."""
        which = np.arange(count)
        rows = _scatter(which, 1) % self.faces
        people = np.where(which % 3 == 2, which + (1 << 41), 1 + rows // 4)
        people[:1] = 0
        return self._compose(people, which + (1 << 42))

    def _compose(self, people: Rows, pictures: Rows) -> Templates:
        alike = _scatter(people, 2) % 100 == 0
        model = np.where(alike, people // 2, people)
        own = np.float32(0.25) * self._groups[_scatter(model, 3) % GROUPS]
        for number, pool in enumerate(self._pools):
            # Who looks like somebody shares three of four parts.
            source = model if number < 3 else people
            own += pool[_scatter(source, 4 + number) % POOL]
        # Some pictures are better than others.
        quality = (0.5 + _scatter(pictures, 10) % 1024 / 800).astype(np.float32)[:, None]
        rest = unit(unit(own) + quality * self._noise[_scatter(pictures, 9) % POOL])
        return unit(self._mean + np.float32(np.sqrt(1 - self._kind.common**2)) * rest)


def spectrum(dimension: int, impostor_sd: float) -> Template:
    """Falling standard deviations whose random vectors have cosines of this spread."""
    places = np.arange(1, dimension + 1, dtype=np.float64)

    def spread(power: float) -> float:
        variance = places**-power
        return float(np.sqrt((variance**2).sum()) / variance.sum())

    low, high = 0.0, 4.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if spread(middle) < impostor_sd else (low, middle)
    return np.asarray(np.sqrt(places**-low / (places**-low).sum()), np.float32)


def unit(rows: Templates) -> Templates:
    """Rows at unit length, float32."""
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return np.asarray(rows / lengths[:, None], np.float32)


def identifiers(rows: Rows) -> list[str]:
    """The UUIDs of rows: their order is that of the rows."""
    return [f"{row >> 16:08x}-{row & 0xFFFF:04x}-4000-8000-{row:012x}" for row in rows.tolist()]


def numbers(ids: Sequence[str]) -> list[int]:
    """The rows of UUIDs."""
    return [int(face_id[-12:], 16) for face_id in ids]


def _scatter(rows: Rows, salt: int) -> Rows:
    """Spread numbers over 31 bits, the same way on every machine."""
    mixed = np.asarray(rows).astype(np.uint64)
    mixed = mixed + np.uint64((salt + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF)
    for factor in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB):
        mixed ^= mixed >> np.uint64(31)
        mixed *= np.uint64(factor)
    return (mixed >> np.uint64(33)).astype(np.int64)
