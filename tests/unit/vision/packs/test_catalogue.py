"""Packs of the catalogue, made from the published files and put to work."""

import shutil

import numpy as np
import pytest

from recollect.vision.manifest import PackError
from recollect.vision.pack import load
from recollect.vision.packs import catalogue, default
from recollect.vision.packs.catalogue import install

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def source(published, tmp_path_factory):
    """The published files side by side."""
    folder = tmp_path_factory.mktemp("published")
    for file in ("mobilefacenet/MobileFaceNet.onnx", "yunet/yunet_n_dynamic.onnx"):
        shutil.copyfile(published / file, folder / file.split("/")[1])
    return folder


@pytest.fixture(scope="module")
def models(models_dir, tmp_path_factory):
    """A models folder with the default pack."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(models_dir / default.NAME, folder / default.NAME)
    return folder


@pytest.mark.parametrize("name", catalogue.CATALOGUE)
def test_a_pack_tells_people_apart(name, source, models, astronaut, hopper):
    pack = load(install(name, source, models))

    first = pack.largest_face(astronaut, "AUTO").template
    again = pack.largest_face(np.ascontiguousarray(astronaut[:330, 60:420]), "AUTO").template
    other = pack.largest_face(hopper, "AUTO").template
    lying = pack.largest_face(np.ascontiguousarray(np.rot90(hopper)), "AUTO").template
    assert pack.name == name
    assert pack.dimension == 128
    assert pack.similarity(float(first @ again)) > 99
    assert pack.similarity(float(other @ lying)) > 99
    assert pack.similarity(float(first @ other)) < 40


def test_a_batch_gives_what_each_gives_alone(source, models, astronaut):
    pack = load(install("mobilefacenet", source, models))
    chips = np.random.default_rng(11).integers(0, 256, (5, 112, 112, 3)).astype(np.uint8)

    together = pack._embedder.raw(chips)

    alone = np.concatenate([pack._embedder.raw(chips[row : row + 1]) for row in range(5)])
    np.testing.assert_allclose(together, alone, atol=1e-4)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('colour = "RGB"', 'colour = "BGR"'),
        ("mean = [123.675, 116.28, 103.53]", "mean = [103.53, 116.28, 123.675]"),
        ("mean = [123.675, 116.28, 103.53]", "mean = [127.5, 127.5, 127.5]"),
        ("std = [58.395, 57.12, 57.375]", "std = [128, 128, 128]"),
    ],
)
def test_the_known_vector_notices_a_wrong_input(source, models, tmp_path, before, after):
    folder = shutil.copytree(install("mobilefacenet", source, models), tmp_path / "pack")
    text = (folder / "manifest.toml").read_text()
    assert before in text
    (folder / "manifest.toml").write_text(text.replace(before, after))

    with pytest.raises(PackError, match="another vector"):
        load(folder)


def test_installing_again_changes_nothing(source, models, tmp_path):
    folder = install("mobilefacenet", source, models)
    before = folder.stat().st_ino

    assert install("mobilefacenet", tmp_path, models).stat().st_ino == before


def test_a_file_that_is_missing_or_another_is_refused(source, models_dir, tmp_path):
    models = tmp_path / "models"
    shutil.copytree(models_dir / default.NAME, models / default.NAME)
    with pytest.raises(PackError, match=r"MobileFaceNet\.onnx cannot be read"):
        install("mobilefacenet-yunet", tmp_path, models)
    (tmp_path / "MobileFaceNet.onnx").write_bytes(b"x")
    shutil.copyfile(source / "yunet_n_dynamic.onnx", tmp_path / "yunet_n_dynamic.onnx")
    with pytest.raises(PackError, match="SHA-256 differs"):
        install("mobilefacenet-yunet", tmp_path, models)
    assert not (models / "mobilefacenet-yunet").exists()


def test_a_pack_that_nobody_knows_is_refused(models, tmp_path):
    with pytest.raises(PackError, match="there are mobilefacenet"):
        install("../default", tmp_path, models)


def test_the_published_sizes_are_those_of_the_files(source):
    for files in catalogue.CATALOGUE.values():
        for name, published in files.items():
            assert (source / name).stat().st_size == published.size_bytes
            assert published.url.endswith(name)
