"""Packs of the catalogue, made from the published files and put to work."""

import hashlib
import shutil
from importlib.resources import files as resources

import numpy as np
import onnx
import pytest

from drawn_packs import detector_onnx, embedding_onnx
from recollect.vision.manifest import PackError, parse, read_manifest
from recollect.vision.onnx_model import checked, free_batch, free_sides
from recollect.vision.pack import load
from recollect.vision.packs import catalogue, default
from recollect.vision.packs.catalogue import install
from recollect.vision.session import Session
from recollect.vision.yunet import YuNet

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


MEASURED = [name for name in catalogue.CATALOGUE if name not in catalogue.UNMEASURED]


@pytest.mark.parametrize("name", MEASURED)
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
    for pack in MEASURED:
        for name, published in catalogue.CATALOGUE[pack].items():
            assert (source / name).stat().st_size == published.size_bytes
            assert published.url.endswith(name)


@pytest.fixture
def zoo(monkeypatch, tmp_path):
    """Drawn files with the names and signatures of opencv_zoo's, pinned in their place."""
    drawn = {
        "face_detection_yunet_2023mar.onnx": detector_onnx(),
        "face_recognition_sface_2021dec.onnx": embedding_onnx(128, 112),
    }
    (tmp_path / "zoo").mkdir()
    described = catalogue.manifest_text("opencv-zoo", {"landmarks.npz": "0" * 64})
    text = (resources("recollect.vision.packs") / "opencv-zoo.toml").read_text("utf-8")
    for name, data in drawn.items():
        (tmp_path / "zoo" / name).write_bytes(data)
        pinned = parse(described).files[name].sha256
        text = text.replace(pinned, hashlib.sha256(data).hexdigest())
    (tmp_path / "opencv-zoo.toml").write_text(text)
    monkeypatch.setattr(catalogue, "resources", lambda _: tmp_path)
    return tmp_path / "zoo"


def test_opencv_zoo_s_pair_is_loaded_with_its_fixed_sizes_set_free(zoo, models, hopper):
    pack = load(install("opencv-zoo", zoo, models))

    assert (pack.version, pack.dimension, pack.false_match_rates) == ("5.2", 128, ())
    # One size of picture was written down; others are searched as well.
    assert pack._search.every(hopper) is not None
    assert pack.similarity(0.363) == pytest.approx(50)
    # Never the default by being installed: nobody has measured it.
    assert pack.rank < read_manifest(models / default.NAME).rank


def test_an_unmeasured_net_has_to_answer_as_it_did_when_it_was_installed(zoo, models, tmp_path):
    folder = shutil.copytree(install("opencv-zoo", zoo, models), tmp_path / "pack")
    assert load(folder).manifest.embedding.known @ np.eye(128)[0] < 0.9

    text = (folder / "manifest.toml").read_text()
    (folder / "manifest.toml").write_text(text.replace('colour = "RGB"', 'colour = "BGR"'))
    with pytest.raises(PackError, match="another vector"):
        load(folder)

    # Installing again finds it whole, and needs no file a second time.
    before = (models / "opencv-zoo").stat().st_ino
    assert install("opencv-zoo", tmp_path, models).stat().st_ino == before


def test_another_file_than_opencv_zoo_s_is_never_asked_for_its_vector(zoo, models_dir, tmp_path):
    models = tmp_path / "models"
    shutil.copytree(models_dir / default.NAME, models / default.NAME)
    (zoo / "face_recognition_sface_2021dec.onnx").write_bytes(embedding_onnx(128, 112, seed=9))

    with pytest.raises(PackError, match="SHA-256 differs"):
        install("opencv-zoo", zoo, models)
    assert not (models / "opencv-zoo").exists()


def test_a_published_detector_with_its_size_written_down_finds_what_the_free_one_finds(
    source, hopper
):
    data = (source / "yunet_n_dynamic.onnx").read_bytes()
    free = checked(data, "free")
    fixed = onnx.ModelProto()
    fixed.CopyFrom(free)
    shape = fixed.graph.input[0].type.tensor_type.shape
    for side, size in zip(shape.dim, (1, 3, 640, 640), strict=True):
        side.dim_value = size

    freed = free_batch(free_sides(fixed, "fixed"), "fixed")

    nets = [Session(model, steady=False) for model in (data, freed)]
    first, second = (YuNet(net, 0.6).find(hopper, 20) for net in nets)
    assert len(first) == 1
    np.testing.assert_array_equal(first.boxes, second.boxes)
