"""The index: every collection's templates in memory, exact, published before the acknowledgement.

A search reads an immutable view and never waits for a writer longer than the swap of one
reference. A row is written once, before a view shows it, and overwritten when no view that a
search holds shows it any more.
"""

from __future__ import annotations

import bisect
import threading
from collections import deque
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from recollect.gallery.codes import Centre, Query, encode
from recollect.gallery.columns import CHUNK_ROWS, EXTENT_ROWS_MIN, Shelf
from recollect.gallery.directory import Directory
from recollect.gallery.scan import NumpyKernel, Part, Survivors, gather
from recollect.gallery.store import Candidate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from recollect.gallery.columns import Bytes, Chunk, Extent
    from recollect.gallery.directory import Addresses
    from recollect.gallery.scan import Kernel
    from recollect.gallery.store import Template, Templates

Space = tuple[int, str]
"""A collection's key and what is searched in it: "faces" or "users"."""

LOADED_TOGETHER = 8192
"""Rows quantised in one step, so that they stay in the processor's cache."""


class Arena:
    """Spaces of templates, each searched as a whole; safe from any thread.

    Args:
        threads: most threads that one search may use.
        kernel: "auto", or "native", "numkong" or "numpy" to insist on one.
    """

    def __init__(self, *, threads: int = 1, kernel: str = "auto") -> None:
        assert threads >= 1
        assert kernel in ("auto", "native", "numkong", "numpy")
        self._kernel: Kernel = NumpyKernel()
        self.kernel = self._kernel.name
        self._shelves: dict[int, Shelf] = {}
        self._spaces: dict[Space, _Gallery] = {}
        self._lock = threading.Lock()

    def open(self, space: Space, dimension: int, centre: Template | None) -> None:
        """Make a space; `centre` holds for as long as it lives. It must not exist."""
        with self._lock:
            assert space not in self._spaces, f"{space} is open already"
            shelf = self._shelves.get(dimension)
            if shelf is None:
                shelf = self._shelves[dimension] = Shelf(dimension, keeps_templates=True)
            self._spaces[space] = _Gallery(shelf, Centre.of(centre, dimension))

    def load(self, space: Space, ids: Sequence[str], templates: Templates) -> None:
        """Add references in bulk, before the first `publish`; their ids must be new."""
        self._spaces[space].load(packed(ids), templates)

    def publish(
        self,
        space: Space,
        sequence: int,
        added: Sequence[tuple[str, Template]],
        removed: Sequence[str],
    ) -> None:
        """Apply one change: a search sees all of it or nothing.

        Removals come first, then additions, which replace what stands under the same id. Unknown
        removals are ignored. A change at or below the applied sequence has been seen already and
        is ignored too: a space that was loaded from a newer picture meets older changes.
        """
        self._spaces[space].publish(sequence, added, removed)

    def sequence(self, space: Space) -> int:
        """The last change applied; 0 before the first."""
        return self._spaces[space].sequence

    def search(
        self,
        space: Space,
        probe: Template,
        *,
        count_max: int,
        score_min: float,
        exclude: str | None = None,
    ) -> list[Candidate]:
        """Find the references that reach a score, exactly.

        Sees everything published before it began, and nothing removed before it began.

        Args:
            space: where to search.
            probe: float32, shape (dimension,), unit length.
            count_max: most candidates returned, at least 1.
            score_min: lowest score returned, compared after the score's rounding to float32.
            exclude: an id that is never returned.

        Returns:
            Candidates by falling score; equal scores by rising id. Scores are `exact.scores`, to
            the bit.

        Raises:
            KeyError: the space is not open (dropped meanwhile, perhaps).
        """
        assert count_max >= 1
        gallery = self._spaces[space]
        dimension = gallery.shelf.dimension
        assert probe.shape == (dimension,), "probe comes from another model"
        assert abs(float(np.linalg.norm(probe)) - 1.0) < 1e-3, "probe is not unit length"
        query = Query.of(probe, gallery.centre)
        survivors = Survivors(count_max + (exclude is not None), score_min)
        with gallery.reading() as view:
            for index, part in enumerate(view.parts):
                self._kernel.sift(index, part, query, survivors)
            answers = gather(view.parts, survivors.rows(), query)
        shut_out = None if exclude is None else packed([exclude]).tobytes()
        best = answers.best(count_max, score_min, shut_out)
        return [
            Candidate(face_id, score)
            for face_id, score in zip(unpacked(best.ids), best.scores.tolist(), strict=True)
        ]

    def drop(self, space: Space) -> None:
        """Forget a space and overwrite its rows; searches in progress finish first."""
        with self._lock:
            gallery = self._spaces.pop(space)
        gallery.drop()

    def close(self) -> None:
        """Forget every space."""
        for space in list(self._spaces):
            self.drop(space)


class _View(NamedTuple):
    """What one search sees, from beginning to end."""

    version: int
    parts: tuple[Part, ...]


class _Gallery:
    """One space: its extents, its directory of ids, and the views that searches hold."""

    def __init__(self, shelf: Shelf, centre: Centre) -> None:
        self.shelf = shelf
        self.centre = centre
        self.sequence = 0
        self._view = _View(0, ())
        self._directory: Directory | None = None
        # Held by a writer for a whole change. Searches never take it.
        self._writing = threading.Lock()
        # Guards view, sequence, readers and leftovers; held for a few instructions.
        self._swapping = threading.Lock()
        self._readers: dict[int, int] = {}
        self._leftovers: deque[tuple[int, Callable[[], None]]] = deque()
        self._clearing = threading.Lock()
        self._dropped = False

    @contextmanager
    def reading(self) -> Iterator[_View]:
        """Hold the current view: no row that it shows is overwritten meanwhile."""
        with self._swapping:
            view = self._view
            self._readers[view.version] = self._readers.get(view.version, 0) + 1
        try:
            yield view
        finally:
            with self._swapping:
                if self._readers[view.version] == 1:
                    del self._readers[view.version]
                else:
                    self._readers[view.version] -= 1
            self._clear_up()

    def load(self, ids: Bytes, templates: Templates) -> None:
        """Append references and show them; the change sequence stays."""
        assert len(ids) == len(templates)
        with self._changing() as change:
            change.append(ids, templates)

    def publish(
        self, sequence: int, added: Sequence[tuple[str, Template]], removed: Sequence[str]
    ) -> None:
        """Apply one change of the sequence."""
        with self._changing() as change:
            if sequence <= self.sequence:
                return
            latest = dict(added)
            gone = list({*removed, *latest})
            if gone:
                change.remove(packed(gone))
            if latest:
                change.append(packed(list(latest)), np.stack(list(latest.values())))
            change.compact()
            change.sequence = sequence

    def drop(self) -> None:
        """Give every extent back; nothing can be written any more."""
        with self._changing() as change:
            change.leave(change.parts)
            change.parts = []
            self._dropped = True

    @property
    def directory(self) -> Directory:
        """Where each id stands; built when first needed, since most spaces rarely change."""
        if self._directory is None:
            self._directory = Directory(self.ids_at)
            for extent, rows, dead, _ in self._view.parts:
                here = np.arange(rows) if dead is None else np.flatnonzero(~dead[:rows])
                ids = extent.chunk.ids[extent.start + here]
                self._directory.add(ids, extent.address + here)
        return self._directory

    def ids_at(self, addresses: Addresses) -> Bytes:
        """Read the ids that stand at addresses."""
        out = np.empty((len(addresses), 16), np.uint8)
        numbers = addresses // CHUNK_ROWS
        for number in np.unique(numbers):
            here = numbers == number
            out[here] = self.shelf.chunk(int(number)).ids[addresses[here] % CHUNK_ROWS]
        return out

    @contextmanager
    def _changing(self) -> Iterator[_Change]:
        """Make the next view; show it to every search that begins from then on."""
        with self._writing:
            if self._dropped:
                raise KeyError("the space was dropped")
            change = _Change(self, self._view)
            try:
                yield change
            except BaseException:
                # The view is as it was; the directory may be half changed and is built again.
                self._directory = None
                self.shelf.give(change.taken)
                raise
            with self._swapping:
                version = self._view.version + 1
                self._view = _View(version, tuple(change.parts))
                self._leftovers.extend((version, leftover) for leftover in change.leftovers)
                self.sequence = change.sequence
        self._clear_up()

    def _clear_up(self) -> None:
        """Overwrite what no view in use shows any more, oldest first, one thread at a time.

        Whoever finds another thread at it leaves the work to that thread, which looks again
        after it has let go.
        """
        while self._overwritable() and self._clearing.acquire(blocking=False):
            try:
                while self._overwritable():
                    self._leftovers.popleft()[1]()
            finally:
                self._clearing.release()

    def _overwritable(self) -> bool:
        with self._swapping:
            oldest = min(self._readers, default=self._view.version)
            return bool(self._leftovers) and self._leftovers[0][0] <= oldest


class _Change:
    """The parts of the next view, in the making, sorted by address."""

    def __init__(self, gallery: _Gallery, view: _View) -> None:
        self.gallery = gallery
        self.parts = list(view.parts)
        self.sequence = gallery.sequence
        self.taken: list[Extent] = []
        self.leftovers: list[Callable[[], None]] = []

    def remove(self, ids: Bytes) -> None:
        """Mark rows as dead; ids that are not here are ignored."""
        directory = self.gallery.directory
        addresses = directory.find(ids)
        known = addresses >= 0
        directory.remove(ids[known])
        starts = [part.extent.address for part in self.parts]
        owners = np.searchsorted(starts, addresses[known], side="right") - 1
        for owner in np.unique(owners):
            extent, rows, dead, dead_count = self.parts[owner]
            here = addresses[known][owners == owner] - extent.address
            dead = np.zeros(extent.capacity, np.bool_) if dead is None else dead.copy()
            dead[here] = True
            self.parts[owner] = Part(extent, rows, dead, dead_count + len(here))
            self.leftovers.append(partial(extent.wipe, here))

    def append(self, ids: Bytes, templates: Templates) -> None:
        """Write rows that no view shows yet."""
        assert templates.dtype == np.float32
        assert templates.shape[1:] == (self.gallery.shelf.dimension,), "of another model"
        lengths = np.einsum("ij,ij->i", templates, templates)
        assert (np.abs(lengths - 1) < 2e-3).all(), "a template is not unit length"
        for taken, chunk, rows in self._room(len(ids)):
            coded = encode(templates[taken], self.gallery.centre)
            chunk.codes[rows] = coded.codes
            chunk.scale[rows] = coded.scale
            chunk.offset[rows] = coded.offset
            chunk.error[rows] = coded.error
            chunk.norm[rows] = coded.norm
            chunk.ids[rows] = ids[taken]
            if chunk.templates is not None:
                chunk.templates[rows] = templates[taken]
            self._enter(chunk, rows)

    def compact(self) -> None:
        """Move the live rows out of extents that are dead for the greater part."""
        sparse = [part for part in self.parts if 2 * part.dead_count > part.rows]
        if not sparse:
            return
        self.parts = [part for part in self.parts if 2 * part.dead_count <= part.rows]
        for extent, rows, dead, _ in sparse:
            assert dead is not None
            live = extent.start + np.flatnonzero(~dead[:rows])
            self.gallery.directory.remove(extent.chunk.ids[live])
            for taken, chunk, places in self._room(len(live)):
                for to, since in zip(chunk.columns(), extent.chunk.columns(), strict=True):
                    to[places] = since[live[taken]]
                self._enter(chunk, places)
        self.leave(sparse)

    def leave(self, parts: Sequence[Part]) -> None:
        """Give the extents of parts back once no search sees them."""
        self.leftovers.append(partial(self.gallery.shelf.give, [part.extent for part in parts]))

    def _room(self, count: int) -> Iterator[tuple[slice, Chunk, slice]]:
        """Find free rows for `count` new ones, in new extents where the old ones are full.

        Yields:
            Which of the new rows go into which rows of which chunk.
        """
        done = 0
        while done < count:
            index = self._roomy(count - done)
            extent, rows, dead, dead_count = self.parts[index]
            fits = min(extent.capacity - rows, count - done, LOADED_TOGETHER)
            self.parts[index] = Part(extent, rows + fits, dead, dead_count)
            first = extent.start + rows
            yield slice(done, done + fits), extent.chunk, slice(first, first + fits)
            done += fits

    def _roomy(self, count: int) -> int:
        """Index of a part with room; a new one is a quarter of the space, or what is needed."""
        for index, part in enumerate(self.parts):
            if part.rows < part.extent.capacity:
                return index
        total = sum(part.rows for part in self.parts)
        extent = self.gallery.shelf.take(max(EXTENT_ROWS_MIN, count, total // 4))
        self.taken.append(extent)
        index = bisect.bisect([part.extent.address for part in self.parts], extent.address)
        self.parts.insert(index, Part(extent, 0, None, 0))
        return index

    def _enter(self, chunk: Chunk, rows: slice) -> None:
        """Enter new rows in the directory, where there is one."""
        if self.gallery._directory is not None:
            addresses = chunk.number * CHUNK_ROWS + np.arange(rows.start, rows.stop)
            self.gallery._directory.add(chunk.ids[rows], addresses)


def packed(ids: Sequence[str]) -> Bytes:
    """Lower-case UUID strings as bytes, shape (count, 16)."""
    raw = bytes.fromhex("".join(ids).replace("-", ""))
    assert len(raw) == 16 * len(ids), "an id is not a UUID"
    return np.frombuffer(raw, np.uint8).reshape(len(ids), 16)


def unpacked(ids: Bytes) -> list[str]:
    """Bytes of shape (count, 16) as lower-case UUID strings."""
    digits = np.ascontiguousarray(ids).tobytes().hex()
    return [
        f"{d[:8]}-{d[8:12]}-{d[12:16]}-{d[16:20]}-{d[20:]}"
        for d in (digits[at : at + 32] for at in range(0, len(digits), 32))
    ]
