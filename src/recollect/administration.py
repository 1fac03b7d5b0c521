"""Keys, policies, the audit log and swaps over the wire, for callers whose policies allow it.

The pipeline is that of every other operation: signature, shape, policy (`recollect:Operation`),
audit record. Whoever may create keys or put policies can give itself every right of its account.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, cast

from recollect import truth
from recollect.errors import (
    AccessDeniedException,
    InvalidParameterException,
    ResourceNotFoundException,
    ServiceQuotaExceededException,
)
from recollect.operations import paging
from recollect.wire import access, bearer
from recollect.wire.policy import Policy, PolicyError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from recollect.gallery.audit import Log
    from recollect.gallery.store import AccessKey, Collection, Store
    from recollect.wire.caller import Caller

    Operation = Callable[[Caller, dict[str, Any]], dict[str, Any]]

KEYS_MAX = 1000
"""Keys of one account that calls may make."""
SCANNED_MAX = 1000
"""Audit records that one call looks at, of whichever account."""
ROOT = "root"


class Administration:
    """The operations of `administration.json`.

    Args:
        store: where keys and audit log lie.
        account: the server's own account, which sees calls of unknown senders too.
        token_key: key under which paging tokens are made.
        open_door: the server asks nobody for a key; then it hands none out either.
    """

    def __init__(
        self, store: Store, *, account: str, token_key: bytes, open_door: bool = False
    ) -> None:
        self._store = store
        self._account = account
        self._token_key = token_key
        self._open_door = open_door

    def operations(self) -> dict[str, Operation]:
        """Functions by operation name; without keys to check, none that is about keys."""
        who: dict[str, Operation] = {
            "GetCaller": self.get_caller,
            "SwapCollections": self.swap_collections,
        }
        if self._open_door:
            return who
        return who | {
            "CreateAccessKey": self.create_access_key,
            "DeleteAccessKey": self.delete_access_key,
            "GetPolicies": self.get_policies,
            "ListAccessKeys": self.list_access_keys,
            "PutPolicies": self.put_policies,
            "ReadAudit": self.read_audit,
            "UpdateAccessKey": self.update_access_key,
        }

    def get_caller(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        """Say who is calling, and which of these operations its policies allow."""
        return {
            "Account": caller.account,
            "Arn": caller.arn,
            "UserName": caller.name,
            "AccessKeyId": caller.key_id,
            "Administration": [name for name in sorted(self.operations()) if _may(caller, name)],
        }

    def create_access_key(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        """Make a key with the given policies; its secret is in this answer and nowhere else."""
        if params["UserName"] == ROOT:
            raise InvalidParameterException("Keys of root are made at the machine")
        policies = _documents(params["Policies"])
        if len(self._store.access_keys(caller.account)) >= KEYS_MAX:
            raise ServiceQuotaExceededException(f"The account has {KEYS_MAX} keys already")
        kind = params.get("Kind", "SIGV4")
        key = truth.make_key(
            self._store,
            account=caller.account,
            name=params["UserName"],
            policies=policies,
            bearer_key=kind == "BEARER",
            expires_s=params.get("ExpiresInSeconds"),
        )
        made = {
            "AccessKeyId": key.key_id,
            "UserName": key.name,
            "Kind": kind,
            "ExpireDate": key.expires_at,
        }
        if key.bearer:
            return made | {"BearerToken": bearer.token(key.key_id, key.secret)}
        return made | {"SecretAccessKey": key.secret, "SessionToken": key.session_token}

    def list_access_keys(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        """List the keys of the account, ascending by AccessKeyId, without their secrets."""
        scope = f"ListAccessKeys/{caller.account}"
        after = paging.unseal(self._token_key, scope, params.get("NextToken"))
        count = params.get("MaxResults", 100)
        rest = [key for key in self._store.access_keys(caller.account) if key.key_id > after]
        answer: dict[str, Any] = {"AccessKeys": [_described(key) for key in rest[:count]]}
        if len(rest) > count:
            answer["NextToken"] = paging.seal(self._token_key, scope, rest[count - 1].key_id)
        return answer

    def update_access_key(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        """Disable a key, or take it back; it counts from the next call on."""
        key = self._changeable(caller, params["AccessKeyId"])
        self._store.update_key(key.key_id, active=params["Status"] == "Active")
        return {}

    def delete_access_key(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        """Remove a key for good."""
        self._store.delete_key(self._changeable(caller, params["AccessKeyId"]).key_id)
        return {}

    def get_policies(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        """Show the policies of a key, as they were written."""
        return {"Policies": list(self._key(caller, params["AccessKeyId"]).policies)}

    def put_policies(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        """Replace the policies of a key; they count from the next call on."""
        policies = _documents(params["Policies"])
        key = self._changeable(caller, params["AccessKeyId"])
        self._store.update_key(key.key_id, policies=policies)
        return {}

    def swap_collections(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        """Let two collections exchange their names, in one transaction; each keeps all else."""
        names = params["CollectionId"], params["OtherCollectionId"]
        found = [self._collection(caller, name) for name in names]
        self._store.swap_collections(*found)
        return {
            "FaceModelVersion": found[1].model_version,
            "OtherFaceModelVersion": found[0].model_version,
        }

    def read_audit(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        """Read the account's audit records, newest first; a page may be short and not the last."""
        log = cast("Log", self._store)
        scope = f"ReadAudit/{caller.account}"
        position = paging.unseal(self._token_key, scope, params.get("NextToken"))
        count = params.get("MaxResults", 50)
        head = log.audit_head()
        end = int(position) if position else head.sequence if head else 0
        begin = max(0, end - SCANNED_MAX)
        scanned = log.audit_records(after=begin, limit=end - begin) if end else []
        records: list[dict[str, Any]] = []
        for record in reversed(scanned):
            begin = record.sequence - 1
            entry = json.loads(record.entry)
            if entry.get("recipientAccountId", self._account) == caller.account:
                records.append({"Sequence": record.sequence, "Entry": entry})
            if len(records) == count:
                break
        answer: dict[str, Any] = {"Records": records}
        if begin > 0:
            answer["NextToken"] = paging.seal(self._token_key, scope, str(begin))
        return answer

    def _collection(self, caller: Caller, collection_id: str) -> Collection:
        found = self._store.collection(caller.account, collection_id)
        if found is None:
            raise ResourceNotFoundException(f"The collection id: {collection_id} does not exist")
        return found

    def _key(self, caller: Caller, key_id: str) -> AccessKey:
        """A key of the caller's account; whether another account has it makes no difference."""
        key = self._store.access_key(key_id)
        if key is None or key.account != caller.account:
            raise ResourceNotFoundException(f"The access key: {key_id} does not exist")
        return key

    def _changeable(self, caller: Caller, key_id: str) -> AccessKey:
        """A key that this caller may change: neither root's nor the one it signs with."""
        key = self._key(caller, key_id)
        if key.name == ROOT:
            raise AccessDeniedException("Keys of root are changed at the machine only")
        if key.key_id == caller.key_id:
            raise InvalidParameterException("A key does not change itself: sign with another")
        return key


def _may(caller: Caller, operation: str) -> bool:
    try:
        access.authorise(caller, operation, {}, tags_of=lambda *_: {}, now=time.time())
    except AccessDeniedException:
        return False
    return True


def _documents(policies: Sequence[str]) -> tuple[str, ...]:
    """Policies that can be evaluated, or InvalidParameterException that says where one cannot."""
    for number, text in enumerate(policies, 1):
        try:
            Policy.parse(text)
        except PolicyError as error:
            raise InvalidParameterException(f"Policy {number}: {error}") from None
    return tuple(policies)


def _described(key: AccessKey) -> dict[str, Any]:
    return {
        "AccessKeyId": key.key_id,
        "UserName": key.name,
        "Kind": "BEARER" if key.bearer else "SIGV4",
        "Status": "Active" if key.active else "Inactive",
        "CreateDate": key.created_at,
        "ExpireDate": key.expires_at,
        "PolicyCount": len(key.policies),
    }
