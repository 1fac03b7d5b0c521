"""What operations ask of a model pack, and the part of it that its manifest alone answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from recollect.vision import quality

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recollect.vision.face import Face, Image, Template
    from recollect.vision.manifest import Manifest


class ModelPack(Protocol):
    """A model pack at work; safe from any thread."""

    name: str
    version: str
    """Rekognition's FaceModelVersion."""
    rank: int
    """Among installed packs the highest is the default of new collections."""
    false_match_rates: tuple[tuple[float, float], ...]
    """Similarity and the false match rate measured there, rising."""
    dimension: int
    centre: Template
    """Mean template over many people, for the index; zeros where unknown. Not of unit length."""

    def faces(self, image: Image) -> list[Face]:
        """All faces by falling area of the box clipped to the picture, at most 100; no template."""
        ...

    def largest_face(self, image: Image, quality_filter: str) -> Face | None:
        """The largest face that passes the filter, with template; None where there is none."""
        ...

    def embed(self, image: Image, faces: Sequence[Face]) -> list[Face]:
        """The same faces in the same order, with template and mirror_score.

        A face that turns out to lie on its side may come back with a better box.
        """
        ...

    def reasons(self, face: Face, quality_filter: str) -> tuple[str, ...]:
        """Why a filter (LOW, AUTO, MEDIUM, HIGH, NONE) refuses a face, as Rekognition names it."""
        ...

    def weight(self, face: Face) -> float:
        """Weight of the face's template among others of the same person, above 0."""
        ...

    def similarity(self, score: float) -> float:
        """Score (cosine, -1..1) to similarity, 0..100; rises with the score."""
        ...

    def score(self, similarity: float) -> float:
        """The least score whose similarity reaches `similarity`; -1 for 0."""
        ...


class Described:
    """A pack without its nets: what it is called, how it judges a face, what a score means."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.name = manifest.name
        self.version = manifest.model_version
        self.rank = manifest.rank
        self.false_match_rates = manifest.false_match_rates
        self.dimension = manifest.embedding.dimension
        self.centre: Template = manifest.embedding.centre.astype(np.float32)

    def reasons(self, face: Face, quality_filter: str) -> tuple[str, ...]:
        """See ModelPack.reasons."""
        if quality_filter == "NONE":
            return ()
        return quality.reasons(face, self.manifest.bars[quality_filter])

    def weight(self, face: Face) -> float:
        """See ModelPack.weight."""
        return quality.weight(face, self.manifest.bars)

    def similarity(self, score: float) -> float:
        """See ModelPack.similarity."""
        return self.manifest.scale.similarity(score)

    def score(self, similarity: float) -> float:
        """See ModelPack.score."""
        return self.manifest.scale.score(similarity)
