"""A pack at work on two photographs, and packs that must not load."""

import hashlib
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import pytest

from recollect.vision import pack as pack_module
from recollect.vision.manifest import PackError
from recollect.vision.pack import KNOWN_SCORE_MIN, LANDMARKS, known_chip, load
from recollect.vision.packs import default

pytestmark = pytest.mark.models


def score(a, b):
    return float(a.template @ b.template)


def test_a_face_is_described_with_ratios_of_the_picture(pack, astronaut):
    (face,) = pack.faces(astronaut)

    left, top, width, height = face.box
    assert (left, top) == pytest.approx((0.35, 0.116), abs=0.02)
    assert (width, height) == pytest.approx((0.172, 0.227), abs=0.02)
    assert tuple(face.landmarks) == LANDMARKS
    x, y = np.array(list(face.landmarks.values())).T
    assert ((left < x) & (x < left + width) & (top < y) & (y < top + height)).all()
    assert face.landmarks["eyeLeft"][0] < face.landmarks["eyeRight"][0]
    assert face.landmarks["eyeLeft"][1] < face.landmarks["nose"][1] < face.landmarks["mouthLeft"][1]
    assert face.confidence > 99
    assert face.size_px == pytest.approx(width * 512)
    assert face.template is None
    assert face.mirror_score is None


def test_a_template_is_a_unit_vector_and_the_net_is_sure(pack, hopper):
    face = pack.largest_face(hopper, "HIGH")

    assert face.template.shape == (pack.dimension,) == (128,)
    assert face.template.dtype == np.float32
    assert np.linalg.norm(face.template) == pytest.approx(1, abs=1e-6)
    assert face.mirror_score > 0.98


def test_one_person_is_alike_and_two_are_not(pack, astronaut, hopper):
    first = pack.largest_face(astronaut, "NONE")
    again = pack.largest_face(np.ascontiguousarray(astronaut[:330, 60:420]), "NONE")
    other = pack.largest_face(hopper, "NONE")

    assert pack.similarity(score(first, again)) > 99
    assert pack.similarity(score(first, other)) < 50


def test_the_same_picture_gives_the_same_numbers(pack, astronaut):
    first, again = (pack.largest_face(astronaut, "NONE") for _ in range(2))

    np.testing.assert_array_equal(first.template, again.template)
    assert first.box == again.box


def test_many_threads_get_what_one_gets(pack, astronaut, hopper):
    expected = [pack.largest_face(image, "NONE") for image in (astronaut, hopper)]

    with ThreadPoolExecutor(4) as pool:
        images = [astronaut, hopper] * 4
        found = list(pool.map(lambda image: pack.largest_face(image, "NONE"), images))

    for face, wanted in zip(found, expected * 4, strict=True):
        np.testing.assert_array_equal(face.template, wanted.template)


def test_the_largest_face_and_the_first_of_all_are_one(pack, astronaut, hopper):
    for image in (astronaut, hopper):
        largest = pack.largest_face(image, "NONE")
        (first,) = pack.embed(image, pack.faces(image)[:1])
        assert score(largest, first) > 0.995


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_a_picture_lying_on_its_side_is_the_same_person(pack, hopper, turn):
    upright = pack.largest_face(hopper, "NONE")
    lying = np.ascontiguousarray(np.rot90(hopper, turn))

    found = pack.largest_face(lying, "NONE")

    assert score(found, upright) > 0.99
    assert found.turn == (4 - turn) % 4
    (listed,) = pack.embed(lying, pack.faces(lying)[:1])
    assert score(listed, upright) > 0.99


def test_points_out_of_place_are_noticed_by_the_views_and_put_right(pack, hopper):
    lying = np.ascontiguousarray(np.rot90(hopper))
    (right,) = pack.faces(lying)
    left, top, width, height = np.array(right.box) * [600, 512, 600, 512]
    # As if the face stood upright in its box: what a detector says of a face that it mistakes.
    template = pack.manifest.embedding.points_px / 150
    wrong = replace(right, points=template * [width, height] + [left, top], turn=0, confidence=99.9)

    (found,) = pack.embed(lying, [wrong])

    assert pack._embed(lying, [wrong])[0].mirror_score < pack.manifest.embedding.doubt_below
    assert found.turn == right.turn == 3
    assert score(found, pack.largest_face(hopper, "NONE")) > 0.99


def test_an_upright_face_keeps_its_place_beside_a_chance_find(pack, hopper, monkeypatch):
    (face,) = pack.faces(hopper)
    chance = pack._search.largest(hopper)
    chance = replace(chance, turns=chance.turns + 1, scores=chance.scores - 0.01)
    monkeypatch.setattr(pack._search, "at_another_turn", lambda *_: chance)
    monkeypatch.setattr(pack, "_embed", lambda _, faces: [replace(faces[0], mirror_score=0.999)])

    assert pack._again(hopper, replace(face, mirror_score=0.97)).turn == 0


def side_by_side(astronaut, hopper):
    """The astronaut small on the left, Grace Hopper large on the right."""
    both = np.zeros((600, 1024, 3), np.uint8)
    both[:512, :512] = astronaut
    both[:, 512:] = hopper
    return both


def test_two_faces_come_largest_first_and_embed_as_they_do_alone(pack, astronaut, hopper):
    both = side_by_side(astronaut, hopper)

    faces = pack.embed(both, pack.faces(both))

    assert len(faces) == 2
    assert score(faces[0], pack.largest_face(hopper, "NONE")) > 0.99
    assert score(faces[1], pack.largest_face(astronaut, "NONE")) > 0.99
    one_by_one = [pack.embed(both, [face])[0] for face in faces]
    for face, alone in zip(faces, one_by_one, strict=True):
        assert score(face, alone) > 0.99999


def test_where_the_largest_face_is_refused_the_next_one_stands_in(pack, astronaut, hopper):
    blurred = cv2.GaussianBlur(hopper, (0, 0), 10)
    both = side_by_side(astronaut, blurred)
    alone = pack.largest_face(astronaut, "NONE")

    assert score(pack.largest_face(both, "NONE"), alone) < 0.95
    assert score(pack.largest_face(both, "HIGH"), alone) > 0.99
    assert pack.largest_face(blurred, "HIGH") is None
    face = pack.largest_face(blurred, "NONE")
    assert pack.reasons(face, "HIGH") == ("LOW_SHARPNESS",)
    assert pack.reasons(face, "NONE") == ()
    assert pack.weight(face) < 1


@pytest.mark.parametrize("value", [0, 128, 255])
def test_an_empty_picture_holds_nobody(pack, value):
    image = np.full((300, 400, 3), value, np.uint8)

    assert pack.faces(image) == []
    assert pack.largest_face(image, "NONE") is None
    assert pack.embed(image, []) == []


def test_noise_holds_nobody_and_takes_bounded_time(pack):
    image = np.random.default_rng(10).integers(0, 256, (720, 1280, 3)).astype(np.uint8)

    assert pack.largest_face(image, "NONE") is None


def test_a_read_only_picture_and_a_view_of_one_will_do(pack, astronaut):
    image = np.array(astronaut)[::-1][::-1]
    image.flags.writeable = False

    assert len(pack.faces(image)) == 1


def test_the_filters_grow_stricter_and_the_weights_are_positive(pack, astronaut):
    face = pack.largest_face(astronaut, "NONE")

    assert pack.weight(face) == 1
    refused = [len(pack.reasons(face, name)) for name in ("LOW", "AUTO", "MEDIUM", "HIGH")]
    assert refused == sorted(refused)


def test_the_scale_of_the_default_pack(pack):
    assert pack.similarity(0.9426) == 80
    assert pack.score(80) == pytest.approx(0.9426)
    assert pack.score(0) == -1
    assert pack.centre.shape == (128,)
    assert 0.8 < np.linalg.norm(pack.centre) < 1


def test_the_known_chip_is_what_the_documentation_says():
    chip = known_chip(150)

    assert chip.shape == (150, 150, 3)
    for x, y, c in ((0, 0, 0), (149, 3, 1), (17, 149, 2)):
        assert chip[y, x, c] == (x * (3 + c) + y * (5 - c) + x * y // 8) % 256


@pytest.fixture
def copy(models_dir, tmp_path):
    """A copy of the default pack that a test may damage."""
    return shutil.copytree(models_dir / default.NAME, tmp_path / "pack")


def rewrite(folder, before, after):
    text = (folder / "manifest.toml").read_text()
    assert before in text
    (folder / "manifest.toml").write_text(text.replace(before, after, 1))


@pytest.mark.parametrize("name", ["pnet.onnx", "resnet.onnx", "landmarks.npz"])
def test_a_changed_byte_is_refused(copy, name):
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)

    with pytest.raises(PackError, match=f"{name} is not the file of the manifest"):
        load(copy)


def test_a_missing_file_or_manifest_is_refused(copy, tmp_path):
    (copy / "rnet.onnx").unlink()
    with pytest.raises(PackError, match=r"rnet\.onnx cannot be read"):
        load(copy)
    with pytest.raises(PackError, match=r"holds no manifest\.toml"):
        load(tmp_path / "nowhere")
    (copy / "manifest.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(PackError, match="not UTF-8"):
        load(copy)
    (copy / "manifest.toml").write_bytes(b"#" * (1 << 21))
    with pytest.raises(PackError, match="larger than"):
        load(copy)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('colour = "RGB"', 'colour = "BGR"'),
        ("std = [1, 1, 1]", "std = [1, 1, 1.05]"),
        ("mean = [0, 0, 0]", "mean = [10, 0, 0]"),
        ("side_px = 150", "side_px = 151"),
    ],
)
def test_a_wrong_colour_order_or_normalisation_is_noticed(copy, before, after):
    rewrite(copy, before, after)

    with pytest.raises(PackError, match=r"another vector|does not run"):
        load(copy)


def test_the_nets_are_as_near_to_the_known_vector_as_asked(models_dir, monkeypatch):
    monkeypatch.setattr(pack_module, "KNOWN_SCORE_MIN", 1 - (1 - KNOWN_SCORE_MIN) / 100)

    load(models_dir / default.NAME)


def test_a_pickle_in_an_onnx_file_s_place_is_refused_and_never_looked_at(copy):
    import pickle

    data = pickle.dumps({"weights": [1]})
    old = hashlib.sha256((copy / "pnet.onnx").read_bytes()).hexdigest()
    (copy / "pnet.onnx").write_bytes(data)
    rewrite(copy, old, hashlib.sha256(data).hexdigest())

    with pytest.raises(PackError, match=r"pnet\.onnx is not an ONNX file"):
        load(copy)


def test_a_pack_does_not_find_its_classes_by_pickle(models_dir, astronaut):
    looked_up = []
    active = True

    def hook(event, arguments):
        if active and event == "pickle.find_class":
            looked_up.append(arguments)

    sys.addaudithook(hook)
    try:
        load(models_dir / default.NAME).largest_face(astronaut, "NONE")
    finally:
        active = False
    assert looked_up == []
