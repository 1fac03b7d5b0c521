"""Real models and real faces: the default pack, two photographs of the public domain, the data."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recollect.settings import load, models_folder
from recollect.vision.pack import load as load_pack
from recollect.vision.packs import default

SHARED = Path(__file__).parents[3].parent / "shared"


@pytest.fixture(scope="session")
def models_dir():
    """The models folder of the settings (RECOLLECT_MODELS), with the default pack in it."""
    folder = models_folder(load({}))
    default.build(folder, lambda _: None)
    return folder


@pytest.fixture(scope="session")
def pack(models_dir):
    """The default pack at work, on one thread."""
    return load_pack(models_dir / default.NAME)


@pytest.fixture(scope="session")
def astronaut():
    """Eileen Collins, NASA, public domain: upright RGB, 512x512."""
    return picture_of("skimage", "data/astronaut.png")


@pytest.fixture(scope="session")
def hopper():
    """Grace Hopper, US Navy, public domain: upright RGB, 512x600."""
    return picture_of("matplotlib", "mpl-data/sample_data/grace_hopper.jpg")


def picture_of(package, path):
    origin = importlib.util.find_spec(package).origin
    return read_picture(Path(origin).parent / path)


def read_picture(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="session")
def data():
    """The folder of evaluation photographs; tests that need it are skipped without."""
    folder = Path(os.environ.get("RECOLLECT_EVAL_DATA") or SHARED / "data")
    if not folder.is_dir():
        pytest.skip("no evaluation data (RECOLLECT_EVAL_DATA)")
    return folder


@pytest.fixture(scope="session")
def published():
    """A folder with the files that the catalogue's packs bring; skipped without."""
    if not (SHARED / "packs").is_dir():
        pytest.skip("no model files beside the repository")
    return SHARED / "packs"
