"""The cascade: pyramid, crops and squares, and the whole on drawn and real pictures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.vision import mtcnn
from recollect.vision.mtcnn import Pyramid


def ramp(height, width):
    """A picture whose colours tell the place: red the column, green the row."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = (np.arange(width) / 4)[None]
    image[..., 1] = (np.arange(height) / 4)[:, None]
    return image


def test_a_pyramid_halves_by_averaging_until_the_short_side_is_small():
    pyramid = Pyramid(ramp(801, 1000))

    small, level = pyramid.level(9)

    assert level == 4
    assert small.shape == (50, 62, 3)
    full = pyramid.levels[0][:400, :400].astype(float)
    averaged = full.reshape(200, 2, 200, 2, 3).mean(axis=(1, 3))
    assert np.abs(pyramid.level(1)[0][:200, :200] - averaged).max() <= 0.51
    assert pyramid.level(0)[0] is pyramid.levels[0]


DITHERED = np.stack(
    np.meshgrid(np.arange(250), np.arange(250)), axis=-1
) * 0.9 + np.random.default_rng(12).uniform(0, 2, (250, 250, 2))
"""Columns and rows as values, dithered because rounding would shift them otherwise."""

boxes = st.tuples(st.floats(-40, 240), st.floats(-40, 240), st.floats(3, 240))


@given(boxes)
def test_a_crop_shows_its_square_from_whatever_level(box):
    left, top, side = box
    image = np.dstack([DITHERED.round(), np.full((250, 250), 255)]).astype(np.uint8)

    crop = mtcnn._crop(Pyramid(image), np.array([left, top, left + side, top + side]), 24)

    # The square covers [left - 1, left + side] where pixels count from 0.
    step = (side + 1) / 24
    x = left - 1 + (np.arange(24) + 0.5) * step - 0.5
    y = top - 1 + (np.arange(24) + 0.5) * step - 0.5
    margin = 8 + 2 * step
    inside = ((y > margin) & (y < 249 - margin))[:, None] & ((x > margin) & (x < 249 - margin))
    if inside.sum() > 150:
        for channel, value in ((0, x[None]), (1, y[:, None])):
            error = crop[..., channel] - 1 - np.broadcast_to(value * 0.9, (24, 24))
            assert abs(error[inside].mean()) < 0.5
    outside = (x < -margin) | (x > 249 + margin)
    assert crop[:, outside].max(initial=0) == 0


@given(st.lists(st.tuples(*[st.integers(-50, 50)] * 2, *[st.integers(1, 60)] * 2), max_size=5))
def test_squares_keep_the_centre_and_take_the_longer_side(rows):
    given_boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in rows], float).reshape(-1, 4)

    squares = mtcnn._square(given_boxes)

    for before, after in zip(given_boxes, squares, strict=True):
        np.testing.assert_allclose(after[:2] + after[2:], before[:2] + before[2:])
        assert after[2] - after[0] == after[3] - after[1]
        assert after[2] - after[0] == (before[2:] - before[:2]).max()


@pytest.mark.models
def test_a_picture_smaller_than_a_cell_holds_no_face(pack):
    for shape in ((1, 1), (11, 300), (12, 12), (200, 3)):
        assert len(pack._search.every(np.zeros((*shape, 3), np.uint8))) == 0


@pytest.mark.models
def test_candidates_are_bounded_whatever_the_picture_holds(pack, astronaut, monkeypatch):
    face = astronaut[20:200, 140:320]
    wall = np.tile(face, (6, 6, 1))
    batches = []
    run = mtcnn.Mtcnn._run

    def counted(self, net, pyramid, found, side_px, names):
        batches.append((side_px, len(found)))
        return run(self, net, pyramid, found, side_px, names)

    monkeypatch.setattr(mtcnn.Mtcnn, "_run", counted)
    monkeypatch.setattr(mtcnn, "PROPOSALS_MAX", 50)
    monkeypatch.setattr(mtcnn, "REFINED_MAX", 10)
    monkeypatch.setattr(mtcnn, "BATCH", 7)
    found = pack._search._detector.find(wall, 60)

    assert batches == [(24, 50), (48, 10)]
    assert 1 <= len(found) <= 10
