import itertools
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from recollect.gallery.columns import (
    CHUNK_ROWS,
    EXTENT_ROWS_MIN,
    HUGE_PAGE_BYTES,
    Grouped,
    Layout,
    Shelf,
    mapped,
)

sizes = st.sampled_from([1, 50, 64, 65, 500, 4096, 30_000, CHUNK_ROWS, 10**6])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(sizes, st.integers(-5, -1)), max_size=30))
def test_extents_never_overlap_and_all_of_them_come_back(steps):
    shelf, held = Shelf(Layout(2)), []
    for step in steps:
        if step > 0:
            held.append(shelf.take(step))
            assert min(step, CHUNK_ROWS) <= held[-1].capacity < max(2 * step, EXTENT_ROWS_MIN + 1)
        elif held:
            shelf.give([held.pop(step % len(held))])
        rows = sorted((e.address, e.address + e.capacity) for e in held)
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(rows))
    shelf.give(held)

    assert not shelf._chunks
    assert not any(shelf._free.values())


def test_an_extent_that_was_given_back_is_empty_when_it_is_lent_again():
    shelf = Shelf(Layout(8, keeps_signs=True))
    kept, extent = shelf.take(64), shelf.take(64)
    for column in extent.chunk.columns:
        column[extent.start : extent.start + 64] = 1

    shelf.give([extent])
    again = shelf.take(64)

    assert (again.chunk, again.start) == (extent.chunk, extent.start)
    assert not any(column[again.start : again.start + 64].any() for column in again.chunk.columns)
    assert kept.start != again.start


def test_columns_begin_on_cache_lines_and_leave_no_huge_page_half_empty():
    for layout in (Layout(512, keeps_signs=True), Layout(100, keeps_templates=False)):
        columns = [getattr(c, "memory", c) for c in Shelf(layout).take(1).chunk.columns]

        begin = columns[0].ctypes.data
        assert begin % HUGE_PAGE_BYTES == 0
        assert all(column.ctypes.data % 64 == 0 for column in columns)
        end = columns[-1].ctypes.data + columns[-1].nbytes
        assert end - begin == CHUNK_ROWS * layout.row_bytes()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells")
def test_columns_are_private_memory_since_only_that_gets_huge_pages():
    memory = mapped(HUGE_PAGE_BYTES)
    address = memory.ctypes.data

    for line in Path("/proc/self/maps").read_text().splitlines():
        first, end = (int(word, 16) for word in line.split()[0].split("-"))
        if first <= address < end:
            assert line.split()[1] == "rw-p"
            break
    else:
        pytest.fail("the memory is not mapped")


def test_a_row_takes_what_its_columns_take():
    for layout in (Layout(128), Layout(512, keeps_signs=True), Layout(100, keeps_templates=False)):
        columns = Shelf(layout).take(1).chunk.columns
        assert layout.row_bytes() == sum(column[:1].nbytes for column in columns)

    assert Layout(128, keeps_templates=False).row_bytes() == 160
    assert Layout(512, keeps_templates=False, keeps_signs=True).row_bytes() == 612


places = st.one_of(
    st.lists(st.integers(0, 255), max_size=90, unique=True).map(np.array),
    st.tuples(st.integers(0, 256), st.integers(0, 256)).map(lambda ends: slice(*ends)),
)


@settings(max_examples=50, deadline=None)
@given(st.lists(places, max_size=5))
def test_a_column_in_groups_holds_what_one_in_a_row_holds(written):
    column, plain = Grouped(np.zeros((256, 3), np.uint8)), np.zeros((256, 3), np.uint8)
    for number, rows in enumerate(written):
        rows = rows if isinstance(rows, slice) else rows.astype(np.intp)
        values = np.arange(3 * len(plain[rows])).reshape(-1, 3) % 251 + number
        column[rows] = plain[rows] = values.astype(np.uint8)

    assert np.array_equal(column[:], plain)
    assert all(
        np.array_equal(column[rows], plain[rows]) for rows in [slice(7, 70), np.array([255])]
    )
    # Of 64 rows the first byte of each, then the second, then the third, then 64 rows more.
    assert column.memory.reshape(-1)[3 * 64 + 2 * 64 + 5] == plain[64 + 5, 2]
