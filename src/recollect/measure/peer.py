"""A peer to stand beside: dlib's HOG detector and ResNet, put together as face_recognition does.

Our own few lines over dlib's Python API, with the weights of the package face_recognition_models:
HOG on the picture doubled once, five landmarks, one chip of 150 pixels, no jitter, L2 distance.

Source: https://github.com/ageitgey/face_recognition (`face_locations`, `face_encodings`, defaults)
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recollect.measure.metrics import MISSING
from recollect.measure.subject import CANDIDATES, Box, Found, Search

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from recollect.measure.answers import Answers
    from recollect.measure.data import Picture
    from recollect.measure.metrics import Numbers
    from recollect.measure.server import Track

POINTS = "shape_predictor_5_face_landmarks.dat"
RESNET = "dlib_face_recognition_resnet_model_v1.dat"


class PeerMissing(Exception):
    """The peer is not installed; the message says how to."""


class DlibPipeline:
    """Bytes to boxes and a vector, as a program written with face_recognition does it."""

    def __init__(self) -> None:
        try:
            self._dlib = importlib.import_module("dlib")
            self._pillow = importlib.import_module("PIL.Image")
        except ImportError as problem:
            raise PeerMissing(
                f"{problem.name} is missing: pip install dlib-bin pillow face_recognition_models"
            ) from None
        weights = importlib.util.find_spec("face_recognition_models")
        if weights is None or weights.origin is None:
            raise PeerMissing("pip install face_recognition_models: the peer needs its weights")
        folder = Path(weights.origin).parent / "models"
        self._detector = self._dlib.get_frontal_face_detector()
        self._points = self._dlib.shape_predictor(str(folder / POINTS))
        self._resnet = self._dlib.face_recognition_model_v1(str(folder / RESNET))

    @property
    def title(self) -> str:
        """Names and versions of its parts."""
        return f"dlib HOG and ResNet (dlib-bin {importlib.metadata.version('dlib-bin')})"

    def pixels(self, data: bytes) -> npt.NDArray[np.uint8]:
        """RGB array, shape (height, width, 3); EXIF orientation is not applied, as there."""
        return np.asarray(self._pillow.open(io.BytesIO(data)).convert("RGB"))

    def faces(self, pixels: npt.NDArray[np.uint8]) -> list[Any]:
        """dlib's rectangles, the largest first."""
        return sorted(self._detector(pixels, 1), key=lambda face: -face.area())

    def vector(self, pixels: npt.NDArray[np.uint8], face: Any) -> npt.NDArray[np.float64]:
        """The 128 numbers of one face; L2 distance 0.6 is the usual bound of one person."""
        points = self._points(pixels, face)
        return np.array(self._resnet.compute_face_descriptor(pixels, points, 1))


class Peer:
    """The pipeline as a subject; its scores are distances with the sign turned."""

    thresholds: Mapping[str, float] = {"L2 0.6": -0.6, "L2 0.5": -0.5, "L2 0.4": -0.4}
    default_threshold = "L2 0.6"

    def __init__(self, answers: Answers, *, track: Track) -> None:
        self._pipeline = DlibPipeline()
        self._answers, self._track = answers, track

    @property
    def title(self) -> str:
        """What it is, in a few words, versions included."""
        return self._pipeline.title

    def compare_all(self, pictures: Sequence[Picture]) -> tuple[list[Found | None], Numbers]:
        """Compare each picture's face with each other's."""
        faces, vectors = self._describe(pictures, f"comparing {pictures[0].set_name} (dlib)")
        scores = _scores(vectors, vectors)
        np.fill_diagonal(scores, MISSING)
        return faces, scores

    def search_all(
        self, gallery: Sequence[Picture], probes: Sequence[Picture]
    ) -> tuple[list[Found | None], list[Search | None]]:
        """Search each probe in the whole gallery."""
        faces, enrolled = self._describe(gallery, "enrolling (dlib)")
        found, vectors = self._describe(probes, "searching (dlib)")
        scores = _scores(vectors, enrolled)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :CANDIDATES]
        return faces, [
            Search(face.box, tuple((int(c), float(row[c])) for c in best if row[c] > MISSING))
            if face
            else None
            for face, row, best in zip(found, scores, order, strict=True)
        ]

    def detect(self, picture: Picture) -> list[Box]:
        """The boxes of all faces of a picture, the largest first."""
        return [tuple(box) for box in self._describe_one(picture)[0]]

    def _describe(
        self, pictures: Sequence[Picture], doing: str
    ) -> tuple[list[Found | None], Numbers]:
        """Faces and vectors of pictures; NaN for the vector of a face that was not found."""
        faces: list[Found | None] = []
        vectors = np.full((len(pictures), 128), np.nan)
        for row in self._track(range(len(pictures)), doing, len(pictures)):
            boxes, vector = self._describe_one(pictures[row])
            faces.append(Found(tuple(boxes[0])) if boxes else None)
            if boxes:
                vectors[row] = vector
        return faces, vectors

    def _describe_one(self, picture: Picture) -> tuple[list[Any], list[float]]:
        def ask() -> Any:
            pixels = self._pipeline.pixels(picture.read())
            height, width = pixels.shape[:2]
            faces = self._pipeline.faces(pixels)
            boxes = [
                (f.left() / width, f.top() / height, f.width() / width, f.height() / height)
                for f in faces
            ]
            vector = self._pipeline.vector(pixels, faces[0]).tolist() if faces else []
            return [boxes, vector]

        boxes, vector = self._answers.get([self.title, picture.digest()], ask)
        return boxes, vector


def _scores(probes: Numbers, enrolled: Numbers) -> Numbers:
    """L2 distances with the sign turned, shape (probes, enrolled); `MISSING` where one is NaN."""
    squares = (probes**2).sum(axis=1)[:, None] + (enrolled**2).sum(axis=1) - 2 * probes @ enrolled.T
    scores = -np.sqrt(np.maximum(squares, 0))
    return np.where(np.isnan(scores), MISSING, scores)
