"""All collections as operations search them: the index, kept level with the truth."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from recollect import telemetry
from recollect.errors import (
    InternalServerError,
    ResourceNotFoundException,
    ThrottlingException,
)
from recollect.gallery.crypt import Damaged
from recollect.gallery.store import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from recollect.gallery.arena import Arena, Space
    from recollect.gallery.store import (
        Block,
        Candidate,
        Change,
        Collection,
        Face,
        Ids,
        Kind,
        Store,
        Template,
        Templates,
    )

log = logging.getLogger(__name__)

TOGETHER: Final = 1024
"""Collections that are read together at the start."""
WAIT_S_MAX: Final = 5.0
"""Longest wait of a search for the index to reach the truth of its beginning."""
LATER_MAX: Final = 10_000
"""Changes kept for a collection that is being read; with more of them it is read again."""
ROOM_EVERY_S: Final = 0.02
"""How often one who waits for memory looks whether a search has ended."""
SAVED_BYTES_MAX: Final = 1 << 30
"""Largest index that is saved at a stop: one or two seconds of sealing, and of reading back."""
EVERY: Final = "*"
"""Stands for all collections among those to be read at the start."""


class _Index:
    """A collection in the arena, from one load to its end."""

    __slots__ = ("bytes", "collection", "searches", "sequence")

    def __init__(self, collection: Collection, sequence: int) -> None:
        self.collection = collection
        self.sequence = sequence
        """The last change applied."""
        self.bytes = 0
        """Memory that it takes."""
        self.searches = 0
        """Searches that run in it: it is not put away meanwhile."""


class Galleries:
    """Searches every collection, and never answers from an index that is behind the truth.

    Args:
        store: the truth; subscribed to.
        arena: the index, empty.
        centre_of: a model pack's name to the mean of its templates, or None.
        wait_s_max: longest wait of a search.
        first: None where everything is read at the start and kept. Else the names of the
            collections that are, `*` for all; others are read when they are first searched.
        bytes_max: memory for the index; 0 for no bound. A collection that needs room has those
            put away that were not searched for longest, and waits for searches that are in its
            way. One that is larger than all of it is held alone.
    """

    def __init__(
        self,
        store: Store,
        arena: Arena,
        centre_of: Callable[[str], Template | None],
        *,
        wait_s_max: float = WAIT_S_MAX,
        first: Iterable[str] | None = None,
        bytes_max: int = 0,
    ) -> None:
        assert first is not None or not bytes_max
        self._store = store
        self._arena = arena
        self._centre_of = centre_of
        self._wait_s_max = wait_s_max
        self._first = None if first is None else frozenset(first)
        self._bytes_max = bytes_max
        # Guards all below; notified when a collection's index has moved.
        self._moved = threading.Condition(threading.RLock())
        self._open: dict[int, _Index] = {}
        self._loading: dict[int, list[Change]] = {}
        """Collections that are being read, and the changes that came meanwhile."""
        self._broken: dict[int, str] = {}
        self._bytes = 0
        """Memory of the open collections, and what those that are being read will take."""
        self._loaded = False
        self._restored: set[int] = set()
        """Collections that were restored and not yet taken up by `load`."""
        # Guards the order, and who is searched; held for a few instructions.
        self._recency = threading.Lock()
        self._recent: OrderedDict[int, _Index] = OrderedDict()
        """Open collections, the one that was not searched for longest first."""
        store.subscribe(self._apply)

    def load(self) -> None:
        """Build the index from the truth, as far as it is to be held from the start and fits.

        A collection with damaged templates is left out, named in the log, and answers every
        search with an error; the others are served.
        """
        collections = [
            collection
            for collection in ([] if self._first == frozenset() else self._store.every_collection())
            if self._first is None or {EVERY, collection.collection_id} & self._first
        ]
        together = 1 if self._bytes_max else TOGETHER
        for first in range(0, len(collections), together):
            some = collections[first : first + together]
            try:
                if self._bytes_max and self._bytes + self._need(some[0]) > self._bytes_max:
                    log.warning("no memory for collection %s at the start", some[0].collection_id)
                else:
                    self._load(some, time.monotonic())
            except (Damaged, ResourceNotFoundException):
                # Of one of them. Each by itself, so that the others are served.
                for collection in some:
                    with suppress(ResourceNotFoundException):
                        self._load([collection], time.monotonic())
        # A set keeps the room of what was taken out of it.
        self._restored = set(self._restored)
        self._loaded = True

    def restore(self, path: Path, key: bytes) -> None:
        """Take what a saved file holds of collections that stand where it left them, before `load`.

        The file is used up. Whatever is wrong with it costs time only: `load` reads the truth.
        """
        collections = [] if self._first is not None else self._store.every_collection()
        expected: dict[Space, int] = {
            (collection.key, kind): collection.sequence
            for collection in collections
            for kind in KINDS
        }
        codes_only = {space for space in expected if space[1] == "faces"}
        try:
            opened, left_out = self._arena.restore(path, key, expected, codes_only)
        except FileNotFoundError:
            return
        except (Damaged, OSError) as error:
            log.warning("the saved index is of no use, the truth is read: %s", error)
            return
        # A collection without users has no space for them.
        whole = {number for number, kind in opened if kind == "faces"}
        whole -= {number for number, _ in left_out}
        with self._moved:
            self._restored = whole
            for number in {number for number, _ in opened} - whole:
                self._put_away(number)

    def save(self, path: Path, key: bytes) -> None:
        """Write the index to a file for `restore`, when nothing changes any more.

        Where it cannot be written, or is so large that a stop would take long, there is none.
        """
        if self._first is not None or self._bytes > SAVED_BYTES_MAX:
            return
        try:
            self._arena.save(path, key)
        except OSError as error:
            log.warning("the index was not saved, the next start reads the truth: %s", error)

    def ready(self) -> bool:
        """Whether the index was built from the truth."""
        return self._loaded

    def search(
        self,
        collection: Collection,
        probe: Template,
        *,
        count_max: int,
        score_min: float,
        kind: Kind = "faces",
        exclude: str | None = None,
    ) -> list[Candidate]:
        """Find a collection's faces or users that reach a score.

        Everything acknowledged before `collection` was read is seen, nothing whose deletion was; on
        any node. What a call promises its caller follows where the call itself has read it: an
        answer that the caller had before the call was a commit before that reading, whose number
        is then in `collection.sequence` or below it, and the index is at least as far.

        Args:
            collection: where, as it was read for this call.
            probe: float32, shape (dimension,), unit length.
            count_max: most candidates returned.
            score_min: lowest score returned, -1..1.
            kind: what is searched: faces, or users by their aggregates.
            exclude: an id that is never returned.

        Returns:
            Candidates by falling score; equal scores by rising id.

        Raises:
            ResourceNotFoundException: the collection was deleted meanwhile.
            InternalServerError: the index does not reach the truth in time, or cannot at all.
            ThrottlingException: searches of other collections take all memory.
        """
        return self._search(collection, probe, kind, count_max, score_min, exclude, {})

    def search_faces(
        self,
        collection: Collection,
        probe: Template,
        *,
        count_max: int,
        score_min: float,
        exclude: str | None = None,
    ) -> list[tuple[Face, float]]:
        """As `search`: faces as callers see them, with their scores.

        They are read with the templates that they are scored by, in one moment. One that was
        deleted since the search began is not among them.
        """
        faces: dict[str, Face] = {}
        found = self._search(collection, probe, "faces", count_max, score_min, exclude, faces)
        return [(faces[candidate.id], candidate.score) for candidate in found]

    def _search(
        self,
        collection: Collection,
        probe: Template,
        kind: Kind,
        count_max: int,
        score_min: float,
        exclude: str | None,
        faces: dict[str, Face],
    ) -> list[Candidate]:
        """Search, and put the faces that were read on the way into `faces`."""

        def outside(face_ids: Sequence[str]) -> Templates:
            found, templates = self._store.references(collection, face_ids)
            faces.update((face.face_id, face) for face in found)
            if len(found) == len(face_ids):
                return templates
            whole = np.full((len(face_ids), collection.dimension), np.nan, np.float32)
            places = {face_id: place for place, face_id in enumerate(face_ids)}
            whole[[places[face.face_id] for face in found]] = templates
            return whole

        deadline = time.monotonic() + self._wait_s_max
        while True:
            index = self._level(collection, deadline)
            try:
                found = self._arena.search(
                    (collection.key, kind),
                    probe,
                    count_max=count_max,
                    score_min=score_min,
                    exclude=exclude,
                    outside=outside,
                )
            except KeyError:
                if self._open.get(collection.key) is index:
                    if kind == "users":
                        return []  # The space is made for the first of them.
                    raise
            else:
                # Where it was dropped meanwhile, this may have been another one, half read.
                if self._open.get(collection.key) is index:
                    return found
            finally:
                with self._recency:
                    index.searches -= 1

    def _level(self, collection: Collection, deadline: float) -> _Index:
        """Wait until the index has reached what a collection was read at, which may mean to read it
        all.

        It is not put away before its `searches` are counted down again.
        """
        key, wanted = collection.key, collection.sequence
        # Without the lock: the common case, and a search must not queue behind a change.
        index = self._held(key, wanted)
        if index is not None:
            return index
        while True:
            self._load([collection], deadline)
            self._store.catch_up(collection, wanted)
            with self._moved:
                self._moved.wait_for(
                    lambda: key not in self._loading and self._reached(key, wanted),
                    deadline - time.monotonic(),
                )
                if key in self._broken:
                    raise InternalServerError(self._broken[key])
                index = self._held(key, wanted)
                if index is not None:
                    return index
                if time.monotonic() >= deadline:
                    raise InternalServerError("The index is behind the truth; try again")

    def _held(self, key: int, wanted: int) -> _Index | None:
        """A collection's index where it has reached a change, kept for a search."""
        with self._recency:
            index = self._recent.get(key)
            if index is None or index.sequence < wanted:
                return None
            self._recent.move_to_end(key)
            index.searches += 1
            return index

    def _reached(self, key: int, wanted: int) -> bool:
        index = self._open.get(key)
        return index is None or index.sequence >= wanted

    def _load(self, collections: Sequence[Collection], deadline: float) -> None:
        """Read collections into the index, where nobody did or does so.

        Others are searched and changed meanwhile; their own changes wait for the end. One that is
        damaged is broken from then on; of several nothing is read, and Damaged says why.
        """
        need = sum(map(self._need, collections)) if self._bytes_max else 0
        with self._moved:
            while True:
                wanted = [
                    collection
                    for collection in collections
                    if collection.key not in self._open
                    and collection.key not in self._broken
                    and collection.key not in self._loading
                ]
                if not wanted:
                    return
                if self._make_room(need):
                    break
                if time.monotonic() >= deadline:
                    raise ThrottlingException
                self._moved.wait(ROOM_EVERY_S)
            later: dict[int, list[Change]] = {collection.key: [] for collection in wanted}
            self._loading.update(later)
            self._bytes += need
        try:
            indexes = self._read(wanted)
        except BaseException as error:
            with self._moved:
                self._bytes -= need
                for key in later:
                    del self._loading[key]
                    self._put_away(key)
                if isinstance(error, Damaged) and len(wanted) == 1:
                    self._break(wanted[0], str(error))
                    return
            raise
        telemetry.COLLECTIONS_LOADED.inc(len(indexes))
        with self._moved:
            self._bytes -= need
            for index in indexes:
                key = index.collection.key
                del self._loading[key]
                self._open[key] = index
                with self._recency:
                    self._recent[key] = index
                self._weigh(index)
                for change in later[key]:
                    self._take(change)
            telemetry.INDEX_BYTES.set(self._bytes)
            self._moved.notify_all()

    def _read(self, collections: Sequence[Collection]) -> list[_Index]:
        indexes = []
        unread = []
        for collection in collections:
            if collection.key in self._restored:
                self._restored.remove(collection.key)
                sequence = self._arena.sequence((collection.key, "faces"))
                indexes.append(_Index(collection, sequence))
            else:
                unread.append(collection)
        if not unread:
            return indexes
        sequences, blocks = self._store.scan(unread)
        for collection, sequence in zip(unread, sequences, strict=True):
            indexes.append(_Index(collection, sequence))
            self._open_space(collection, "faces", sequence)
        self._arena.load(self._references(blocks))
        return indexes

    def _references(self, blocks: Iterable[Block]) -> Iterator[tuple[Space, Ids, Templates]]:
        for block in blocks:
            key, kind = block.collection.key, block.kind
            if (key, kind) not in self._arena:
                self._open_space(block.collection, kind, self._arena.sequence((key, "faces")))
            yield (key, kind), block.ids, block.templates

    def _open_space(self, collection: Collection, kind: Kind, sequence: int) -> None:
        self._arena.open(
            (collection.key, kind),
            collection.dimension,
            self._centre_of(collection.pack),
            # Of faces they never change, and are read beside the rest of an answer's rows.
            keeps_templates=kind != "faces",
            sequence=sequence,
        )

    def _need(self, collection: Collection) -> int:
        """Memory that a collection will take."""
        faces, users = self._store.counts(collection)
        dimension = collection.dimension
        return self._arena.need_bytes(
            dimension, faces, keeps_templates=False
        ) + self._arena.need_bytes(dimension, users, keeps_templates=True)

    def _weigh(self, index: _Index) -> None:
        """Count the memory of a collection anew."""
        key = index.collection.key
        taken = sum(self._arena.held_bytes((key, kind)) for kind in KINDS)
        self._bytes += taken - index.bytes
        index.bytes = taken

    def _make_room(self, need: int) -> bool:
        """Put away what was not searched for longest; whether there is room now.

        There is where nothing is left to be put away or waited for, however large the need.
        """
        while self._bytes_max and self._bytes + need > self._bytes_max:
            with self._recency:
                idle = next((i for i in self._recent.values() if not i.searches), None)
                if idle is None:
                    return not self._recent and not self._loading
                del self._recent[idle.collection.key]
            self._put_away(idle.collection.key)
            # Else this node would go on to read every change of it.
            self._store.unfollow(idle.collection)
            telemetry.COLLECTIONS_PUT_AWAY.inc()
        return True

    def _apply(self, change: Change) -> None:
        """Bring the index to a change, before its caller is answered."""
        with self._moved:
            later = self._loading.get(change.collection.key)
            if later is None:
                self._take(change)
            elif len(later) < LATER_MAX:
                later.append(change)
            else:
                later[:] = [replace(change, missed=True)]
            self._moved.notify_all()

    def _take(self, change: Change) -> None:
        key = change.collection.key
        index = self._open.get(key)
        if change.dropped or change.missed:
            self._broken.pop(key, None)
            self._put_away(key)
        elif key in self._broken:
            if change.faces_removed:
                # The damaged template may be among them.
                del self._broken[key]
                self._read_now(change.collection)
        elif index is None:
            # A new collection is little to read, and grows here from now on.
            if self._first is None or change.sequence == 1:
                self._read_now(change.collection)
        elif change.sequence > index.sequence:
            try:
                self._publish(change, index)
                if self._bytes_max:
                    self._weigh(index)
                    telemetry.INDEX_BYTES.set(self._bytes)
                    self._make_room(0)
            except BaseException as error:
                self._break(change.collection, f"the index could not follow: {error!r}")
                raise

    def _read_now(self, collection: Collection) -> None:
        """Read everything from the truth, the present change included; where memory is bound, it
        is left to whoever searches."""
        if not self._bytes_max:
            self._load([collection], time.monotonic())

    def _publish(self, change: Change, index: _Index) -> None:
        key, sequence = change.collection.key, change.sequence
        expected = index.sequence + 1
        assert sequence == expected, f"change {sequence} came where {expected} was due"
        self._arena.publish((key, "faces"), sequence, change.faces_added, change.faces_removed)
        users: Space = key, "users"
        if change.users_added and users not in self._arena:
            self._open_space(change.collection, "users", index.sequence)
        if users in self._arena:
            self._arena.publish(users, sequence, change.users_added, change.users_removed)
        index.sequence = sequence

    def _put_away(self, key: int) -> None:
        index = self._open.pop(key, None)
        if index is not None:
            with self._recency:
                self._recent.pop(key, None)
            self._bytes -= index.bytes
            telemetry.INDEX_BYTES.set(self._bytes)
        for kind in KINDS:
            with suppress(KeyError):  # It was never opened, or not as far as this.
                self._arena.drop((key, kind))
        self._moved.notify_all()

    def _break(self, collection: Collection, why: str) -> None:
        """Answer no search of a collection any more: an index that lies is worse than none."""
        log.error("collection %s/%s: %s", collection.account, collection.collection_id, why)
        self._broken[collection.key] = (
            f"The collection {collection.collection_id} cannot be searched: see the server's log"
        )
        self._put_away(collection.key)
