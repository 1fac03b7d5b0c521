"""All collections as operations search them: the index, kept level with the truth."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from recollect.errors import InternalServerError
from recollect.gallery.crypt import Damaged

if TYPE_CHECKING:
    from collections.abc import Callable

    from recollect.gallery.arena import Arena
    from recollect.gallery.store import Candidate, Change, Collection, Store, Template

log = logging.getLogger(__name__)

Kind = Literal["faces", "users"]

KINDS: Final[tuple[Kind, ...]] = ("faces", "users")
WAIT_S_MAX: Final = 5.0
"""Longest wait of a search for the index to reach the truth of its beginning."""
LATER_MAX: Final = 10_000
"""Changes kept for a collection that is being read; with more of them it is read again."""


class _Index:
    """A collection in the arena, from one load to its end."""

    def __init__(self, sequence: int) -> None:
        self.sequence = sequence
        """The last change applied."""


class Galleries:
    """Searches every collection, and never answers from an index that is behind the truth.

    Args:
        store: the truth; subscribed to.
        arena: the index, empty.
        centre_of: a model pack's name to the mean of its templates, or None.
        wait_s_max: longest wait of a search.
        at_first_use: true where several nodes share the store: each then holds the collections
            that it was asked to search, in place of all of them.
    """

    def __init__(
        self,
        store: Store,
        arena: Arena,
        centre_of: Callable[[str], Template | None],
        *,
        wait_s_max: float = WAIT_S_MAX,
        at_first_use: bool = False,
    ) -> None:
        self._store = store
        self._arena = arena
        self._centre_of = centre_of
        self._wait_s_max = wait_s_max
        self._at_first_use = at_first_use
        # Guards the three below; notified when a collection's index has moved.
        self._moved = threading.Condition(threading.RLock())
        self._open: dict[int, _Index] = {}
        self._loading: dict[int, list[Change]] = {}
        """Collections that are being read, and the changes that came meanwhile."""
        self._broken: dict[int, str] = {}
        self._loaded = False
        store.subscribe(self._apply)

    def load(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Build the index from the truth, or nothing where that is done at first use.

        A collection with damaged templates is left out, named in the log, and answers every
        search with an error; the others are served.

        Args:
            progress: called with the faces loaded so far and those there are.
        """
        collections = [] if self._at_first_use else self._store.every_collection()
        total = sum(self._store.counts(collection)[0] for collection in collections)
        done = 0

        def read(count: int) -> None:
            nonlocal done
            done += count
            if progress is not None:
                progress(done, total)

        for collection in collections:
            self._load(collection, read)
        self._loaded = True

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

        Everything acknowledged before the call is seen, nothing whose deletion was; on any node.

        Args:
            collection: where.
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
        """
        deadline = time.monotonic() + self._wait_s_max
        while True:
            index = self._level(collection, self._store.sequence(collection), deadline)
            try:
                found = self._arena.search(
                    (collection.key, kind),
                    probe,
                    count_max=count_max,
                    score_min=score_min,
                    exclude=exclude,
                )
            except KeyError:
                if self._open.get(collection.key) is index:
                    raise
            else:
                # Where it was put away meanwhile, this may have been another one, half read.
                if self._open.get(collection.key) is index:
                    return found

    def _level(self, collection: Collection, wanted: int, deadline: float) -> _Index:
        """Wait until a collection's index has reached a change, which may mean to read it."""
        key = collection.key
        # Without the lock: the common case, and a search must not queue behind a change.
        index = self._open.get(key)
        if index is not None and index.sequence >= wanted:
            return index
        while True:
            self._load(collection)
            self._store.catch_up(collection, wanted)
            with self._moved:
                self._moved.wait_for(
                    lambda: key not in self._loading and self._reached(key, wanted),
                    deadline - time.monotonic(),
                )
                if key in self._broken:
                    raise InternalServerError(self._broken[key])
                index = self._open.get(key)
                if index is not None and index.sequence >= wanted:
                    return index
                if time.monotonic() >= deadline:
                    raise InternalServerError("The index is behind the truth; try again")

    def _reached(self, key: int, wanted: int) -> bool:
        index = self._open.get(key)
        return index is None or index.sequence >= wanted

    def _load(self, collection: Collection, read: Callable[[int], None] | None = None) -> None:
        """Read a collection into the index, where nobody did or does so.

        Others are searched and changed meanwhile; its own changes wait for the end.
        """
        key = collection.key
        with self._moved:
            if key in self._open or key in self._broken or key in self._loading:
                return
            later = self._loading[key] = []
        try:
            index = self._read(collection, read)
        except BaseException as error:
            with self._moved:
                del self._loading[key]
                if isinstance(error, Damaged):
                    self._break(collection, str(error))
                    return
                self._put_away(key)
            raise
        with self._moved:
            del self._loading[key]
            self._open[key] = index
            for change in later:
                self._take(change)
            self._moved.notify_all()

    def _read(self, collection: Collection, read: Callable[[int], None] | None) -> _Index:
        key = collection.key
        centre = self._centre_of(collection.pack)
        for kind in KINDS:
            self._arena.open((key, kind), collection.dimension, centre)
        sequence, blocks = self._store.scan(collection)
        for ids, templates in blocks:
            self._arena.load((key, "faces"), ids, templates)
            if read is not None:
                read(len(ids))
        for ids, templates in self._store.scan_users(collection):
            self._arena.load((key, "users"), ids, templates)
        for kind in KINDS:
            self._arena.publish((key, kind), sequence, (), ())
        return _Index(sequence)

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
                self._load(change.collection)
        elif index is None:
            # Reads everything from the truth, this change included. A new collection is little to
            # read, and grows here from now on.
            if not self._at_first_use or change.sequence == 1:
                self._load(change.collection)
        elif change.sequence > index.sequence:
            try:
                self._publish(change, index)
            except BaseException as error:
                self._break(change.collection, f"the index could not follow: {error!r}")
                raise

    def _publish(self, change: Change, index: _Index) -> None:
        key, sequence = change.collection.key, change.sequence
        expected = index.sequence + 1
        assert sequence == expected, f"change {sequence} came where {expected} was due"
        self._arena.publish((key, "faces"), sequence, change.faces_added, change.faces_removed)
        self._arena.publish((key, "users"), sequence, change.users_added, change.users_removed)
        index.sequence = sequence

    def _put_away(self, key: int) -> None:
        self._open.pop(key, None)
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
