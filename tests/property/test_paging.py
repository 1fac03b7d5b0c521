"""A page token gives its position back, in its own scope only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.errors import InvalidPaginationTokenException
from recollect.operations import paging

KEY = bytes(range(32))
positions = st.text("abc-_./09", max_size=paging.LAST_MAX)
scopes = st.text("ab/", max_size=5)


@given(scopes, positions)
def test_a_token_gives_its_position_back(scope, last):
    token = paging.seal(KEY, scope, last)

    assert len(token) <= 255
    assert paging.unseal(KEY, scope, token) == last


@given(scopes, scopes, positions)
def test_a_token_is_good_in_its_own_scope_only(scope, other, last):
    token = paging.seal(KEY, scope, last)

    if other != scope:
        with pytest.raises(InvalidPaginationTokenException):
            paging.unseal(KEY, other, token)


@given(st.text(min_size=1, max_size=60))
def test_what_we_did_not_make_is_refused(token):
    with pytest.raises(InvalidPaginationTokenException):
        paging.unseal(KEY, "scope", token)


def test_every_changed_character_is_noticed():
    token = paging.seal(KEY, "scope", "position")

    for place, character in enumerate(token):
        for other in "AZaz09-_":
            if other == character:
                continue
            with pytest.raises(InvalidPaginationTokenException):
                paging.unseal(KEY, "scope", token[:place] + other + token[place + 1 :])


def test_no_token_is_the_first_page():
    assert paging.unseal(KEY, "scope", None) == ""
    assert paging.unseal(KEY, "scope", "") == ""
