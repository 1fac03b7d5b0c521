"""Who may: from a request to its caller, and from a caller to what its policies allow."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from recollect.errors import (
    AccessDeniedException,
    ExpiredTokenException,
    InvalidS3ObjectException,
    InvalidSignatureException,
    ResourceNotFoundException,
    UnrecognizedClientException,
)
from recollect.wire import bearer, sigv4
from recollect.wire.policy import Decision, Policy, PolicyError, Request, compiled, evaluate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from recollect.wire.caller import Caller, Credential, HttpRequest
    from recollect.wire.replays import Replays
    from recollect.wire.wildcard import Context

    TagsOf = Callable[[str, str], Mapping[str, str]]
    """Tags of (account, collection id); none where there is no such collection."""

# Which resource an action is about: no resource (a policy then has to say `*`), the collection
# in CollectionId, or the collection in ResourceArn.
# Source: the service authorization reference of Amazon Rekognition.
_NONE, _COLLECTION, _ARN = "none", "CollectionId", "ResourceArn"
_SELF = "self"

RESOURCES = {
    "CreateCollection": _NONE,
    "DeleteCollection": _COLLECTION,
    "DescribeCollection": _COLLECTION,
    "ListCollections": _NONE,
    "IndexFaces": _COLLECTION,
    "ListFaces": _COLLECTION,
    "DeleteFaces": _COLLECTION,
    "SearchFaces": _COLLECTION,
    "SearchFacesByImage": _COLLECTION,
    "DetectFaces": _NONE,
    "CompareFaces": _NONE,
    "CreateUser": _COLLECTION,
    "DeleteUser": _COLLECTION,
    "ListUsers": _COLLECTION,
    "AssociateFaces": _COLLECTION,
    "DisassociateFaces": _COLLECTION,
    "SearchUsers": _COLLECTION,
    "SearchUsersByImage": _COLLECTION,
    "TagResource": _ARN,
    "UntagResource": _ARN,
    "ListTagsForResource": _ARN,
}
"""Every operation and the resource that its permission, which has its name, is about."""

# Whoever may make a key or change a policy can give itself every right, so a finer resource than
# `*` would promise what it cannot keep.
ADMINISTRATION = {
    "CreateAccessKey": _NONE,
    "DeleteAccessKey": _NONE,
    "GetCaller": _SELF,
    "GetPolicies": _NONE,
    "ListAccessKeys": _NONE,
    "PutPolicies": _NONE,
    "ReadAudit": _NONE,
    "SwapCollections": _NONE,
    "UpdateAccessKey": _NONE,
}
"""Likewise for our own operations, whose actions are `recollect:Operation`. Who somebody is itself
needs no permission, as GetCallerIdentity of AWS STS needs none."""

BEAT_S = 0.002
"""A refusal for which a key or tags were looked up comes a whole number of these after the
question, so that its time tells nothing of what was found. To find out takes a tenth of one.

Source: A. Askarov, D. Zhang and A. Myers, "Predictive black-box mitigation of timing channels",
CCS 2010.
"""

_IMAGES = ("Image", "SourceImage", "TargetImage")

# With and without `arn:`, as CreateCollection of Rekognition has been seen to answer.
_COLLECTION_ARN = re.compile(
    r"(?:arn:)?aws:rekognition:[a-z0-9-]+:([0-9]{12}):collection/([a-zA-Z0-9_.-]{1,255})"
)


def authenticate(
    request: HttpRequest,
    find: Callable[[str], Credential | None],
    *,
    now: float,
    region: str = "us-east-1",
    regions: AbstractSet[str] | None = None,
    window_s: float = sigv4.WINDOW_S,
    replays: Replays | None = None,
) -> Caller:
    """Find out who sent a request, by its signature or its bearer key.

    Args:
        request: whole, as received.
        find: the credential of a key id, or None.
        now: epoch seconds.
        region: the region that calls with a bearer key are said to be made in.
        regions: the regions that a signature may name; None for any.
        window_s: how far the client's clock may be from ours, either way.
        replays: refuse a signature that was used before.

    Raises:
        MissingAuthenticationTokenException: neither is there.
        FrameworkError: as `sigv4.verify` and `bearer.verify`.
    """
    began = time.monotonic()
    try:
        if bearer.is_bearer(request):
            return bearer.verify(request, find, now=now, region=region)
        return sigv4.verify(
            request, find, now=now, window_s=window_s, regions=regions, replays=replays
        )
    except (InvalidSignatureException, UnrecognizedClientException, ExpiredTokenException):
        _wait_for_the_beat(began)
        raise


def authorise(
    caller: Caller,
    operation: str,
    params: Mapping[str, Any],
    *,
    tags_of: TagsOf,
    now: float,
) -> None:
    """Let a caller pass to an operation, or raise.

    Nothing is read before this but the tags of the collection, and those only where a policy asks
    for them; whether the collection exists makes no difference to the answer.

    Args:
        caller: authenticated; its account is the only one it can reach.
        operation: one of `RESOURCES` or `ADMINISTRATION`.
        params: of the operation, already checked against its shape.
        tags_of: tags of a collection.
        now: epoch seconds.

    Raises:
        AccessDeniedException: no policy of the caller allows it, or one denies it.
        InvalidS3ObjectException: a picture in S3 that the caller may not read. Rekognition answers
            the same for one that does not exist.
        ResourceNotFoundException: ResourceArn names what cannot be a collection here.
    """
    if operation in ADMINISTRATION:
        if ADMINISTRATION[operation] != _SELF:
            require(caller, f"recollect:{operation}", "*", now=now)
        return
    about = RESOURCES[operation]
    resource, collection_id = "*", None
    if about == _COLLECTION:
        collection_id = params["CollectionId"]
        resource = collection_arn(caller, collection_id)
    elif about == _ARN:
        resource, collection_id = _tagged(caller, f"rekognition:{operation}", params["ResourceArn"])

    requested = _requested_tags(params)
    tags = (lambda: tags_of(caller.account, collection_id)) if collection_id else dict
    require(caller, f"rekognition:{operation}", resource, now=now, requested=requested, tags=tags)
    if about == _ARN and collection_id is None:
        raise ResourceNotFoundException(f"The resource {params['ResourceArn']} does not exist")
    if operation == "CreateCollection" and params.get("Tags"):
        created = collection_arn(caller, params["CollectionId"])
        require(caller, "rekognition:TagResource", created, now=now, requested=requested)
    for name in _IMAGES:
        s3_object = (params.get(name) or {}).get("S3Object")
        if s3_object:
            _require_picture(caller, s3_object, now)


def require(
    caller: Caller,
    action: str,
    resource: str,
    *,
    now: float,
    requested: Context | None = None,
    tags: Callable[[], Mapping[str, str]] = dict,
) -> None:
    """Raise AccessDeniedException unless the caller's policies allow an action on a resource.

    Args:
        caller: authenticated.
        action: `service:Operation`.
        resource: an ARN, or `*` for an action that is about no resource.
        now: epoch seconds.
        requested: the condition keys of tags in the request.
        tags: reads the tags of the resource; called only where a policy asks for them.
    """
    try:
        policies = [compiled(text) for text in caller.policies]
    except PolicyError as error:
        raise AccessDeniedException(
            _refusal(caller, action, resource) + f" because a policy cannot be read: {error}"
        ) from error
    if any(policy.keys for policy in policies):
        began = time.monotonic()
        context = _context(caller, now) | dict(requested or {})
        looked_up = any(
            key.startswith("aws:resourcetag/") for policy in policies for key in policy.keys
        )
        if looked_up:
            context |= _tag_keys("aws:ResourceTag/", tags())
        decision = decide(policies, action, resource, context)
        if looked_up and not decision.allowed:
            _wait_for_the_beat(began)
    else:
        decision = _decided(caller.policies, action, resource)
    if decision.allowed:
        return
    raise AccessDeniedException(
        _refusal(caller, action, resource)
        + (
            " with an explicit deny in an identity-based policy"
            if decision.denied_explicitly
            else f" because no identity-based policy allows the {action} action"
        )
    )


def _wait_for_the_beat(began: float) -> None:
    time.sleep(BEAT_S - (time.monotonic() - began) % BEAT_S)


def decide(policies: Sequence[Policy], action: str, resource: str, context: Context) -> Decision:
    """Decide as a call would be decided, where the context is at hand.

    All regions see the same collections here and a caller signs for whichever it likes, so a Deny
    that names one region has to hold in all, or it could be walked around.
    """
    regions = frozenset[str]().union(*(policy.regions for policy in policies))
    return evaluate(
        policies, Request(action, resource, context, _in_other_regions(resource, regions))
    )


@lru_cache(maxsize=1024)
def _decided(policies: tuple[str, ...], action: str, resource: str) -> Decision:
    """Decide by policies without conditions or variables, which always decide alike."""
    return decide([compiled(text) for text in policies], action, resource, {})


def context_of(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Condition keys, whose names are in lower case, with all their values."""
    keys: dict[str, list[str]] = {}
    for name, value in pairs:
        keys.setdefault(name.lower(), []).append(value)
    return keys


def collection_arn(caller: Caller, collection_id: str) -> str:
    """The ARN of a collection in the caller's account."""
    return f"arn:aws:rekognition:{caller.region}:{caller.account}:collection/{collection_id}"


def _in_other_regions(resource: str, regions: AbstractSet[str]) -> tuple[str, ...]:
    """What the same collection is called in the regions that a policy speaks of."""
    fields = resource.split(":", 5)
    if fields[:3] != ["arn", "aws", "rekognition"]:
        return ()
    return tuple(":".join((*fields[:3], region, *fields[4:])) for region in sorted(regions))


def _context(caller: Caller, now: float) -> dict[str, list[str]]:
    context = {
        "aws:currenttime": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "aws:epochtime": str(int(now)),
        "aws:principalaccount": caller.account,
        "aws:principalarn": caller.arn,
        "aws:requestedregion": caller.region,
        "aws:securetransport": "true" if caller.secure else "false",
        "aws:sourceip": caller.source_ip,
        "aws:useragent": caller.user_agent or "",
        # The root user of an account is no IAM user and has no user name.
        "aws:username": "" if caller.name == "root" else caller.name,
    }
    return {key: [value] for key, value in context.items() if value}


def _tag_keys(prefix: str, tags: Mapping[str, str]) -> dict[str, list[str]]:
    """Tags as condition keys; two tags that differ in capitals only meet in one key."""
    return context_of((prefix + name, value) for name, value in tags.items())


def _requested_tags(params: Mapping[str, Any]) -> dict[str, list[str]]:
    """The condition keys of the tags that a request would set or remove."""
    tags = params.get("Tags") or {}
    names = [*tags, *(params.get("TagKeys") or ())]
    return _tag_keys("aws:RequestTag/", tags) | ({"aws:tagkeys": names} if names else {})


def _tagged(caller: Caller, action: str, resource_arn: str) -> tuple[str, str | None]:
    """The resource that a ResourceArn names and its collection id, if it is a collection here.

    Another account's resource is refused without a look at the policies: an account comes from
    the credential, never from the request.
    """
    named = _COLLECTION_ARN.fullmatch(resource_arn)
    if named is None:
        return resource_arn, None
    account, collection_id = named.groups()
    if account != caller.account:
        raise AccessDeniedException(
            _refusal(caller, action, resource_arn)
            + f" because no identity-based policy allows the {action} action"
        )
    return collection_arn(caller, collection_id), collection_id


def _require_picture(caller: Caller, s3_object: Mapping[str, str], now: float) -> None:
    action = "s3:GetObjectVersion" if s3_object.get("Version") else "s3:GetObject"
    resource = f"arn:aws:s3:::{s3_object.get('Bucket', '')}/{s3_object.get('Name', '')}"
    try:
        require(caller, action, resource, now=now)
    except AccessDeniedException as error:
        raise InvalidS3ObjectException from error


def _refusal(caller: Caller, action: str, resource: str) -> str:
    where = "" if resource == "*" else f" on resource: {resource}"
    return f"User: {caller.arn} is not authorized to perform: {action}{where}"
