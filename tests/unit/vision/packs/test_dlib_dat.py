"""dlib's files: the reader against a writer, the converted nets against dlib itself."""

import contextlib
import hashlib
import importlib.util
import math
from pathlib import Path

import dlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.vision.align import cut_chip, similarity_transform
from recollect.vision.landmarks import RegressionTrees
from recollect.vision.packs import dlib_dat
from recollect.vision.packs.default import SOURCES
from recollect.vision.packs.dlib_dat import DlibFormatError, Reader
from recollect.vision.session import Session

MODELS = Path(importlib.util.find_spec("face_recognition_models").origin).parent / "models"
RESNET = MODELS / "dlib_face_recognition_resnet_model_v1.dat"
TREES = MODELS / "shape_predictor_5_face_landmarks.dat"


def written(value):
    """An integer as dlib writes it."""
    size = max(1, (abs(value).bit_length() + 7) // 8)
    return bytes([size | (0x80 if value < 0 else 0)]) + abs(value).to_bytes(size, "little")


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_every_integer_is_read_back(value):
    reader = Reader(written(value))

    assert reader.integer() == value
    reader.finish()


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_real_is_read_back(value):
    mantissa, exponent = math.frexp(value)
    reader = Reader(written(int(mantissa * 2**53)) + written(exponent - 53))

    assert reader.real() == value
    reader.finish()


@pytest.mark.parametrize("exponent", [32000, 32001, 32002])
def test_a_real_that_is_not_finite_is_refused(exponent):
    with pytest.raises(DlibFormatError, match="not finite"):
        Reader(written(0) + written(exponent)).real()


@given(st.binary(max_size=12))
def test_no_bytes_escape_as_another_error(data):
    for read in (Reader.integer, Reader.boolean, Reader.text, Reader.tensor, Reader.alias):
        with contextlib.suppress(DlibFormatError):
            read(Reader(data))


def test_the_resnet_is_read_to_its_last_byte():
    mean, layers = dlib_dat.read_resnet(RESNET.read_bytes())

    np.testing.assert_allclose(mean, [122.782, 117.001, 104.298], atol=1e-3)
    assert len(layers) == 108  # and the input layer
    assert [layer.kind for layer in layers[:4]] == ["con_4", "affine_", "relu_", "max_pool_2"]


@pytest.mark.parametrize("change", ["behind", "cut", "head", "kind"])
def test_a_damaged_resnet_is_refused(change):
    whole = RESNET.read_bytes()
    damaged = {
        "behind": whole + b"\x01",
        "cut": whole[:-1],
        "head": b"\x01\x02" + whole[2:],
        "kind": whole.replace(b"\x05relu_", b"\x05tanh_", 1),
    }[change]

    with pytest.raises(DlibFormatError):
        dlib_dat.resnet_onnx(damaged)


@pytest.mark.parametrize("change", ["behind", "cut", "head"])
def test_damaged_trees_are_refused(change, monkeypatch):
    # Reading all 7,500 trees takes two seconds; two of them show the same.
    monkeypatch.setattr(dlib_dat, "LEVELS", 1)
    monkeypatch.setattr(dlib_dat, "TREES", 1)
    monkeypatch.setattr(dlib_dat, "FEATURES", 2)
    one = written(1)
    column = written(-10) + written(-1) + (written(3) + written(-2)) * 10
    tree = written(15) + (written(0) + one + written(5) + written(-1)) * 15
    tree += written(16) + column * 16
    whole = one + column + one + one + tree + one + written(2) + written(0) + written(4)
    whole += one + written(2) + (written(1) + written(-1)) * 4
    assert dlib_dat.read_trees(whole)["initial"][0, 0] == 0.75

    damaged = {"behind": whole + one, "cut": whole[:-1], "head": written(2) + whole[2:]}[change]
    with pytest.raises(DlibFormatError):
        dlib_dat.read_trees(damaged)


@pytest.fixture(scope="module")
def found(astronaut, hopper):
    """dlib's own landmarks and chips of the two photographs."""
    predictor = dlib.shape_predictor(str(TREES))
    faces = []
    for image in (astronaut, hopper):
        (box,) = dlib.get_frontal_face_detector()(image)
        shape = predictor(image, box)
        faces.append((image, box, shape, dlib.get_face_chip(image, shape, 150, 0.25)))
    return faces


@pytest.mark.models
def test_the_converted_resnet_agrees_with_dlib(found):
    theirs = dlib.face_recognition_model_v1(str(RESNET))
    ours = Session(dlib_dat.resnet_onnx(RESNET.read_bytes()))

    for *_, chip in found:
        planes = chip.transpose(2, 0, 1)[None].astype(np.float32)
        (embedding,) = ours.run({"image": planes}, ["embedding"])
        expected = np.array(theirs.compute_face_descriptor(chip))
        np.testing.assert_allclose(embedding[0], expected, atol=1e-4)


@pytest.mark.models
def test_the_converted_trees_agree_with_dlib(found, models_dir):
    trees = RegressionTrees.from_npz((models_dir / "default" / "landmarks.npz").read_bytes())

    for image, box, shape, _ in found:
        points = trees.points(image, (box.left(), box.top(), box.right(), box.bottom()))
        expected = np.array([(p.x, p.y) for p in shape.parts()])
        assert np.abs(points - expected).max() <= 1


@pytest.mark.models
def test_a_chip_is_cut_as_dlib_cuts_it(found, pack):
    target = pack.manifest.landmarks.points_px
    for image, _, shape, chip in found:
        points = np.array([(p.x, p.y) for p in shape.parts()], float)
        mine = cut_chip(image, similarity_transform(target, points), 150)
        assert np.abs(mine.astype(int) - chip).mean() < 1.0


def test_the_pinned_digests_are_those_of_the_installed_packages():
    assert hashlib.sha256(RESNET.read_bytes()).hexdigest() == SOURCES["resnet"][2]
    assert hashlib.sha256(TREES.read_bytes()).hexdigest() == SOURCES["trees"][2]
