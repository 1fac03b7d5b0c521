"""Similarity transforms and the cutting of chips."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.vision.align import (
    AlignmentError,
    apply,
    compose,
    cut_chip,
    invert,
    similarity_transform,
)

FACE = np.array([[47.0, 45], [102, 46], [74, 78], [50, 104], [100, 104]])
SLOPE = 0.4771
angles = st.floats(-np.pi, np.pi)
scales = st.floats(0.05, 20)
shifts = st.floats(-500, 500)


def transform(angle, scale, x, y):
    a, b = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[a, -b, x], [b, a, y]])


transforms = st.builds(transform, angles, scales, shifts, shifts)


@given(transforms)
def test_a_transform_that_we_chose_is_found_again(chosen):
    found = similarity_transform(FACE, apply(chosen, FACE))

    np.testing.assert_allclose(found, chosen, atol=1e-6)


@given(transforms, st.integers(0, 2**32 - 1))
def test_no_other_similarity_fits_better(chosen, seed):
    random = np.random.default_rng(seed)
    target = apply(chosen, FACE) + random.normal(size=(5, 2))
    found = similarity_transform(FACE, target)
    error = np.sum((apply(found, FACE) - target) ** 2)

    for _ in range(5):
        a, b, x, y = random.normal(scale=1e-3, size=4)
        other = found + np.array([[a, -b, x], [b, a, y]])
        assert np.sum((apply(other, FACE) - target) ** 2) >= error - 1e-9


def test_a_mirrored_face_is_not_mirrored_back():
    found = similarity_transform(FACE, FACE * [-1, 1])

    assert np.linalg.det(found[:, :2]) > 0


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((5, 2), 7.5)])
def test_points_that_coincide_are_refused_on_either_side(points):
    with pytest.raises(AlignmentError):
        similarity_transform(points, FACE)
    with pytest.raises(AlignmentError):
        similarity_transform(FACE, points)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_points_that_are_not_finite_are_refused(value):
    broken = FACE.copy()
    broken[2, 1] = value
    for source, target in ((broken, FACE), (FACE, broken)):
        with pytest.raises(AlignmentError), np.errstate(invalid="ignore"):
            similarity_transform(source, target)


@given(transforms, transforms)
def test_composing_is_doing_one_after_the_other_and_inverting_undoes(first, second):
    both = apply(compose(second, first), FACE)

    np.testing.assert_allclose(both, apply(second, apply(first, FACE)), atol=1e-6, rtol=1e-9)
    np.testing.assert_allclose(apply(invert(first), apply(first, FACE)), FACE, atol=1e-6)


def slow_chip(image, to_image, side):
    """Bilinear on dlib's grid, pixel by pixel."""
    scale = np.hypot(to_image[0, 0], to_image[1, 0])
    grid = to_image[:, :2] / scale * ((side * scale - 1) / (side - 1))
    centre = to_image[:, :2] @ [side / 2, side / 2] + to_image[:, 2]
    start = centre - grid @ np.full(2, (side - 1) / 2)
    padded = np.zeros((image.shape[0] + 2, image.shape[1] + 2, 3))
    padded[1:-1, 1:-1] = image
    chip = np.zeros((side, side, 3))
    for row in range(side):
        for column in range(side):
            x, y = grid @ [column, row] + start + 1
            if not (0 <= x < padded.shape[1] - 1 and 0 <= y < padded.shape[0] - 1):
                continue
            i, j, fx, fy = int(x), int(y), x % 1, y % 1
            upper = padded[j, i] * (1 - fx) + padded[j, i + 1] * fx
            lower = padded[j + 1, i] * (1 - fx) + padded[j + 1, i + 1] * fx
            chip[row, column] = upper * (1 - fy) + lower * fy
    return chip


@pytest.mark.parametrize("scale", [0.4, 1.0, 1.9])
@pytest.mark.parametrize("angle", [0.0, 0.5, 3.0])
def test_a_chip_is_sampled_where_dlib_samples_it(scale, angle):
    x, y, c = np.meshgrid(np.arange(60), np.arange(50), np.arange(3), indexing="xy")
    image = (128 + 60 * np.sin(x / 7 + c) + 60 * np.cos(y / 6)).astype(np.uint8)
    to_image = transform(angle, scale, 20, 25)

    chip = cut_chip(image, to_image, 24)

    # OpenCV interpolates in 32nds of a pixel, and at the border from another side.
    assert np.abs(chip - slow_chip(image, to_image, 24)).mean() < 1.5


@pytest.mark.parametrize("scale", [2.0, 3.7, 4.0, 9.0])
def test_a_chip_that_shrinks_a_lot_averages_instead_of_skipping(scale):
    # Columns of one pixel, black and white: every chip pixel covers both.
    image = np.zeros((400, 400, 3), np.uint8)
    image[:, ::2] = 255

    chip = cut_chip(image, transform(0.0, scale, 30, 30), 32)

    assert np.abs(chip[2:-2, 2:-2].astype(float) - 127.5).max() <= 2


@pytest.mark.parametrize("scale", [2.0, 5.3, 8.0])
def test_shrinking_moves_nothing(scale):
    # A ramp stays a ramp however it is averaged: the value tells the place. Dithered, because
    # rounding would shift it otherwise.
    dither = np.random.default_rng(6).uniform(-8, 8, (300, 512, 3))
    image = (np.arange(512)[None, :, None] * SLOPE + dither + 8).round().astype(np.uint8)
    side, to_image = 20, transform(0.0, scale, 41, 37)

    chip = cut_chip(image, to_image, side)

    column = np.arange(side)
    x = 41 + scale * side / 2 + (column - (side - 1) / 2) * (side * scale - 1) / (side - 1)
    error = chip.mean(axis=(0, 2)) - 8 - x * SLOPE
    assert abs(error.mean()) < 0.15  # 0.3 pixels of the picture


@given(transforms, st.integers(1, 40), st.integers(1, 40))
def test_a_chip_can_be_cut_anywhere_even_outside(to_image, height, width):
    chip = cut_chip(np.full((height, width, 3), 200, np.uint8), to_image, 16)

    assert chip.shape == (16, 16, 3)
    assert chip.max() <= 200


def test_outside_of_the_picture_is_black():
    image = np.full((50, 50, 3), 255, np.uint8)

    for scale in (1.0, 4.0):
        assert cut_chip(image, transform(0.0, scale, 1000, 1000), 16).max() == 0
        assert cut_chip(image, transform(0.0, scale, -1000, 20), 16).max() == 0
