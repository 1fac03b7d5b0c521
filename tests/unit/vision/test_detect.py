"""How a picture is searched, with a detector that sees drawn marks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.vision import detect
from recollect.vision.detect import Search, by_area, smallest_face_px
from recollect.vision.findings import Findings

FACE = (250, 200, 150)
"""Colours of a drawn face: its top quarter has the first value, so that it has an up."""


def draw(image, left, top, side, turn=0, score=0.999):
    """Draw a face whose red is its score, brighter in its upper half."""
    face = np.zeros((side, side, 3), np.uint8)
    face[..., 0] = round(score * 250)
    face[: side // 2, :, 1] = 255
    face[..., 2] = 77
    image[top : top + side, left : left + side] = np.rot90(face, -turn)
    return image


class Marks:
    """Finds drawn faces that stand upright, and remembers what it was asked."""

    def __init__(self, *, in_the_dark=False, margin_needed=0, lying_score=None):
        self.asked = []
        self.in_the_dark = in_the_dark
        self.margin_needed = margin_needed
        self.lying_score = lying_score

    def find(self, image, face_px_min):
        self.asked.append((image.shape[:2], face_px_min))
        rows = []
        mark = (image[..., 2] == 77) | (not self.in_the_dark and image[..., 2] == 255)
        height, width = mark.shape
        seen = np.zeros_like(mark)
        for y, x in np.argwhere(mark):
            if seen[y, x]:
                continue
            side = int(np.argmin([*mark[y, x:], False]))
            rest = int(np.argmin([*mark[y:, x], False]))
            seen[y : y + rest, x : x + side] = True
            face = image[y : y + rest, x : x + side]
            upright = (
                face[: rest // 2, :, 1].mean() > 250 and face[rest // 2 + 1 :, :, 1].mean() < 5
            )
            score = face[0, 0, 0] / 250 if upright else self.lying_score
            inside = min(x, y, width - x - side, height - y - rest) >= self.margin_needed
            if score is not None and inside and min(side, rest) >= face_px_min * 0.8:
                rows.append((x, y, x + side, y + rest, score))
        found = np.array(rows, float).reshape(-1, 5)
        centre = (found[:, :2] + found[:, 2:4]) / 2
        return Findings.upright(found[:, :4], found[:, 4], np.repeat(centre[:, None], 5, axis=1))


def canvas(height=300, width=400):
    return np.zeros((height, width, 3), np.uint8)


def search(detector, doubt_below=0.99):
    return Search(detector, doubt_below=doubt_below)


def test_the_largest_face_needs_one_look():
    marks = Marks()
    image = draw(draw(canvas(), 10, 10, 60), 150, 100, 120)

    found = search(marks).largest(image)

    assert found.boxes.tolist() == [[150, 100, 270, 220]]
    assert marks.asked == [((300, 400), 45.0)]


@pytest.mark.parametrize("side", [30, 40])  # not seen at first, and seen below what was asked for
def test_a_largest_face_too_small_for_the_first_look_costs_a_second(side):
    marks = Marks()
    image = draw(canvas(), 10, 10, side)

    found = search(marks).largest(image)

    assert found.boxes.tolist() == [[10, 10, 10 + side, 10 + side]]
    assert [px for _, px in marks.asked] == [45.0, 20]


def test_all_faces_come_by_falling_area():
    image = canvas()
    for left, side in ((10, 30), (60, 80), (200, 50)):
        draw(image, left, 20, side)

    found = search(Marks()).every(image)

    assert found.boxes[:, 0].tolist() == [60, 200, 10]


def test_no_more_than_a_hundred_faces_are_told():
    image = canvas(900, 900)
    for row in range(12):
        for column in range(12):
            draw(image, column * 70, row * 70, 40 + row)

    found = search(Marks()).every(image)

    assert len(found) == 100
    assert (found.boxes[:, 2] - found.boxes[:, 0]).min() == 43


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_a_face_that_lies_is_found_in_the_coordinates_of_the_picture(turn):
    image = draw(canvas(), 50, 60, 100, turn=turn)

    for found in (search(Marks()).largest(image), search(Marks()).every(image)):
        # Corners are pixels turned as pixels: a box's far corner lies one pixel further.
        assert np.abs(found.boxes[0] - [50, 60, 150, 160]).max() <= 1
        assert found.turns.tolist() == [turn]


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_a_lying_face_that_seems_found_is_looked_at_again_where_it_is_doubtful(turn):
    image = draw(canvas(500, 600), 250, 200, 100, turn=turn, score=0.998)
    doubtful, sure = Marks(lying_score=0.95), Marks(lying_score=0.995)

    for of in ("largest", "every"):
        found = getattr(search(doubtful), of)(image)
        assert found.turns.tolist() == [turn]
        assert np.abs(found.boxes[0] - [250, 200, 350, 300]).max() <= 1
        assert getattr(search(sure), of)(image).turns.tolist() == [0]


@pytest.mark.parametrize("lying_score", [0.5, 0.9, 0.96])
def test_an_upright_face_in_doubt_does_not_give_way_to_chance(lying_score):
    image = draw(canvas(), 50, 60, 100, score=0.9)

    for of in ("largest", "every"):
        found = getattr(search(Marks(lying_score=lying_score)), of)(image)
        assert found.turns.tolist() == [0]
        assert found.scores.tolist() == [pytest.approx(0.9)]


def test_where_one_face_lies_the_largest_of_the_lying_ones_is_taken():
    image = draw(canvas(), 20, 20, 60, turn=1, score=0.999)
    image = draw(image, 150, 100, 120, turn=1, score=0.998)

    class Half(Marks):
        """Mistakes the small lying face for an upright one; misses the large one."""

        def find(self, image, face_px_min):
            found = super().find(image, face_px_min)
            sides = found.boxes[:, 2] - found.boxes[:, 0]
            lying = found.scores == 0.5
            return found.take(np.flatnonzero(~lying | (sides < 100)))

    found = search(Half(lying_score=0.5)).largest(image)

    assert found.turns.tolist() == [1]
    assert found.boxes[0, 2] - found.boxes[0, 0] == 120


def test_looking_again_never_takes_the_neighbour():
    image = draw(draw(canvas(), 50, 60, 60, score=0.9), 120, 60, 60, turn=2, score=0.999)
    face = Marks().find(image, 20)

    left = face.take(np.flatnonzero(face.boxes[:, 0] == 50))

    assert len(search(Marks()).at_another_turn(image, left)) == 0


def test_another_turn_is_told_in_the_coordinates_of_the_picture():
    image = draw(canvas(700, 800), 350, 300, 60, turn=3)
    seen = Marks(lying_score=0.9).find(image, 20)

    found = search(Marks()).at_another_turn(image, seen)

    assert np.abs(found.boxes[0] - [350, 300, 410, 360]).max() <= 1
    assert found.turns.tolist() == [3]


def test_only_the_first_doubtful_faces_are_looked_at_again():
    image = canvas(700, 700)
    for row in range(6):
        for column in range(6):
            draw(image, 20 + column * 110, 20 + row * 110, 40, score=0.9)
    marks = Marks()

    assert len(search(marks).every(image)) == 36

    assert len(marks.asked) == 1 + 3 + 3 * detect.AGAIN_MAX


def test_a_face_that_fills_the_picture_is_found_with_a_border_around():
    image = draw(canvas(200, 200), 5, 5, 190)
    marks = Marks(margin_needed=20)

    for of in ("largest", "every"):
        found = getattr(search(marks), of)(image)
        assert found.boxes.tolist() == [[5, 5, 195, 195]]
        assert found.turns.tolist() == [0]


@pytest.mark.parametrize(("height", "width"), [(3000, 4000), (4000, 1300), (80, 9000), (640, 700)])
def test_what_a_miss_tries_takes_no_more_room_than_a_small_picture(height, width):
    marks = Marks()

    search(marks).largest(np.zeros((height, width, 3), np.uint8))

    for shape, _ in marks.asked[2:]:
        assert shape[0] * shape[1] <= max(height * width, 640 * 640 * 4) * 3
        assert min(shape) <= 640 * 2.2


def test_a_face_found_in_a_reduced_picture_is_brought_back():
    image = draw(canvas(1600, 2000), 800, 600, 400, turn=2)

    found = search(Marks()).largest(image)

    assert found.turns.tolist() == [2]
    assert np.abs(found.boxes[0] - [800, 600, 1200, 1000]).max() <= 4


def test_a_picture_without_a_face_is_given_up_after_a_bounded_number_of_looks():
    for of, looks in (("largest", 7), ("every", 6)):
        marks = Marks()
        found = getattr(search(marks), of)(canvas())
        assert len(found) == 0
        assert len(marks.asked) == looks


def test_a_dark_picture_is_lit_before_it_is_given_up():
    dark = np.random.default_rng(8).integers(0, 12, (60, 80, 3)).astype(np.uint8)
    seen = []

    class Eye:
        def find(self, image, face_px_min):
            seen.append(image)
            return Findings.of([])

    search(Eye()).largest(dark)

    border = int(detect.BORDER_SHARE * 80)
    inside = seen[-1][border:-border, border:-border]
    assert inside.shape == dark.shape
    assert np.median(inside) > 4 * np.median(dark)
    np.testing.assert_array_equal(np.argsort(np.unique(dark)), np.argsort(np.unique(inside)))
    # A bright one would be looked at twice the same way: once is enough.
    looks = len(seen)
    seen.clear()
    search(Eye()).largest(np.full((60, 80, 3), 200, np.uint8))
    assert len(seen) == looks - 1


def test_half_a_face_at_the_border_counts_by_what_is_seen_of_it():
    found = Findings.upright(
        np.array([[-200, 0, 60, 260], [100, 0, 220, 120], [400, 0, 500, 100]], float),
        np.ones(3),
        np.zeros((3, 5, 2)),
    )

    assert by_area(found, canvas(300, 400)).boxes[:, 0].tolist() == [-200, 100]
    assert by_area(found, canvas(100, 400)).boxes[:, 0].tolist() == [100, -200]


def test_of_two_faces_of_nearly_one_size_the_surer_comes_first():
    boxes = np.array([[0, 0, 105, 100], [200, 0, 300, 100]], float)
    points = np.zeros((2, 5, 2))

    def first(score):
        found = Findings.upright(boxes, np.array([score, 0.99]), points)
        return by_area(found, canvas(400, 400)).boxes[0, 0]

    assert (first(0.99), first(0.8)) == (0, 200)

    boxes[0, 2] = 150  # Clearly the larger one, however doubtful.
    assert first(0.8) == 0


@given(st.integers(80, 10_000), st.integers(80, 10_000))
def test_the_smallest_face_keeps_the_contract(height, width):
    image = np.broadcast_to(np.uint8(0), (height, width, 3))

    smallest = smallest_face_px(image)

    assert smallest >= 20
    if height * width <= 1920 * 1080:
        assert smallest <= 40
    # The work of a full search is bounded, whatever the picture.
    assert height * width * (12 / smallest) ** 2 <= 187_000
