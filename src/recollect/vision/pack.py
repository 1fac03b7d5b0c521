"""A pack folder loaded and at work in this process."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from recollect.vision import quality
from recollect.vision.align import AlignmentError, cut_chip
from recollect.vision.detect import Search
from recollect.vision.embed import Embedder, cosine, unit
from recollect.vision.face import Face
from recollect.vision.findings import Findings
from recollect.vision.landmarks import RegressionTrees, TreesError
from recollect.vision.manifest import EmbeddingSpec, Manifest, PackError, read_manifest
from recollect.vision.model_pack import Described
from recollect.vision.mtcnn import Mtcnn
from recollect.vision.onnx_model import checked, free_batch, free_sides
from recollect.vision.session import Session
from recollect.vision.views import Refinement, Views
from recollect.vision.yunet import YuNet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from recollect.vision.face import Image, Template
    from recollect.vision.findings import Detector

FILE_BYTES_MAX = 512 << 20
KNOWN_SCORE_MIN = 0.99999
"""Rounding moves the score by 1e-8, 5 % in std by 3e-5, another colour order by 1e-2."""
LANDMARKS = ("eyeLeft", "eyeRight", "nose", "mouthLeft", "mouthRight")


class Pack(Described):
    """The models of one pack folder. Use `load`."""

    def __init__(
        self, manifest: Manifest, search: Search, views: Views, embedder: Embedder
    ) -> None:
        super().__init__(manifest)
        self._search = search
        self._views = views
        self._embedder = embedder

    def faces(self, image: Image) -> list[Face]:
        """See ModelPack.faces."""
        found = self._search.every(image)
        rows = (found.take(slice(row, row + 1)) for row in range(len(found)))
        return [face for row in rows if (face := self._face(image, row)) is not None]

    def largest_face(self, image: Image, quality_filter: str) -> Face | None:
        """See ModelPack.largest_face."""
        found = self._search.largest(image)
        first = self._face(image, found) if len(found) else None
        if first is None:
            return None
        if (passed := self._passed(image, first, quality_filter)) is not None:
            return passed
        # Beside the refused face a smaller one may pass.
        for face in self.faces(image):
            if face.box != first.box:
                passed = self._passed(image, face, quality_filter)
                if passed is not None:
                    return passed
        return None

    def embed(self, image: Image, faces: Sequence[Face]) -> list[Face]:
        """See ModelPack.embed."""
        embedded = self._embed(image, faces)
        below = self.manifest.embedding.doubt_below
        return [
            self._again(image, face)
            if face.mirror_score is not None and face.mirror_score < below
            else face
            for face in embedded
        ]

    def _passed(self, image: Image, face: Face, quality_filter: str) -> Face | None:
        """The face with its template where it passes the filter, before and after embedding."""
        if self.reasons(face, quality_filter):
            return None
        (face,) = self.embed(image, [face])
        return None if self.reasons(face, quality_filter) else face

    def _face(self, image: Image, found: Findings) -> Face | None:
        """Describe the one row found; None where its points coincide, for then it is no face."""
        height, width = image.shape[:2]
        left, top, right, bottom = (float(v) for v in found.boxes[0])
        points = found.points[0]
        try:
            to_image = self._views.refinement.coarse(points)
        except AlignmentError:
            return None
        chip = cut_chip(image, to_image, self._views.refinement.chip_px)
        return Face(
            box=(left / width, top / height, (right - left) / width, (bottom - top) / height),
            confidence=float(found.scores[0]) * 100,
            landmarks={
                name: (float(x) / width, float(y) / height)
                for name, (x, y) in zip(LANDMARKS, points, strict=True)
            },
            pose=quality.pose(points),
            brightness=quality.brightness(chip),
            sharpness=quality.sharpness(chip),
            size_px=min(right - left, bottom - top),
            points=points,
            turn=int(found.turns[0]),
        )

    def _embed(self, image: Image, faces: Sequence[Face]) -> list[Face]:
        """Templates of the faces as they were found."""
        if not faces:
            return []
        chips = [self._views.chips(image, face.points) for face in faces]
        raw = self._embedder.raw(np.stack([chip for views in chips for chip in views]))
        raw = raw.reshape(len(faces), len(self._views.names), self.dimension)
        return [
            replace(
                face,
                template=unit(views.mean(axis=0)),
                mirror_score=cosine(views[0], views[1]) if len(views) > 1 else None,
            )
            for face, views in zip(faces, raw, strict=True)
        ]

    def _again(self, image: Image, face: Face) -> Face:
        """Look again at a face whose views disagree: it may lie on its side."""
        height, width = image.shape[:2]
        left, top, w, h = face.box
        row = Findings(
            np.array([[left * width, top * height, (left + w) * width, (top + h) * height]]),
            np.array([face.confidence / 100]),
            face.points[None],
            np.array([face.turn]),
        )
        found = self._search.at_another_turn(image, row)
        other = self._face(image, found) if len(found) else None
        # Either alone is fooled: a chance find beside an upright face may please one of them.
        if other is None or other.confidence <= face.confidence:
            return face
        (embedded,) = self._embed(image, [other])
        return max(face, embedded, key=lambda f: f.mirror_score or -1.0)


def load(folder: Path, manifest: Manifest | None = None) -> Pack:
    """Load a pack folder: every hash, every field and the known vector checked.

    Args:
        folder: holds manifest.toml and the files it names, and may hold nothing that it runs
            otherwise.
        manifest: what the folder's manifest says, where it was read before.

    Raises:
        PackError: the pack cannot be used, with the reason.
    """
    manifest = manifest or read_manifest(folder)
    data = {name: _read(folder, name, entry.sha256) for name, entry in manifest.files.items()}

    def session(name: str, *, steady: bool = True, any_size: bool = False) -> Session:
        return _session(data[name], name, steady=steady, any_size=any_size)

    detector = manifest.detector
    found: Detector
    if detector.kind == "mtcnn":
        # The first net sees pictures of every size: a plan of memory for each would only pile up.
        nets = [session(f, steady=i > 0) for i, f in enumerate(detector.files)]
        found = Mtcnn(nets, detector.thresholds)
    else:
        found = YuNet(
            session(detector.files[0], steady=False, any_size=True), detector.thresholds[0]
        )
    spec, embedding = manifest.landmarks, manifest.embedding
    try:
        trees = RegressionTrees.from_npz(data[spec.file])
    except TreesError as error:
        raise PackError(f"{spec.file}: {error}") from error
    if trees.initial.shape != spec.points_px.shape:
        raise PackError(f"{spec.file} finds {len(trees.initial)} points, the manifest has 5")
    refinement = Refinement(
        trees=trees,
        chip_px=spec.chip_px,
        margin_px=spec.margin_px,
        box_px=spec.box_px,
        trees_points=spec.points_px,
        detector_points=spec.detector_points_px,
    )
    embedder = _embedder(embedding, session(embedding.file))
    _check_known(embedder, manifest)
    return Pack(
        manifest,
        Search(found, doubt_below=detector.doubt_below),
        Views(embedding.views, embedding.side_px, embedding.points_px, refinement),
        embedder,
    )


def _read(folder: Path, name: str, sha256: str) -> bytes:
    """Read one file and compare its hash before anything looks into it."""
    try:
        with (folder / name).open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise PackError(f"{name} cannot be read: {error.strerror}") from error
    if len(data) > FILE_BYTES_MAX:
        raise PackError(f"{name} is larger than {FILE_BYTES_MAX} bytes")
    if hashlib.sha256(data).hexdigest() != sha256:
        raise PackError(f"{name} is not the file of the manifest: its SHA-256 differs")
    return data


def known_chip(side_px: int) -> Image:
    """The chip for which a manifest states the vector: smooth, coloured, full of edges.

    Channel c (0 red, 1 green, 2 blue) of column x and row y is
    (x·(3 + c) + y·(5 - c) + x·y // 8) mod 256.
    """
    y, x, c = np.meshgrid(*(np.arange(n) for n in (side_px, side_px, 3)), indexing="ij")
    return np.asarray((x * (3 + c) + y * (5 - c) + x * y // 8) % 256, np.uint8)


def known_vector(embedder: Embedder, side_px: int) -> Template:
    """What an embedding net makes of the known chip, at unit length."""
    return unit(embedder.raw(known_chip(side_px)[None])[0])


def known_vector_of(spec: EmbeddingSpec, data: bytes) -> Template:
    """The same of a net that is not loaded yet.

    Args:
        spec: the net's part of its manifest; what it states as known is not looked at.
        data: the ONNX file's bytes.

    Raises:
        PackError: the net is refused, or does not run as described.
    """
    return _known(_embedder(spec, _session(data, spec.file)), spec)


def _session(data: bytes, name: str, *, steady: bool = True, any_size: bool = False) -> Session:
    model = checked(data, name)
    try:
        if any_size:
            model = free_sides(model, name)
        return Session(free_batch(model, name), steady=steady)
    except PackError:
        raise
    except Exception as error:  # onnxruntime has no common ancestor for its errors
        raise PackError(f"{name} cannot be loaded: {error}") from error


def _embedder(spec: EmbeddingSpec, net: Session) -> Embedder:
    return Embedder(net, colour=spec.colour, mean=spec.mean, std=spec.std, dimension=spec.dimension)


def _known(embedder: Embedder, spec: EmbeddingSpec) -> Template:
    try:
        return known_vector(embedder, spec.side_px)
    except Exception as error:  # onnxruntime has no common ancestor for its errors
        raise PackError(f"{spec.file} does not run as described: {error}") from error


def _check_known(embedder: Embedder, manifest: Manifest) -> None:
    """A wrong colour order or normalisation changes little enough to go unnoticed: compare."""
    score = cosine(
        _known(embedder, manifest.embedding), manifest.embedding.known.astype(np.float32)
    )
    if score < KNOWN_SCORE_MIN:
        raise PackError(
            f"{manifest.embedding.file} gives another vector for the known chip than the manifest "
            f"says (cosine {score:.5f}): the file, colour, mean or std is wrong"
        )
