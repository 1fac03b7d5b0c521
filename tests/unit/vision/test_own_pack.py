"""A model that a user brings: an ArcFace-style ONNX file and a manifest, nothing else of ours."""

import hashlib

import numpy as np
import pytest

from drawn_packs import FIVE, draw_pack, embedding_onnx
from recollect.vision.face import Face, Pose
from recollect.vision.manifest import PackError
from recollect.vision.pack import load


def texture(seed, side=240):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)


def face_at(points, size):
    return Face(
        box=(0.1, 0.1, 0.8, 0.8),
        confidence=99.0,
        landmarks={},
        pose=Pose(0.0, 0.0, 0.0),
        brightness=50.0,
        sharpness=50.0,
        size_px=100.0,
        points=points,
    )


@pytest.mark.parametrize("dimension", [64, 256, 512])
@pytest.mark.parametrize("batch", [1, "batch"])
def test_any_dimension_and_a_batch_that_is_fixed_or_free(tmp_path, dimension, batch):
    pack = load(draw_pack(tmp_path, "own", dimension=dimension, batch=batch))
    images = [texture(seed) for seed in (1, 1, 2)]
    faces = [face_at(FIVE * 120 + 60, 240) for _ in images]

    first, again, other = (
        pack.embed(image, [face])[0].template for image, face in zip(images, faces, strict=True)
    )

    assert first.shape == (dimension,)
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-6)
    assert first @ again == pytest.approx(1, abs=1e-6)
    assert first @ other < 0.7
    both = pack.embed(images[0], faces[:2])
    np.testing.assert_allclose(both[1].template, first, atol=1e-5)


def test_the_chip_is_cut_where_the_manifest_wants_the_points(tmp_path):
    pack = load(draw_pack(tmp_path, "own", side_px=96))
    y, x = np.mgrid[:240, :240].astype(np.uint8)
    image = np.stack([x, y, x], axis=2)
    points = FIVE * 96 + [20, 30]

    chips = pack._views.chips(image, points)

    assert [chip.shape for chip in chips] == [(96, 96, 3)] * 2
    # Where the points lie as the manifest says, the chip is that part of the picture.
    np.testing.assert_allclose(chips[0], image[30:126, 20:116], atol=1)
    np.testing.assert_array_equal(chips[1], chips[0][:, ::-1])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('colour = "BGR"', 'colour = "RGB"'),
        ("std = [128.000000", "std = [120.000000"),
        ("mean = [127.500000", "mean = [100.000000"),
    ],
)
def test_a_manifest_that_feeds_the_net_wrongly_is_refused(tmp_path, before, after):
    folder = draw_pack(tmp_path, "own")
    text = (folder / "manifest.toml").read_text()
    assert before in text
    (folder / "manifest.toml").write_text(text.replace(before, after))

    with pytest.raises(PackError, match="another vector for the known chip"):
        load(folder)


def test_another_net_under_a_corrected_digest_is_refused(tmp_path):
    folder = draw_pack(tmp_path, "own")
    old = (folder / "arcface.onnx").read_bytes()
    new = embedding_onnx(256, 96, seed=5)
    (folder / "arcface.onnx").write_bytes(new)
    text = (folder / "manifest.toml").read_text()
    digests = [hashlib.sha256(data).hexdigest() for data in (old, new)]
    (folder / "manifest.toml").write_text(text.replace(*digests))

    with pytest.raises(PackError, match="another vector for the known chip"):
        load(folder)


def test_a_file_without_a_licence_is_refused(tmp_path):
    folder = draw_pack(tmp_path, "own")
    text = (folder / "manifest.toml").read_text()
    (folder / "manifest.toml").write_text(text.replace('licence = "Apache-2.0"\n', "", 1))

    with pytest.raises(PackError, match="licence is missing"):
        load(folder)
