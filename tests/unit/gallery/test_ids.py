"""UUIDs as bytes and as text."""

import uuid

from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.gallery.ids import packed, unpacked, unpacked_all

uuids = st.uuids()


@settings(deadline=None)
@given(uuids)
def test_text_and_bytes_are_the_same_id(value):
    assert packed(str(value)) == value.bytes
    assert unpacked(value.bytes) == str(value)


@settings(deadline=None)
@given(st.lists(uuids, max_size=5))
def test_many_are_unpacked_as_one_is(values):
    assert unpacked_all([value.bytes for value in values]) == [str(value) for value in values]


@settings(deadline=None)
@given(uuids, uuids)
def test_bytes_sort_as_text_does(one, other):
    assert (one.bytes < other.bytes) == (str(one) < str(other))


@settings(deadline=None)
@given(st.text("0123456789abcdefABCDEF-{} g", max_size=40))
def test_only_the_canonical_form_is_an_id(text):
    raw = packed(text)
    assert raw is None or str(uuid.UUID(bytes=raw)) == text
