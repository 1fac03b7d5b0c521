"""UUIDs as bytes and as text."""

import time
import uuid

from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.gallery.ids import new_face_id, packed, unpacked, unpacked_all

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


def test_face_ids_begin_with_the_time_and_go_on_at_random(monkeypatch):
    monkeypatch.setattr(time, "time_ns", lambda: 0x0123456789AB * 1_000_000 + 999_999)
    ids = [new_face_id() for _ in range(1000)]

    assert len(set(ids)) == 1000
    assert {text[:15] for text in ids} == {"01234567-89ab-7"}
    assert {uuid.UUID(text).variant for text in ids} == {uuid.RFC_4122}
    bits = [uuid.UUID(text).int for text in ids]
    free = [place for place in range(80) if place not in (62, 63, 76, 77, 78, 79)]
    assert all(400 < sum(value >> place & 1 for value in bits) < 600 for place in free)
