"""Every operation with bad credentials, in both dialects: nothing allowed, nothing done."""

import collections
import hashlib
import re
import time
from urllib.parse import quote

import pytest

from recollect.wire.access import RESOURCES
from recollect.wire.canonical import (
    canonical_query,
    canonical_request,
    signature,
    signing_key,
    string_to_sign,
)
from security.every_call import Request, calls, prepared

ROOT = {"Effect": "Allow", "Action": "*", "Resource": "*"}
DAY_S = 86_400


@pytest.fixture(scope="module")
def matrix(serve):
    """A server of its own, keys that may do everything, and a good call of every operation."""
    server = serve()
    arn, faces = prepared(server.client())
    keys = {
        "good": server.key(ROOT),
        "disabled": server.key(ROOT),
        "temporary": server.key(ROOT, expires_s=3600.0),
        "run out": server.key(ROOT, expires_s=-1.0),
        "bearer": server.key(ROOT, bearer_key=True),
    }
    server.server.store.update_key(keys["disabled"].key_id, active=False)
    return server, keys, calls(arn, faces)


def good(request, keys, **more):
    return request.sign(keys["good"].key_id, keys["good"].secret, **more)


def no_credential(request, keys):
    return request


def unknown_key(request, keys):
    return request.sign("AKIA0123456789ABCDEF", keys["good"].secret)


def wrong_secret(request, keys):
    return request.sign(keys["good"].key_id, keys["good"].secret + "x")


def disabled_key(request, keys):
    return request.sign(keys["disabled"].key_id, keys["disabled"].secret)


def other_service(request, keys):
    return good(request, keys, service="s3")


def other_day(request, keys):
    return good(request, keys, at=time.time() - DAY_S)


def unsigned_header(request, keys):
    # In the plain dialect the operation stands in the path, so there the host is what is left.
    left = "x-amz-target" if "x-amz-target" in request.headers else "host"
    return good(request, keys, unsigned=(left,))


def changed_body(request, keys):
    good(request, keys)
    request.body = request.body[:-1] + b" }"
    return request


def changed_host(request, keys):
    good(request, keys)
    request.headers["host"] = "example.com"
    return request


def bad_token(request, keys):
    key = keys["temporary"]
    return request.sign(key.key_id, key.secret, session_token=key.session_token[:-1] + "!")


def presigned_and_expired(request, keys):
    at = time.time() - 120
    return presigned(request, keys["good"], at, expires=60)


def lower_case_algorithm(request, keys):
    good(request, keys)
    request.headers["authorization"] = request.headers["authorization"].replace("AWS4", "aws4")
    return request


# Beyond the twelve.
def no_token(request, keys):
    return request.sign(keys["temporary"].key_id, keys["temporary"].secret)


def run_out(request, keys):
    key = keys["run out"]
    return request.sign(key.key_id, key.secret, session_token=key.session_token)


def changed_path(request, keys):
    good(request, keys)
    request.query = "x=1"
    return request


def bearer(request, token):
    request.headers["authorization"] = f"Bearer {token}"
    return request


def unknown_bearer(request, keys):
    return bearer(request, f"recollect.AKIA0123456789ABCDEF.{keys['bearer'].secret}")


def wrong_bearer(request, keys):
    return bearer(request, f"recollect.{keys['bearer'].key_id}.{keys['bearer'].secret}x")


def signing_key_as_bearer(request, keys):
    return bearer(request, f"recollect.{keys['good'].key_id}.{keys['good'].secret}")


def bearer_key_signs(request, keys):
    return request.sign(keys["bearer"].key_id, keys["bearer"].secret)


TWELVE = (
    no_credential,
    unknown_key,
    wrong_secret,
    disabled_key,
    other_service,
    other_day,
    unsigned_header,
    changed_body,
    changed_host,
    bad_token,
    presigned_and_expired,
    lower_case_algorithm,
)
MORE = (
    no_token,
    run_out,
    changed_path,
    unknown_bearer,
    wrong_bearer,
    signing_key_as_bearer,
    bearer_key_signs,
)
REFUSALS = {
    "missing authentication token",
    "unrecognized client",
    "invalid signature",
    "incomplete signature",
    "expired token",
}


def presigned(request, key, at, expires):
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
    scope = f"{stamp[:8]}/eu-west-1/rekognition/aws4_request"
    names = sorted(request.headers)
    parameters = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{key.key_id}/{scope}",
        "X-Amz-Date": stamp,
        "X-Amz-Expires": str(expires),
        "X-Amz-SignedHeaders": ";".join(names),
    }
    query = "&".join(f"{name}={quote(value, '-_.~')}" for name, value in parameters.items())
    digest = hashlib.sha256(request.body).hexdigest()
    canonical = canonical_request(
        "POST",
        request.path,
        canonical_query(query),
        request.headers.items(),
        names,
        digest,
    )
    made = signing_key(key.secret, stamp[:8], "eu-west-1", "rekognition")
    proof = signature(made, string_to_sign(stamp, scope, canonical))
    request.query = f"{query}&X-Amz-Signature={proof}"
    return request


def words(error):
    """An error's name in one form for both dialects."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", error).lower()
    return spaced.removesuffix(" exception")


def truth_of(store):
    """Everything the database holds but the audit log, which grows with every call."""
    with store._database.reading() as sql:
        tables = [name for (name,) in sql.rows("SELECT name FROM sqlite_schema WHERE type='table'")]
        assert {"collection", "face", "user", "tag", "access_key", "audit"} <= set(tables)
        kept = [name for name in tables if not name.startswith("audit")]
        return {name: sql.rows(f"SELECT * FROM {name}") for name in kept}


def test_no_bad_credential_is_let_in_and_none_has_an_effect(matrix):
    server, keys, every = matrix
    port, host = server.listener.port, f"127.0.0.1:{server.listener.port}"
    assert set(every) == set(RESOURCES)
    before = truth_of(server.server.store)
    told = {}
    for spoil in (*TWELVE, *MORE):
        answers = told[spoil.__name__] = collections.Counter()
        for dialect in ("aws", "plain"):
            for operation, params in every.items():
                request = Request(host, operation, params, dialect)
                status, error = spoil(request, keys).send(port)
                assert status in {400, 401, 403}, (spoil.__name__, dialect, operation, status)
                answers[words(error)] += 1

    count = sum(sum(answers.values()) for answers in told.values())
    print(f"{count} calls: 21 operations x {len(told)} bad credentials x 2 dialects, 0 allowed")
    for name, answers in told.items():
        print(f"  {name.replace('_', ' '):<24}", ", ".join(f"{e} {n}" for e, n in answers.items()))
    assert count == 21 * 19 * 2
    assert {error for answers in told.values() for error in answers} == REFUSALS
    assert truth_of(server.server.store) == before


@pytest.mark.parametrize("dialect", ["aws", "plain"])
@pytest.mark.parametrize("how", [good, "presigned", "bearer", "temporary"])
def test_the_control_lets_the_same_calls_in_with_a_good_credential(serve, dialect, how):
    """Each call of the matrix is right but for its credential, and would have had an effect."""
    server = serve()
    arn, faces = prepared(server.client())
    key = server.key(
        ROOT,
        bearer_key=how == "bearer",
        expires_s=3600.0 if how == "temporary" else None,
    )
    port = server.listener.port
    before = truth_of(server.server.store)

    for operation, params in calls(arn, faces).items():
        request = Request(f"127.0.0.1:{port}", operation, params, dialect)
        if how == "presigned":
            presigned(request, key, time.time(), 60)
        elif how == "bearer":
            bearer(request, f"recollect.{key.key_id}.{key.secret}")
        else:
            request.sign(key.key_id, key.secret, session_token=key.session_token)
        assert request.send(port) == (200, ""), operation

    assert truth_of(server.server.store) != before
