"""The Store protocol and its records: what holds the truth, whatever holds it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from recollect.gallery.audit import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


class StoreUnusable(Exception):
    """The store cannot be opened as asked; one line for the operator that says what to do."""


Template = npt.NDArray[np.float32]
"""Unit-length float32 vector of one face, shape (dimension,)."""

Templates = npt.NDArray[np.float32]
"""Unit-length float32 rows, shape (count, dimension)."""

Ids = npt.NDArray[np.uint8]
"""UUIDs, sixteen bytes each, shape (count, 16)."""

Kind = Literal["faces", "users"]
"""What is searched in a collection: its faces, or its users by their aggregates."""

KINDS: Final[tuple[Kind, ...]] = ("faces", "users")

Box = tuple[float, float, float, float]
"""Left, top, width, height as ratios of the upright image; may leave 0..1."""


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection's own row. `key` is the store's number for it and is never used again."""

    key: int
    account: str
    collection_id: str
    pack: str
    """Name of the model pack its templates were made with, for life."""
    model_version: str
    dimension: int
    created_at: float
    """Epoch seconds, to the millisecond."""
    sequence: int = field(default=0, compare=False)
    """Sequence of its last change when this was read. A search of the collection sees at least
    that, so a call reads its collection itself and keeps it for no other call."""


@dataclass(frozen=True, slots=True)
class Face:
    """One enrolled face as callers see it; the template is not part of it."""

    face_id: str
    image_id: str
    external_image_id: str | None
    box: Box
    confidence: float
    """Detector's belief that this is a face, 0..100."""
    model_version: str
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A face about to be enrolled, with what a search will see of it."""

    face: Face
    template: Template
    weight: float = 1.0
    """Weight of this template in its user's aggregate, above 0; from its quality."""


@dataclass(frozen=True, slots=True)
class User:
    """A user of a collection. `key` (a UUID) orders listings and names it in the index."""

    key: str
    user_id: str
    face_count: int


class Candidate(NamedTuple):
    """One enrolled face or user, with its comparison score against the probe."""

    id: str
    """FaceId of a face, `User.key` of a user."""
    score: float
    """Cosine of probe and reference, -1..1."""


@dataclass(frozen=True, slots=True)
class Association:
    """What became of each face of an AssociateFaces or DisassociateFaces call."""

    done: tuple[str, ...]
    not_found: tuple[str, ...] = ()
    owned_by: Mapping[str, str] = field(default_factory=dict)
    """FaceId to the UserId of the other user that it belongs to."""
    face_count: int = 0
    """Faces that the user has afterwards."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """What became of each face of a DeleteFaces call."""

    deleted: tuple[str, ...]
    not_found: tuple[str, ...] = ()
    owned_by: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Once:
    """A ClientRequestToken: the same call again has the first call's answer, no second effect."""

    token: str
    operation: str
    fingerprint: bytes
    """Digest of the other parameters; another one under the same token is a mismatch."""


@dataclass(frozen=True, slots=True)
class Change:
    """One committed change of one collection, as the index has to apply it.

    Additions replace what stands under the same id (a user's aggregate changes in place).
    """

    collection: Collection
    sequence: int
    """Position in the collection's change sequence, rising by one from 1."""
    faces_added: Sequence[tuple[str, Template]] = ()
    faces_removed: Sequence[str] = ()
    users_added: Sequence[tuple[str, Template]] = ()
    users_removed: Sequence[str] = ()
    dropped: bool = False
    """The whole collection is gone."""
    missed: bool = False
    """What was changed up to here is not known any more: the collection has to be read anew."""


class Block(NamedTuple):
    """Some of what a search of a collection sees, as a scan reads it."""

    collection: Collection
    kind: Kind
    ids: Ids
    """FaceIds, or `User.key` of the users that have a face."""
    templates: Templates
    """A row for each id; of users the aggregates."""


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A credential as the server needs it to verify a call; the secret never leaves the process."""

    key_id: str
    secret: str
    account: str
    name: str
    """User name, the last part of the caller's ARN."""
    policies: tuple[str, ...]
    """IAM policy documents (JSON text) attached to the key, in the order attached."""
    bearer: bool = False
    session_token: str | None = None
    expires_at: float | None = None
    """Epoch seconds; None for a long-lived key."""
    active: bool = True
    created_at: float = 0.0


class Store(Log, Protocol):
    """The truth: SQL, transactional, durable before a method returns.

    Every method is safe from any thread. A write returns after commit *and* after the function
    given to `subscribe` has seen the change, so that what was acknowledged can be found. Methods
    that take a `Collection` raise ResourceNotFoundException where it was deleted meanwhile.
    """

    # Collections ---------------------------------------------------------------------------

    def create_collection(
        self,
        account: str,
        collection_id: str,
        *,
        pack: str,
        model_version: str,
        dimension: int,
        tags: Mapping[str, str],
    ) -> Collection:
        """Make a collection with a key of its own; ResourceAlreadyExistsException if it exists."""
        ...

    def collection(self, account: str, collection_id: str) -> Collection | None:
        """Find a collection by its name, which is case-sensitive."""
        ...

    def collection_with_face(
        self, account: str, collection_id: str, face_id: str
    ) -> tuple[Collection, Template | None] | None:
        """As `collection`, with the template of a face that it may have, of the same moment."""
        ...

    def collections(self, account: str, *, after: str, limit: int) -> list[Collection]:
        """List an account's collections with ids above `after`, ascending."""
        ...

    def delete_collection(self, collection: Collection) -> None:
        """Delete it with faces, users and tags, and destroy its key."""
        ...

    def swap_collections(self, first: Collection, second: Collection) -> None:
        """Let two collections of one account exchange their names, at once or not at all.

        Nothing else of them changes: pack, faces, users, tags and key go with the collection.
        """
        ...

    def counts(self, collection: Collection) -> tuple[int, int]:
        """Count faces and users."""
        ...

    # Faces ---------------------------------------------------------------------------------

    def add_faces(self, collection: Collection, enrolments: Sequence[Enrolment]) -> list[Face]:
        """Enrol the faces of one picture, all or none.

        A face whose image_id and box (to 6 significant digits) are enrolled already is not
        enrolled again: the face that exists is returned in its place. Order is kept.
        """
        ...

    def references(
        self, collection: Collection, face_ids: Sequence[str]
    ) -> tuple[list[Face], Templates]:
        """Look faces up by distinct ids, with their templates, unsealed, in a row for each.

        All of one moment, in the order asked for; unknown ids are left out.
        """
        ...

    def list_faces(
        self,
        collection: Collection,
        *,
        after: str,
        limit: int,
        user_id: str | None = None,
        face_ids: Sequence[str] | None = None,
    ) -> list[Face]:
        """List faces with ids above `after`, ascending, at most `limit`, filtered where asked.

        Raises ResourceNotFoundException where the user does not exist.
        """
        ...

    def delete_faces(self, collection: Collection, face_ids: Sequence[str]) -> Deletion:
        """Delete faces that belong to no user."""
        ...

    def faces_older_than(self, collection: Collection, age_s: float, *, limit: int) -> list[str]:
        """FaceIds of at most `limit` faces that were enrolled longer ago than an age."""
        ...

    # Users ---------------------------------------------------------------------------------

    def create_user(self, collection: Collection, user_id: str, once: Once | None) -> None:
        """Make a user without faces; ConflictException if it exists."""
        ...

    def delete_user(self, collection: Collection, user_id: str, once: Once | None) -> None:
        """Delete a user; its faces stay, belonging to nobody. ResourceNotFoundException if none."""
        ...

    def user(self, collection: Collection, user_id: str) -> User | None:
        """Find a user by its id."""
        ...

    def users(self, collection: Collection, keys: Sequence[str]) -> dict[str, User]:
        """Look users up by key; unknown keys are absent."""
        ...

    def list_users(self, collection: Collection, *, after: str, limit: int) -> list[User]:
        """List users with keys above `after`, ascending."""
        ...

    def user_template(self, collection: Collection, user_id: str) -> Template | None:
        """The user's aggregate: the weighted mean of its templates at unit length."""
        ...

    def associate_faces(
        self,
        collection: Collection,
        user_id: str,
        face_ids: Sequence[str],
        *,
        faces_max: int,
        once: Once | None,
        accepts: Callable[[Template, Template], bool] | None = None,
    ) -> tuple[Association, dict[str, float]]:
        """Give faces to a user; its aggregate changes in the same transaction.

        Args:
            collection: the collection of the user and the faces.
            user_id: the user; ResourceNotFoundException where it does not exist.
            face_ids: distinct ids; those the user has already are in no list of the answer.
            faces_max: most faces a user may have; ServiceQuotaExceededException beyond.
            once: the caller's idempotency token.
            accepts: asked with (the user's aggregate before the call, the face's template)
                where the user has a face already; a face it refuses is not associated.

        Returns:
            The association, and for each refused face its score against the aggregate.
        """
        ...

    def disassociate_faces(
        self,
        collection: Collection,
        user_id: str,
        face_ids: Sequence[str],
        *,
        once: Once | None,
    ) -> Association:
        """Take faces from a user; those it does not have are in no list of the answer."""
        ...

    # Tags ----------------------------------------------------------------------------------

    def tags(self, collection: Collection) -> dict[str, str]:
        """Tags of a collection."""
        ...

    def tags_of(self, account: str, collection_id: str) -> dict[str, str]:
        """Tags of a collection by its name; none, after the same look, where it does not exist."""
        ...

    def tag(self, collection: Collection, tags: Mapping[str, str], *, tags_max: int) -> None:
        """Add or overwrite tags; ServiceQuotaExceededException beyond `tags_max`."""
        ...

    def untag(self, collection: Collection, keys: Sequence[str]) -> None:
        """Remove tags; unknown keys are ignored."""
        ...

    # The change sequence ---------------------------------------------------------------------

    def subscribe(self, apply: Callable[[Change], None]) -> None:
        """Call `apply` with each change after its commit and before its acknowledgement.

        Of each collection in order, each once. A store that several nodes share delivers what
        the others commit too, of the collections that this node has scanned or written to.
        """
        ...

    def unfollow(self, collection: Collection) -> None:
        """Deliver no more of what other nodes commit to a collection, until its next scan."""
        ...

    def catch_up(self, collection: Collection, sequence: int) -> None:
        """Deliver what other nodes have committed, up to a sequence, before this returns."""
        ...

    def sequence(self, collection: Collection) -> int:
        """Sequence of the last committed change; ResourceNotFoundException if deleted."""
        ...

    def every_collection(self) -> list[Collection]:
        """All collections of all accounts, for rebuilding the index."""
        ...

    def scan(self, collections: Sequence[Collection]) -> tuple[list[int], Iterator[Block]]:
        """One consistent picture of everything that a search of some collections sees.

        The moment lasts until the blocks are exhausted or closed. Many small collections are read
        faster together than one by one.

        Args:
            collections: distinct ones.

        Returns:
            The sequence of each, and blocks of rows. A collection has as many of each kind as it
            needs; one without rows has none.

        Raises:
            ResourceNotFoundException: one of them was deleted meanwhile.
            Damaged: from the blocks too, where what is stored cannot be opened.
        """
        ...

    # Keys and audit --------------------------------------------------------------------------

    def add_key(self, key: AccessKey) -> None:
        """Store a credential, its secret sealed."""
        ...

    def access_key(self, key_id: str) -> AccessKey | None:
        """Find a credential; sees keys that another process added at once."""
        ...

    def credential(self, key_id: str) -> AccessKey:
        """Find a credential to verify a call with.

        An unknown one is answered with nobody's, which has no id, is not active, and took the
        same work: time tells nobody which keys exist.
        """
        ...

    def access_keys(self, account: str | None = None) -> list[AccessKey]:
        """All credentials, secrets left empty."""
        ...

    def update_key(
        self, key_id: str, *, active: bool | None = None, policies: Sequence[str] | None = None
    ) -> None:
        """Disable, enable or re-equip a credential; ResourceNotFoundException if unknown."""
        ...

    def delete_key(self, key_id: str) -> None:
        """Remove a credential."""
        ...

    def record(self, entry: bytes) -> None:
        """Append one audit entry (JSON) to the hash chain, durable when this returns."""
        ...

    # The key of all keys -----------------------------------------------------------------------

    def seal_under(self, master_keys: Sequence[bytes]) -> None:
        """Let these master keys, and no others, open the store from now on.

        Two at once would undo each other: `disk.turn` keeps the commands of one machine apart.
        """
        ...

    def key_for(self, purpose: str) -> bytes:
        """A key of 32 bytes for a purpose; the same on all nodes and under every master key."""
        ...

    def close(self) -> None:
        """Finish what was begun and let go of the files."""
        ...
