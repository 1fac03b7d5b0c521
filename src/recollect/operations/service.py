"""The collaborators an operation gets: pack, store, galleries, pictures, account."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recollect import telemetry
from recollect.errors import (
    InternalServerError,
    InvalidParameterException,
    ResourceNotFoundException,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mypy_boto3_rekognition.type_defs import ImageTypeDef

    from recollect.gallery.gallery import Galleries
    from recollect.gallery.store import Collection, Store, Template
    from recollect.vision.image import Picture
    from recollect.vision.model_pack import ModelPack

IMAGE_IDS = uuid.UUID("5f8c3a52-6f7e-5b0e-9d8c-2f1f6c1f4a10")
"""Namespace of ImageIds: the same picture under the same ExternalImageId has the same one."""

MISSING = "The collection id: {} does not exist"
FACES_PER_IMAGE_MAX = 100
QUALITY_FILTER_VERSION_MIN = 3.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What is built once, in `app`, and shared by every call."""

    store: Store
    galleries: Galleries
    packs: Mapping[str, ModelPack]
    default_pack: str
    decode: Callable[[bytes, int | None], Picture]
    """Bytes and the longer side that is enough (None for all of it) to an upright picture."""
    read_s3: Callable[[str, str, str | None], bytes]
    """Bucket, name and version to the object's bytes."""
    token_key: bytes
    """Key under which paging tokens are made, 32 bytes; the same on every node of a cluster."""
    faces_per_collection_max: int = 20_000_000
    users_per_collection_max: int = 10_000_000
    search_side_px: int = 1280
    """Longer side at which a probe picture is decoded, where the format can shrink it."""


@dataclass(frozen=True, slots=True)
class Service:
    """What one call may reach: the shared parts, on behalf of one account."""

    parts: Parts
    account: str
    region: str

    @property
    def store(self) -> Store:
        """The truth."""
        return self.parts.store

    def collection(self, collection_id: str, missing: str = MISSING) -> Collection:
        """Find the account's collection, or raise ResourceNotFoundException."""
        found = self.store.collection(self.account, collection_id)
        if found is None:
            raise ResourceNotFoundException(missing.format(collection_id))
        return found

    def collection_with_face(self, collection_id: str, face_id: str) -> tuple[Collection, Template]:
        """Find the account's collection and the template of one of its faces, in one look.

        Raises ResourceNotFoundException or InvalidParameterException where there is none.
        """
        found = self.store.collection_with_face(self.account, collection_id, face_id)
        if found is None:
            raise ResourceNotFoundException(MISSING.format(collection_id))
        collection, template = found
        if template is None:
            raise InvalidParameterException("faceId was not found in the collection.")
        return collection, template

    def pack(self, collection: Collection) -> ModelPack:
        """The pack that the collection's templates were made with, and no other."""
        try:
            return self.parts.packs[collection.pack]
        except KeyError:
            raise InternalServerError(
                f"The model pack {collection.pack} of this collection is not loaded on this server"
            ) from None

    def pack_named(self, name: str) -> ModelPack:
        """A pack that a request names, or InvalidParameterException that says which there are."""
        try:
            return self.parts.packs[name]
        except KeyError:
            raise InvalidParameterException(
                f"The model pack {name} is not installed on this server; there are: "
                f"{', '.join(sorted(self.parts.packs))}"
            ) from None

    @property
    def default_pack(self) -> ModelPack:
        """The pack of new collections and of calls without a collection."""
        return self.parts.packs[self.parts.default_pack]

    def image_bytes(self, image: ImageTypeDef) -> bytes:
        """Read the picture a request names: exactly one of Bytes and S3Object."""
        inline, stored = image.get("Bytes"), image.get("S3Object")
        if (inline is None) == (stored is None):
            raise InvalidParameterException
        if stored is None:
            assert isinstance(inline, bytes)
            return inline
        if "Bucket" not in stored or "Name" not in stored:
            raise InvalidParameterException
        return self.parts.read_s3(stored["Bucket"], stored["Name"], stored.get("Version"))

    def picture(self, image: ImageTypeDef) -> Picture:
        """Decode the whole picture a request names."""
        return self.decode(self.image_bytes(image))

    def probe_picture(self, image: ImageTypeDef) -> Picture:
        """Decode the picture a request names, only as large as its largest face needs."""
        return self.decode(self.image_bytes(image), self.parts.search_side_px)

    def decode(self, data: bytes, side_px: int | None = None) -> Picture:
        """Decode a picture, a JPEG no larger than its longer side needs to be."""
        with telemetry.stage("decode"):
            return self.parts.decode(data, side_px)

    def image_id(self, data: bytes, external_image_id: str | None) -> str:
        """ImageId of a picture: name-based, so that indexing it again finds what is there."""
        return image_id(self.account, hashlib.sha256(data).hexdigest(), external_image_id)

    def collection_arn(self, collection_id: str) -> str:
        """Amazon Resource Name of a collection of this account."""
        return f"arn:aws:rekognition:{self.region}:{self.account}:collection/{collection_id}"


def image_id(account: str, sha256: str, external_image_id: str | None) -> str:
    """ImageId of the picture with this digest under this ExternalImageId, in any collection."""
    return str(uuid.uuid5(IMAGE_IDS, f"{account}/{sha256}/{external_image_id or ''}"))


def quality_filter(asked: str | None, default: str, model_version: str) -> str:
    """The filter that applies; InvalidParameterException where the model is too old for it.

    Source: https://docs.aws.amazon.com/rekognition/latest/APIReference/API_SearchFacesByImage.html
    ("To use quality filtering, you need a collection associated with version 3 of the face model
    or higher").
    """
    if float(model_version.partition(".")[0]) >= QUALITY_FILTER_VERSION_MIN:
        return asked or default
    if asked not in (None, "NONE"):
        raise InvalidParameterException(
            f"QualityFilter needs face model version 3 or higher; this collection has "
            f"{model_version}"
        )
    return "NONE"
