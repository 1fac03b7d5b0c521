"""Java's expressions match whole texts, categories included, in linear time."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.wire import model
from recollect.wire.pattern import compiled

KEY = model.rekognition().shape("TagKey").pattern
VALUE = model.rekognition().shape("TagValue").pattern
PATTERNS = sorted({s.pattern for s in model.rekognition()._shapes.values() if s.pattern})


def slow(text, *, key):
    """The two tag patterns in words."""
    if key and text.startswith("aws:"):
        return False
    return all(c in "_.:/=+-@" or unicodedata.category(c)[0] in "LZN" for c in text)


letters = st.sampled_from("aZ09 _.:/=+-@!~\n\té\u0301\u2028\xa0½Ⅷ٣漢🙂\ue04c\ue000\x00")


@given(st.text(letters, max_size=8) | st.text(letters, max_size=4).map("aws:{}".format))
def test_categories_are_unicodes(text):
    assert compiled(KEY).matches(text) == slow(text, key=True)
    assert compiled(VALUE).matches(text) == slow(text, key=False)


def test_every_character_of_the_plane_is_judged_by_its_category():
    for code in [*range(0xD800), *range(0xE000, 0x11000), *range(0x1F000, 0x20000)]:
        character = chr(code)
        assert compiled(VALUE).matches(character) == slow(character, key=False), hex(code)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_whole_text_must_fit(pattern):
    match = "00000000-0000-0000-0000-000000000000" if "{8}" in pattern else "11"

    assert compiled(pattern).matches(match)
    assert not compiled(pattern).matches(match + "\n")
    assert not compiled(pattern).matches("\x00" + match)
    # Digits of other scripts are no digits here.
    if pattern not in {KEY, VALUE}:
        assert not compiled(pattern).matches(match.replace("1", "\u0661").replace("0", "\u0660"))


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("text", ["a" * 1_000_000 + "!", "aws:" * 250_000, "é" * 1_000_000 + "!"])
def test_time_is_linear(pattern, text):
    began = time.process_time()

    compiled(pattern).matches(text)

    assert time.process_time() - began < 1.0


def test_digits_are_javas():
    assert compiled(r"\d+").matches("1")
    assert not compiled(r"\d+").matches("\u0661")
