"""Bearer keys: their form, and that they and signing keys never stand in for each other."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.errors import (
    ExpiredTokenException,
    FrameworkError,
    IncompleteSignatureException,
    MissingAuthenticationTokenException,
    UnrecognizedClientException,
)
from recollect.wire import access, bearer, sigv4
from recollect.wire.caller import Credential, HttpRequest

NOW = 1_800_000_000.0
BEARER = Credential("BEARERKEY", "s3cr3t.with.dots", "123456789012", "bob", (), bearer=True)
SIGNING = Credential("AKIDEXAMPLE", "a secret", "123456789012", "alice", ())


def find(key_id):
    return {key.key_id: key for key in (BEARER, SIGNING)}.get(key_id)


def carrying(token, *, scheme="Bearer "):
    headers = (("host", "h"), ("authorization", scheme + token), ("user-agent", "curl"))
    return HttpRequest("POST", "/", "", headers, b"{}", "192.0.2.1", secure=True)


def authenticate(request, *, now=NOW, find=find):
    return access.authenticate(request, find, now=now, region="eu-central-1")


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER  "])
def test_a_bearer_key_says_who_calls(scheme):
    caller = authenticate(carrying(bearer.token("BEARERKEY", BEARER.secret), scheme=scheme))

    assert caller.arn == "arn:aws:iam::123456789012:user/bob"
    assert caller.region == "eu-central-1"
    assert (caller.source_ip, caller.secure, caller.user_agent) == ("192.0.2.1", True, "curl")


def test_a_token_begins_with_a_word_that_scanners_can_find():
    assert bearer.token("BEARERKEY", "s") == "recollect.BEARERKEY.s"


@pytest.mark.parametrize(
    "credential",
    [
        None,
        replace(BEARER, secret="another"),
        replace(BEARER, active=False),
        replace(BEARER, bearer=False),
        replace(BEARER, secret="another", expires_at=NOW - 1),
    ],
    ids=["unknown", "wrong secret", "disabled", "signing key", "wrong and expired"],
)
def test_every_key_that_does_not_serve_gets_one_answer(credential):
    with pytest.raises(
        UnrecognizedClientException,
        match=r"^The security token included in the request is invalid\.$",
    ):
        authenticate(
            carrying(bearer.token("BEARERKEY", BEARER.secret)), find=lambda key_id: credential
        )


@pytest.mark.parametrize("look_s", [0.0, 0.0003, 0.0019, 0.0305])
@pytest.mark.parametrize("credential", [None, BEARER, replace(BEARER, active=False)])
def test_a_refusal_comes_on_the_beat_whatever_key_was_found(credential, look_s, monkeypatch):
    clock = [100.0]

    def wait(seconds):
        clock[0] += seconds

    def find_slowly(key_id):
        wait(look_s)
        return credential

    monkeypatch.setattr(access, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=wait))
    with pytest.raises(UnrecognizedClientException):
        authenticate(carrying(bearer.token("BEARERKEY", "another")), find=find_slowly)

    assert (clock[0] - 100) / access.BEAT_S == pytest.approx(look_s // access.BEAT_S + 1)


def test_a_key_that_has_run_out_is_told_so():
    expired = replace(BEARER, expires_at=NOW)

    with pytest.raises(ExpiredTokenException):
        authenticate(carrying(bearer.token("BEARERKEY", BEARER.secret)), find=lambda _: expired)
    assert authenticate(
        carrying(bearer.token("BEARERKEY", BEARER.secret)), find=lambda _: expired, now=NOW - 1
    )


def test_a_credential_without_a_secret_lets_nobody_in():
    empty = replace(BEARER, secret="")

    for secret in ("", bearer.NOBODY.secret):
        for credential in (empty, None, SIGNING):
            with pytest.raises(UnrecognizedClientException):
                authenticate(
                    carrying(bearer.token("BEARERKEY", secret)), find=lambda _, c=credential: c
                )


def test_a_signing_key_is_no_bearer_key_and_the_other_way_round():
    with pytest.raises(UnrecognizedClientException):
        authenticate(carrying(bearer.token(SIGNING.key_id, SIGNING.secret)))
    headers = sigv4.sign(
        "POST",
        "/",
        {"host": "h"},
        b"{}",
        key_id=BEARER.key_id,
        secret=BEARER.secret,
        region="eu-west-1",
        now=NOW,
    )
    request = HttpRequest("POST", "/", "", tuple(headers.items()), b"{}", "192.0.2.1", secure=True)
    with pytest.raises(UnrecognizedClientException):
        authenticate(request)
    assert authenticate(request, find=lambda _: replace(BEARER, bearer=False)).name == "bob"


@pytest.mark.parametrize(
    "token", ["", "BEARERKEY.s3cr3t.with.dots", "Recollect.BEARERKEY.s3cr3t.with.dots", "a.b.c"]
)
def test_a_token_of_another_form_is_incomplete(token):
    with pytest.raises(IncompleteSignatureException, match=r"recollect\.<key id>\.<secret>"):
        authenticate(carrying(token))


def test_two_authorizations_are_one_too_many():
    request = carrying(bearer.token("BEARERKEY", BEARER.secret))

    with pytest.raises(IncompleteSignatureException):
        authenticate(replace(request, headers=request.headers * 2))


def test_a_token_has_an_end():
    with pytest.raises(IncompleteSignatureException):
        authenticate(carrying(bearer.token("BEARERKEY", "s" * 600)))


def test_a_request_that_shows_nothing_misses_a_token():
    request = HttpRequest("POST", "/", "", (("host", "h"),), b"{}", "192.0.2.1", secure=True)

    with pytest.raises(MissingAuthenticationTokenException):
        authenticate(request)


@given(st.text("recollect.BEARKY s3é\x00", max_size=30), st.booleans())
def test_no_token_is_answered_with_a_bug(text, prefixed):
    with pytest.raises(FrameworkError):
        authenticate(carrying("recollect." * prefixed + text))
