"""The verifier beside botocore's signer, and every rule that the vectors do not state."""

import calendar
import hashlib
import time
from dataclasses import replace
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth, _host_from_url
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from recollect.errors import (
    ExpiredTokenException,
    FrameworkError,
    IncompleteSignatureException,
    InvalidSignatureException,
    MissingAuthenticationTokenException,
    ThrottlingException,
    UnrecognizedClientException,
)
from recollect.wire import sigv4
from recollect.wire.caller import Credential, HttpRequest
from recollect.wire.canonical import (
    canonical_query,
    canonical_request,
    signature,
    signing_key,
    string_to_sign,
)
from recollect.wire.claim import read_timestamp
from recollect.wire.replays import Replays

NOW = float(calendar.timegm((2026, 11, 22, 12, 28, 21)))
KEY = Credential("AKIDEXAMPLE", "a secret", "123456789012", "alice", ("a policy",))
TEMPORARY = replace(KEY, key_id="ASIDEXAMPLE", session_token="a token", expires_at=NOW + 60)
TARGET = "RekognitionService.ListCollections"


def find(key_id):
    return {key.key_id: key for key in (KEY, TEMPORARY)}.get(key_id)


def signed(
    *,
    key=KEY,
    region="eu-west-1",
    at=NOW,
    body=b"{}",
    headers=None,
    added=(),
    **more,
) -> HttpRequest:
    """A request signed by our own client, with headers added after it was signed."""
    headers = {"host": "localhost:8080", "x-amz-target": TARGET} if headers is None else headers
    sent = sigv4.sign(
        "POST",
        "/",
        headers,
        body,
        key_id=key.key_id,
        secret=key.secret,
        region=region,
        now=at,
        **({"session_token": key.session_token} | more),
    )
    return HttpRequest("POST", "/", "", (*sent.items(), *added), body, "192.0.2.1", secure=False)


def presigned(*, expires=60, key=KEY, at=NOW, token=None, headers=(), payload=None) -> HttpRequest:
    """A query signed the long way, so that each parameter can be got wrong."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
    scope = f"{stamp[:8]}/eu-west-1/rekognition/aws4_request"
    headers = (("host", "localhost:8080"), *headers)
    names = sorted(name for name, _ in headers)
    parameters = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{key.key_id}/{scope}",
        "X-Amz-Date": stamp,
        "X-Amz-Expires": str(expires),
        "X-Amz-SignedHeaders": ";".join(names),
    }
    if token is not None:
        parameters["X-Amz-Security-Token"] = token
    query = "&".join(f"{name}={quote(value, '-_.~')}" for name, value in parameters.items())
    canonical = canonical_request(
        "POST",
        "/",
        canonical_query(query),
        headers,
        names,
        payload or hashlib.sha256(b"{}").hexdigest(),
    )
    made = signing_key(key.secret, stamp[:8], "eu-west-1", "rekognition")
    proof = signature(made, string_to_sign(stamp, scope, canonical))
    query += f"&X-Amz-Signature={proof}"
    return HttpRequest("POST", "/", query, headers, b"{}", "192.0.2.1", secure=False)


def verify(request, *, now=NOW, find=find, **more):
    return sigv4.verify(request, find, now=now, **more)


def with_header(request, name, change):
    """The request with a changed value of one header; None takes the header away."""
    headers = [(key, change(value) if key == name else value) for key, value in request.headers]
    kept = tuple((key, value) for key, value in headers if value is not None)
    return replace(request, headers=kept)


# botocore as the oracle -----------------------------------------------------------------------

words = st.text("ab%_ é+&=/:~", max_size=6)
names = st.text("abc-", min_size=1, max_size=5).map(lambda name: f"x-{name}")
values = st.text("ab ,;=\"'", max_size=8).map(str.strip)


@st.composite
def requests(draw, form):
    """A request as botocore signs it, and as it would arrive."""
    path = "/" + "/".join(quote(draw(words), "~") for _ in range(draw(st.integers(0, 3))))
    pairs = draw(st.lists(st.tuples(words.filter(bool), words), max_size=3))
    query = "&".join(f"{quote(name, '~')}={quote(value, '~')}" for name, value in pairs)
    host = draw(st.sampled_from(["localhost:8080", "[::1]:8080", "example.com"]))
    request = AWSRequest(
        method=draw(st.sampled_from(["POST", "GET", "PUT"])),
        url=f"http://{host}{path}" + (f"?{query}" if query else ""),
        data=draw(st.binary(max_size=8)) if form is SigV4Auth else b"",
    )
    for name, value in draw(st.lists(st.tuples(names, values), max_size=3)):
        request.headers.add_header(name, value)
    key = draw(st.sampled_from([KEY, TEMPORARY]))
    credentials = Credentials(key.key_id, key.secret, key.session_token)
    region = draw(st.sampled_from(["us-east-1", "eu-west-1", "cn-north-1"]))
    form(credentials, "rekognition", region).add_auth(request)

    url = urlsplit(request.url)
    headers = [(name.lower(), value) for name, value in request.headers.items()]
    headers.append(("host", _host_from_url(request.url)))
    return region, HttpRequest(
        request.method,
        url.path or "/",
        url.query,
        tuple(headers),
        request.body or b"",
        "192.0.2.1",
        secure=False,
    )


def signed_at(request):
    stamp = dict(canonical_query(request.query)).get("X-Amz-Date")
    return read_timestamp(stamp or request.header("x-amz-date"))


def accepts(request, now):
    forever = replace(TEMPORARY, expires_at=None)
    return verify(
        request, now=now, find=lambda key_id: {KEY.key_id: KEY, TEMPORARY.key_id: forever}[key_id]
    )


@pytest.mark.parametrize("form", [SigV4Auth, SigV4QueryAuth])
@given(data=st.data())
def test_what_botocore_signs_is_accepted_and_any_change_of_it_is_not(form, data):
    region, request = data.draw(requests(form))
    now = signed_at(request)

    caller = accepts(request, now)

    assert (caller.account, caller.name, caller.region) == ("123456789012", "alice", region)
    number = data.draw(st.integers(0, len(request.headers) - 1))
    name, value = request.headers[number]
    changed = (name, value + "x")
    longer = (*request.headers[:number], changed, *request.headers[number + 1 :])
    for other in (
        replace(request, method="DELETE"),
        replace(request, path=request.path + "x"),
        replace(request, query=request.query + "&x=1" if request.query else "x=1"),
        replace(request, body=request.body + b"x"),
        replace(request, headers=longer),
        replace(request, headers=(*request.headers, ("host", "elsewhere"))),
    ):
        # botocore may leave a header unsigned, but none of those that are drawn here.
        with pytest.raises(FrameworkError):
            pytest.fail(f"accepted: {other} {accepts(other, now)}")


@given(words, words, st.binary(max_size=8), st.dictionaries(names, values, max_size=3))
def test_what_we_sign_is_accepted(segment, value, body, headers):
    path, query = f"/{quote(segment, '~')}", f"a={quote(value, '~')}"
    sent = sigv4.sign(
        "POST",
        path,
        headers | {"Host": "localhost"},
        body,
        key_id=KEY.key_id,
        secret=KEY.secret,
        region="us-east-1",
        now=NOW,
        query=query,
    )

    caller = verify(HttpRequest("POST", path, query, tuple(sent.items()), body, "::1", True))

    assert caller.arn == "arn:aws:iam::123456789012:user/alice"


# Who it is ------------------------------------------------------------------------------------


def test_the_caller_is_the_credential_and_the_region_of_the_scope():
    caller = verify(signed(region="ap-southeast-2", added=(("user-agent", "a program"),)))

    assert caller.account == "123456789012"
    assert caller.key_id == "AKIDEXAMPLE"
    assert caller.policies == ("a policy",)
    assert caller.region == "ap-southeast-2"
    assert caller.source_ip == "192.0.2.1"
    assert caller.user_agent == "a program"
    assert not caller.secure


def test_a_request_without_a_signature_misses_one():
    request = HttpRequest("POST", "/", "a=b", (("host", "h"),), b"{}", "192.0.2.1", secure=False)

    with pytest.raises(
        MissingAuthenticationTokenException, match=r"^Missing Authentication Token$"
    ):
        verify(request)


@pytest.mark.parametrize(
    "credential", [None, replace(KEY, active=False), replace(KEY, bearer=True)], ids=str
)
@pytest.mark.parametrize("secret", [KEY.secret, "another"])
def test_unknown_disabled_and_bearer_keys_are_not_recognised(credential, secret):
    request = signed(key=replace(KEY, secret=secret))

    with pytest.raises(
        UnrecognizedClientException,
        match=r"^The security token included in the request is invalid\.$",
    ):
        verify(request, find=lambda _: credential)


def test_a_credential_without_a_secret_lets_nobody_in():
    empty = replace(KEY, secret="")

    with pytest.raises(UnrecognizedClientException):
        verify(signed(key=empty), find=lambda _: empty)


def test_the_secret_that_unknown_keys_are_tried_with_opens_nothing():
    nobody = replace(KEY, secret=sigv4.NOBODY.secret)

    for credential in (None, KEY, replace(KEY, secret=""), replace(KEY, bearer=True)):
        with pytest.raises(FrameworkError):
            verify(signed(key=nobody), find=lambda _, found=credential: found)


def test_an_unknown_key_costs_the_work_of_a_known_one(monkeypatch):
    calls = []
    for name in ("canonical_request", "string_to_sign", "signing_key", "signature"):
        real = getattr(sigv4, name)
        monkeypatch.setattr(
            sigv4,
            name,
            lambda *a, name=name, real=real, **k: (calls.append(name), real(*a, **k))[1],
        )
    request, work = signed(key=replace(KEY, secret="wrong")), []
    calls.clear()
    for credential in (KEY, None, replace(KEY, active=False), replace(KEY, bearer=True)):
        with pytest.raises((InvalidSignatureException, UnrecognizedClientException)):
            verify(request, find=lambda _, found=credential: found)
        work.append(tuple(calls))
        calls.clear()

    assert set(work) == {("signing_key", "canonical_request", "string_to_sign", "signature")}


def test_a_wrong_signature_is_told_in_the_words_of_aws():
    with pytest.raises(
        InvalidSignatureException,
        match=r"^The request signature we calculated does not match the signature you provided\. "
        r"Check your AWS Secret Access Key and signing method\. "
        r"Consult the service documentation for details\.$",
    ):
        verify(signed(key=replace(KEY, secret="wrong")))


def test_a_new_secret_under_an_old_key_id_is_the_one_that_counts():
    verify(signed())
    renewed = replace(KEY, secret="renewed")

    with pytest.raises(InvalidSignatureException):
        verify(signed(), find=lambda _: renewed)
    verify(signed(key=renewed), find=lambda _: renewed)


# Session tokens -------------------------------------------------------------------------------


def test_temporary_credentials_need_their_token_and_their_time():
    assert verify(signed(key=TEMPORARY)).key_id == "ASIDEXAMPLE"
    for key in (replace(TEMPORARY, session_token=token) for token in ("another", "", None)):
        with pytest.raises(UnrecognizedClientException):
            verify(signed(key=key))
    with pytest.raises(UnrecognizedClientException):
        verify(signed(session_token="a token that the key does not have"))
    with pytest.raises(
        ExpiredTokenException, match=r"^The security token included in the request is expired$"
    ):
        verify(signed(key=TEMPORARY), now=NOW + 60)
    assert verify(signed(key=TEMPORARY), now=NOW + 59)


def test_expiry_is_told_only_to_those_who_hold_the_credential():
    with pytest.raises(InvalidSignatureException):
        verify(signed(key=replace(TEMPORARY, secret="wrong")), now=NOW + 100)
    with pytest.raises(UnrecognizedClientException):
        verify(signed(key=replace(TEMPORARY, session_token="wrong")), now=NOW + 100)


def test_a_token_may_be_added_to_a_presigned_query_after_signing():
    request = presigned(key=TEMPORARY)
    added = replace(request, query=request.query + "&X-Amz-Security-Token=a%20token")

    assert verify(added).key_id == "ASIDEXAMPLE"
    assert verify(presigned(key=TEMPORARY, token="a token")).key_id == "ASIDEXAMPLE"
    with pytest.raises(UnrecognizedClientException):
        verify(request)
    with pytest.raises(InvalidSignatureException):
        verify(replace(signed(), query="X-Amz-Security-Token=a"))


# Time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("skew", [-300, -299, 0, 299, 300])
def test_a_clock_within_five_minutes_is_accepted(skew):
    assert verify(signed(at=NOW + skew))


def test_an_old_signature_is_told_the_time():
    with pytest.raises(
        InvalidSignatureException,
        match=r"^Signature expired: 20261122T122320Z is now earlier than 20261122T122321Z "
        r"\(20261122T122821Z - 5 min\.\)$",
    ):
        verify(signed(at=NOW - 301))


def test_a_signature_from_the_future_is_told_the_time():
    with pytest.raises(
        InvalidSignatureException,
        match=r"^Signature not yet current: 20261122T123322Z is still later than "
        r"20261122T123321Z \(20261122T122821Z \+ 5 min\.\)$",
    ):
        verify(signed(at=NOW + 301))


def test_the_window_is_a_setting():
    verify(signed(at=NOW - 900), window_s=900)
    with pytest.raises(InvalidSignatureException, match=r" - 1\.5 min\.\)$"):
        verify(signed(at=NOW - 91), window_s=90)


@pytest.mark.parametrize(("expires", "age", "accepted"), [
    (60, 60, True), (60, 61, False), (3600, 3600, True), (3600, 3601, False),
    (60, -300, True), (60, -301, False), (604_800, 604_800, True),
])  # fmt: skip
def test_a_presigned_query_lives_as_long_as_it_says(expires, age, accepted):
    request = presigned(expires=expires)

    if accepted:
        assert verify(request, now=NOW + age)
    else:
        with pytest.raises(InvalidSignatureException):
            verify(request, now=NOW + age)


@pytest.mark.parametrize("expires", [0, -1, 604_801, "", "1e3", "+60", "٦٠", "60.0"])
def test_a_life_that_is_no_number_of_seconds_up_to_a_week_is_refused(expires):
    with pytest.raises(IncompleteSignatureException):
        verify(presigned(expires=str(expires).encode().decode("latin-1")))


def test_the_date_header_serves_where_x_amz_date_is_absent():
    for date in ("Sun, 22 Nov 2026 12:28:21 GMT", "Sun, 22 Nov 2026 12:28:21 -0000"):
        assert verify(signed_by_date(date))
    assert verify(signed_by_date("20261122T122821Z"))
    for date in (
        "Sun, 22 Nov 2026 12:28:21 +0100",
        "22 Nov 2026",
        "now",
        "Sun, 99 Nov 2026 12:28:21 GMT",
    ):
        with pytest.raises(IncompleteSignatureException, match="'Date' header"):
            verify(signed_by_date(date))


def test_a_date_that_is_not_signed_is_no_date():
    request = with_header(signed(), "x-amz-date", lambda _: None)
    request = with_header(request, "authorization", lambda a: a.replace(";x-amz-date", ""))

    with pytest.raises(IncompleteSignatureException, match="'date' must be a 'SignedHeader'"):
        verify(replace(request, headers=(*request.headers, ("date", "20261122T122821Z"))))
    with pytest.raises(IncompleteSignatureException, match="'X-Amz-Date' or a 'Date' header"):
        verify(request)


def signed_by_date(date):
    headers = (("date", date), ("host", "localhost"))
    scope = "20261122/eu-west-1/rekognition/aws4_request"
    canonical = canonical_request(
        "POST", "/", (), headers, ("date", "host"), hashlib.sha256(b"{}").hexdigest()
    )
    proof = signature(
        signing_key(KEY.secret, "20261122", "eu-west-1", "rekognition"),
        string_to_sign("20261122T122821Z", scope, canonical),
    )
    credential = f"Credential={KEY.key_id}/{scope}"
    authorization = f"AWS4-HMAC-SHA256 {credential},SignedHeaders=date;host,Signature={proof}"
    headers = (*headers, ("authorization", authorization))
    return HttpRequest("POST", "/", "", headers, b"{}", "192.0.2.1", secure=False)


@pytest.mark.parametrize(
    "stamp", ["20261122T122821", "2026-11-22T12:28:21Z", "20261322T122821Z", "2026122T122821Z", "x"]
)
def test_a_timestamp_of_another_form_is_refused(stamp):
    with pytest.raises(IncompleteSignatureException, match="basic format"):
        verify(with_header(signed(), "x-amz-date", lambda _: stamp))


# What must be signed --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("added", "named"),
    [
        (("host", "h"), "host"),
        (("x-amz-target", TARGET), "x-amz-target"),
        (("x-amz-target", TARGET + "2"), "x-amz-target"),
    ],
)
def test_host_and_target_must_be_signed_where_they_are_sent(added, named):
    headers = {"host": "h"} if named != "host" else {"x-amz-target": TARGET}

    with pytest.raises(IncompleteSignatureException, match=f"'{named}' must be a 'SignedHeader'"):
        verify(signed(headers=headers, added=(added,)))


def test_a_presigned_target_in_a_header_must_be_signed():
    assert verify(presigned(headers=(("x-amz-target", TARGET),)))
    request = presigned()
    with pytest.raises(IncompleteSignatureException, match="'x-amz-target'"):
        verify(replace(request, headers=(*request.headers, ("x-amz-target", TARGET))))


def test_an_unsigned_x_amz_date_does_not_move_the_date():
    request = signed_by_date("Sun, 22 Nov 2026 12:28:21 GMT")

    with pytest.raises(IncompleteSignatureException, match="'x-amz-date'"):
        verify(replace(request, headers=(*request.headers, ("x-amz-date", "20261122T122821Z"))))


@pytest.mark.parametrize(
    "name",
    ["authorization", "host", "date", "x-amz-date", "x-amz-target", "x-amz-content-sha256",
     "x-amz-security-token"],
)  # fmt: skip
def test_a_header_that_decides_is_sent_once(name):
    with pytest.raises(IncompleteSignatureException, match=f"more than one '{name}'"):
        verify(signed(added=((name, "a"), (name, "b"))))


def test_the_sdks_sign_what_they_like_beyond_that():
    extra = {"content-type": "application/x-amz-json-1.1", "amz-sdk-request": "attempt=1", "é": "é"}
    headers = {"host": "h", "x-amz-target": TARGET} | extra

    assert verify(signed(headers=headers))
    assert verify(signed(added=(("content-type", "text/plain"), ("amz-sdk-request", "attempt=2"))))


def test_the_sha256_of_the_body_is_checked_where_it_is_sent():
    right = hashlib.sha256(b"{}").hexdigest()
    base = {"host": "h", "x-amz-target": TARGET}

    assert verify(signed(headers=base | {"x-amz-content-sha256": right}))
    assert verify(signed(headers=base, added=(("x-amz-content-sha256", right),)))
    for wrong in (
        "UNSIGNED-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "",
        right.upper(),
        hashlib.sha256(b"").hexdigest(),
    ):
        with pytest.raises(InvalidSignatureException, match="SHA-256 of the body"):
            verify(signed(headers=base | {"x-amz-content-sha256": wrong}))
    with pytest.raises(InvalidSignatureException):
        verify(presigned(payload="UNSIGNED-PAYLOAD"))


# The scope ------------------------------------------------------------------------------------


def test_the_scope_names_our_service_our_day_and_the_terminator():
    for before, after, words in (
        ("/rekognition/", "/s3/", "correct service: 'rekognition'"),
        ("/aws4_request", "/aws5_request", "valid terminator: 'aws4_request'"),
        ("/20261122/", "/20261121/", "it should be '20261122'"),
        ("/eu-west-1/", "/eu-west-2/", "does not match the signature"),
        ("/eu-west-1/", "//", "valid region"),
        ("/eu-west-1/", "/eu:west/", "valid region"),
        ("/eu-west-1/", "/*/", "valid region"),
    ):
        request = with_header(
            signed(), "authorization", lambda value, b=before, a=after: value.replace(b, a)
        )
        with pytest.raises(InvalidSignatureException, match=words):
            verify(request)


def test_the_regions_can_be_pinned():
    assert verify(signed(region="eu-west-1"), regions={"eu-west-1"})
    with pytest.raises(InvalidSignatureException, match="valid region"):
        verify(signed(region="us-east-1"), regions={"eu-west-1"})


# Headers that cannot be read ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a.lower(), "requires 'AWS4-HMAC-SHA256'"),
        (lambda a: a.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), "requires 'AWS4-HMAC"),
        (lambda a: "Basic dXNlcjpwYXNz", "requires 'AWS4-HMAC"),
        (lambda a: "", "requires 'AWS4-HMAC"),
        (lambda a: a + " " * 5000, "requires 'AWS4-HMAC"),
        (lambda a: "AWS4-HMAC-SHA256 Credential=a", "'Signature' parameter.*'SignedHeaders'"),
        (lambda a: a.replace("Credential=", "Credentials="), "'Credential' parameter"),
        (lambda a: a.replace("Signature=", "Signature=, x="), "'Signature' parameter"),
        (lambda a: a + ", Signature=a", "cannot be read"),
        (lambda a: a + ", x", "cannot be read"),
        (lambda a: a + ", x=y", "parameter too many"),
        (lambda a: a.replace("/rekognition/", "."), "exactly 5 slash-delimited"),
        (lambda a: a.replace("host;", "host;Host;"), "sorted and in lower case"),
        (lambda a: a.replace("host;", "host;host;"), "sorted and in lower case"),
        (lambda a: a.replace("host;x-amz-date", "x-amz-date;host"), "sorted and in lower case"),
        (lambda a: a.replace("host;", "host;x-absent;"), "sorted|not sent"),
        (lambda a: a.replace("host;", "host;pragma;"), "was not sent"),
    ],
)
def test_an_authorization_that_cannot_be_read_is_incomplete(change, words):
    with pytest.raises(IncompleteSignatureException, match=words):
        verify(with_header(signed(), "authorization", change))


def test_no_message_repeats_what_the_caller_sent_as_authorization():
    for secret in ("Basic c2VjcmV0", "AWS4-HMAC-SHA256 Credential=s3cr3t, x=y, z"):
        with pytest.raises(IncompleteSignatureException) as error:
            verify(with_header(signed(), "authorization", lambda _, s=secret: s))
        assert "c2VjcmV0" not in str(error.value)
        assert "s3cr3t" not in str(error.value)


@pytest.mark.parametrize("name", ["Credential", "Date", "Expires", "Signature", "SignedHeaders"])
def test_a_presigned_query_has_each_parameter_once(name):
    query = presigned().query
    without = "&".join(p for p in query.split("&") if not p.startswith(f"X-Amz-{name}="))

    with pytest.raises(IncompleteSignatureException, match=f"must include 'X-Amz-{name}'"):
        verify(replace(presigned(), query=without))
    with pytest.raises(IncompleteSignatureException, match=f"more than one 'X-Amz-{name}'"):
        verify(replace(presigned(), query=f"{query}&X-Amz-{name}=a"))


def test_a_parameter_that_is_not_of_the_signature_may_be_repeated():
    """The signature is wrong then, because it was made without them, but it can be read."""
    with pytest.raises(InvalidSignatureException, match="does not match"):
        verify(replace(presigned(), query=presigned().query + "&a=1&a=2"))


def test_a_presigned_query_names_our_algorithm():
    query = presigned().query.replace("AWS4-HMAC-SHA256", "aws4-hmac-sha256")

    with pytest.raises(IncompleteSignatureException, match="must be 'AWS4-HMAC-SHA256'"):
        verify(replace(presigned(), query=query))


def test_a_request_is_signed_in_one_place_only():
    with pytest.raises(IncompleteSignatureException, match="headers and its query"):
        verify(replace(signed(), query=presigned().query))


@given(st.text("AWS4-HMC256 Credntial=/,;Sgureds\x00é", max_size=40))
def test_no_authorization_is_answered_with_a_bug(text):
    for authorization in (text, f"AWS4-HMAC-SHA256 {text}"):
        with pytest.raises(FrameworkError):
            verify(with_header(signed(), "authorization", lambda _, a=authorization: a))


@given(st.text("X-Amz=&%2FSDatelgorihm+é\x00", max_size=30))
def test_no_query_is_answered_with_a_bug(text):
    for query in (text, f"X-Amz-Algorithm=AWS4-HMAC-SHA256&{text}", f"{presigned().query}&{text}x"):
        with pytest.raises(FrameworkError):
            verify(replace(presigned(), query=query))


# The form that is hashed ----------------------------------------------------------------------


def test_escapes_are_compared_as_they_were_sent_and_a_plus_is_a_space():
    assert canonical_query("") == []
    assert canonical_query("a=%2f&b=%2F&c") == [("a", "%2f"), ("b", "%2F"), ("c", "")]
    assert canonical_query("a=b+c&d=e=f&=") == [("a", "b%20c"), ("d", "e%3Df"), ("", "")]


def test_the_cache_of_derived_keys_is_bounded():
    assert signing_key.cache_info().maxsize == 1024


# Replays --------------------------------------------------------------------------------------


def test_strictly_a_signature_serves_once():
    replays, request = Replays(), signed()

    verify(request, replays=replays)
    with pytest.raises(InvalidSignatureException, match="used before"):
        verify(request, replays=replays)
    verify(signed(at=NOW + 1), replays=replays)


def test_a_request_that_was_refused_does_not_use_its_signature_up():
    replays = Replays()
    with pytest.raises(ExpiredTokenException):
        verify(signed(key=TEMPORARY), now=NOW + 60, replays=replays)

    assert verify(signed(key=TEMPORARY), replays=replays)


@given(st.sampled_from([signed, presigned]), st.floats(-300, 700))
def test_a_signature_is_remembered_until_it_has_expired(sign, later):
    replays, request = Replays(), sign()
    verify(request, now=NOW - 300, replays=replays)

    with pytest.raises(InvalidSignatureException):
        verify(request, now=NOW + later, replays=replays)


def test_a_full_memory_refuses_rather_than_forgets():
    replays = Replays(count_max=2)
    verify(signed(), replays=replays)
    verify(signed(at=NOW + 1), replays=replays)

    with pytest.raises(ThrottlingException):
        verify(signed(at=NOW + 2), replays=replays)
    with pytest.raises(InvalidSignatureException, match="used before"):
        verify(signed(), replays=replays)
    assert verify(signed(at=NOW + 302), now=NOW + 302, replays=replays)
