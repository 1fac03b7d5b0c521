import hypothesis.strategies as st
import numpy as np
from hypothesis import example, given, settings

from recollect.gallery.columns import Layout, Shelf
from recollect.gallery.scan import SURVIVOR, Survivors, best
from recollect.gallery.view import Part, View

bounds = st.lists(
    st.tuples(st.integers(-8, 8), st.integers(0, 3)).map(lambda b: (b[0] - b[1], b[0] + b[1])),
    max_size=60,
)


@example([(-3, 3), (-3, 3), (-3, 3), (-2, -1)], 2, 0, 3).via("a floor that must not fall")
@given(bounds, st.integers(1, 10), st.integers(-8, 8), st.integers(1, 9))
def test_what_can_be_among_the_best_survives(rows, count_max, score_min, together):
    survivors = Survivors(count_max, score_min, 0)
    for first in range(0, len(rows), together):
        block = rows[first : first + together]
        for offset, (lower, upper) in enumerate(block):
            if upper >= survivors.floor:
                survivors.room(4096)[0] = (0, first + offset, upper, lower)
                survivors.took(1)
        survivors.rows()

    kept = set(survivors.rows()["row"].tolist())

    # Whatever the true scores are, a row whose upper bound is beaten by that many lower bounds
    # is no answer, and every other row may be one.
    lowers = sorted((lower for lower, _ in rows), reverse=True)
    for row, (_, upper) in enumerate(rows):
        beaten = sum(lower > upper for lower in lowers) >= count_max
        assert (row in kept) == (upper >= score_min and not beaten)


ids = st.lists(st.integers(0, 255), unique=True, max_size=40)


@given(ids, st.integers(1, 10), st.sampled_from([-1.0, 0.0, 0.5]), st.integers(0, 255))
def test_best_is_sort_then_cut(names, count_max, score_min, excluded):
    scores = np.array([(name * 7 % 5 - 2) / 2 for name in names], np.float32)
    scores[::7] = np.nan
    raw = np.zeros((len(names), 16), np.uint8)
    raw[:, 5] = names
    exclude = bytes(5) + bytes([excluded]) + bytes(10)

    found, found_scores = best(raw, scores, count_max, score_min, exclude)

    expected = sorted(
        (-score, name)
        for name, score in zip(names, scores.tolist(), strict=True)
        if score >= score_min and name != excluded
    )[:count_max]
    assert found[:, 5].tolist() == [name for _, name in expected]
    assert found_scores.tolist() == [-score for score, _ in expected]


@settings(deadline=None)
@given(st.lists(st.integers(0, 64), max_size=8), st.integers(1, 100))
def test_spans_cover_every_row_once(rows, rows_max):
    shelf = Shelf(Layout(1))
    view = View(1, [Part(shelf.take(64), count) for count in rows], sequence=0)

    seen = [
        (index, row)
        for span in view.spans(rows_max)
        for index, _, first, end in view.pieces(span, 10)
        for row in range(first, end)
    ]

    assert seen == [(index, row) for index, count in enumerate(rows) for row in range(count)]
    assert len(view.spans(rows_max)) <= -(-sum(rows) // rows_max) + 1


def test_a_survivor_is_what_the_kernel_writes():
    assert SURVIVOR.itemsize == 16
