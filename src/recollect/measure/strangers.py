"""A collection filled with faces that nobody has, put into the store before a server starts."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import numpy as np

from recollect.gallery.store import Enrolment, Face
from recollect.settings import Settings
from recollect.truth import open_store

if TYPE_CHECKING:
    from pathlib import Path

    from recollect.gallery.store import Templates

BATCH = 500
COMMON = 0.9
"""Length of what all templates have in common: impostors score about .8, as dlib's do."""


def templates(count: int, dimension: int, seed: int) -> Templates:
    """Unit vectors around a common direction, float32, shape (count, dimension)."""
    source = np.random.default_rng(seed)
    common = source.standard_normal(dimension)
    own = source.standard_normal((count, dimension))
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    vectors = COMMON * common / np.linalg.norm(common) + np.sqrt(1 - COMMON**2) * own
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors, np.float32)


def enrol(data: Path, account: str, collection_id: str, count: int, seed: int) -> None:
    """Enrol strangers in a collection that exists, while no server runs on the folder."""
    store = open_store(Settings(data=data))
    try:
        collection = store.collection(account, collection_id)
        assert collection is not None, f"{collection_id} was made before"
        vectors = templates(count, collection.dimension, seed)
        for first in range(0, count, BATCH):
            store.add_faces(
                collection,
                [
                    Enrolment(_face(seed, number, collection.model_version), vectors[number])
                    for number in range(first, min(first + BATCH, count))
                ],
            )
    finally:
        store.close()


def _face(seed: int, number: int, model_version: str) -> Face:
    return Face(
        face_id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"face {seed} {number}")),
        image_id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"image {seed} {number}")),
        external_image_id=f"stranger-{number}",
        box=(0.25, 0.25, 0.5, 0.5),
        confidence=99.0,
        model_version=model_version,
    )
