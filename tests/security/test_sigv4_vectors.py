"""The signature vectors of aws-c-auth and botocore, against the core and against the verifier.

Suites: awslabs/aws-c-auth@495329c tests/aws-signing-test-suite/v4 (38 cases, each signed in its
headers and in its query) and boto/botocore@0e6e240 tests/unit/auth/aws4_testsuite (34 cases).
"""

import calendar
import json
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

import pytest
from botocore.utils import normalize_url_path

from recollect.errors import FrameworkError, InvalidSignatureException
from recollect.wire import sigv4
from recollect.wire.caller import Credential, HttpRequest
from recollect.wire.canonical import canonical_request, signature, signing_key, string_to_sign
from recollect.wire.claim import claim_of

SUITE = Path(__file__).parents[2].parent / "shared" / "suites" / "sigv4"
pytestmark = pytest.mark.skipif(not SUITE.is_dir(), reason="the signature suites are not here")

NOW = float(calendar.timegm((2015, 8, 30, 12, 36, 0)))
KEY_ID, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
SERVICES = frozenset({"service"})

# The suite contradicts itself here: the signature in this .sreq is that of get-vanilla, without
# the token; its .creq, .sts and .authz are right, and so is the same case of aws-c-auth.
WRONG_SREQ = "get-vanilla-with-session-token"


SAME = "spelling of the same request"


@dataclass(frozen=True)
class Vector:
    """One signed request with what has to come out on the way to its signature."""

    name: str
    request: HttpRequest
    token: str | None
    normalize: bool
    canonical: str
    to_sign: str
    signature: str

    def verify(self, request: HttpRequest | None = None):
        credential = Credential(
            KEY_ID, SECRET, "123456789012", "somebody", (), session_token=self.token
        )
        return sigv4.verify(
            request or self.request,
            lambda key_id: credential if key_id == KEY_ID else None,
            now=NOW,
            services=SERVICES,
            normalize=self.normalize,
        )


def parse(raw: bytes) -> HttpRequest:
    """Read one of the suites' requests, whose lines end in LF, as an HTTP parser would."""
    text = raw.decode("latin-1").replace("\r\n", "\n")
    head, _, body = text.partition("\n\n")
    first, *lines = head.split("\n")
    method, _, rest = first.partition(" ")
    target = rest.rpartition(" ")[0]
    path, _, query = target.partition("?")
    headers: list[tuple[str, str]] = []
    for line in lines:
        if line.startswith((" ", "\t")):
            name, value = headers.pop()
            headers.append((name, f"{value}\n{line}"))
        elif line:
            name, _, value = line.partition(":")
            headers.append((name.lower(), value.strip(" \t")))
    # The signed files of aws-c-auth without a body end in blank lines.
    body = body.strip("\n")
    return HttpRequest(
        method, path, query, tuple(headers), body.encode("latin-1"), "192.0.2.1", secure=True
    )


def text_of(path: Path) -> str:
    return path.read_bytes().decode("latin-1").replace("\r\n", "\n").strip("\n")


def c_auth() -> list[Vector]:
    vectors = []
    for folder in sorted((SUITE / "aws-c-auth").iterdir()):
        context = json.loads((folder / "context.json").read_text())
        vectors += [
            Vector(
                name=f"{folder.name}-{form}",
                request=parse((folder / f"{form}-signed-request.txt").read_bytes()),
                token=context["credentials"].get("token"),
                normalize=context["normalize"],
                canonical=text_of(folder / f"{form}-canonical-request.txt"),
                to_sign=text_of(folder / f"{form}-string-to-sign.txt"),
                signature=text_of(folder / f"{form}-signature.txt"),
            )
            for form in ("header", "query")
        ]
    return vectors


def botocore() -> list[Vector]:
    vectors = []
    for path in sorted((SUITE / "aws4_testsuite").rglob("*.sreq")):
        request = parse(path.read_bytes())
        if path.stem == WRONG_SREQ:
            authorization = text_of(path.with_suffix(".authz"))
            request = replace(
                request, headers=(*request.headers[:-1], ("authorization", authorization))
            )
        vectors.append(
            Vector(
                name=f"botocore-{path.stem}",
                request=request,
                token=request.header("x-amz-security-token"),
                normalize=True,
                canonical=text_of(path.with_suffix(".creq")),
                to_sign=text_of(path.with_suffix(".sts")),
                signature=text_of(path.with_suffix(".authz")).rpartition("Signature=")[2],
            )
        )
    return vectors


VECTORS = [*c_auth(), *botocore()] if SUITE.is_dir() else []


def mutants(vector: Vector, flips: tuple[int, ...]):
    """Every request that differs from a vector in one byte of one of its signed parts.

    A header that is not signed (the session token that was added afterwards, Content-Length in
    some) is not among them; Authorization is.
    """
    request = vector.request

    def changed(text: str):
        for at in range(len(text)):
            for flip in flips:
                yield text[:at] + chr(ord(text[at]) ^ flip) + text[at + 1 :]

    for text in changed(request.method):
        yield "method", replace(request, method=text)
    for text in changed(request.path):
        # /./ and /// are one path to a client that normalises, so one may become the other.
        same = vector.normalize and normalize_url_path(text) == normalize_url_path(request.path)
        yield SAME if same else "path", replace(request, path=text)
    token_signed = "X-Amz-Security-Token" in vector.canonical
    for text in changed(request.query):
        # %2f and %2F are one token to a client that adds it after signing.
        same = not token_signed and unquote(text) == unquote(request.query)
        yield SAME if same else "query", replace(request, query=text)
    for text in changed(request.body.decode("latin-1")):
        yield "body", replace(request, body=text.encode("latin-1"))
    signed = set(vector.canonical.split("\n")[-2].split(";"))
    for number, (name, value) in enumerate(request.headers):
        if name not in signed | {"authorization"}:
            continue
        before, after = request.headers[:number], request.headers[number + 1 :]
        for text in changed(name):
            # Names are case-insensitive: the server lowers them, so a capital is no change.
            if text.lower() != name:
                yield "header name", replace(request, headers=(*before, (text, value), *after))
        for text in changed(value):
            yield f"header {name}", replace(request, headers=(*before, (name, text), *after))


def refused(flips: tuple[int, ...]) -> tuple[int, int]:
    """Count the mutants that are refused and those that are the same request."""
    count, same = 0, 0
    for vector in VECTORS:
        for what, mutant in mutants(vector, flips):
            if what == SAME:
                same += 1
                continue
            with pytest.raises(FrameworkError):
                pytest.fail(f"{vector.name}: another {what} is accepted: {vector.verify(mutant)}")
            count += 1
    return count, same


def test_the_suites_hold_110_vectors():
    print(f"{len(VECTORS)} vectors: {len(c_auth())} of aws-c-auth, {len(botocore())} of botocore")
    assert len(VECTORS) == 110


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_a_vector_is_reproduced_byte_for_byte_and_accepted(vector):
    claim = claim_of(vector.request)
    canonicals = [
        canonical_request(
            vector.request.method,
            vector.request.path,
            query,
            vector.request.headers,
            claim.signed,
            sigv4._payload_sha256(vector.request),
            normalize=vector.normalize,
        )
        for query in sigv4._signed_queries(claim)
    ]
    to_sign = string_to_sign(claim.timestamp, claim.scope, vector.canonical)
    key = signing_key(SECRET, "20150830", "us-east-1", "service")

    assert vector.canonical in canonicals
    assert to_sign == vector.to_sign
    assert signature(key, to_sign) == vector.signature
    assert vector.verify().name == "somebody"


def test_the_one_signature_that_the_suite_has_wrong_is_refused():
    sreq = next((SUITE / "aws4_testsuite").rglob(f"{WRONG_SREQ}.sreq"))
    vector = next(v for v in VECTORS if v.name == f"botocore-{WRONG_SREQ}")

    with pytest.raises(InvalidSignatureException):
        vector.verify(parse(sreq.read_bytes()))


def test_every_byte_of_a_signed_request_counts():
    """One change for each byte: its lowest bit."""
    count, same = refused((1,))

    print(
        f"{count} of {count} changed bytes of {len(VECTORS)} vectors refused; {same} meant the same"
    )
    assert count > 30_000
    assert same < 100


@pytest.mark.slow
def test_every_bit_of_a_signed_request_counts():
    count, same = refused(tuple(1 << bit for bit in range(8)))

    print(
        f"{count} of {count} changed bits of {len(VECTORS)} vectors refused; {same} meant the same"
    )
    assert count > 240_000
    assert same < 1000
