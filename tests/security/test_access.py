"""Every operation with its permission, without it, and with it on something else."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
from botocore.session import Session

from recollect.errors import (
    AccessDeniedException,
    InvalidS3ObjectException,
    ResourceNotFoundException,
)
from recollect.wire import access, model
from recollect.wire.caller import Caller
from recollect.wire.policy import compiled

NOW = 1_800_000_000.0
ACCOUNT, REGION = "123456789012", "eu-west-1"
STAFF = f"arn:aws:rekognition:{REGION}:{ACCOUNT}:collection/staff"
GUESTS = f"arn:aws:rekognition:{REGION}:{ACCOUNT}:collection/guests"
ROOT = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'

OPERATIONS = sorted(access.RESOURCES)
ON_A_COLLECTION = [name for name in OPERATIONS if access.RESOURCES[name] != "none"]
ON_NOTHING = [name for name in OPERATIONS if access.RESOURCES[name] == "none"]

# The same number in digits of another script, which are digits to str.isdigit().
WIDE = ACCOUNT.translate({ord(str(digit)): 0xFF10 + digit for digit in range(10)})

FIELDS = ("Image", "SourceImage", "TargetImage")


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action, resource="*", **more):
    return {"Effect": "Allow", "Action": action, "Resource": resource} | more


def deny(action, resource="*", **more):
    return allow(action, resource, **more) | {"Effect": "Deny"}


def caller(*statements, name="alice", account=ACCOUNT, policies=None, source_ip="192.0.2.1"):
    policies = (policy(*statements),) if policies is None else policies
    return Caller(account, name, REGION, "AKIDEXAMPLE", policies, source_ip, secure=False)


def params(operation, collection_id="staff", account=ACCOUNT, prefix="arn:"):
    """Parameters of an operation on a collection of that name."""
    arn = f"{prefix}aws:rekognition:{REGION}:{account}:collection/{collection_id}"
    return {"CollectionId": collection_id, "ResourceArn": arn}


def authorise(who, operation, given=None, *, tags_of=lambda account, collection_id: {}):
    given = params(operation) if given is None else given
    access.authorise(who, operation, given, tags_of=tags_of, now=NOW)


def refusal(action, arn=None, who="user/alice"):
    where = "" if arn is None else f" on resource: {arn}"
    return re.escape(
        f"User: arn:aws:iam::{ACCOUNT}:{who} is not authorized to perform: {action}{where} "
        f"because no identity-based policy allows the {action} action"
    )


def test_the_table_has_the_operations_of_the_service_and_their_resources():
    """Against the service model as the SDK ships it: what has a CollectionId is about one."""
    model = Session().get_service_model("rekognition")
    for operation, about in access.RESOURCES.items():
        members = model.operation_model(operation).input_shape.members
        if operation == "CreateCollection":
            assert about == "none"
        else:
            needed = [name for name in ("CollectionId", "ResourceArn") if name in members]
            assert [about] == (needed or ["none"])
        images = [name for name, shape in members.items() if shape.name == "Image"]
        assert set(images) <= set(FIELDS)
    assert len(access.RESOURCES) == 21


@pytest.mark.parametrize("operation", OPERATIONS)
def test_without_a_policy_nothing_is_allowed(operation):
    arn = STAFF if operation in ON_A_COLLECTION else None

    for who in (caller(policies=()), caller(deny("none:None"))):
        with pytest.raises(
            AccessDeniedException, match=f"^{refusal(f'rekognition:{operation}', arn)}$"
        ):
            authorise(who, operation)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_permission_is_for_its_own_operation_only(operation):
    who = caller(allow(f"rekognition:{operation}"))

    authorise(who, operation)
    for other in OPERATIONS:
        if other != operation:
            with pytest.raises(AccessDeniedException):
                authorise(who, other)


@pytest.mark.parametrize("operation", ON_A_COLLECTION)
def test_a_permission_on_one_collection_is_not_one_on_another(operation):
    who = caller(allow(f"rekognition:{operation}", STAFF))

    authorise(who, operation)
    with pytest.raises(
        AccessDeniedException, match=f"^{refusal(f'rekognition:{operation}', GUESTS)}$"
    ):
        authorise(who, operation, params(operation, "guests"))
    with pytest.raises(AccessDeniedException):
        authorise(who, operation, params(operation, "Staff"))


@pytest.mark.parametrize("operation", ON_NOTHING)
def test_what_is_about_no_collection_is_not_allowed_by_a_permission_on_one(operation):
    with pytest.raises(AccessDeniedException, match=f"^{refusal(f'rekognition:{operation}')}$"):
        authorise(caller(allow(f"rekognition:{operation}", STAFF)), operation)


NEEDING_PERMISSION = [name for name in sorted(access.ADMINISTRATION) if name != "GetCaller"]


@pytest.mark.parametrize("operation", NEEDING_PERMISSION)
def test_administration_needs_a_permission_of_its_own(operation):
    everything_else = [allow(f"recollect:{name}") for name in NEEDING_PERMISSION]
    everything_else = [s for s in everything_else if not s["Action"].endswith(f":{operation}")]
    for who in (
        caller(policies=()),
        caller(allow("rekognition:*")),
        caller(allow("recollect:*"), deny(f"recollect:{operation}")),
        caller(allow(f"recollect:{operation}", STAFF)),
        caller(*everything_else),
    ):
        with pytest.raises(AccessDeniedException, match=f"perform: recollect:{operation}"):
            authorise(who, operation, {})

    authorise(caller(allow(f"recollect:{operation}")), operation, {})
    authorise(caller(policies=(ROOT,)), operation, {})


def test_everybody_may_ask_who_it_is():
    authorise(caller(deny("*")), "GetCaller", {})


def test_every_operation_of_the_administration_is_in_the_table():
    assert set(access.ADMINISTRATION) == set(model.administration().operations)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_explicit_deny_wins_and_says_so(operation):
    action = f"rekognition:{operation}"
    where = f" on resource: {STAFF}" if operation in ON_A_COLLECTION else ""

    for who in (
        caller(allow("*"), deny(action)),
        caller(policies=(ROOT, policy(deny(action)))),
        caller(policies=(policy(deny("Rekognition:*")), ROOT)),
    ):
        with pytest.raises(
            AccessDeniedException,
            match=f"^User: arn:aws:iam::{ACCOUNT}:user/alice is not authorized to perform: "
            f"{action}{where} with an explicit deny in an identity-based policy$",
        ):
            authorise(who, operation)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_root_is_allowed_by_its_policy_and_by_nothing_else(operation):
    authorise(caller(name="root", policies=(ROOT,)), operation)
    arn = STAFF if operation in ON_A_COLLECTION else None

    with pytest.raises(
        AccessDeniedException, match=f"^{refusal(f'rekognition:{operation}', arn, 'root')}$"
    ):
        authorise(caller(name="root", policies=()), operation)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_policy_that_cannot_be_read_denies_everything(operation):
    for broken in ("", "{}", "[" * 20_000, policy(allow("*", Principal="*"))):
        with pytest.raises(AccessDeniedException, match="because a policy cannot be read: "):
            authorise(caller(policies=(ROOT, broken)), operation)


# Accounts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_account_is_the_credentials_whatever_the_policy_says(operation):
    """A policy that names another account gives nothing in one's own."""
    if operation in ON_A_COLLECTION:
        other = STAFF.replace(ACCOUNT, "999999999999")
        with pytest.raises(AccessDeniedException):
            authorise(caller(allow("*", other)), operation)


@pytest.mark.parametrize("operation", ["TagResource", "UntagResource", "ListTagsForResource"])
@pytest.mark.parametrize("prefix", ["arn:", ""])
def test_the_arn_of_another_account_is_denied_to_everybody(operation, prefix):
    given = params(operation, account="999999999999", prefix=prefix)

    with pytest.raises(AccessDeniedException, match=f"because no .* rekognition:{operation}"):
        authorise(caller(policies=(ROOT,)), operation, given)


@pytest.mark.parametrize("operation", ["TagResource", "UntagResource", "ListTagsForResource"])
def test_both_forms_of_an_arn_and_any_region_mean_the_collection(operation):
    who = caller(allow("rekognition:*", STAFF))

    authorise(who, operation, params(operation, prefix=""))
    authorise(who, operation, {"ResourceArn": STAFF.replace(REGION, "us-west-2")})
    with pytest.raises(AccessDeniedException, match=re.escape(GUESTS)):
        authorise(who, operation, params(operation, "guests", prefix=""))


@pytest.mark.parametrize("operation", ["TagResource", "UntagResource", "ListTagsForResource"])
@pytest.mark.parametrize(
    "arn",
    [
        f"arn:aws:rekognition:{REGION}:{ACCOUNT}:project/staff/version/1/2",
        f"arn:aws:rekognition:{REGION}:{ACCOUNT}:collection/",
        f"arn:aws:rekognition:{REGION}:{ACCOUNT}:collection/staff/x",
        f"arn:aws:rekognition:{REGION}:{ACCOUNT}:collection/staff\n",
        f"arn:aws:rekognition:{REGION}:{WIDE}:collection/staff",
        f"arn:aws:rekognition::{ACCOUNT}:collection/staff",
        f"arn:aws:s3:{REGION}:{ACCOUNT}:collection/staff",
        f"arn:arn:aws:rekognition:{REGION}:{ACCOUNT}:collection/staff",
        "staff-staff-staff-staff",
    ],
)
def test_an_arn_that_is_no_collection_is_not_found_by_those_who_may_look(operation, arn):
    with pytest.raises(ResourceNotFoundException):
        authorise(caller(policies=(ROOT,)), operation, {"ResourceArn": arn})
    with pytest.raises(AccessDeniedException):
        authorise(caller(allow("rekognition:*", STAFF)), operation, {"ResourceArn": arn})


def test_a_deny_that_names_one_region_cannot_be_walked_around_by_signing_for_another():
    for region in (REGION, "us-east-1", "us-*", "us-????-1", "*"):
        denied = deny("*", f"arn:aws:rekognition:{region}:{ACCOUNT}:collection/staff")
        who = caller(allow("*"), denied)
        with pytest.raises(AccessDeniedException, match="explicit deny"):
            authorise(who, "SearchFaces")
        authorise(who, "SearchFaces", params("SearchFaces", "guests"))


def test_a_region_in_the_arn_of_a_bucket_means_nothing():
    picture = {"S3Object": {"Bucket": "album", "Name": "a"}}

    authorise(
        caller(allow("*"), deny("*", "arn:aws:s3:eu-west-1:*:album/*")),
        "DetectFaces",
        {"Image": picture},
    )


def test_an_allow_that_names_one_region_is_for_that_region():
    elsewhere = STAFF.replace(REGION, "us-east-1")

    with pytest.raises(AccessDeniedException):
        authorise(caller(allow("*", elsewhere)), "SearchFaces")


# Tags -----------------------------------------------------------------------------------------


def test_tags_of_the_collection_are_read_where_a_policy_asks_and_only_there():
    asked = []

    def tags_of(account, collection_id):
        asked.append((account, collection_id))
        return {"Team": "blue"}

    authorise(caller(policies=(ROOT,)), "SearchFaces", tags_of=tags_of)
    assert asked == []
    tagged = {"StringEquals": {"aws:resourcetag/team": "blue"}}
    for operation in ON_A_COLLECTION:
        authorise(caller(allow("*", Condition=tagged)), operation, tags_of=tags_of)
    assert asked == [(ACCOUNT, "staff")] * len(ON_A_COLLECTION)
    for operation in ON_A_COLLECTION:
        with pytest.raises(AccessDeniedException):
            authorise(caller(allow("*", Condition=tagged)), operation)


@pytest.mark.parametrize("operation", ON_NOTHING)
def test_what_is_about_no_collection_has_no_tags_of_one(operation):
    who = caller(allow("*", Condition={"Null": {"aws:ResourceTag/team": "false"}}))

    with pytest.raises(AccessDeniedException):
        authorise(who, operation, tags_of=lambda account, collection_id: {"team": "blue"})


def test_a_tag_can_stand_in_a_resource():
    who = caller(allow("*", "arn:aws:rekognition:*:*:collection/${aws:ResourceTag/name}"))

    authorise(who, "SearchFaces", tags_of=lambda account, collection_id: {"name": "staff"})
    for tags in ({}, {"name": "*"}, {"name": "sta"}, {"name": "staff", "Name": "staff"}):
        with pytest.raises(AccessDeniedException):
            authorise(who, "SearchFaces", tags_of=lambda *_, tags=tags: tags)


def test_two_tags_that_differ_in_capitals_decide_nothing():
    def tags_of(account, collection_id):
        return {"team": "blue", "Team": "red"}

    test = {"StringEquals": {"aws:ResourceTag/team": ["blue", "red"]}}
    with pytest.raises(AccessDeniedException, match="because no"):
        authorise(caller(allow("*", Condition=test)), "SearchFaces", tags_of=tags_of)
    with pytest.raises(AccessDeniedException, match="explicit deny"):
        authorise(caller(allow("*"), deny("*", Condition=test)), "SearchFaces", tags_of=tags_of)


def clocked(monkeypatch):
    """A clock for the module alone, which goes on only while somebody waits."""
    clock = [100.0]

    def wait(seconds):
        clock[0] += seconds

    own = SimpleNamespace(monotonic=lambda: clock[0], sleep=wait)
    monkeypatch.setattr(access, "time", own)
    return own


@pytest.mark.parametrize("look_s", [0.0, 0.0003, 0.0019, 0.0021, 0.0305])
@pytest.mark.parametrize("tags", [{}, {"team": "red"}, {"team": "blue", "Team": "blue"}])
def test_a_refusal_by_tag_comes_on_the_beat_however_long_the_look_took(look_s, tags, monkeypatch):
    clock, blue = clocked(monkeypatch), {"StringEquals": {"aws:ResourceTag/team": "blue"}}

    def tags_of(account, collection_id):
        clock.sleep(look_s)
        return tags

    with pytest.raises(AccessDeniedException):
        authorise(caller(allow("*", Condition=blue)), "SearchFaces", tags_of=tags_of)

    beats = (clock.monotonic() - 100) / access.BEAT_S
    assert beats == pytest.approx(look_s // access.BEAT_S + 1)


def test_who_is_allowed_or_asks_for_no_tag_does_not_wait_for_the_beat(monkeypatch):
    clock = clocked(monkeypatch)
    blue = {"StringEquals": {"aws:ResourceTag/team": "blue"}}
    here = {"StringEquals": {"aws:RequestedRegion": "nowhere"}}

    authorise(
        caller(allow("*", Condition=blue)), "SearchFaces", tags_of=lambda *_: {"team": "blue"}
    )
    for policy in (allow("*", GUESTS), allow("*", Condition=here)):
        with pytest.raises(AccessDeniedException):
            authorise(caller(policy), "SearchFaces")

    assert clock.monotonic() == 100


def test_a_collection_made_with_tags_needs_the_permission_to_tag_it():
    tagged = {"CollectionId": "staff", "Tags": {"team": "blue"}}
    create = allow("rekognition:CreateCollection")

    authorise(caller(create), "CreateCollection", {"CollectionId": "staff", "Tags": {}})
    authorise(caller(create, allow("rekognition:TagResource", STAFF)), "CreateCollection", tagged)
    for more in ([], [allow("rekognition:TagResource", GUESTS)]):
        with pytest.raises(
            AccessDeniedException, match=f"^{refusal('rekognition:TagResource', STAFF)}$"
        ):
            authorise(caller(create, *more), "CreateCollection", tagged)
    with pytest.raises(AccessDeniedException, match=r"rekognition:CreateCollection action$"):
        authorise(caller(allow("rekognition:TagResource")), "CreateCollection", tagged)


@pytest.mark.parametrize("operation", ["CreateCollection", "TagResource"])
def test_the_tags_of_a_request_can_be_restricted(operation):
    who = caller(
        allow(
            "*",
            Condition={
                "StringEquals": {"aws:RequestTag/team": ["blue", "red"]},
                "ForAllValues:StringEquals": {"aws:TagKeys": ["team", "cost"]},
            },
        )
    )

    authorise(who, operation, params(operation) | {"Tags": {"team": "blue", "cost": "7"}})
    for tags in ({}, {"team": "green"}, {"team": "blue", "more": "x"}, {"cost": "7"}):
        with pytest.raises(AccessDeniedException):
            authorise(who, operation, params(operation) | {"Tags": tags})


def test_the_tags_that_are_taken_away_can_be_restricted():
    who = caller(
        allow("*"),
        deny("*", Condition={"ForAnyValue:StringEquals": {"aws:TagKeys": ["legal-hold"]}}),
    )

    authorise(who, "UntagResource", params("UntagResource") | {"TagKeys": ["team"]})
    with pytest.raises(AccessDeniedException, match="explicit deny"):
        authorise(
            who, "UntagResource", params("UntagResource") | {"TagKeys": ["team", "legal-hold"]}
        )


# Pictures in S3 -------------------------------------------------------------------------------

WITH_IMAGE = [
    ("DetectFaces", "Image"),
    ("IndexFaces", "Image"),
    ("SearchFacesByImage", "Image"),
    ("SearchUsersByImage", "Image"),
    ("CompareFaces", "SourceImage"),
    ("CompareFaces", "TargetImage"),
]


@pytest.mark.parametrize(("operation", "field"), WITH_IMAGE)
def test_a_picture_in_s3_needs_the_permission_to_read_it(operation, field):
    picture = {"S3Object": {"Bucket": "album", "Name": "a/b.jpg"}}
    given = params(operation) | {name: {"Bytes": b"x"} for name in FIELDS} | {field: picture}
    ours = allow("rekognition:*")

    authorise(caller(ours), operation, params(operation) | {"Image": {"Bytes": b"x"}})
    authorise(caller(ours, allow("s3:GetObject", "arn:aws:s3:::album/*")), operation, given)
    for other in (
        [],
        [allow("s3:GetObject", "arn:aws:s3:::album")],
        [allow("s3:GetObject", "arn:aws:s3:::other/*")],
        [allow("s3:GetObject", "arn:aws:s3:::album/A/*")],
        [allow("s3:GetObjectVersion", "arn:aws:s3:::album/*")],
        [allow("s3:*"), deny("s3:GetObject", "arn:aws:s3:::album/a/*")],
    ):
        with pytest.raises(
            InvalidS3ObjectException, match=r"^Unable to get object metadata from S3"
        ):
            authorise(caller(ours, *other), operation, given)


@pytest.mark.parametrize(("operation", "field"), WITH_IMAGE)
def test_a_version_of_a_picture_needs_a_permission_of_its_own(operation, field):
    picture = {"S3Object": {"Bucket": "album", "Name": "a/b.jpg", "Version": "3"}}
    given = params(operation) | {field: picture}

    authorise(caller(allow(["rekognition:*", "s3:GetObjectVersion"])), operation, given)
    with pytest.raises(InvalidS3ObjectException):
        authorise(caller(allow(["rekognition:*", "s3:GetObject"])), operation, given)


def test_the_right_to_the_operation_is_asked_before_the_right_to_the_picture():
    picture = {"S3Object": {"Bucket": "album", "Name": "a/b.jpg"}}

    with pytest.raises(AccessDeniedException, match="rekognition:DetectFaces action"):
        authorise(caller(allow("s3:*")), "DetectFaces", {"Image": picture})


# The request's own keys -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operator", "key", "right", "wrong"),
    [
        ("IpAddress", "aws:SourceIp", "192.0.2.0/24", "198.51.100.0/24"),
        ("StringEquals", "aws:username", "alice", "bob"),
        ("StringEquals", "aws:PrincipalAccount", ACCOUNT, "999999999999"),
        ("ArnLike", "aws:PrincipalArn", "arn:aws:iam::*:user/al*", "arn:aws:iam::*:root"),
        ("StringEquals", "aws:RequestedRegion", REGION, "us-east-1"),
        ("Bool", "aws:SecureTransport", "false", "true"),
        ("DateLessThan", "aws:CurrentTime", "2027-01-15T08:00:01Z", "2027-01-15T08:00:00Z"),
        ("NumericEquals", "aws:EpochTime", "1800000000", "1800000001"),
        ("Null", "aws:UserAgent", "true", "false"),
    ],
)
def test_each_condition_key_has_the_value_of_the_request(operator, key, right, wrong):
    authorise(caller(allow("*", Condition={operator: {key: right}})), "ListCollections")
    with pytest.raises(AccessDeniedException):
        authorise(caller(allow("*", Condition={operator: {key: wrong}})), "ListCollections")


def test_the_program_of_the_caller_can_be_named():
    test = {"StringLike": {"aws:UserAgent": "Boto3/*"}}
    who = caller(allow("*", Condition=test))

    authorise(replace(who, user_agent="Boto3/1.44"), "ListCollections")
    with pytest.raises(AccessDeniedException):
        authorise(replace(who, user_agent="curl"), "ListCollections")


def test_root_has_no_user_name():
    who = caller(allow("*", Condition={"Null": {"aws:username": "true"}}), name="root")

    authorise(who, "ListCollections")


def test_a_simulation_takes_the_context_as_people_write_it():
    only = policy(
        allow(
            "rekognition:SearchFaces",
            Condition={
                "IpAddress": {"aws:SourceIp": "192.0.2.0/24"},
                "ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b"]},
            },
        ),
        deny("*", STAFF.replace(REGION, "us-east-1")),
    )

    def simulate(arn, *pairs):
        context = access.context_of(pairs)
        return access.decide([compiled(only)], "rekognition:SearchFaces", arn, context).allowed

    assert simulate(GUESTS, ("AWS:SourceIp", "192.0.2.1"))
    assert simulate(GUESTS, ("aws:sourceip", "192.0.2.1"), ("aws:TagKeys", "a"))
    assert not simulate(GUESTS, ("aws:SourceIp", "192.0.3.1"))
    assert not simulate(GUESTS)
    assert not simulate(
        GUESTS, ("aws:SourceIp", "192.0.2.1"), ("aws:TagKeys", "a"), ("aws:TagKeys", "c")
    )
    assert not simulate(STAFF, ("aws:SourceIp", "192.0.2.1"))


def test_an_operation_that_is_not_in_the_table_is_a_bug_and_not_allowed():
    with pytest.raises(KeyError):
        authorise(caller(policies=(ROOT,)), "DetectLabels")
