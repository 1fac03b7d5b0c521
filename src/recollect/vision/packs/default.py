"""The default pack, built once from its two PyPI packages: digests first, then conversion.

The server calls `build`; the conversion itself runs in a short-lived process of its own
(`python -m recollect.vision.packs.default MODELS_DIR`), so that no foreign format but ONNX and
plain arrays is ever decoded in the server.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import re
import subprocess
import sys
from importlib.resources import files as resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recollect.vision.manifest import PackError, read_manifest
from recollect.vision.pack import load
from recollect.vision.packs.folder import is_whole, place

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "default"
BUILD_S_MAX = 300.0

SOURCES = {
    "pnet": (
        "mtcnn",
        "assets/weights/pnet.lz4",
        "ea6b0c3e685ebee3165326ad6484acc95f2ef78f1c94fbf40a55704fa989f7b5",
    ),
    "rnet": (
        "mtcnn",
        "assets/weights/rnet.lz4",
        "cb00e6460f3c98b0bfafaba3c0a0ded4bdf6e62cee7174d969e8670d7e757fee",
    ),
    "onet": (
        "mtcnn",
        "assets/weights/onet.lz4",
        "94f6ea2f4cf985275ee958cdd762d17b6009348a4fb9d8c6be39ba73ffd22ca3",
    ),
    "resnet": (
        "face_recognition_models",
        "models/dlib_face_recognition_resnet_model_v1.dat",
        "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
    ),
    "trees": (
        "face_recognition_models",
        "models/shape_predictor_5_face_landmarks.dat",
        "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
    ),
}
"""Package, path in it and SHA-256 of every weight file. Nothing else of the packages is read."""


def build(models_dir: Path, progress: Callable[[str], None]) -> Path:
    """Make sure that the default pack lies in `models_dir`, and return its folder.

    Args:
        models_dir: where packs live; made if missing.
        progress: told in a sentence what is being done.

    Raises:
        PackError: a package is missing or its weights are others than those we know.
    """
    folder = models_dir / NAME
    if is_current(folder):
        return folder
    command = [sys.executable, "-P", "-m", "recollect.vision.packs.default", str(models_dir)]
    with subprocess.Popen(  # noqa: S603 - our own module, no shell, no text of a caller
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            progress(line.rstrip("\n"))
        try:
            _, errors = child.communicate(timeout=BUILD_S_MAX)
        except subprocess.TimeoutExpired as error:
            child.kill()
            raise PackError(f"building the default pack took over {BUILD_S_MAX} s") from error
    if child.returncode:
        last = errors.strip().splitlines()[-1:] or [f"exit status {child.returncode}"]
        raise PackError(f"the default pack could not be built: {last[0]}")
    if not is_current(folder):
        raise PackError(f"the default pack in {folder} is not whole after building it")
    return folder


def is_current(folder: Path) -> bool:
    """Whether a folder holds the default pack as this version makes it, unchanged."""
    try:
        digests = {name: file.sha256 for name, file in read_manifest(folder).files.items()}
        return is_whole(folder, manifest_text(digests))
    except PackError:
        return False


def manifest_text(digests: dict[str, str]) -> str:
    """The default pack's manifest with the digests of its files filled in.

    Raises:
        PackError: a digest is missing.
    """
    text = (resources("recollect.vision.packs") / "default.toml").read_text("utf-8")
    try:
        return re.sub(r"@([\w.-]+)@", lambda found: digests[found[1]], text)
    except KeyError as error:
        raise PackError(f"the default pack lacks {error}") from error


def convert(models_dir: Path, progress: Callable[[str], None]) -> Path:
    """Read the weights, convert them and put the pack in place. Runs in a process of its own.

    Raises:
        PackError: as `build`.
    """
    # Imported here: the server imports this module for `build` and has no use for them.
    from recollect.vision.packs import dlib_dat, mtcnn

    progress("Reading the weights of the PyPI packages mtcnn and face_recognition_models")
    source = {name: _source(name) for name in SOURCES}
    progress("Converting the face detector (MTCNN) to ONNX")
    files = {
        "pnet.onnx": mtcnn.pnet_onnx(mtcnn.weights(source["pnet"])),
        "rnet.onnx": mtcnn.rnet_onnx(mtcnn.weights(source["rnet"])),
        "onet.onnx": mtcnn.onet_onnx(mtcnn.weights(source["onet"])),
    }
    progress("Converting the embedding net (dlib's ResNet) to ONNX")
    files["resnet.onnx"] = dlib_dat.resnet_onnx(source["resnet"])
    progress("Converting the landmark trees (dlib's shape predictor) to arrays")
    trees = io.BytesIO()
    np.savez(trees, **dlib_dat.read_trees(source["trees"]))  # type: ignore[arg-type]
    files["landmarks.npz"] = trees.getvalue()
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    folder = place(models_dir, manifest_text(digests), files, check=load)
    progress(f"The default pack is ready in {folder}")
    return folder


def _source(name: str) -> bytes:
    """One weight file, its digest compared before anything else sees it."""
    package, path, sha256 = SOURCES[name]
    # The package is located, never imported: neither of the two imports cleanly.
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise PackError(f"the PyPI package {package} is not installed")
    file = Path(spec.origin).parent / path
    try:
        data = file.read_bytes()
    except OSError as error:
        raise PackError(f"{file} cannot be read: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise PackError(f"{file} is not the file we know: its SHA-256 differs")
    return data


if __name__ == "__main__":

    def tell(line: str) -> None:
        """Hand a line of progress to the parent process at once."""
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    try:
        convert(Path(sys.argv[1]), tell)
    except (ValueError, OSError) as problem:
        sys.exit(str(problem))
