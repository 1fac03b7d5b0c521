"""Rows of a search, and the suppression of overlapping boxes against an obvious oracle."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.vision.findings import Findings, suppress

coordinates = st.integers(0, 8)
boxes = st.tuples(coordinates, coordinates, st.integers(1, 8), st.integers(1, 8)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
rows = st.lists(st.tuples(boxes, st.integers(0, 4)), max_size=12)


def share(a, b, of):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    common = max(0, width) * max(0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return common / (min(areas) if of == "smaller" else sum(areas) - common)


@given(rows, st.sampled_from([0.3, 0.5, 0.7]), st.sampled_from(["union", "smaller"]))
def test_a_box_is_kept_unless_a_better_kept_one_overlaps_it(rows, overlap_max, of):
    found = suppress(
        np.array([b for b, _ in rows], float).reshape(-1, 4),
        np.array([s for _, s in rows], float),
        overlap_max,
        of,
    )

    kept = []
    for row in sorted(range(len(rows)), key=lambda r: (-rows[r][1], r)):
        if all(share(rows[row][0], rows[k][0], of) <= overlap_max + 1e-12 for k in kept):
            kept.append(row)
    assert found.tolist() == kept


def findings(count=3):
    random = np.random.default_rng(4)
    low = random.uniform(0, 50, (count, 2))
    return Findings.upright(
        np.concatenate([low, low + random.uniform(1, 30, (count, 2))], axis=1),
        random.uniform(0, 1, count),
        random.uniform(0, 80, (count, 5, 2)),
    )


@given(st.integers(0, 3), st.integers(1, 6), st.integers(1, 6), st.data())
def test_a_pixel_found_in_a_turned_array_is_brought_back_to_itself(turn, height, width, data):
    row, column = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    marked = np.zeros((height, width), int)
    marked[row, column] = 1
    y, x = np.argwhere(np.rot90(marked, turn) == 1)[0]
    seen = Findings.upright(np.array([[x, y, x, y]], float), np.ones(1), np.full((1, 5, 2), (x, y)))

    back = seen.turned_back(turn, height, width)

    assert back.boxes.tolist() == [[column, row, column, row]]
    assert back.points[0].tolist() == [[column, row]] * 5
    assert back.turns.tolist() == [turn]


def test_boxes_stay_left_top_right_bottom_when_turned_back():
    back = findings().turned_back(1, 100, 90)

    assert (back.boxes[:, 2:] > back.boxes[:, :2]).all()


def test_turns_add_up():
    back = findings().turned_back(3, 100, 90).turned_back(2, 90, 100)

    assert back.turns.tolist() == [1, 1, 1]


def test_moving_carries_boxes_and_points_alike():
    moved = findings().moved(2.0, 10, -5)

    np.testing.assert_allclose(moved.boxes[:, [0, 2]], findings().boxes[:, [0, 2]] * 2 + 10)
    np.testing.assert_allclose(moved.boxes[:, [1, 3]], findings().boxes[:, [1, 3]] * 2 - 5)
    np.testing.assert_allclose(moved.points, findings().points * 2 + [10, -5])


def test_an_area_counts_only_what_lies_in_the_picture():
    found = Findings.upright(
        np.array([[-10, 0, 10, 10], [0, 0, 10, 10], [95, 5, 300, 15], [200, 0, 210, 10]], float),
        np.ones(4),
        np.zeros((4, 5, 2)),
    )

    assert found.areas(50, 100).tolist() == [100, 100, 50, 0]


def test_nothing_is_something_too():
    nothing = Findings.of([])

    assert len(nothing) == 0
    assert len(nothing.moved(2, 1, 1).turned_back(1, 5, 5).take(slice(1))) == 0
    assert len(Findings.of([findings(), nothing, findings(2)])) == 5
    assert suppress(nothing.boxes, nothing.scores, 0.5).tolist() == []


def test_rows_are_taken_in_the_order_asked_for():
    found = findings()

    assert found.take(np.array([2, 0])).scores.tolist() == [found.scores[2], found.scores[0]]
    with pytest.raises(IndexError):
        found.take(np.array([9]))
