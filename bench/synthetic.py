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

import numpy as np

POOL = 1 << 15
GROUPS = 12


@dataclass(frozen=True)
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


KINDS = {
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
        self.kind, self.faces, self.seed = kind, faces, seed
        self._kind = KINDS[kind]
        self.dimension = self._kind.dimension
        random = np.random.default_rng(seed)
        spread = spectrum(self.dimension, self._kind.impostor_sd)

        def noise(count):
            return random.standard_normal((count, self.dimension), np.float32)

        self._pools = [noise(POOL) * spread / np.float32(2) for _ in range(4)]
        self._noise = noise(POOL) * np.float32(self._kind.noise / np.sqrt(self.dimension))
        self._groups = noise(GROUPS) * spread
        self._mean = unit(noise(1))[0] * np.float32(self._kind.common)
        self.centre = None
        if self._kind.common:
            # The centre that a pack would state: the mean of some templates, not of these.
            others = np.arange(4096) + (1 << 40)
            self.centre = self._compose(others, others).mean(axis=0)

    def templates(self, rows):
        """Templates of rows, shape (count, dimension)."""
        # The person with very many pictures has one row in 200; all others four in the mean.
        people = np.where(scatter(rows, 0) % 200 == 0, 0, 1 + rows // 4)
        return self._compose(people, rows)

    def probes(self, count):
        """New pictures: two thirds of enrolled people, one third of unknown ones."""
        which = np.arange(count)
        rows = scatter(which, 1) % self.faces
        people = np.where(which % 3 == 2, which + (1 << 41), 1 + rows // 4)
        people[0] = 0
        return self._compose(people, which + (1 << 42))

    def templates_of(self, space, ids):
        """Templates by id, for an arena that keeps codes only."""
        return self.templates(np.array(numbers(ids), np.int64))

    def _compose(self, people, pictures):
        alike = scatter(people, 2) % 100 == 0
        model = np.where(alike, people // 2, people)
        own = np.float32(0.25) * self._groups[scatter(model, 3) % GROUPS]
        for number, pool in enumerate(self._pools):
            # Who looks like somebody shares three of four parts.
            source = model if number < 3 else people
            own += pool[scatter(source, 4 + number) % POOL]
        # Some pictures are better than others.
        quality = (0.5 + scatter(pictures, 10) % 1024 / 800).astype(np.float32)[:, None]
        rest = unit(unit(own) + quality * self._noise[scatter(pictures, 9) % POOL])
        return unit(self._mean + np.float32(np.sqrt(1 - self._kind.common**2)) * rest)


def spectrum(dimension, impostor_sd):
    """Falling standard deviations whose random vectors have cosines of this spread."""
    places = np.arange(1, dimension + 1, dtype=np.float64)

    def spread(power):
        variance = places**-power
        return np.sqrt((variance**2).sum()) / variance.sum()

    low, high = 0.0, 4.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if spread(middle) < impostor_sd else (low, middle)
    return np.sqrt(places**-low / (places**-low).sum()).astype(np.float32)


def scatter(rows, salt):
    """Spread numbers over 31 bits, the same way on every machine."""
    mixed = np.asarray(rows).astype(np.uint64)
    mixed = mixed + np.uint64((salt + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF)
    for factor in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB):
        mixed ^= mixed >> np.uint64(31)
        mixed *= np.uint64(factor)
    return (mixed >> np.uint64(33)).astype(np.int64)


def unit(rows):
    """Rows at unit length, float32."""
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return (rows / lengths[:, None]).astype(np.float32)


def identifiers(rows):
    """The UUIDs of rows: their order is that of the rows."""
    return [f"{row >> 16:08x}-{row & 0xFFFF:04x}-4000-8000-{row:012x}" for row in rows.tolist()]


def numbers(ids):
    """The rows of UUIDs."""
    return [int(face_id[-12:], 16) for face_id in ids]
