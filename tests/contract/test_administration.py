"""Keys, policies and the audit log over the wire: who may, what is answered, what is kept."""

import json
import time

import pytest

from contract import wire
from contract.wire import plain
from recollect.operations import paging
from recollect.wire.bearer import token

EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}
ADMINISTRATION = {"Effect": "Allow", "Action": "recollect:*", "Resource": "*"}
LISTING = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "rekognition:ListCollections", "Resource": "*"}
        ],
    }
)
CALLS = {
    "CreateAccessKey": {"UserName": "ann", "Policies": [LISTING]},
    "DeleteAccessKey": {"AccessKeyId": "AKIA0000000000000000"},
    "GetPolicies": {"AccessKeyId": "AKIA0000000000000000"},
    "ListAccessKeys": {},
    "PutPolicies": {"AccessKeyId": "AKIA0000000000000000", "Policies": [LISTING]},
    "ReadAudit": {},
    "SwapCollections": {"CollectionId": "nowhere", "OtherCollectionId": "nowhere-else"},
    "UpdateAccessKey": {"AccessKeyId": "AKIA0000000000000000", "Status": "Inactive"},
}


def bearer(server, *statements, **more):
    key = server.key(*statements, bearer_key=True, **more)
    return token(key.key_id, key.secret)


@pytest.fixture
def admin(server):
    """Call an operation as somebody who may do everything of the administration, and no more."""
    given = bearer(server, ADMINISTRATION, name="admin")

    def call(operation, **params):
        return plain(server, operation, params, given)

    return call


def done(answer):
    status, body = answer
    assert status == 200, body
    return body["data"]


def audited(server, operation):
    """The newest audit record of an operation, and the whole log as text."""
    records = server.server.store.audit_records(after=0, limit=1_000_000)
    entries = [json.loads(record.entry) for record in records]
    whole = b"".join(record.entry for record in records)
    return [e for e in entries if e["eventName"] == operation][-1], whole


def test_a_key_made_over_the_wire_may_do_what_its_policies_say(server, admin):
    made = done(admin("CreateAccessKey", UserName="ann", Policies=[LISTING]))
    client = server.client(made["AccessKeyId"], made["SecretAccessKey"])

    client.list_collections()
    with pytest.raises(client.exceptions.AccessDeniedException):
        client.create_collection(CollectionId="forbidden")
    assert made["id"] == made["AccessKeyId"]
    assert made["Kind"] == "SIGV4"
    assert "BearerToken" not in made


def test_a_bearer_key_is_answered_as_the_token_that_is_sent(server, admin):
    made = done(admin("CreateAccessKey", UserName="app", Policies=[LISTING], Kind="BEARER"))

    status, _ = plain(server, "ListCollections", {}, made["BearerToken"])

    assert status == 200
    assert "SecretAccessKey" not in made


def test_a_temporary_key_has_a_session_token(server, admin):
    made = done(admin("CreateAccessKey", UserName="v", Policies=[LISTING], ExpiresInSeconds=60))
    arguments = made["AccessKeyId"], made["SecretAccessKey"]

    server.client(*arguments, made["SessionToken"]).list_collections()
    with pytest.raises(server.client().exceptions.ClientError, match="UnrecognizedClient"):
        server.client(*arguments).list_collections()
    assert made["AccessKeyId"].startswith("ASIA")
    assert made["ExpireDate"] <= time.time() + 60


def test_a_secret_is_shown_once_and_kept_in_no_log(server, admin):
    made = done(admin("CreateAccessKey", UserName="once", Policies=[LISTING]))
    bearer_made = done(admin("CreateAccessKey", UserName="o2", Policies=[LISTING], Kind="BEARER"))

    listed = json.dumps(done(admin("ListAccessKeys", MaxResults=1000)))
    entry, whole = audited(server, "CreateAccessKey")

    assert made["AccessKeyId"] in listed
    for text in (listed.encode(), whole):
        assert made["SecretAccessKey"].encode() not in text
        assert bearer_made["BearerToken"].split(".")[-1].encode() not in text
    assert entry["responseElements"] == {"AccessKeyId": bearer_made["AccessKeyId"]}
    assert entry["eventSource"] == "recollect"
    assert entry["requestParameters"]["Policies"] == [LISTING]
    assert not entry["readOnly"]


@pytest.mark.parametrize("operation", CALLS)
def test_a_caller_without_the_permission_learns_nothing(server, operation):
    others = [
        {"Effect": "Allow", "Action": f"recollect:{name}", "Resource": "*"}
        for name in CALLS
        if name != operation
    ]
    everything_of_rekognition = {"Effect": "Allow", "Action": "rekognition:*", "Resource": "*"}
    before = [key.key_id for key in server.server.store.access_keys()]

    status, body = plain(
        server,
        operation,
        CALLS[operation],
        bearer(server, everything_of_rekognition, *others, name="nosy"),
    )

    assert (status, body["error"]["code"]) == (403, "ACCESS_DENIED")
    assert f"recollect:{operation}" in body["error"]["message"]
    assert len(server.server.store.access_keys()) == len(before) + 1
    entry, _ = audited(server, operation)
    assert entry["errorCode"] == "AccessDeniedException"
    assert entry["userIdentity"]["userName"] == "nosy"


def test_whoever_calls_is_told_who_it_is_and_what_it_may_administer(server):
    reader = bearer(
        server, {"Effect": "Allow", "Action": "recollect:ReadAudit", "Resource": "*"}, name="reader"
    )

    told = done(plain(server, "GetCaller", {}, reader))
    nobody = plain(server, "GetCaller", {}, "recollect.AKIA0000000000000000.wrong")

    assert told["Arn"] == "arn:aws:iam::123456789012:user/reader"
    assert told["Administration"] == ["GetCaller", "ReadAudit"]
    assert nobody[0] == 401


def test_keys_are_listed_page_by_page(server, admin):
    for number in range(5):
        server.key(EVERYTHING, name=f"page-{number}")
    whole = done(admin("ListAccessKeys", MaxResults=1000))["AccessKeys"]

    found, more = [], {}
    while more is not None:
        page = done(admin("ListAccessKeys", MaxResults=2, **more))
        found += page["AccessKeys"]
        more = {"NextToken": page["NextToken"]} if "NextToken" in page else None

    assert found == whole
    assert [key["AccessKeyId"] for key in found] == sorted(key["AccessKeyId"] for key in found)
    root = next(key for key in found if key["UserName"] == "root")
    assert root | {"CreateDate": 0} == {
        "AccessKeyId": server.root["AccessKeyId"],
        "UserName": "root",
        "Kind": "SIGV4",
        "Status": "Active",
        "CreateDate": 0,
        "PolicyCount": 1,
    }


def test_a_key_is_disabled_enabled_and_deleted(server, admin):
    made = done(admin("CreateAccessKey", UserName="ann", Policies=[LISTING], Kind="BEARER"))
    named = {"AccessKeyId": made["AccessKeyId"]}

    def works():
        return plain(server, "ListCollections", {}, made["BearerToken"])[0]

    assert works() == 200
    done(admin("UpdateAccessKey", **named, Status="Inactive"))
    assert works() == 401
    done(admin("UpdateAccessKey", **named, Status="Active"))
    assert works() == 200
    done(admin("DeleteAccessKey", **named))
    assert works() == 401
    assert admin("DeleteAccessKey", **named)[0] == 404


def test_policies_are_shown_and_replaced(server, admin):
    made = done(admin("CreateAccessKey", UserName="ann", Policies=[LISTING], Kind="BEARER"))
    named = {"AccessKeyId": made["AccessKeyId"]}

    assert done(admin("GetPolicies", **named))["Policies"] == [LISTING]
    done(admin("PutPolicies", **named, Policies=[]))

    assert done(admin("GetPolicies", **named))["Policies"] == []
    assert plain(server, "ListCollections", {}, made["BearerToken"])[0] == 403


@pytest.mark.parametrize("text", ["{}", "no JSON", '{"Statement": [{"Effect": "Maybe"}]}'])
def test_a_policy_that_cannot_be_evaluated_is_refused_with_the_reason(admin, text):
    made = done(admin("CreateAccessKey", UserName="ann", Policies=[LISTING]))

    for answer in (
        admin("CreateAccessKey", UserName="ann", Policies=[LISTING, text]),
        admin("PutPolicies", AccessKeyId=made["AccessKeyId"], Policies=[LISTING, text]),
    ):
        assert answer[1]["error"]["code"] == "INVALID_PARAMETER"
        assert answer[1]["error"]["message"].startswith("Policy 2: ")


@pytest.mark.parametrize(
    "call",
    [
        ("UpdateAccessKey", {"Status": "Inactive"}),
        ("DeleteAccessKey", {}),
        ("PutPolicies", {"Policies": []}),
    ],
    ids=lambda call: call[0],
)
def test_root_and_ones_own_key_are_not_changed_over_the_wire(server, admin, call):
    operation, params = call
    mine = done(admin("GetCaller"))["AccessKeyId"]

    status, body = admin(operation, AccessKeyId=mine, **params)
    assert (status, body["error"]["code"]) == (400, "INVALID_PARAMETER")
    status, body = admin(operation, AccessKeyId=server.root["AccessKeyId"], **params)
    assert (status, body["error"]["code"]) == (403, "ACCESS_DENIED")
    server.client().list_collections()


def test_nobody_becomes_root_by_name(admin):
    status, body = admin("CreateAccessKey", UserName="root", Policies=[LISTING])

    assert (status, body["error"]["code"]) == (400, "INVALID_PARAMETER")


def test_another_accounts_keys_and_calls_are_out_of_reach(serve):
    from recollect import truth

    server = serve(account="111111111111")
    root = server.client()
    root.list_collections()
    policy = json.dumps({"Version": "2012-10-17", "Statement": [EVERYTHING]})
    made = [
        truth.make_key(
            server.server.store, account="222222222222", name=name, policies=(policy,),
            bearer_key=True,
        )
        for name in ("theirs", "other")
    ]  # fmt: skip
    theirs = token(made[0].key_id, made[0].secret)
    plain(server, "ListCollections", {}, "recollect.AKIA0000000000000000.wrong")

    keys = done(plain(server, "ListAccessKeys", {}, theirs))["AccessKeys"]
    assert {key["UserName"] for key in keys} == {"theirs", "other"}
    named = {"AccessKeyId": server.root["AccessKeyId"]}
    for operation in ("GetPolicies", "DeleteAccessKey"):
        status, body = plain(server, operation, named, theirs)
        assert (status, body["error"]["code"]) == (404, "RESOURCE_NOT_FOUND")

    records = done(plain(server, "ReadAudit", {}, theirs))["Records"]
    assert {r["Entry"].get("recipientAccountId") for r in records} == {"222222222222"}
    _, mine = wire.call(server, "", {}, {"X-Amz-Target": "Recollect.ReadAudit"})
    accounts = {r["Entry"].get("recipientAccountId") for r in json.loads(mine)["Records"]}
    assert accounts == {"111111111111", None}


def test_the_audit_log_is_read_backwards_to_its_beginning(serve):
    server = serve()
    given = bearer(server, ADMINISTRATION, name="admin")
    client = server.client()
    for number in range(5):
        client.create_collection(CollectionId=f"c{number}")

    found, more, pages = [], {}, 0
    while more is not None:
        page = done(plain(server, "ReadAudit", {"MaxResults": 2, **more}, given))
        found += page["Records"]
        more = {"NextToken": page["NextToken"]} if "NextToken" in page else None
        pages += 1

    assert [record["Sequence"] for record in found] == [5, 4, 3, 2, 1]
    assert [r["Entry"]["requestParameters"]["CollectionId"] for r in found][::-1] == [
        f"c{number}" for number in range(5)
    ]
    assert pages == 3


def test_a_page_token_is_good_for_its_own_list_only(server, admin):
    page = done(admin("ListAccessKeys", MaxResults=1))

    status, body = admin("ReadAudit", NextToken=page["NextToken"])

    assert (status, body["error"]["code"]) == (400, "INVALID_PAGINATION_TOKEN")
    forged = paging.seal(b"0" * 32, "ListAccessKeys/123456789012", "AKIA")
    assert admin("ListAccessKeys", NextToken=forged)[0] == 400


def test_the_aws_dialect_reaches_the_same_functions(server):
    status, body = wire.call(server, "", {}, {"X-Amz-Target": "Recollect.GetCaller"})
    assert (status, json.loads(body)["UserName"]) == (200, "root")

    _, body = wire.call(server, "GetCaller", {})
    assert json.loads(body)["__type"] == "UnknownOperationException"


def test_a_server_that_asks_for_no_key_hands_none_out(serve):
    server = serve(no_auth=True)

    for operation in CALLS.keys() - {"SwapCollections"}:
        status, body = plain(server, operation, CALLS[operation], None)
        assert (status, body["error"]["code"]) == (404, "UNKNOWN_OPERATION")
    left = done(plain(server, "GetCaller", {}, None))["Administration"]
    assert left == ["GetCaller", "SwapCollections"]


def test_two_collections_exchange_their_names_over_the_wire(server, rekognition):
    given = bearer(server, ADMINISTRATION, name="admin")
    for name in ("night", "day"):
        rekognition.create_collection(CollectionId=name, Tags={"made": name})
    names = {"CollectionId": "night", "OtherCollectionId": "day"}

    assert done(plain(server, "SwapCollections", names, given))["FaceModelVersion"] == "4.0"

    arn = rekognition.describe_collection(CollectionId="night")["CollectionARN"]
    assert rekognition.list_tags_for_resource(ResourceArn=arn)["Tags"] == {"made": "day"}
    for name in ("night", "day"):
        rekognition.delete_collection(CollectionId=name)
    assert plain(server, "SwapCollections", names, given)[0] == 404
