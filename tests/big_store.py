"""A process that enrols faces in bulk until it is killed, and says how many it has."""

import time
import uuid
from pathlib import Path

import numpy as np

from enrolments import ACCOUNT, MASTER_KEY, collection
from recollect.gallery.sqlite import SQLiteStore
from recollect.gallery.store import Enrolment, Face

BATCH = 2_000


def batch(chance, dimension):
    """Enrolments of random unit vectors, each of a picture of its own."""
    templates = chance.standard_normal((BATCH, dimension), np.float32)
    templates /= np.linalg.norm(templates, axis=1, keepdims=True)
    ids = [str(uuid.UUID(bytes=chance.bytes(16), version=4)) for _ in range(2 * BATCH)]
    return [
        Enrolment(Face(face, image, None, (0.1, 0.2, 0.3, 0.4), 99.0, "4.0"), template)
        for face, image, template in zip(ids[::2], ids[1::2], templates, strict=True)
    ]


def main(folder, dimension):
    """Enrol until killed; each line on stdout is the number of acknowledged faces."""
    store = SQLiteStore(
        Path(folder), MASTER_KEY, clock=time.time, ids=lambda: str(uuid.uuid4()), reserve_bytes=4096
    )
    staff = store.collection(ACCOUNT, "staff") or collection(store, dimension=int(dimension))
    chance, count = np.random.default_rng(0), 0
    while True:
        store.add_faces(staff, batch(chance, int(dimension)))
        count += BATCH
        print(count, flush=True)
