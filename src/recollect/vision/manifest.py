"""A pack's manifest: everything about its models that code must not assume, checked field by field.

docs/formats.md specifies the file.
"""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from recollect.vision.quality import FILTERS, Bar
from recollect.vision.similarity import SimilarityScale

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

Floats = npt.NDArray[np.float64]

FORMAT = 1
MANIFEST_BYTES_MAX = 1 << 20
NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
VERSION = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?")
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}\.(?:onnx|npz)")
SHA256 = re.compile(r"[0-9a-f]{64}")
TEXT_MAX = 4096
SIDE_PX_MAX = 512
DIMENSION_MAX = 4096
DETECTOR_NETS = {"mtcnn": 3, "yunet": 1}
VIEWS = ("ert", "points", "mirror")


class PackError(ValueError):
    """A pack that cannot be used, and why."""


@dataclass(frozen=True, slots=True)
class PackFile:
    """One file of a pack."""

    sha256: str
    licence: str
    origin: str
    """Where it comes from and how it was made, for people."""


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    """The face detector."""

    kind: Literal["mtcnn", "yunet"]
    files: tuple[str, ...]
    thresholds: tuple[float, ...]
    """Least score that passes each net, 0..1."""
    doubt_below: float
    """Score under which a face is looked at again at the other quarter turns, 0..1."""


@dataclass(frozen=True, slots=True)
class LandmarksSpec:
    """Regression trees that find finer landmarks on an upright patch."""

    kind: Literal["ert"]
    file: str
    chip_px: int
    margin_px: int
    box_px: tuple[int, int, int, int]
    points_px: Floats
    """Where the trees' points belong in the chip, shape (count, 2)."""
    detector_points_px: Floats
    """Where the detector's points lie in the chip, shape (5, 2)."""


@dataclass(frozen=True, slots=True)
class EmbeddingSpec:
    """The embedding net, its input and what is made of its output."""

    file: str
    side_px: int
    colour: Literal["RGB", "BGR"]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dimension: int
    views: tuple[str, ...]
    points_px: Floats
    """Where the detector's points belong in the net's chip, shape (5, 2)."""
    doubt_below: float
    """Cosine between the first two views under which a face is looked at again at the other
    quarter turns; -1 where there is one view."""
    known: Floats
    """Unit vector that the net must give for the known chip, shape (dimension,)."""
    centre: Floats
    """Mean template over many people, by which an index may centre; zeros where unknown."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A pack, as its manifest.toml describes it."""

    name: str
    model_version: str
    """Rekognition's FaceModelVersion, digits and at most one dot."""
    rank: int
    """Among installed packs the highest is the default of new collections."""
    summary: str
    notice: str
    """What a user has to know before relying on it: training data, known failures."""
    measured_on: str
    """Data that the anchors were read off."""
    files: Mapping[str, PackFile]
    detector: DetectorSpec
    landmarks: LandmarksSpec
    embedding: EmbeddingSpec
    scale: SimilarityScale
    false_match_rates: tuple[tuple[float, float], ...]
    """Similarity and the false match rate measured there, rising; none where nobody measured."""
    bars: Mapping[str, Bar]


class _Table:
    """A TOML table read field by field; what is left over in the end is an error."""

    def __init__(self, value: object, path: str) -> None:
        if not isinstance(value, dict):
            raise PackError(f"manifest: {path or 'the file'} has to be a table")
        self.fields = dict(value)
        self.path = path

    def take(self, name: str) -> object:
        if name not in self.fields:
            raise PackError(f"manifest: {self.at(name)} is missing")
        return self.fields.pop(name)

    def at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def table(self, name: str) -> _Table:
        return _Table(self.take(name), self.at(name))

    def text(self, name: str, pattern: re.Pattern[str] | None = None) -> str:
        value = self.take(name)
        if not isinstance(value, str) or not value.strip() or len(value) > TEXT_MAX:
            raise PackError(
                f"manifest: {self.at(name)} has to be text of at most {TEXT_MAX} characters"
            )
        if pattern and not pattern.fullmatch(value):
            raise PackError(f"manifest: {self.at(name)} is {value!r}, not of {pattern.pattern}")
        return value

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        value = self.text(name)
        if value not in choices:
            raise PackError(f"manifest: {self.at(name)} has to be one of {', '.join(choices)}")
        return value

    def integer(self, name: str, low: int, high: int) -> int:
        value = self.take(name)
        if type(value) is not int or not low <= value <= high:
            raise PackError(f"manifest: {self.at(name)} has to be a whole number {low}..{high}")
        return value

    def number(self, name: str, low: float, high: float) -> float:
        return _number(self.take(name), low, high, self.at(name))

    def numbers(self, name: str, count: int, low: float, high: float) -> tuple[float, ...]:
        values = self.rows(name, count)
        return tuple(_number(value, low, high, self.at(name)) for value in values)

    def rows(self, name: str, count: int | None = None) -> list[object]:
        values = self.take(name)
        if not isinstance(values, list) or (count is not None and len(values) != count):
            what = "a list" if count is None else f"a list of {count}"
            raise PackError(f"manifest: {self.at(name)} has to be {what}")
        return values

    def points(self, name: str, low: float, high: float) -> Floats:
        """Five points, x then y."""
        pairs = []
        for row in self.rows(name, 5):
            if not isinstance(row, list) or len(row) != 2:
                raise PackError(f"manifest: {self.at(name)} has to hold pairs of x and y")
            pairs.append([_number(value, low, high, self.at(name)) for value in row])
        return np.array(pairs, np.float64)

    def texts(self, name: str) -> tuple[str, ...]:
        values = self.rows(name)
        if not all(isinstance(value, str) for value in values):
            raise PackError(f"manifest: {self.at(name)} has to be a list of text")
        return tuple(str(value) for value in values)

    def finish(self) -> None:
        if self.fields:
            names = ", ".join(sorted(self.at(name) for name in self.fields))
            raise PackError(f"manifest: unknown field {names}")


def read_manifest(folder: Path) -> Manifest:
    """Read a pack folder's manifest, without its models.

    Raises:
        PackError: there is none, or it is wrong.
    """
    return parse(manifest_text(folder))


def manifest_text(folder: Path) -> str:
    """What stands in a pack folder's manifest; for the errors see `read_manifest`."""
    try:
        with (folder / "manifest.toml").open("rb") as file:
            data = file.read(MANIFEST_BYTES_MAX + 1)
    except OSError as error:
        raise PackError(f"{folder} holds no manifest.toml: {error.strerror}") from error
    if len(data) > MANIFEST_BYTES_MAX:
        raise PackError(f"manifest.toml is larger than {MANIFEST_BYTES_MAX} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PackError("manifest.toml is not UTF-8") from error


def unusable(folder: Path, error: PackError) -> PackError:
    """What is wrong with a pack of a server, with its folder and the way out."""
    return PackError(
        f"{folder}: {error}. Install the pack again (`recollect models setup` or `recollect "
        "models pull`), or move the folder away if no collection was made with it"
    )


def _number(value: object, low: float, high: float, path: str) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not low <= value <= high:  # type: ignore[arg-type,operator]
        raise PackError(f"manifest: {path} has to hold numbers {low}..{high}")
    return float(value)  # type: ignore[arg-type]


def parse(text: str) -> Manifest:
    """Read a manifest.

    Raises:
        PackError: a field is missing, unknown or out of its bounds.
    """
    try:
        top = _Table(tomllib.loads(text), "")
    except tomllib.TOMLDecodeError as error:
        raise PackError(f"manifest: {error}") from error
    top.integer("format", FORMAT, FORMAT)
    files = _files(top.table("files"))

    def file_of(name: str, suffix: str) -> str:
        if name not in files or not name.endswith(suffix):
            raise PackError(f"manifest: {name!r} is no {suffix} file of this pack")
        return name

    embedding = _embedding(top.table("embedding"), file_of)
    scale, rates = _similarity(top)
    manifest = Manifest(
        name=top.text("name", NAME),
        model_version=top.text("model_version", VERSION),
        rank=top.integer("rank", 0, 1000),
        summary=top.text("summary"),
        notice=top.text("notice"),
        measured_on=top.text("measured_on"),
        files=files,
        detector=_detector(top.table("detector"), file_of),
        landmarks=_landmarks(top.table("landmarks"), file_of),
        embedding=embedding,
        scale=scale,
        false_match_rates=rates,
        bars=_bars(top.table("quality"), views_count=len(embedding.views)),
    )
    top.finish()
    used = {*manifest.detector.files, manifest.landmarks.file, manifest.embedding.file}
    if unused := sorted(set(files) - used):
        raise PackError(f"manifest: {', '.join(unused)} belongs to no model of this pack")
    return manifest


def _files(table: _Table) -> dict[str, PackFile]:
    files = {}
    for name in list(table.fields):
        if not FILE_NAME.fullmatch(name):
            raise PackError(f"manifest: {name!r} cannot be a pack's file; only .onnx and .npz can")
        entry = table.table(name)
        files[name] = PackFile(
            sha256=entry.text("sha256", SHA256),
            licence=entry.text("licence"),
            origin=entry.text("origin"),
        )
        entry.finish()
    return files


def _detector(table: _Table, file_of: Callable[[str, str], str]) -> DetectorSpec:
    kind = table.choice("kind", tuple(DETECTOR_NETS))
    nets = DETECTOR_NETS[kind]
    files = tuple(file_of(name, ".onnx") for name in table.texts("files"))
    if len(files) != nets:
        raise PackError(f"manifest: detector.files has to name {nets} for {kind}")
    spec = DetectorSpec(
        kind="mtcnn" if kind == "mtcnn" else "yunet",
        files=files,
        thresholds=table.numbers("thresholds", nets, 0.01, 1),
        doubt_below=table.number("doubt_below", 0, 1),
    )
    table.finish()
    return spec


def _landmarks(table: _Table, file_of: Callable[[str, str], str]) -> LandmarksSpec:
    table.choice("kind", ("ert",))
    chip_px = table.integer("chip_px", 16, SIDE_PX_MAX)
    margin_px = table.integer("margin_px", 0, SIDE_PX_MAX)
    patch_px = chip_px + 2 * margin_px
    left, top, right, bottom = (int(v) for v in table.numbers("box_px", 4, 0, patch_px))
    if not (left < right and top < bottom):
        raise PackError("manifest: landmarks.box_px has to be left, top, right, bottom")
    spec = LandmarksSpec(
        kind="ert",
        file=file_of(table.text("file"), ".npz"),
        chip_px=chip_px,
        margin_px=margin_px,
        box_px=(left, top, right, bottom),
        points_px=table.points("points_px", -SIDE_PX_MAX, SIDE_PX_MAX),
        detector_points_px=table.points("detector_points_px", -SIDE_PX_MAX, SIDE_PX_MAX),
    )
    table.finish()
    return spec


def _embedding(table: _Table, file_of: Callable[[str, str], str]) -> EmbeddingSpec:
    views = table.texts("views")
    if (
        not 1 <= len(views) <= len(VIEWS)
        or len(set(views)) != len(views)
        or not set(views) <= set(VIEWS)
        or views[0] == "mirror"
    ):
        raise PackError(
            "manifest: embedding.views has to name ert or points, each once; "
            "mirror may follow the view that it mirrors"
        )
    dimension = table.integer("dimension", 2, DIMENSION_MAX)
    spec = EmbeddingSpec(
        file=file_of(table.text("file"), ".onnx"),
        side_px=table.integer("side_px", 16, SIDE_PX_MAX),
        colour="RGB" if table.choice("colour", ("RGB", "BGR")) == "RGB" else "BGR",
        mean=table.numbers("mean", 3, 0, 255),
        std=table.numbers("std", 3, 1e-3, 1e3),
        dimension=dimension,
        views=views,
        points_px=table.points("points_px", -SIDE_PX_MAX, SIDE_PX_MAX),
        doubt_below=table.number("doubt_below", -1, 1) if len(views) > 1 else -1.0,
        known=np.array(table.numbers("known", dimension, -1, 1)),
        centre=np.array(table.numbers("centre", dimension, -1, 1)),
    )
    table.finish()
    return spec


def _similarity(top: _Table) -> tuple[SimilarityScale, tuple[tuple[float, float], ...]]:
    table = top.table("similarity")
    anchors = _pairs(table, "anchors", (-1, 1), (0, 100))
    rates = _pairs(table, "false_match_rates", (0, 100), (0, 1))
    table.finish()
    if any(a[0] >= b[0] or a[1] <= b[1] for a, b in pairwise(rates)):
        raise PackError("manifest: similarity.false_match_rates have to fall as it rises")
    try:
        return SimilarityScale.through(anchors), tuple(rates)
    except ValueError as error:
        raise PackError(f"manifest: {error}") from error


def _pairs(
    table: _Table, name: str, first: tuple[float, float], second: tuple[float, float]
) -> list[tuple[float, float]]:
    path = f"similarity.{name}"
    pairs: list[tuple[float, float]] = []
    for row in table.rows(name):
        if not isinstance(row, list) or len(row) != 2:
            raise PackError(f"manifest: {path} has to hold pairs of numbers")
        pairs.append((_number(row[0], *first, path), _number(row[1], *second, path)))
    return pairs


def _bars(table: _Table, *, views_count: int) -> dict[str, Bar]:
    bars = {}
    for name in FILTERS:
        bar = table.table(name)
        bars[name] = Bar(
            confidence_min=bar.number("confidence_min", 0, 100),
            size_px_min=bar.number("size_px_min", 0, 10_000),
            brightness_min=bar.number("brightness_min", 0, 100),
            brightness_max=bar.number("brightness_max", 0, 100),
            sharpness_min=bar.number("sharpness_min", 0, 100),
            yaw_max=bar.number("yaw_max", 0, 180),
            pitch_max=bar.number("pitch_max", 0, 180),
            views_score_min=bar.number("views_score_min", -1, 1) if views_count > 1 else -1.0,
        )
        bar.finish()
    table.finish()
    return bars
