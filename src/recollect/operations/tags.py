"""TagResource, UntagResource, ListTagsForResource."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from recollect.errors import ResourceNotFoundException

if TYPE_CHECKING:
    from mypy_boto3_rekognition.type_defs import (
        ListTagsForResourceRequestTypeDef,
        TagResourceRequestTypeDef,
        UntagResourceRequestTypeDef,
    )

    from recollect.gallery.store import Collection
    from recollect.operations.service import Service
    from recollect.operations.shapes import Answer

TAGS_MAX = 50
"""Most tags of one resource, by AWS's tagging convention."""

# CreateCollection answered without the `arn:` prefix for years, so both forms are in use.
COLLECTION_ARN = re.compile(r"(?:arn:)?aws:rekognition:[^:]*:([0-9]{12}):collection/(.+)")


def tag_resource(service: Service, params: TagResourceRequestTypeDef) -> Answer:
    """Add tags to a collection, or overwrite their values.

    https://docs.aws.amazon.com/rekognition/latest/APIReference/API_TagResource.html
    """
    collection = _resource(service, params["ResourceArn"])
    service.store.tag(collection, params["Tags"], tags_max=TAGS_MAX)
    return {}


def untag_resource(service: Service, params: UntagResourceRequestTypeDef) -> Answer:
    """Remove tags from a collection; keys it does not have are ignored.

    https://docs.aws.amazon.com/rekognition/latest/APIReference/API_UntagResource.html
    """
    service.store.untag(_resource(service, params["ResourceArn"]), list(params["TagKeys"]))
    return {}


def list_tags_for_resource(service: Service, params: ListTagsForResourceRequestTypeDef) -> Answer:
    """List a collection's tags.

    https://docs.aws.amazon.com/rekognition/latest/APIReference/API_ListTagsForResource.html
    """
    return {"Tags": service.store.tags(_resource(service, params["ResourceArn"]))}


def _resource(service: Service, arn: str) -> Collection:
    """The account's collection that an ARN names."""
    named = COLLECTION_ARN.fullmatch(arn)
    found = (
        service.store.collection(service.account, named[2])
        if named and named[1] == service.account
        else None
    )
    if found is None:
        raise ResourceNotFoundException(f"The resource {arn} does not exist")
    return found
