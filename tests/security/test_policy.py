"""IAM policies: the public rules as a table, a second evaluator beside ours, and what is refused.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies.html
"""

import json
import random
import sys
import time
import timeit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.wire import policy
from recollect.wire.policy import Policy, PolicyError, Request, evaluate
from recollect.wire.wildcard import Pattern
from security import naive_policy

ARN = "arn:aws:rekognition:eu-west-1:123456789012:collection/"
STAFF = ARN + "staff"


def document(*statements, version="2012-10-17", **more):
    return {"Version": version, "Statement": list(statements)} | more


def statement(effect="Allow", **more):
    """A statement on everything, unless it says something else."""
    base = {"Effect": effect}
    if "NotAction" not in more:
        base["Action"] = "*"
    if "NotResource" not in more:
        base["Resource"] = "*"
    return base | more


def verdict(documents, action="rekognition:SearchFaces", resource=STAFF, context=None):
    """What our evaluator says, in the words of IAM's simulator."""
    policies = [Policy.parse(json.dumps(each)) for each in documents]
    decision = evaluate(policies, Request(action, resource, context or {}))
    if decision.allowed:
        return "Allowed"
    return "ExplicitlyDenied" if decision.denied_explicitly else "ImplicitlyDenied"


# Wildcards ------------------------------------------------------------------------------------

WILDCARDS = [
    ("", "", True), ("", "a", False), ("a", "", False), ("a", "a", True), ("a", "A", False),
    ("a", "ab", False), ("ab", "a", False), ("*", "", True), ("*", "a", True),
    ("*", "a:b/c", True), ("**", "", True), ("**", "ab", True), ("***", "ab", True),
    ("?", "", False), ("?", "a", True), ("?", "ab", False), ("??", "ab", True),
    ("??", "a", False), ("?*", "", False), ("?*", "a", True), ("?*", "abc", True),
    ("*?", "", False), ("*?", "a", True), ("*?", "abc", True), ("*??", "a", False),
    ("*?*", "", False), ("*?*", "a", True), ("a*", "a", True), ("a*", "ab", True),
    ("a*", "ba", False), ("*a", "a", True), ("*a", "ba", True), ("*a", "ab", False),
    ("*a", "aba", True), ("a*a", "a", False), ("a*a", "aa", True), ("a*a", "aba", True),
    ("ab*ba", "aba", False), ("ab*ba", "abba", True), ("a*b*c", "abc", True),
    ("a*b*c", "axxbxxc", True), ("a*b*c", "acb", False), ("a*b*c", "abcb", False),
    ("a*b*c", "abcbc", True), ("*ab*ab*", "ab", False), ("*ab*ab*", "aab", False),
    ("*ab*ab*", "abab", True), ("*a?c*", "abc", True), ("*a?c*", "xxaxcxx", True),
    ("*a?c*", "aaac", True), ("*a?c*", "ac", False), ("*?b?*", "abc", True),
    ("*?b?*", "bbb", True), ("*?b?*", "bb", False), ("a?c", "abc", True),
    ("a?c", "a?c", True), ("a?c", "a*c", True), ("a*c", "a*c", True), ("a?c", "ac", False),
    ("*a?a?b*", "aaaaab", True), ("*a?a?b*", "aaaab", True), ("*a?a?b*", "aab", False),
    ("[a]", "a", False), ("[a]", "[a]", True), (".", "a", False), ("a+", "aa", False),
    ("\\*", "\\x", True), ("\\*", "*", False), ("é*", "éa", True), ("?", "é", True),
    ("?", "\U0001f600", True), ("a\nb", "a\nb", True), ("a*b", "a\nb", True), ("*", "\x00", True),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "text", "fits"), WILDCARDS)
def test_a_wildcard_fits(pattern, text, fits):
    assert Pattern(pattern, wildcards=True, variables=False).matches(text, {}) is fits


@given(st.text("ab?*", max_size=8), st.text("ab?*", max_size=10))
def test_the_matcher_agrees_with_the_recursive_one(pattern, text):
    tokens = naive_policy.tokens(pattern, {}, new=False, wild=True)

    ours = Pattern(pattern, wildcards=True, variables=False).matches(text, {})

    assert ours is naive_policy.glob(tokens, text)


def steps(pattern, text):
    """Lines of our code that run while a pattern is matched."""
    compiled, count = Pattern(pattern, wildcards=True, variables=False), 0

    def trace(frame, event, argument):
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        compiled.matches(text, {})
    finally:
        sys.settrace(before)
    return count


PATHOLOGICAL = [
    ("a*" * 100 + "b", "a" * 2000),
    ("*a" * 500, "a" * 1999 + "b"),
    ("*" * 1000 + "b", "a" * 2000),
    ("*a?" * 300 + "b*", "a" * 2000),
    ("*" + "a?" * 300 + "b*", "a" * 2000),
    ("*?" * 500 + "b", "a" * 2000),
    ("*" + "?" * 999 + "b*", "a" * 2000),
    ("*" + "?" * 999 + "a*" * 500, "a" * 2000),
    ("*a" * 500 + "*b*", "a" * 2000),
    ("*a?a" * 250 + "*b*", "a" * 2000),
    ("*" + "a?" * 500 + "b*", "ab" * 1000),
    ("?*" * 500 + "b?", "a" * 2000),
]


@pytest.mark.parametrize(("pattern", "text"), PATHOLOGICAL)
def test_no_pattern_takes_more_than_a_few_steps_for_each_character(pattern, text):
    assert steps(pattern, text) <= 10 * (len(pattern) + len(text))


@pytest.mark.slow
def test_the_worst_patterns_take_less_than_a_millisecond():
    worst_ms = 0.0
    for pattern, text in PATHOLOGICAL:
        compiled = Pattern(pattern, wildcards=True, variables=False)
        compiled.matches(text, {})
        # Of the processor, and the least of many: another's load is not the pattern's.
        taken = min(
            timeit.repeat(
                lambda c=compiled, t=text: c.matches(t, {}),
                timer=time.thread_time,
                number=1,
                repeat=400,
            )
        )
        worst_ms = max(worst_ms, 1000 * taken)
        print(f"{1000 * taken:.3f} ms for {pattern[:12]}... ({len(pattern)} characters)")
    assert worst_ms < 1.0


# Actions --------------------------------------------------------------------------------------

ACTIONS = [
    ("*", "rekognition:SearchFaces", True), ("*:*", "rekognition:SearchFaces", True),
    ("rekognition:SearchFaces", "rekognition:SearchFaces", True),
    ("REKOGNITION:searchfaces", "rekognition:SearchFaces", True),
    ("rekognition:SearchFaces", "Rekognition:SEARCHFACES", True),
    ("rekognition:SearchFaces", "rekognition:SearchFacesByImage", False),
    ("rekognition:SearchFacesByImage", "rekognition:SearchFaces", False),
    ("rekognition:SearchFaces*", "rekognition:SearchFacesByImage", True),
    ("rekognition:*", "rekognition:SearchFaces", True),
    ("rekognition:*Faces", "rekognition:SearchFaces", True),
    ("rekognition:*faces", "rekognition:IndexFaces", True),
    ("rekognition:*Faces", "rekognition:SearchFacesByImage", False),
    ("rekognition:????Faces", "rekognition:ListFaces", True),
    ("rekognition:????Faces", "rekognition:IndexFaces", False),
    ("rekognition:S*r*F*", "rekognition:SearchFaces", True),
    ("s3:*", "rekognition:SearchFaces", False), ("s3:*", "s3:GetObject", True),
    ("s3:Get*", "s3:GetObjectVersion", True), ("s3:GetObject", "s3:GetObjectVersion", False),
    ("rekognition:?", "rekognition:SearchFaces", False),
    (["s3:*", "rekognition:SearchFaces"], "rekognition:SearchFaces", True),
    (["s3:*", "rekognition:ListFaces"], "rekognition:SearchFaces", False),
]  # fmt: skip


@pytest.mark.parametrize(("action", "asked", "named"), ACTIONS)
def test_an_action_names_operations(action, asked, named):
    allowed, denied = statement(Action=action), statement("Deny", Action=action)

    assert verdict([document(allowed)], asked) == ("Allowed" if named else "ImplicitlyDenied")
    assert verdict([document(statement(), denied)], asked) == (
        "ExplicitlyDenied" if named else "Allowed"
    )
    others = document(statement(NotAction=action))
    assert verdict([others], asked) == ("ImplicitlyDenied" if named else "Allowed")


# Resources ------------------------------------------------------------------------------------

RESOURCES = [
    ("*", STAFF, True), ("*", "*", True), (STAFF, STAFF, True), (STAFF, ARN + "Staff", False),
    (STAFF, ARN + "staff2", False), (STAFF, "*", False), (ARN + "*", STAFF, True),
    (ARN + "*", "*", False), (ARN + "st*", STAFF, True), (ARN + "st???", STAFF, True),
    (ARN + "st??", STAFF, False), (ARN + "*f", STAFF, True), (ARN + "guests", STAFF, False),
    ([ARN + "guests", STAFF], STAFF, True), ([ARN + "guests", ARN + "x*"], STAFF, False),
    ("arn:aws:rekognition:*:*:collection/staff", STAFF, True),
    ("arn:aws:rekognition:*:*:collection/*", STAFF, True),
    ("arn:aws:rekognition:eu-*:123456789012:collection/staff", STAFF, True),
    ("arn:aws:rekognition:us-*:123456789012:collection/staff", STAFF, False),
    ("arn:aws:rekognition:*:999999999999:collection/staff", STAFF, False),
    ("arn:aws:rekognition::123456789012:collection/staff", STAFF, False),
    ("arn:*:rekognition:*:*:collection/staff", STAFF, True),
    ("arn:aws-cn:rekognition:*:*:collection/staff", STAFF, False),
    ("arn:aws:rekognition:*", STAFF, True), ("arn:aws:rekognition:eu-west-1:*", STAFF, True),
    ("arn:aws:rekognition:us-east-1:*", STAFF, False), ("arn:aws:s3:::*", STAFF, False),
    ("arn:aws:s3:::album/*", "arn:aws:s3:::album/a/b.jpg", True),
    ("arn:aws:s3:::album/*", "arn:aws:s3:::album2/a", False),
    ("arn:aws:s3:::album/a*", "arn:aws:s3:::album/a:b*c", True),
    ("arn:aws:s3:::album", "arn:aws:s3:::album/a", False),
    ("arn:aws:s3:::ALBUM/*", "arn:aws:s3:::album/a", False),
]  # fmt: skip


@pytest.mark.parametrize(("resource", "asked", "named"), RESOURCES)
def test_a_resource_names_resources(resource, asked, named):
    allowed, denied = statement(Resource=resource), statement("Deny", Resource=resource)

    assert verdict([document(allowed)], resource=asked) == (
        "Allowed" if named else "ImplicitlyDenied"
    )
    assert verdict([document(statement(), denied)], resource=asked) == (
        "ExplicitlyDenied" if named else "Allowed"
    )
    others = document(statement(NotResource=resource))
    assert verdict([others], resource=asked) == ("ImplicitlyDenied" if named else "Allowed")


# Allow, deny, and nothing ------------------------------------------------------------------------

ALLOW, DENY = statement(), statement("Deny")
ELSEWHERE = statement(Action="s3:*")
DENY_ELSEWHERE = statement("Deny", Action="s3:*")
UNMET = {"StringEquals": {"aws:username": "nobody"}}

EFFECTS = [
    ([], "ImplicitlyDenied"),
    ([document(ALLOW)], "Allowed"),
    ([document(DENY)], "ExplicitlyDenied"),
    ([document(ELSEWHERE)], "ImplicitlyDenied"),
    ([document(DENY_ELSEWHERE)], "ImplicitlyDenied"),
    ([document(ALLOW, DENY)], "ExplicitlyDenied"),
    ([document(DENY, ALLOW)], "ExplicitlyDenied"),
    ([document(ALLOW), document(DENY)], "ExplicitlyDenied"),
    ([document(DENY), document(ALLOW)], "ExplicitlyDenied"),
    ([document(ELSEWHERE), document(ALLOW)], "Allowed"),
    ([document(ALLOW, DENY_ELSEWHERE)], "Allowed"),
    ([document(statement(Condition=UNMET))], "ImplicitlyDenied"),
    ([document(ALLOW, statement("Deny", Condition=UNMET))], "Allowed"),
    ([document(statement(Condition=UNMET), ALLOW)], "Allowed"),
    ([document(statement(Condition={}))], "Allowed"),
    ([{"Statement": ALLOW}], "Allowed"),
    ([{"Version": "2008-10-17", "Id": "x", "Statement": [ALLOW]}], "Allowed"),
    ([document(statement(NotAction="s3:*"))], "Allowed"),
    ([document(statement(NotAction="rekognition:*"))], "ImplicitlyDenied"),
    ([document(ALLOW, statement("Deny", NotAction="rekognition:Search*"))], "Allowed"),
    ([document(ALLOW, statement("Deny", NotAction="s3:*"))], "ExplicitlyDenied"),
    ([document(ALLOW, statement("Deny", NotResource=STAFF))], "Allowed"),
    ([document(ALLOW, statement("Deny", NotResource="arn:aws:s3:::x"))], "ExplicitlyDenied"),
    ([document(statement(NotAction="s3:*", NotResource="arn:aws:s3:::*"))], "Allowed"),
    ([document(statement(NotAction="s3:*", NotResource=ARN + "*"))], "ImplicitlyDenied"),
    ([document(statement(NotAction=["s3:*", "rekognition:Search*"]))],
     "ImplicitlyDenied"),
]  # fmt: skip


@pytest.mark.parametrize(("documents", "expected"), EFFECTS)
def test_deny_wins_then_allow_then_nothing_is_allowed(documents, expected):
    assert verdict(documents) == expected


def test_a_decision_names_the_statement_that_decided():
    policies = [
        Policy.parse(json.dumps(each))
        for each in (
            document(ELSEWHERE, statement(Sid="First"), statement(Sid="Second")),
            document(statement("Deny", Sid="Never", Action="rekognition:Delete*")),
        )
    ]

    allowed = evaluate(policies, Request("rekognition:SearchFaces", STAFF, {}))
    denied = evaluate(policies, Request("rekognition:DeleteFaces", STAFF, {}))
    nothing = evaluate(policies[1:], Request("rekognition:SearchFaces", STAFF, {}))

    assert (allowed.policy, allowed.statement, allowed.sid) == (0, 1, "First")
    assert (denied.policy, denied.statement, denied.sid) == (1, 0, "Never")
    assert (nothing.policy, nothing.statement, nothing.sid) == (None, None, "")


def test_a_deny_of_another_name_of_the_resource_counts_and_an_allow_does_not():
    def decide(*statements):
        parsed = Policy.parse(json.dumps(document(*statements)))
        request = Request("rekognition:SearchFaces", STAFF, {}, aliases=(ARN + "alias",))
        return evaluate([parsed], request).allowed

    assert not decide(statement(Resource=ARN + "alias"))
    assert not decide(ALLOW, statement("Deny", Resource=ARN + "alias"))
    assert decide(ALLOW, statement("Deny", NotResource=STAFF))
    assert not decide(ALLOW, statement("Deny", NotResource=ARN + "alias"))


# Conditions -----------------------------------------------------------------------------------

TAG = "aws:ResourceTag/t"
USER, IP, BOOL, NOW, EPOCH = (
    "aws:username", "aws:SourceIp", "aws:SecureTransport", "aws:CurrentTime", "aws:EpochTime"
)  # fmt: skip
WHO, TAGS = "aws:PrincipalArn", "aws:TagKeys"
ALICE, ADMIN = "arn:aws:iam::1:user/alice", "arn:aws:iam::1:user/team/admin:x"

# operator, key, values of the policy, values of the request, whether it holds (None: undecided)
CONDITIONS = [
    ("StringEquals", TAG, "a", "a", True), ("StringEquals", TAG, "a", "A", False),
    ("StringEquals", TAG, "a", "b", False), ("StringEquals", TAG, "a", [], False),
    ("StringEquals", TAG, ["a", "b"], "b", True), ("StringEquals", TAG, ["a", "b"], "c", False),
    ("StringEquals", TAG, "*", "a", False), ("StringEquals", TAG, "*", "*", True),
    ("StringEquals", TAG, "a?", "ab", False), ("StringEquals", TAG, "", "", True),
    ("StringEquals", TAG, "", [], False), ("StringEquals", TAG, "a", ["a", "b"], None),
    ("StringEquals", TAG, 1, "1", True), ("StringEquals", TAG, 1.50, "1.5", True),
    ("StringEquals", TAG, True, "true", True),
    ("StringEquals", TAG, [1, "a", False], "false", True),
    ("StringEquals", "AWS:resourcetag/T", "a", "a", True),
    ("StringNotEquals", TAG, "a", "a", False), ("StringNotEquals", TAG, "a", "b", True),
    ("StringNotEquals", TAG, "a", "A", True), ("StringNotEquals", TAG, "a", [], True),
    ("StringNotEquals", TAG, ["a", "b"], "b", False),
    ("StringNotEquals", TAG, ["a", "b"], "c", True),
    ("StringNotEquals", TAG, "a", ["a", "b"], None),
    ("StringEqualsIgnoreCase", TAG, "aB", "Ab", True),
    ("StringEqualsIgnoreCase", TAG, "a", "b", False),
    ("StringEqualsIgnoreCase", TAG, "a", [], False),
    ("StringEqualsIgnoreCase", TAG, "A*", "ab", False),
    ("StringNotEqualsIgnoreCase", TAG, "aB", "Ab", False),
    ("StringNotEqualsIgnoreCase", TAG, "a", "b", True),
    ("StringNotEqualsIgnoreCase", TAG, "a", [], True),
    ("StringLike", TAG, "a*", "abc", True), ("StringLike", TAG, "a*", "Abc", False),
    ("StringLike", TAG, "a?c", "abc", True), ("StringLike", TAG, "a?c", "ac", False),
    ("StringLike", TAG, "*", "", True), ("StringLike", TAG, "*", [], False),
    ("StringLike", TAG, ["x*", "a*"], "ab", True), ("StringLike", TAG, ["x*", "y*"], "ab", False),
    ("StringNotLike", TAG, "a*", "abc", False), ("StringNotLike", TAG, "a*", "b", True),
    ("StringNotLike", TAG, "a*", [], True), ("StringNotLike", TAG, ["a*", "b*"], "b", False),
    ("StringNotLike", TAG, ["a*", "b*"], "c", True),
    ("StringLike", WHO, "arn:aws:iam::*:user/*", ALICE, True),
    ("StringEquals", IP, "192.0.2.1", "192.0.2.1", True),
    ("StringEquals", BOOL, "true", "true", True),

    ("NumericEquals", TAG, "5", "5", True), ("NumericEquals", TAG, 5, "5.0", True),
    ("NumericEquals", TAG, "5", "05", True), ("NumericEquals", TAG, "5", "6", False),
    ("NumericEquals", TAG, "5", "five", None), ("NumericEquals", TAG, "5", "", None),
    ("NumericEquals", TAG, "5", "5e0", None), ("NumericEquals", TAG, "5", [], False),
    ("NumericEquals", TAG, [1, 2], "2", True), ("NumericEquals", TAG, "-1", "-1", True),
    ("NumericNotEquals", TAG, "5", "5", False), ("NumericNotEquals", TAG, "5", "6", True),
    ("NumericNotEquals", TAG, "5", "x", None), ("NumericNotEquals", TAG, "5", [], True),
    ("NumericNotEquals", TAG, [5, 6], "6", False), ("NumericNotEquals", TAG, [5, 6], "7", True),
    ("NumericLessThan", TAG, "5", "4.9", True), ("NumericLessThan", TAG, "5", "5", False),
    ("NumericLessThan", TAG, "10", "9", True), ("NumericLessThan", TAG, "5", [], False),
    ("NumericLessThan", TAG, [1, 10], "5", True),
    ("NumericLessThanEquals", TAG, "5", "5", True), ("NumericLessThanEquals", TAG, "5", "6", False),
    ("NumericGreaterThan", TAG, "5", "5.1", True), ("NumericGreaterThan", TAG, "5", "5", False),
    ("NumericGreaterThan", TAG, "9", "10", True), ("NumericGreaterThan", TAG, "5", "-6", False),
    ("NumericGreaterThanEquals", TAG, "5", "5", True),
    ("NumericGreaterThanEquals", TAG, "5", "4", False),
    ("NumericGreaterThan", EPOCH, 1700000000, "1800000000", True),
    ("NumericLessThan", EPOCH, 1700000000, "1800000000", False),

    ("DateEquals", NOW, "2026-11-22T12:28:21Z", "2026-11-22T12:28:21Z", True),
    ("DateEquals", NOW, "2026-11-22T13:28:21+01:00", "2026-11-22T12:28:21Z", True),
    ("DateEquals", NOW, "2026-11-22T12:28:22Z", "2026-11-22T12:28:21Z", False),
    ("DateEquals", NOW, "1795350501", "2026-11-22T12:28:21Z", True),
    ("DateEquals", NOW, "2026-11-22", "2026-11-22T00:00:00Z", True),
    ("DateEquals", EPOCH, "2026-11-22T12:28:21Z", "1795350501", True),
    ("DateEquals", TAG, "2026-11-22", "soon", None), ("DateEquals", TAG, "2026-11-22", [], False),
    ("DateEquals", TAG, "2026-11-22", "2026-13-22", None),
    ("DateNotEquals", TAG, "2026-11-22", "2026-11-22T00:00Z", False),
    ("DateNotEquals", TAG, "2026-11-22", "2026-11-23", True),
    ("DateNotEquals", TAG, "2026-11-22", [], True), ("DateNotEquals", TAG, "2026-11-22", "x", None),
    ("DateLessThan", NOW, "2026-11-22T12:28:22Z", "2026-11-22T12:28:21Z", True),
    ("DateLessThan", NOW, "2026-11-22T12:28:21Z", "2026-11-22T12:28:21Z", False),
    ("DateLessThanEquals", NOW, "2026-11-22T12:28:21Z", "2026-11-22T12:28:21Z", True),
    ("DateLessThanEquals", NOW, "2026-11-22T12:28:20Z", "2026-11-22T12:28:21Z", False),
    ("DateGreaterThan", NOW, "2026-11-22T12:28:20.5Z", "2026-11-22T12:28:21Z", True),
    ("DateGreaterThan", NOW, "2026-11-22T12:28:21Z", "2026-11-22T12:28:21Z", False),
    ("DateGreaterThanEquals", NOW, "2026-11-22T12:28:21Z", "2026-11-22T12:28:21Z", True),
    ("DateGreaterThanEquals", NOW, ["2030-01-01", "2020-01-01"], "2026-11-22T12:28:21Z", True),
    ("DateLessThan", NOW, "2020-01-01", [], False),

    ("Bool", BOOL, "true", "true", True), ("Bool", BOOL, True, "true", True),
    ("Bool", BOOL, "True", "true", True), ("Bool", BOOL, "true", "false", False),
    ("Bool", BOOL, "false", "false", True), ("Bool", BOOL, False, "true", False),
    ("Bool", BOOL, ["true", "false"], "false", True), ("Bool", BOOL, "false", [], False),
    ("Bool", BOOL, "true", [], False), ("Bool", TAG, "true", "TRUE", True),
    ("Bool", TAG, "true", "yes", None),

    ("IpAddress", IP, "192.0.2.1", "192.0.2.1", True),
    ("IpAddress", IP, "192.0.2.1", "192.0.2.2", False),
    ("IpAddress", IP, "192.0.2.0/24", "192.0.2.255", True),
    ("IpAddress", IP, "192.0.2.0/24", "192.0.3.0", False),
    ("IpAddress", IP, "192.0.2.77/24", "192.0.2.1", True),
    ("IpAddress", IP, "0.0.0.0/0", "203.0.113.9", True),
    ("IpAddress", IP, "0.0.0.0/0", "2001:db8::1", False),
    ("IpAddress", IP, "::/0", "203.0.113.9", False),
    ("IpAddress", IP, "2001:db8::/32", "2001:db8:1::1", True),
    ("IpAddress", IP, "2001:DB8::1", "2001:db8:0::1", True),
    ("IpAddress", IP, "2001:db8::/32", "2001:db9::1", False),
    ("IpAddress", IP, "192.0.2.0/24", "::ffff:192.0.2.1", True),
    ("IpAddress", IP, "::ffff:192.0.2.0/120", "::ffff:192.0.2.1", True),
    ("IpAddress", IP, ["10.0.0.0/8", "192.0.2.0/24"], "192.0.2.1", True),
    ("IpAddress", IP, ["10.0.0.0/8", "192.0.2.0/24"], "192.0.3.1", False),
    ("IpAddress", IP, "192.0.2.0/24", "unix", None), ("IpAddress", IP, "192.0.2.0/24", [], False),
    ("NotIpAddress", IP, "192.0.2.0/24", "192.0.2.1", False),
    ("NotIpAddress", IP, "192.0.2.0/24", "192.0.3.1", True),
    ("NotIpAddress", IP, "192.0.2.0/24", "::ffff:192.0.2.1", False),
    ("NotIpAddress", IP, ["10.0.0.0/8", "192.0.2.0/24"], "10.1.2.3", False),
    ("NotIpAddress", IP, ["10.0.0.0/8", "192.0.2.0/24"], "172.16.0.1", True),
    ("NotIpAddress", IP, "192.0.2.0/24", [], True), ("NotIpAddress", IP, "192.0.2.0/24", "x", None),

    ("ArnEquals", WHO, ALICE, ALICE, True), ("ArnLike", WHO, ALICE, ALICE, True),
    ("ArnEquals", WHO, "arn:aws:iam::*:user/al*", ALICE, True),
    ("ArnLike", WHO, "arn:aws:iam::*:user/al*", ALICE, True),
    ("ArnLike", WHO, "arn:aws:iam::?:user/alic?", ALICE, True),
    ("ArnLike", WHO, "arn:aws:iam::*:user/Alice", ALICE, False),
    ("ArnLike", WHO, "arn:aws:iam::2:user/alice", ALICE, False),
    ("ArnLike", WHO, "arn:*:*:*:*:*", ALICE, True), ("ArnLike", WHO, "arn:*:*:*:*:*", ADMIN, True),
    ("ArnLike", WHO, "arn:aws:iam::1:*:x", ADMIN, True),
    ("ArnLike", WHO, "arn:aws:iam:*:alice:x", "arn:aws:iam::1:user/alice:x", False),
    ("ArnLike", WHO, "arn:aws:iam::1:user/*", ADMIN, True),
    ("ArnLike", WHO, ["arn:aws:iam::2:*", "arn:aws:iam::1:*"], ALICE, True),
    ("ArnLike", WHO, ALICE, [], False), ("ArnLike", TAG, ALICE, "alice", None),
    ("ArnNotEquals", WHO, ALICE, ALICE, False), ("ArnNotEquals", WHO, ALICE, ADMIN, True),
    ("ArnNotLike", WHO, "arn:aws:iam::1:user/*", ALICE, False),
    ("ArnNotLike", WHO, "arn:aws:iam::2:user/*", ALICE, True),
    ("ArnNotLike", WHO, ["arn:aws:iam::2:*", "arn:aws:iam::1:*"], ALICE, False),
    ("ArnNotLike", WHO, ALICE, [], True), ("ArnNotLike", TAG, ALICE, "alice", None),

    ("Null", TAG, "true", [], True), ("Null", TAG, "true", "a", False),
    ("Null", TAG, "false", [], False), ("Null", TAG, "false", "a", True),
    ("Null", TAG, True, [], True), ("Null", TAG, False, "", True),
    ("Null", TAG, ["true", "false"], "a", True), ("Null", TAGS, "true", [], True),
    ("Null", TAGS, "false", ["a", "b"], True), ("Null", USER, "true", [], True),

    ("StringEqualsIfExists", TAG, "a", "a", True), ("StringEqualsIfExists", TAG, "a", "b", False),
    ("StringEqualsIfExists", TAG, "a", [], True), ("StringNotEqualsIfExists", TAG, "a", "a", False),
    ("StringNotEqualsIfExists", TAG, "a", [], True), ("StringLikeIfExists", TAG, "a*", "b", False),
    ("StringLikeIfExists", TAG, "a*", [], True), ("NumericLessThanIfExists", TAG, 5, [], True),
    ("NumericLessThanIfExists", TAG, 5, "6", False), ("NumericLessThanIfExists", TAG, 5, "x", None),
    ("BoolIfExists", BOOL, "true", [], True), ("BoolIfExists", BOOL, "true", "false", False),
    ("IpAddressIfExists", IP, "10.0.0.0/8", [], True),
    ("IpAddressIfExists", IP, "10.0.0.0/8", "192.0.2.1", False),
    ("DateLessThanIfExists", NOW, "2020-01-01", [], True),
    ("ArnLikeIfExists", WHO, ALICE, [], True),
    ("ArnLikeIfExists", WHO, ALICE, ADMIN, False),

    ("ForAllValues:StringEquals", TAGS, ["a", "b"], ["a"], True),
    ("ForAllValues:StringEquals", TAGS, ["a", "b"], ["a", "b"], True),
    ("ForAllValues:StringEquals", TAGS, ["a", "b"], ["a", "c"], False),
    ("ForAllValues:StringEquals", TAGS, ["a", "b"], ["A"], False),
    ("ForAllValues:StringEquals", TAGS, ["a", "b"], [], True),
    ("ForAllValues:StringEquals", TAG, "a", [""], True),
    ("ForAllValues:StringEquals", TAG, "a", ["b"], False),
    ("ForAllValues:StringLike", TAGS, "a*", ["ab", "ac"], True),
    ("ForAllValues:StringLike", TAGS, "a*", ["ab", "bc"], False),
    ("ForAllValues:StringNotEquals", TAGS, ["a", "b"], ["c", "d"], True),
    ("ForAllValues:StringNotEquals", TAGS, ["a", "b"], ["c", "a"], False),
    ("ForAllValues:StringNotEquals", TAGS, ["a", "b"], [], True),
    ("ForAllValues:StringNotLike", TAGS, "a*", ["b", "ab"], False),
    ("ForAllValues:StringEqualsIgnoreCase", TAGS, "a", ["A", "a"], True),
    ("ForAllValues:StringEqualsIfExists", TAGS, "a", [], True),
    ("ForAllValues:StringEqualsIfExists", TAGS, "a", ["b"], False),
    ("ForAnyValue:StringEquals", TAGS, ["a", "b"], ["c", "a"], True),
    ("ForAnyValue:StringEquals", TAGS, ["a", "b"], ["c", "d"], False),
    ("ForAnyValue:StringEquals", TAGS, ["a", "b"], [], False),
    ("ForAnyValue:StringEquals", TAG, "", [""], False),
    ("ForAnyValue:StringLike", TAGS, "a*", ["b", "ab"], True),
    ("ForAnyValue:StringNotEquals", TAGS, ["a", "b"], ["a", "c"], True),
    ("ForAnyValue:StringNotEquals", TAGS, ["a", "b"], ["a", "b"], False),
    ("ForAnyValue:StringNotEquals", TAGS, ["a", "b"], [], False),
    ("ForAnyValue:StringNotLike", TAGS, "a*", ["ab"], False),
    ("ForAnyValue:StringEqualsIfExists", TAGS, "a", [], True),
    ("ForAnyValue:StringEqualsIfExists", TAGS, "a", ["b"], False),
    ("ForAnyValue:NumericLessThan", TAG, 5, ["x", "4"], True),
    ("ForAnyValue:NumericLessThan", TAG, 5, ["x", "6"], None),
    ("ForAllValues:NumericLessThan", TAG, 5, ["x", "4"], None),
    ("ForAllValues:NumericLessThan", TAG, 5, ["x", "6"], False),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "key", "wanted", "present", "holds"), CONDITIONS)
def test_a_condition_holds(operator, key, wanted, present, holds):
    present = [present] if isinstance(present, str) else present
    context = {key.lower(): present} if present else {}
    test = {operator: {key: wanted}}

    allowed = verdict([document(statement(Condition=test))], context=context)
    denied = verdict([document(ALLOW, statement("Deny", Condition=test))], context=context)

    assert allowed == ("Allowed" if holds is True else "ImplicitlyDenied")
    assert denied == ("Allowed" if holds is False else "ExplicitlyDenied")


HOLDS, FAILS = {"StringEquals": {USER: "alice"}}, {"StringEquals": {USER: "bob"}}
UNDECIDED = {"NumericEquals": {TAG: 5}}

BLOCKS = [
    ({"StringEquals": {USER: "alice", TAG: "x"}}, True),
    ({"StringEquals": {USER: "alice", TAG: "y"}}, False),
    ({"StringEquals": {USER: "alice"}, "StringLike": {TAG: "x*"}}, True),
    ({"StringEquals": {USER: "alice"}, "StringLike": {TAG: "y*"}}, False),
    ({"StringEquals": {USER: "alice"}, "StringNotEquals": {TAG: "x"}}, False),
    ({"StringEquals": {USER: ["bob", "alice"], TAG: ["y", "x"]}}, True),
    ({"StringNotEquals": {USER: "bob", TAG: "y"}}, True),
    ({"StringNotEquals": {USER: "bob", TAG: "x"}}, False),
    (HOLDS | UNDECIDED, None), (UNDECIDED | HOLDS, None), ({**FAILS, **UNDECIDED}, False),
    ({**UNDECIDED, **FAILS}, False),
]  # fmt: skip


@pytest.mark.parametrize(("block", "holds"), BLOCKS)
def test_all_operators_and_all_keys_of_a_condition_have_to_hold(block, holds):
    context = {USER: ["alice"], TAG.lower(): ["x"]}

    allowed = verdict([document(statement(Condition=block))], context=context)
    denied = verdict([document(ALLOW, statement("Deny", Condition=block))], context=context)

    assert allowed == ("Allowed" if holds is True else "ImplicitlyDenied")
    assert denied == ("Allowed" if holds is False else "ExplicitlyDenied")


# Variables ------------------------------------------------------------------------------------

# a resource, the resource asked for, the request's values, whether the resource is named
VARIABLES = [
    ("${aws:username}", "alice", {USER: ["alice"]}, True),
    ("${aws:username}", "bob", {USER: ["alice"]}, False),
    ("${AWS:UserName}", "alice", {USER: ["alice"]}, True),
    ("${aws:username}-*", "alice-1", {USER: ["alice"]}, True),
    ("*-${aws:username}", "1-alice", {USER: ["alice"]}, True),
    ("${aws:username}${aws:username}", "aa", {USER: ["a"]}, True),
    ("${aws:username}", "alice", {USER: ["*"]}, False),
    ("${aws:username}", "*", {USER: ["*"]}, True),
    ("${aws:username}", "a", {USER: ["?"]}, False),
    ("${aws:username}", "alice", {USER: ["${aws:username}"]}, False),
    ("${aws:username}", "alice", {}, None),
    ("${aws:username}", "", {}, None),
    ("${aws:username}", "a", {USER: ["a", "b"]}, None),
    ("${aws:username, 'nobody'}", "nobody", {}, True),
    ("${aws:username,'nobody'}", "nobody", {}, True),
    ("${aws:username, 'nobody'}", "alice", {USER: ["alice"]}, True),
    ("${aws:username, 'nobody'}", "nobody", {USER: ["alice"]}, False),
    ("${aws:username, ''}", "", {}, True),
    ("${aws:username, '*'}", "x", {}, False),
    ("${aws:ResourceTag/a b}", "x", {"aws:resourcetag/a b": ["x"]}, True),
    ("${aws:ResourceTag/Team}", "x", {"aws:resourcetag/team": ["x"]}, True),
    ("${aws:PrincipalAccount}", "1", {"aws:principalaccount": ["1"]}, True),
    ("a${*}b", "a*b", {}, True), ("a${*}b", "axb", {}, False), ("a${?}b", "a?b", {}, True),
    ("a${?}b", "axb", {}, False), ("a${$}b", "a$b", {}, True), ("${$}{aws:username}",
     "${aws:username}", {USER: ["alice"]}, True),
    ("a$b", "a$b", {}, True), ("$*", "$x", {}, True), ("a}b{", "a}b{", {}, True),
]  # fmt: skip


@pytest.mark.parametrize(("name", "asked", "context", "named"), VARIABLES)
def test_a_variable_stands_for_a_value_of_the_request(name, asked, context, named):
    resource, asked = ARN + name, ARN + asked

    assert verdict([document(statement(Resource=resource))], resource=asked, context=context) == (
        "Allowed" if named is True else "ImplicitlyDenied"
    )
    denied = [document(ALLOW, statement("Deny", Resource=resource))]
    assert verdict(denied, resource=asked, context=context) == (
        "Allowed" if named is False else "ExplicitlyDenied"
    )
    others = [document(statement(NotResource=resource))]
    assert verdict(others, resource=asked, context=context) == (
        "Allowed" if named is False else "ImplicitlyDenied"
    )


@pytest.mark.parametrize(
    ("operator", "wanted", "present", "holds"),
    [
        ("StringEquals", "${aws:username}", "alice", True),
        ("StringEquals", "${aws:username}", "Alice", False),
        ("StringEquals", "${aws:username}-${aws:PrincipalAccount}", "alice-1", True),
        ("StringEqualsIgnoreCase", "${aws:username}", "ALICE", True),
        ("StringNotEquals", "${aws:username}", "bob", True),
        ("StringNotEquals", "${aws:username}", "alice", False),
        ("StringLike", "${aws:username}*", "alice2", True),
        ("StringLike", "${*}", "alice", False),
        ("StringEquals", "${*}", "*", True),
        ("StringEquals", "${aws:ResourceTag/none}", "x", None),
        ("StringNotEquals", "${aws:ResourceTag/none}", "x", None),
        ("StringEquals", ["${aws:ResourceTag/none}", "x"], "x", True),
        ("StringNotEquals", ["${aws:ResourceTag/none}", "x"], "x", False),
        ("StringEquals", "${aws:ResourceTag/none, 'x'}", "x", True),
        ("ArnLike", "arn:aws:iam::1:user/${aws:username}", "arn:aws:iam::1:user/alice", True),
        ("ArnLike", "arn:aws:iam::${aws:PrincipalAccount}:*", "arn:aws:iam::1:user/x", True),
        ("ArnLike", "arn:aws:iam::1:user/${aws:username}", "arn:aws:iam::1:user/bob", False),
        ("ArnNotLike", "arn:aws:iam::1:${aws:ResourceTag/none}", "arn:aws:iam::1:x", None),
    ],
)
def test_a_variable_stands_in_a_condition(operator, wanted, present, holds):
    context = {TAG.lower(): [present], USER: ["alice"], "aws:principalaccount": ["1"]}
    test = {operator: {TAG: wanted}}

    allowed = verdict([document(statement(Condition=test))], context=context)
    denied = verdict([document(ALLOW, statement("Deny", Condition=test))], context=context)

    assert allowed == ("Allowed" if holds is True else "ImplicitlyDenied")
    assert denied == ("Allowed" if holds is False else "ExplicitlyDenied")


def test_a_value_with_colons_stays_in_its_field_of_an_arn():
    test = {"ArnLike": {WHO: "arn:aws:iam::1:${aws:ResourceTag/t}"}}
    shifted = {"ArnLike": {WHO: "arn:aws:iam:${aws:ResourceTag/t}:user/x:y"}}
    context = {WHO.lower(): ["arn:aws:iam::1:user/x:y"], TAG.lower(): ["user/x:y"]}
    shifting = {WHO.lower(): ["arn:aws:iam::1:user/x:y"], TAG.lower(): [":1"]}

    assert verdict([document(statement(Condition=test))], context=context) == "Allowed"
    assert verdict([document(statement(Condition=shifted))], context=shifting) != "Allowed"


@pytest.mark.parametrize("version", ["2008-10-17", None])
def test_before_2012_a_variable_is_a_text(version):
    old = {"Statement": [statement(Resource=ARN + "${aws:username}")]}
    old |= {"Version": version} if version else {}
    context = {USER: ["alice"]}

    assert verdict([old], resource=ARN + "alice", context=context) == "ImplicitlyDenied"
    assert verdict([old], resource=ARN + "${aws:username}", context=context) == "Allowed"
    Policy.parse(json.dumps({"Statement": [statement(Resource=ARN + "${unclosed")]}))


# What is refused ------------------------------------------------------------------------------


def refused_condition(operator, key, value):
    return document(statement(Condition={operator: {key: value}}))


REFUSED = [
    ("", "not JSON"), ("null", "the policy: an object"), ("[]", "the policy: an object"),
    ('"x"', "the policy: an object"), ("1", "the policy: an object"), ("{", "not JSON"),
    ('{"Statement": NaN}', "NaN is not JSON"), ("[" * 15_000, "nested too deeply"),
    ('{"Statement": [], "Statement": []}', "'Statement' stands twice"),
    ('{"a": {"x": 1, "b": 1, "b": 2}}', "'b' stands twice"), (" " * 20_481, "at most 20480"),
    ({}, "Statement is missing"), (document(), "at least one"),
    (document(statement(), version="2012-10-18"), "Version: one of"),
    (document(statement(), version=None), "Version: one of"),
    (document(statement(), version=["2012-10-17"]), "Version: one of"),
    (document(statement(), Id=1), "Id: a text"), (document(statement(), Name="x"), "'Name'"),
    (document(statement(), version="2012-10-17") | {"statement": []}, "'statement'"),
    ({"Statement": "x"}, r"Statement\[0\]: an object"),
    (document(statement(), 1), r"Statement\[1\]: an object"),
    (document({"Action": "*", "Resource": "*"}), "Effect is missing"),
    (document(statement("allow")), "Effect: Allow or Deny"),
    (document(statement(["Allow"])), "Effect: Allow or Deny"),
    (document(statement(True)), "Effect: Allow or Deny"),
    (document(statement(Sid="a b")), "Sid: letters"), (document(statement(Sid=1)), "Sid: letters"),
    (document(statement(Sid="a"), statement(Sid="a")), "a Sid stands twice"),
    (document(statement(Principal="*")), "'Principal' is not known"),
    (document(statement(NotPrincipal="*")), "'NotPrincipal' is not known"),
    (document(statement(action="*")), "'action' is not known"),
    (document({"Effect": "Allow", "Resource": "*"}), "exactly one of Action"),
    (document({"Effect": "Allow", "Action": "*"}), "exactly one of Resource"),
    (document(statement() | {"NotAction": "*"}), "exactly one of Action"),
    (document(statement() | {"NotResource": "*"}), "exactly one of Resource"),
    (document(statement(Action=[])), "Action: a text"),
    (document(statement(Action=1)), "Action: a text"),
    (document(statement(Action=None)), "Action: a text"),
    (document(statement(Action=["s3:*", 1])), "Action: a text"),
    (document(statement(Action="")), "is not an action"),
    (document(statement(Action="SearchFaces")), "is not an action"),
    (document(statement(Action="rek*:SearchFaces")), "is not an action"),
    (document(statement(Action="rekognition:")), "is not an action"),
    (document(statement(Action="rekognition:Search Faces")), "is not an action"),
    (document(statement(Action="rekognition:${aws:username}")), "is not an action"),
    (document(statement(Action="rekognition:SearchFaces\n")), "is not an action"),
    (document(statement(NotAction="x")), r"Statement\[0\]\.NotAction: 'x' is not an action"),
    (document(statement(Resource=[])), "Resource: a text"),
    (document(statement(Resource={})), "Resource: a text"),
    (document(statement(Resource="")), "neither .* nor an ARN"),
    (document(statement(Resource="staff")), "neither .* nor an ARN"),
    (document(statement(Resource="**")), "neither .* nor an ARN"),
    (document(statement(Resource="ARN:aws:s3:::x")), "neither .* nor an ARN"),
    (document(statement(Resource="aws:rekognition:x:1:collection/y")), "neither .* nor an ARN"),
    (document(statement(Resource="arn:aws:rekognition:x:1")), "neither .* nor an ARN"),
    (document(statement(Resource="arn:*")), "neither .* nor an ARN"),
    (document(statement(Resource="arn:aws:*:*:*:*")), "neither .* nor an ARN"),
    (document(statement(Resource="arn:aws:rek*:*:*:*")), "neither .* nor an ARN"),
    (document(statement(Resource="arn:aws::::x")), "neither .* nor an ARN"),
    (document(statement(NotResource="x")), r"Statement\[0\]\.NotResource: 'x' is neither"),
    (document(statement(Resource=ARN + "${aws:username")), "is not closed"),
    (document(statement(Resource=ARN + "${}")), "cannot be read"),
    (document(statement(Resource=ARN + "${**}")), "condition key '\\*\\*' is not known"),
    (document(statement(Resource=ARN + "${aws:username, x}")), "cannot be read"),
    (document(statement(Resource=ARN + "${aws:username, 'x}")), "cannot be read"),
    (document(statement(Resource=ARN + "${aws:userid}")), "'aws:userid' is not known"),
    (document(statement(Resource=ARN + "${saml:sub}")), "'saml:sub' is not known"),
    (document(statement(Resource=ARN + "${aws:TagKeys}")), "several values"),
    (document(statement(Condition=[])), "Condition: an object"),
    (document(statement(Condition=None)), "Condition: an object"),
    (document(statement(Condition={"StringEquals": {}})), "an object of condition keys"),
    (document(statement(Condition={"StringEquals": "x"})), "an object of condition keys"),
    (refused_condition("StringEquals", USER, []), "a value or a list"),
    (refused_condition("StringEquals", USER, None), "a value or a list"),
    (refused_condition("StringEquals", USER, {"a": 1}), "a value or a list"),
    (refused_condition("StringEquals", USER, ["a", ["b"]]), "a value or a list"),
    (refused_condition("stringequals", USER, "a"), "'stringequals' is not known"),
    (refused_condition("StringMatches", USER, "a"), "'StringMatches' is not known"),
    (refused_condition("BinaryEquals", USER, "QQ=="), "'BinaryEquals' is not known"),
    (refused_condition("NullIfExists", USER, "true"), "'NullIfExists' is not known"),
    (refused_condition("ForAllValues:Null", TAGS, "true"), "'ForAllValues:Null' is not known"),
    (refused_condition("ForSomeValues:StringEquals", TAGS, "a"), "is not known"),
    (refused_condition("ForAllValues:", TAGS, "a"), "is not known"),
    (refused_condition("StringEqualsIfExistsIfExists", USER, "a"), "is not known"),
    (refused_condition("", USER, "a"), "is not known"),
    (refused_condition("StringEquals", "aws:userid", "a"), "'aws:userid' is not known"),
    (refused_condition("StringEquals", "aws:MultiFactorAuthPresent", "a"), "is not known"),
    (refused_condition("StringEquals", "aws:ResourceTag/", "a"), "is not known"),
    (refused_condition("StringEquals", "aws:ResourceTag", "a"), "is not known"),
    (refused_condition("StringEquals", "username", "a"), "is not known"),
    (refused_condition("StringEquals", "", "a"), "is not known"),
    (refused_condition("StringEquals", TAGS, "a"), "use ForAllValues:StringEquals or ForAny"),
    (refused_condition("StringNotEqualsIfExists", TAGS, "a"), "several values: use"),
    (refused_condition("StringEquals", USER, "${aws:TagKeys}"), "several values"),
    (refused_condition("StringEquals", USER, "${aws:username"), "is not closed"),
    (refused_condition("StringEquals", USER, "${aws:nothing}"), "is not known"),
    (refused_condition("NumericEquals", TAG, "five"), "'five' is not a number"),
    (refused_condition("NumericEquals", TAG, ""), "is not a number"),
    (refused_condition("NumericEquals", TAG, "1e3"), "is not a number"),
    (refused_condition("NumericEquals", TAG, "9" * 30), "is not a number"),
    (refused_condition("NumericEquals", TAG, chr(0x665)), "is not a number"),
    (refused_condition("NumericEquals", TAG, "${aws:username}"), "is not a number"),
    (refused_condition("NumericEquals", BOOL, "1"), "NumericEquals cannot test"),
    (refused_condition("NumericEquals", NOW, "1"), "NumericEquals cannot test"),
    (refused_condition("DateEquals", NOW, "tomorrow"), "'tomorrow' is not a date"),
    (refused_condition("DateEquals", NOW, "2026-02-30"), "is not a date"),
    (refused_condition("DateEquals", NOW, "2026-W01-1"), "is not a date"),
    (refused_condition("DateEquals", IP, "2026-01-01"), "DateEquals cannot test"),
    (refused_condition("Bool", BOOL, "yes"), "'yes' is not true or false"),
    (refused_condition("Bool", BOOL, "${aws:username}"), "is not true or false"),
    (refused_condition("Bool", IP, "true"), "Bool cannot test"),
    (refused_condition("Null", USER, "yes"), "Null takes true or false"),
    (refused_condition("Null", "aws:nothing", "true"), "is not known"),
    (refused_condition("IpAddress", IP, "192.0.2"), "is not an IP address"),
    (refused_condition("IpAddress", IP, "192.0.2.0/33"), "is not an IP address"),
    (refused_condition("IpAddress", IP, "example.com"), "is not an IP address"),
    (refused_condition("IpAddress", IP, ["192.0.2.0/24", "*"]), "is not an IP address"),
    (refused_condition("IpAddress", USER, "192.0.2.0/24"), "IpAddress cannot test"),
    (refused_condition("ArnLike", WHO, "*"), "not an ARN of six fields"),
    (refused_condition("ArnLike", WHO, "arn:aws:iam::1"), "not an ARN of six fields"),
    (refused_condition("ArnLike", WHO, "arn:aws:iam:1:${aws:username}"), "not an ARN of six"),
    (refused_condition("ArnLike", IP, ALICE), "ArnLike cannot test"),
    (refused_condition("ForAnyValue:ArnLike", TAGS, ALICE), "ArnLike cannot test"),
]  # fmt: skip


@pytest.mark.parametrize(("refused", "words"), REFUSED)
def test_a_policy_that_is_not_understood_is_refused_with_the_place_and_the_reason(refused, words):
    text = refused if isinstance(refused, str) else json.dumps(refused)

    with pytest.raises(PolicyError, match=words):
        Policy.parse(text)


def test_a_policy_may_be_as_long_as_the_bound():
    assert Policy.parse(json.dumps(document(ALLOW)).ljust(policy.CHARS_MAX))


def test_a_refusal_says_where():
    broken = document(statement(), statement(Condition={"StringEquals": {"aws:userid": "x"}}))

    with pytest.raises(PolicyError) as error:
        Policy.parse(json.dumps(broken))

    assert str(error.value) == (
        "Statement[1].Condition.StringEquals.aws:userid: "
        "the condition key 'aws:userid' is not known here"
    )


def test_a_policy_knows_the_keys_it_looks_at():
    parsed = Policy.parse(
        json.dumps(
            document(
                statement(
                    Resource=ARN + "${aws:username}",
                    Condition={
                        "StringEquals": {"aws:ResourceTag/A": "${aws:PrincipalAccount}"},
                        "Null": {TAGS: "true"},
                    },
                )
            )
        )
    )

    assert parsed.keys == {
        "aws:username", "aws:resourcetag/a", "aws:principalaccount", "aws:tagkeys"
    }  # fmt: skip


def test_the_cache_of_policies_is_bounded_and_keyed_by_their_text():
    text = json.dumps(document(ALLOW))

    assert policy.compiled(text) is policy.compiled(text)
    assert policy.compiled.cache_info().maxsize == 512


@given(st.recursive(
    st.none() | st.booleans() | st.integers(0, 9)
    | st.sampled_from(["Allow", "*", "s3:*", STAFF, "2012-10-17", "${aws:username}"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(
        st.sampled_from(["Version", "Statement", "Effect", "Action", "Resource", "Condition",
                         "StringEquals", "aws:username", "Null"]), inner, max_size=5),
    max_leaves=12,
))  # fmt: skip
def test_whatever_the_document_it_is_read_or_refused(tree):
    try:
        parsed = Policy.parse(json.dumps(tree))
    except PolicyError:
        return
    evaluate([parsed], Request("s3:GetObject", STAFF, {}))


@given(st.text('{}[]":,"EfectAlow*', max_size=40))
def test_whatever_the_text_it_is_read_or_refused(text):
    with pytest.raises(PolicyError):
        Policy.parse(text)


# A second evaluator ---------------------------------------------------------------------------


class Chance:
    """Random policies and requests in which everything has a fair chance to meet."""

    TEXT_KEYS = ("aws:username", "aws:ResourceTag/t", "aws:RequestTag/T", "aws:UserAgent")
    OPERATORS = (
        "StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase",
        "StringLike", "StringNotLike",
    )  # fmt: skip
    COMPARISONS = (
        "Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals"
    )  # fmt: skip

    def __init__(self, seed):
        self.random = random.Random(seed)

    def one(self, *choices):
        return self.random.choice(choices)

    def some(self, make, most=2):
        count = self.random.randint(1, most)
        values = [make() for _ in range(count)]
        return values[0] if count == 1 and self.random.random() < 0.5 else values

    def text(self):
        return "".join(self.random.choice("aAb*?$") for _ in range(self.random.randint(0, 3)))

    def pattern(self):
        variable = self.one(
            "${aws:username}", "${AWS:resourcetag/T}", "${aws:ResourceTag/t, 'a'}", "${*}", "${?}",
            "${$}", "${aws:RequestTag/t}",
        )  # fmt: skip
        return self.text() + (variable + self.text() if self.random.random() < 0.3 else "")

    def number(self):
        return self.one("1", "2", "2.0", "-1", "10")

    def date(self):
        return self.one("2026-01-01", "2026-01-01T01:00:00+01:00", "1767225600", "2027-01-01")

    def address(self):
        return self.one("10.0.0.1", "10.0.0.2", "::1", "::ffff:10.0.0.1")

    def network(self):
        return self.one("10.0.0.1", "10.0.0.0/31", "10.0.0.2/32", "0.0.0.0/0", "::/0", "::1/128")

    def arn(self):
        return "arn:aws:iam::" + self.one("1", "2") + ":" + self.text()

    def arn_pattern(self):
        account = self.one("1", "*", "?", "${aws:username}")
        return f"arn:{self.one('aws', '*')}:iam::{account}:{self.pattern()}"

    def condition(self):
        kind = self.random.randrange(8)
        if kind <= 2:
            key, operator, make = self.one(*self.TEXT_KEYS), self.one(*self.OPERATORS), self.pattern
        elif kind == 3:
            quantifier = self.one("ForAllValues:", "ForAnyValue:")
            key = self.one("aws:TagKeys", "aws:ResourceTag/t")
            operator, make = quantifier + self.one(*self.OPERATORS), self.pattern
        elif kind == 4:
            operator = "Numeric" + self.one(*self.COMPARISONS)
            key, make = self.one("aws:ResourceTag/n", "aws:EpochTime"), self.number
        elif kind == 5:
            operator = "Date" + self.one(*self.COMPARISONS)
            key, make = self.one("aws:CurrentTime", "aws:EpochTime", "aws:ResourceTag/n"), self.date
        elif kind == 6:
            operator, make = self.one("IpAddress", "NotIpAddress"), self.network
            key = "aws:SourceIp"
        else:
            operator, make = self.one(
                ("Bool", lambda: self.one("true", False)),
                ("Null", lambda: self.one("true", "false", True)),
                ("ArnLike", self.arn_pattern), ("ArnNotLike", self.arn_pattern),
                ("ArnEquals", self.arn_pattern), ("ArnNotEquals", self.arn_pattern),
            )  # fmt: skip
            key = {
                "Bool": "aws:SecureTransport",
                "Null": self.one(*self.TEXT_KEYS, "aws:TagKeys"),
            }.get(operator, "aws:PrincipalArn")
        if operator != "Null" and self.random.random() < 0.2:
            operator += "IfExists"
        return operator, key, self.some(make)

    def action(self):
        return self.one(
            "*", "s3:*", "s3:Get*", "S3:getobject", "s3:*Object", "rekognition:*", "s3:Pu?"
        )

    def resource(self):
        return self.one("*", "arn:aws:s3:::" + self.pattern(), "arn:*:s3:::*" + self.pattern())

    def statement(self):
        made = {"Effect": self.one("Allow", "Allow", "Deny")}
        made[self.one("Action", "Action", "NotAction")] = self.some(self.action)
        made[self.one("Resource", "Resource", "NotResource")] = self.some(self.resource)
        for _ in range(self.random.choice((0, 0, 1, 1, 2, 3))):
            operator, key, wanted = self.condition()
            made.setdefault("Condition", {}).setdefault(operator, {})[key] = wanted
        return made

    def document(self):
        version = self.one("2012-10-17", "2012-10-17", "2012-10-17", "2008-10-17")
        return {"Version": version, "Statement": self.some(self.statement, 3)}

    def context(self):
        makers = {
            "aws:username": self.text,
            "aws:resourcetag/t": self.text,
            "aws:requesttag/t": self.text,
            "aws:useragent": self.text,
            "aws:resourcetag/n": lambda: self.one(self.number(), self.date(), self.text()),
            "aws:epochtime": lambda: self.one("1", "2", "1767225600"),
            "aws:currenttime": self.date,
            "aws:sourceip": lambda: self.one(self.address(), self.address(), "unix"),
            "aws:securetransport": lambda: self.one("true", "false"),
            "aws:principalarn": lambda: self.one(self.arn(), self.arn(), self.text()),
        }
        context = {}
        for key, make in makers.items():
            chance = self.random.random()
            if chance < 0.75:
                context[key] = [make() for _ in range(2 if chance < 0.06 else 1)]
        context["aws:tagkeys"] = [self.text() for _ in range(self.random.randint(0, 3))]
        return {key: values for key, values in context.items() if values}

    def request(self):
        return (
            self.one("s3:GetObject", "s3:PutObject", "s3:put", "rekognition:SearchFaces"),
            self.one("*", "arn:aws:s3:::" + self.text()),
            self.context(),
        )


def disagreements(seed, pairs):
    """Count verdicts and show where the two evaluators differ."""
    chance, counts, differ = Chance(seed), {}, []
    for _ in range(pairs // 4):
        documents = [chance.document() for _ in range(chance.one(1, 1, 2))]
        policies = [Policy.parse(json.dumps(each)) for each in documents]
        for _ in range(4):
            action, resource, context = chance.request()
            theirs = naive_policy.evaluate(documents, action, resource, context)
            decision = evaluate(policies, Request(action, resource, context))
            explicit = "Explicitly" if decision.denied_explicitly else "Implicitly"
            ours = "Allowed" if decision.allowed else f"{explicit}Denied"
            counts[ours] = counts.get(ours, 0) + 1
            if ours != theirs:
                differ.append((ours, theirs, json.dumps(documents), action, resource, context))
    print(f"seed {seed}: {pairs} pairs, {counts}, {len(differ)} disagreements")
    return counts, differ


def test_two_evaluators_agree():
    counts, differ = disagreements(seed=20261122, pairs=5_000)

    assert differ[:1] == []
    # Every verdict was really tried.
    assert min(counts.values()) > 400
    assert len(counts) == 3


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_evaluators_agree_a_hundred_thousand_times():
    counts, differ = disagreements(seed=7, pairs=100_000)

    assert differ[:1] == []
    assert min(counts.values()) > 8_000


def test_the_table_is_long_enough():
    tables = [WILDCARDS, ACTIONS, RESOURCES, EFFECTS, CONDITIONS, BLOCKS, VARIABLES, REFUSED]
    print(f"{sum(map(len, tables))} cases: {[len(table) for table in tables]}")
    assert sum(map(len, tables)) >= 250
