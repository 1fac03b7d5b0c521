"""All collections as operations search them: the index, kept level with the truth."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final, Literal

from recollect.errors import InternalServerError, ResourceNotFoundException
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


class Galleries:
    """Searches every collection, and never answers from an index that is behind the truth.

    Args:
        store: the truth; subscribed to.
        arena: the index, empty.
        centre_of: a model pack's name to the mean of its templates, or None.
        wait_s_max: longest wait of a search.
    """

    def __init__(
        self,
        store: Store,
        arena: Arena,
        centre_of: Callable[[str], Template | None],
        *,
        wait_s_max: float = WAIT_S_MAX,
    ) -> None:
        self._store = store
        self._arena = arena
        self._centre_of = centre_of
        self._wait_s_max = wait_s_max
        # Guards the two below; notified when a collection's index has moved.
        self._moved = threading.Condition(threading.RLock())
        self._applied: dict[int, int] = {}
        self._broken: dict[int, str] = {}
        self._loaded = False
        store.subscribe(self._apply)

    def load(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Build the index from the truth.

        A collection with damaged templates is left out, named in the log, and answers every
        search with an error; the others are served.

        Args:
            progress: called with the faces loaded so far and those there are.
        """
        collections = self._store.every_collection()
        total = sum(self._store.counts(collection)[0] for collection in collections)
        done = 0

        def read(count: int) -> None:
            nonlocal done
            done += count
            if progress is not None:
                progress(done, total)

        for collection in collections:
            with self._moved:
                self._open(collection, read)
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

        Everything acknowledged before the call is seen, nothing whose deletion was.

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
        wanted = self._store.sequence(collection)
        self._wait(collection, wanted)
        try:
            return self._arena.search(
                (collection.key, kind),
                probe,
                count_max=count_max,
                score_min=score_min,
                exclude=exclude,
            )
        except KeyError:
            raise _gone(collection) from None

    def _wait(self, collection: Collection, wanted: int) -> None:
        key = collection.key
        # Without the lock: the common case, and a search must not queue behind a change.
        if self._applied.get(key, -1) >= wanted:
            return
        with self._moved:
            if key not in self._applied and key not in self._broken:
                self._open(collection)
            reached = self._moved.wait_for(
                lambda: key in self._broken or self._applied.get(key, -1) >= wanted,
                self._wait_s_max,
            )
            if key in self._broken:
                raise InternalServerError(self._broken[key])
            if not reached:
                raise InternalServerError("The index is behind the truth; try again")

    def _open(self, collection: Collection, read: Callable[[int], None] | None = None) -> None:
        """Read a collection into the index. Whoever calls holds `_moved`."""
        key = collection.key
        if key in self._applied:
            return
        centre = self._centre_of(collection.pack)
        for kind in KINDS:
            self._arena.open((key, kind), collection.dimension, centre)
        try:
            sequence, blocks = self._store.scan(collection)
            for ids, templates in blocks:
                self._arena.load((key, "faces"), ids, templates)
                if read is not None:
                    read(len(ids))
            for ids, templates in self._store.scan_users(collection):
                self._arena.load((key, "users"), ids, templates)
        except Damaged as error:
            self._break(collection, str(error))
            return
        except BaseException:
            for kind in KINDS:
                self._arena.drop((key, kind))
            raise
        for kind in KINDS:
            self._arena.publish((key, kind), sequence, (), ())
        self._applied[key] = sequence
        self._moved.notify_all()

    def _apply(self, change: Change) -> None:
        """Bring the index to a change, before its caller is answered."""
        key = change.collection.key
        with self._moved:
            if change.dropped:
                self._broken.pop(key, None)
                if self._applied.pop(key, None) is not None:
                    for kind in KINDS:
                        self._arena.drop((key, kind))
            elif key in self._broken:
                if change.faces_removed:
                    # The damaged template may be among them.
                    del self._broken[key]
                    self._open(change.collection)
            elif key not in self._applied:
                # Reads everything from the truth, this change included.
                self._open(change.collection)
            elif change.sequence > self._applied[key]:
                try:
                    self._publish(change)
                except BaseException as error:
                    self._break(change.collection, f"the index could not follow: {error!r}")
                    raise
            self._moved.notify_all()

    def _publish(self, change: Change) -> None:
        key, sequence = change.collection.key, change.sequence
        expected = self._applied[key] + 1
        assert sequence == expected, f"change {sequence} came where {expected} was due"
        self._arena.publish((key, "faces"), sequence, change.faces_added, change.faces_removed)
        self._arena.publish((key, "users"), sequence, change.users_added, change.users_removed)
        self._applied[key] = sequence

    def _break(self, collection: Collection, why: str) -> None:
        """Answer no search of a collection any more: an index that lies is worse than none."""
        log.error("collection %s/%s: %s", collection.account, collection.collection_id, why)
        self._applied.pop(collection.key, None)
        for kind in KINDS:
            self._arena.drop((collection.key, kind))
        self._broken[collection.key] = (
            f"The collection {collection.collection_id} cannot be searched: see the server's log"
        )
        self._moved.notify_all()


def _gone(collection: Collection) -> ResourceNotFoundException:
    return ResourceNotFoundException(
        f"The collection id: {collection.collection_id} does not exist"
    )
