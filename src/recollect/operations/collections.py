"""CreateCollection, DescribeCollection, ListCollections, DeleteCollection."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from recollect.errors import ServiceQuotaExceededException
from recollect.operations import paging
from recollect.operations.tags import TAGS_MAX

if TYPE_CHECKING:
    from mypy_boto3_rekognition.type_defs import (
        CreateCollectionRequestTypeDef,
        DeleteCollectionRequestTypeDef,
        DescribeCollectionRequestTypeDef,
        ListCollectionsRequestTypeDef,
    )

    from recollect.gallery.store import Collection
    from recollect.operations.service import Service
    from recollect.operations.shapes import Answer

    class PlainCreateCollection(CreateCollectionRequestTypeDef, total=False):
        """What the plain dialect takes."""

        Pack: str

    class PlainDescribeCollection(DescribeCollectionRequestTypeDef, total=False):
        """Likewise."""

        WithPack: bool


PAGE_DEFAULT = 1000
DIGEST_LENGTH = 16
NAME_IN_TOKEN_MAX = paging.LAST_MAX - 1 - DIGEST_LENGTH


def create_collection(service: Service, params: PlainCreateCollection) -> Answer:
    """Make an empty collection, bound for life to the default model pack.

    https://docs.aws.amazon.com/rekognition/latest/APIReference/API_CreateCollection.html

    The plain dialect's Pack names another pack of this server.
    """
    tags = params.get("Tags", {})
    if len(tags) > TAGS_MAX:
        raise ServiceQuotaExceededException(f"A collection has at most {TAGS_MAX} tags")
    pack = service.pack_named(params["Pack"]) if "Pack" in params else service.default_pack
    collection = service.store.create_collection(
        service.account,
        params["CollectionId"],
        pack=pack.name,
        model_version=pack.version,
        dimension=pack.dimension,
        tags=tags,
    )
    return {
        "StatusCode": 200,
        "CollectionArn": service.collection_arn(collection.collection_id),
        "FaceModelVersion": collection.model_version,
    }


def describe_collection(service: Service, params: PlainDescribeCollection) -> Answer:
    """Say how many faces and users a collection has, and of which model version.

    https://docs.aws.amazon.com/rekognition/latest/APIReference/API_DescribeCollection.html

    The plain dialect's WithPack asks for the name of its model pack too.
    """
    # Rekognition words this one differently from its other operations.
    collection = service.collection(params["CollectionId"], missing="Collection:{} not found!")
    face_count, user_count = service.store.counts(collection)
    answer: Answer = {
        "FaceCount": face_count,
        "FaceModelVersion": collection.model_version,
        "CollectionARN": service.collection_arn(collection.collection_id),
        "CreationTimestamp": collection.created_at,
        "UserCount": user_count,
    }
    if params.get("WithPack"):
        answer["Pack"] = collection.pack
    return answer


def list_collections(service: Service, params: ListCollectionsRequestTypeDef) -> Answer:
    """List the account's collections, ascending by id.

    https://docs.aws.amazon.com/rekognition/latest/APIReference/API_ListCollections.html
    """
    limit = params.get("MaxResults") or PAGE_DEFAULT
    scope = f"ListCollections/{service.account}"
    position = paging.unseal(service.parts.token_key, scope, params.get("NextToken"))
    page = _page_after(service, position, limit + 1)
    answer: Answer = {
        "CollectionIds": [c.collection_id for c in page[:limit]],
        "FaceModelVersions": [c.model_version for c in page[:limit]],
    }
    if len(page) > limit:
        last = _position(page[limit - 1].collection_id)
        answer["NextToken"] = paging.seal(service.parts.token_key, scope, last)
    return answer


def delete_collection(service: Service, params: DeleteCollectionRequestTypeDef) -> Answer:
    """Delete a collection with everything in it, and its key.

    https://docs.aws.amazon.com/rekognition/latest/APIReference/API_DeleteCollection.html
    """
    service.store.delete_collection(service.collection(params["CollectionId"]))
    return {"StatusCode": 200}


def _position(collection_id: str) -> str:
    """A token's position: the id, or where it is too long its beginning and its digest."""
    if len(collection_id) <= paging.LAST_MAX:
        return collection_id
    digest = hashlib.sha256(collection_id.encode()).hexdigest()[:DIGEST_LENGTH]
    return f"{collection_id[:NAME_IN_TOKEN_MAX]}/{digest}"


def _page_after(service: Service, position: str, count: int) -> list[Collection]:
    """The next `count` collections after a position."""
    prefix, shortened, _ = position.partition("/")
    if not shortened:
        return service.store.collections(service.account, after=prefix, limit=count)
    # Ids of 255 characters do not fit a token of 255: look for the one whose digest it holds.
    # If it was deleted meanwhile, its few neighbours of the same beginning are listed again.
    after = prefix
    while block := service.store.collections(service.account, after=after, limit=PAGE_DEFAULT):
        for found in block:
            if not found.collection_id.startswith(prefix):
                return service.store.collections(service.account, after=prefix, limit=count)
            if _position(found.collection_id) == position:
                return service.store.collections(
                    service.account, after=found.collection_id, limit=count
                )
        after = block[-1].collection_id
    return service.store.collections(service.account, after=prefix, limit=count)
