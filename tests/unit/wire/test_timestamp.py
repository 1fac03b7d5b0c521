"""Moments are read and written in three formats."""

from datetime import UTC, datetime

import pytest

from recollect.wire import timestamp

MOMENT = datetime(2000, 1, 2, 20, 34, 56, tzinfo=UTC)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("unixTimestamp", 946845296.0),
        ("iso8601", "2000-01-02T20:34:56Z"),
        ("rfc822", "Sun, 02 Jan 2000 20:34:56 GMT"),
    ],
)
def test_a_moment_is_written_and_read_again(form, text):
    assert timestamp.write(MOMENT, form) == text
    assert timestamp.write(MOMENT.timestamp(), form) == text
    if isinstance(text, str):
        assert timestamp.parse(text) == MOMENT.timestamp()


def test_milliseconds_are_kept_where_there_are_any():
    assert timestamp.iso(MOMENT.replace(microsecond=120_000)) == "2000-01-02T20:34:56.120Z"
    assert timestamp.parse("2000-01-02T21:34:56.120+01:00") == MOMENT.timestamp() + 0.12


@pytest.mark.parametrize(
    "text", ["", "soon", "2000-01-02", "2000-13-02T00:00:00Z", "2000-01-02T00:00:00", "20000102",
             "99999999999999999999", "Sun, 99 Jan 2000 20:34:56 GMT"]
)  # fmt: skip
def test_what_is_no_moment_is_refused(text):
    with pytest.raises(ValueError, match=r".*"):
        timestamp.parse(text)
