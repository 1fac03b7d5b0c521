"""A Store of plain dictionaries: slow, forgetful, and short enough to be obviously right."""

import dataclasses

import numpy as np

from recollect.errors import (
    ConflictException,
    IdempotentParameterMismatchException,
    ResourceAlreadyExistsException,
    ResourceNotFoundException,
    ServiceQuotaExceededException,
)
from recollect.gallery.ids import packed_all
from recollect.gallery.store import (
    AccessKey,
    Association,
    Block,
    Change,
    Collection,
    Deletion,
    User,
)


class Entry:
    """A collection and everything in it."""

    def __init__(self, collection, tags):
        self.collection = collection
        self.tags = dict(tags)
        self.faces = {}  # face_id to Enrolment, whose face knows its user
        self.enrolled_at = {}  # face_id to epoch seconds
        self.users = {}  # user_id to key
        self.tokens = {}
        self.sequence = 0

    def read(self):
        """The collection as it is now."""
        return dataclasses.replace(self.collection, sequence=self.sequence)


class DictStore:
    """The Store protocol, without disk and without threads."""

    def __init__(self, *, clock, ids):
        self.clock, self.ids = clock, ids
        self.entries = {}
        self.made = 0
        self.keys = {}
        self.audit = []
        self.subscribers = []

    # Collections

    def create_collection(self, account, collection_id, *, pack, model_version, dimension, tags):
        if self.collection(account, collection_id):
            raise ResourceAlreadyExistsException(
                f"The collection id: {collection_id} already exists"
            )
        self.made += 1
        made_at = round(self.clock(), 3)
        collection = Collection(
            self.made, account, collection_id, pack, model_version, dimension, made_at
        )
        self.entries[self.made] = Entry(collection, tags)
        return collection

    def collection(self, account, collection_id):
        for entry in self.entries.values():
            if (entry.collection.account, entry.collection.collection_id) == (
                account,
                collection_id,
            ):
                return entry.read()
        return None

    def collection_with_face(self, account, collection_id, face_id):
        found = self.collection(account, collection_id)
        if found is None:
            return None
        enrolment = self._entry(found).faces.get(face_id)
        return found, None if enrolment is None else enrolment.template

    def collections(self, account, *, after, limit):
        found = [e.read() for e in self.entries.values() if e.collection.account == account]
        found.sort(key=lambda collection: collection.collection_id)
        return [c for c in found if c.collection_id > after][:limit]

    def every_collection(self):
        return [entry.read() for entry in self.entries.values()]

    def delete_collection(self, collection):
        entry = self._entry(collection)
        del self.entries[collection.key]
        self._publish(Change(collection, entry.sequence + 1, dropped=True))

    def swap_collections(self, first, second):
        entries = self._entry(first), self._entry(second)
        for entry, other in zip(entries, (second, first), strict=True):
            entry.collection = dataclasses.replace(
                entry.collection, collection_id=other.collection_id
            )

    def counts(self, collection):
        entry = self._entry(collection)
        return len(entry.faces), len(entry.users)

    def sequence(self, collection):
        return self._entry(collection).sequence

    # Faces

    def add_faces(self, collection, enrolments):
        entry = self._entry(collection)
        answer, added = [], []
        for enrolment in enrolments:
            same = [e.face for e in entry.faces.values() if place(e.face) == place(enrolment.face)]
            if not same:
                entry.faces[enrolment.face.face_id] = enrolment
                entry.enrolled_at[enrolment.face.face_id] = self.clock()
                added.append((enrolment.face.face_id, enrolment.template))
            answer.append(same[0] if same else enrolment.face)
        if added:
            self._change(entry, faces_added=added)
        return answer

    def references(self, collection, face_ids):
        faces = self._entry(collection).faces
        found = [faces[i] for i in face_ids if i in faces]
        templates = np.empty((len(found), collection.dimension), np.float32)
        for row, enrolment in enumerate(found):
            templates[row] = enrolment.template
        return [enrolment.face for enrolment in found], templates

    def _faces(self, collection, face_ids):
        return {face.face_id: face for face in self.references(collection, face_ids)[0]}

    def list_faces(self, collection, *, after, limit, user_id=None, face_ids=None):
        entry = self._entry(collection)
        if user_id is not None:
            self._key(entry, user_id)
        found = [
            enrolment.face
            for i, enrolment in sorted(entry.faces.items())
            if i > after
            and (face_ids is None or i in face_ids)
            and (user_id is None or enrolment.face.user_id == user_id)
        ]
        return found[:limit]

    def delete_faces(self, collection, face_ids):
        entry = self._entry(collection)
        found = self._faces(collection, face_ids)
        owned = {i: face.user_id for i, face in found.items() if face.user_id}
        deleted = tuple(i for i in found if i not in owned)
        for i in deleted:
            del entry.faces[i]
        if deleted:
            self._change(entry, faces_removed=deleted)
        return Deletion(deleted, unknown(face_ids, found), owned)

    def faces_older_than(self, collection, age_s, *, limit):
        entry, oldest = self._entry(collection), self.clock() - age_s
        return [i for i in entry.faces if entry.enrolled_at[i] < oldest][:limit]

    # Users

    def create_user(self, collection, user_id, once):
        key = self.ids()

        def write(entry):
            if user_id in entry.users:
                raise ConflictException(f"The user id: {user_id} already exists")
            entry.users[user_id] = key

        self._once(collection, once, write)

    def delete_user(self, collection, user_id, once):
        def write(entry):
            key, had = self._key(entry, user_id), self._owned(entry, user_id)
            self._give(entry, had, None)
            del entry.users[user_id]
            if had:
                self._change(entry, users_removed=[key])

        self._once(collection, once, write)

    def user(self, collection, user_id):
        entry = self._entry(collection)
        if user_id not in entry.users:
            return None
        return User(entry.users[user_id], user_id, len(self._owned(entry, user_id)))

    def users(self, collection, keys):
        return {u.key: u for u in self._users(collection) if u.key in keys}

    def list_users(self, collection, *, after, limit):
        users = sorted(self._users(collection), key=lambda user: user.key)
        return [user for user in users if user.key > after][:limit]

    def user_template(self, collection, user_id):
        entry = self._entry(collection)
        if not (user_id in entry.users and self._owned(entry, user_id)):
            return None
        return self._aggregate(entry, user_id)

    def associate_faces(self, collection, user_id, face_ids, *, faces_max, once, accepts=None):
        def write(entry):
            key, had = self._key(entry, user_id), self._owned(entry, user_id)
            found = self._faces(collection, face_ids)
            free = [i for i, face in found.items() if face.user_id is None]
            refused = {}
            if had and accepts:
                before = self._aggregate(entry, user_id)
                for i in free:
                    template = entry.faces[i].template
                    if not accepts(before, template):
                        refused[i] = float(before @ template)
            done = tuple(i for i in free if i not in refused)
            if len(had) + len(done) > faces_max:
                raise ServiceQuotaExceededException(
                    f"The user id: {user_id} can have at most {faces_max} faces"
                )
            self._give(entry, done, user_id)
            if done:
                self._change(entry, users_added=[(key, self._aggregate(entry, user_id))])
            owned = others(found, user_id)
            count = len(had) + len(done)
            return Association(done, unknown(face_ids, found), owned, count), refused

        return self._once(collection, once, write)

    def disassociate_faces(self, collection, user_id, face_ids, *, once):
        def write(entry):
            key, had = self._key(entry, user_id), self._owned(entry, user_id)
            found = self._faces(collection, face_ids)
            done = tuple(i for i, face in found.items() if face.user_id == user_id)
            self._give(entry, done, None)
            if done and len(done) < len(had):
                self._change(entry, users_added=[(key, self._aggregate(entry, user_id))])
            elif done:
                self._change(entry, users_removed=[key])
            owned = others(found, user_id)
            return Association(done, unknown(face_ids, found), owned, len(had) - len(done))

        return self._once(collection, once, write)

    # Tags

    def tags(self, collection):
        return dict(self._entry(collection).tags)

    def tags_of(self, account, collection_id):
        found = self.collection(account, collection_id)
        return self.tags(found) if found else {}

    def tag(self, collection, tags, *, tags_max):
        entry = self._entry(collection)
        merged = entry.tags | dict(tags)
        if len(merged) > tags_max:
            raise ServiceQuotaExceededException(
                f"The collection id: {collection.collection_id} can have at most {tags_max} tags"
            )
        entry.tags = merged

    def untag(self, collection, keys):
        entry = self._entry(collection)
        entry.tags = {name: value for name, value in entry.tags.items() if name not in keys}

    # The change sequence

    def subscribe(self, apply):
        self.subscribers.append(apply)

    def unfollow(self, collection):
        pass

    def catch_up(self, collection, sequence):
        pass

    def scan(self, collections):
        entries = [self._entry(collection) for collection in collections]
        return [entry.sequence for entry in entries], self._blocks(collections, entries)

    def _blocks(self, collections, entries):
        for collection, entry in zip(collections, entries, strict=True):
            for i, enrolment in entry.faces.items():
                yield Block(collection, "faces", packed_all([i]), enrolment.template[np.newaxis])
            for user_id, key in entry.users.items():
                if self._owned(entry, user_id):
                    mean = self._aggregate(entry, user_id)[np.newaxis]
                    yield Block(collection, "users", packed_all([key]), mean)

    # Keys and audit

    def add_key(self, key):
        self.keys[key.key_id] = key

    def access_key(self, key_id):
        return self.keys.get(key_id)

    def credential(self, key_id):
        return self.keys.get(key_id) or AccessKey("", "", "", "nobody", (), active=False)

    def access_keys(self, account=None):
        return [
            dataclasses.replace(key, secret="", session_token=None)
            for _, key in sorted(self.keys.items())
            if account in (None, key.account)
        ]

    def update_key(self, key_id, *, active=None, policies=None):
        if key_id not in self.keys:
            raise ResourceNotFoundException(f"The access key: {key_id} does not exist")
        changes = {} if active is None else {"active": active}
        changes |= {} if policies is None else {"policies": tuple(policies)}
        self.keys[key_id] = dataclasses.replace(self.keys[key_id], **changes)

    def delete_key(self, key_id):
        if self.keys.pop(key_id, None) is None:
            raise ResourceNotFoundException(f"The access key: {key_id} does not exist")

    def record(self, entry):
        self.audit.append(entry)

    def close(self):
        pass

    # Pieces

    def _entry(self, collection):
        try:
            return self.entries[collection.key]
        except KeyError:
            raise ResourceNotFoundException(
                f"The collection id: {collection.collection_id} does not exist"
            ) from None

    def _key(self, entry, user_id):
        try:
            return entry.users[user_id]
        except KeyError:
            raise ResourceNotFoundException(f"The user id: {user_id} does not exist") from None

    def _users(self, collection):
        return [self.user(collection, user_id) for user_id in self._entry(collection).users]

    def _owned(self, entry, user_id):
        return [i for i, e in entry.faces.items() if e.face.user_id == user_id]

    def _give(self, entry, face_ids, user_id):
        for i in face_ids:
            face = dataclasses.replace(entry.faces[i].face, user_id=user_id)
            entry.faces[i] = dataclasses.replace(entry.faces[i], face=face)

    def _aggregate(self, entry, user_id):
        owned = [entry.faces[i] for i in sorted(self._owned(entry, user_id))]
        total = sum(e.weight for e in owned)
        mean = sum(e.weight / total * e.template.astype(np.float64) for e in owned)
        length = np.sqrt(np.sum(mean**2))
        return owned[0].template if length < 1e-6 else (mean / length).astype(np.float32)

    def _change(self, entry, **index):
        entry.sequence += 1
        self._publish(Change(entry.collection, entry.sequence, **index))

    def _publish(self, change):
        for apply in self.subscribers:
            apply(change)

    def _once(self, collection, once, write):
        entry = self._entry(collection)
        if once is None:
            return write(entry)
        place = (once.operation, once.token)
        at, fingerprint, answer = entry.tokens.get(place, (float("-inf"), b"", None))
        if at < self.clock() - 24 * 3600:
            answer = write(entry)
            entry.tokens[place] = (self.clock(), once.fingerprint, answer)
        elif fingerprint != once.fingerprint:
            raise IdempotentParameterMismatchException(
                f"The ClientRequestToken: {once.token} you have supplied is already in use"
            )
        return answer


def place(face):
    """What makes a face of a picture the same face."""
    return face.image_id, [f"{edge:.6g}" for edge in face.box]


def unknown(face_ids, found):
    return tuple(i for i in dict.fromkeys(face_ids) if i not in found)


def others(found, user_id):
    return {i: face.user_id for i, face in found.items() if face.user_id not in (None, user_id)}
