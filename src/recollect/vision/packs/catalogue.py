"""Packs that recollect knows besides its own: their manifests, and how their files become a pack.

A pack of the catalogue brings its own net and shares the rest (the landmark trees, and MTCNN where
it is the detector) with the default pack, from which those files are copied.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files as resources
from typing import TYPE_CHECKING

from recollect.vision.manifest import PackError, parse, read_manifest
from recollect.vision.pack import known_vector_of, load
from recollect.vision.packs import default
from recollect.vision.packs.folder import check_digests, is_whole, place

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

FILE_BYTES_MAX = 64 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """Where a pack's own file is published. Its SHA-256 stands in the manifest."""

    url: str
    size_bytes: int


MOBILEFACENET = Source(
    "https://raw.githubusercontent.com/foamliu/MobileFaceNet/"
    "a6cc9032a659b615f477833e1a70b5e7931bcccc/weights/MobileFaceNet.onnx",
    3_998_070,
)
YUNET = Source(
    "https://raw.githubusercontent.com/ShiqiYu/libfacedetection.train/"
    "0047ac24afb1a50a0c6105001c89d1b5b805dbf1/onnx/yunet_n_dynamic.onnx",
    322_906,
)

ZOO = "https://media.githubusercontent.com/media/opencv/opencv_zoo/966be4cb/models/"
ZOO_YUNET = Source(
    f"{ZOO}face_detection_yunet/face_detection_yunet_2023mar.onnx",
    232_589,
)
ZOO_SFACE = Source(
    f"{ZOO}face_recognition_sface/face_recognition_sface_2021dec.onnx",
    38_696_353,
)

CATALOGUE: dict[str, dict[str, Source]] = {
    "mobilefacenet": {"MobileFaceNet.onnx": MOBILEFACENET},
    "mobilefacenet-yunet": {"MobileFaceNet.onnx": MOBILEFACENET, "yunet_n_dynamic.onnx": YUNET},
    "opencv-zoo": {
        "face_detection_yunet_2023mar.onnx": ZOO_YUNET,
        "face_recognition_sface_2021dec.onnx": ZOO_SFACE,
    },
}
"""Name of a pack to the files that it brings."""

UNMEASURED = ("opencv-zoo",)
"""Packs that we have never run. What their net makes of the known chip is written down when they
are installed, from files that have the pinned digests, and compared at every start since."""

NOT_YET_KNOWN = f"[1{', 0' * 127}]"
"""Stands for the vector that an unmeasured pack gives for the known chip until it is installed."""


def manifest_text(name: str, digests: dict[str, str], known: str = NOT_YET_KNOWN) -> str:
    """A pack's manifest, with the digests of the files it shares with the default pack.

    Args:
        name: one of CATALOGUE.
        digests: of the shared files, by name.
        known: the vector for the known chip, where the manifest leaves it to its installation.

    Raises:
        PackError: the catalogue has no such pack, or the default pack lacks a file.
    """
    if name not in CATALOGUE:
        raise PackError(f"no pack {name!r} is known; there are {', '.join(CATALOGUE)}")
    text = (resources("recollect.vision.packs") / f"{name}.toml").read_text("utf-8")
    try:
        values = digests | {"known": known}
        return re.sub(r"@([\w.-]+)@", lambda found: values[found[1]], text)
    except KeyError as error:
        raise PackError(f"the default pack lacks {error}") from error


def install(
    name: str, source: Path, models_dir: Path, progress: Callable[[str], None] = lambda _: None
) -> Path:
    """Make a pack of the catalogue from the files it brings.

    Args:
        name: one of CATALOGUE.
        source: folder with the files that the pack brings, under their published names.
        models_dir: where packs live; the default pack is built there if it is missing.
        progress: told in a sentence what is being done.

    Returns:
        The pack's folder, loaded once to see that it works.

    Raises:
        PackError: a file is missing or another than the one pinned, or the pack does not load.
    """
    if name not in CATALOGUE:
        raise PackError(f"no pack {name!r} is known; there are {', '.join(CATALOGUE)}")
    base = default.build(models_dir, progress)
    digests = {file: entry.sha256 for file, entry in read_manifest(base).files.items()}
    folder = models_dir / name
    if is_whole(folder, manifest_text(name, digests, _recorded(folder))):
        return folder
    described = parse(manifest_text(name, digests))
    files = {file: _read(source / file) for file in CATALOGUE[name]}
    files |= {file: _read(base / file) for file in digests if file in described.files}
    known = NOT_YET_KNOWN
    if name in UNMEASURED:
        check_digests(described, files)
        known = _text(known_vector_of(described.embedding, files[described.embedding.file]))
    folder = place(models_dir, manifest_text(name, digests, known), files, check=load)
    progress(f"The pack {name} is ready in {folder}")
    return folder


def _recorded(folder: Path) -> str:
    """The known vector of the pack in a folder, as its manifest writes it."""
    try:
        return _text(read_manifest(folder).embedding.known)
    except PackError:
        return NOT_YET_KNOWN


def _text(vector: npt.NDArray[np.floating]) -> str:
    return f"[{', '.join(f'{value:.6f}' for value in vector)}]"


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise PackError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > FILE_BYTES_MAX:
        raise PackError(f"{path} is larger than {FILE_BYTES_MAX} bytes")
    return data
