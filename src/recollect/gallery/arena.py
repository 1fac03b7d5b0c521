"""The index: every collection's templates in memory, exact, published before the acknowledgement.

A search reads an immutable view and never waits for a writer longer than the swap of one
reference. A row is written once, before a view shows it, and overwritten when no view that a
search holds shows it any more.
"""

from __future__ import annotations

import bisect
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from recollect.gallery import exact
from recollect.gallery.codes import Centre
from recollect.gallery.columns import CHUNK_ROWS, EXTENT_ROWS_MIN, Layout, Shelf
from recollect.gallery.directory import Directory
from recollect.gallery.kernel import choose
from recollect.gallery.scan import Scanner, best
from recollect.gallery.store import Candidate
from recollect.gallery.view import Part, View

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from recollect.gallery.codes import Widest
    from recollect.gallery.columns import Bytes, Extent
    from recollect.gallery.directory import Addresses
    from recollect.gallery.kernel import Kernel
    from recollect.gallery.store import Template, Templates

Space = tuple[int, str]
"""A collection's key and what is searched in it: "faces" or "users"."""

DIGITS = np.array([place for place in range(36) if place not in (8, 13, 18, 23)])
"""Where the 32 digits of a UUID stand between its hyphens."""

HEXADECIMAL = np.array([[ord(digit) for digit in f"{byte:02x}"] for byte in range(256)], np.uint8)

LOADED_BYTES = 512 << 10
"""Templates quantised in one step, so that they stay in the processor's cache."""


class Arena:
    """Spaces of templates, each searched as a whole; safe from any thread.

    Args:
        threads: most threads that one search may use.
        kernel: "auto", or "native", "numkong" or "numpy" to insist on one.
        templates: reads templates from the truth, shape (count, dimension), NaN for an id that is
            not there any more. Where given, the arena keeps codes only, which at 128 dimensions
            are 160 bytes a face in place of 672 (`Layout.row_bytes`), and asks for the templates
            of the few rows that a search has to score.

    Raises:
        OSError: the compiled kernel was insisted on and cannot be had.
    """

    def __init__(
        self,
        *,
        threads: int = 1,
        kernel: str | Kernel = "auto",
        templates: Callable[[Space, Sequence[str]], Templates] | None = None,
    ) -> None:
        assert threads >= 1
        self._kernel = choose(kernel) if isinstance(kernel, str) else kernel
        self._scanner = Scanner(self._kernel, threads)
        self._templates = templates
        self._shelves: dict[int, Shelf] = {}
        self._centres: dict[tuple[int, bytes | None], Centre] = {}
        self._spaces: dict[Space, _Gallery] = {}
        self._lock = threading.Lock()

    @property
    def kernel(self) -> str:
        """The kernel that runs, and why it is not the compiled one where it is not."""
        return self._kernel.name

    def open(self, space: Space, dimension: int, centre: Template | None) -> None:
        """Make a space; `centre` holds for as long as it lives. It must not exist."""
        with self._lock:
            assert space not in self._spaces, f"{space} is open already"
            shelf = self._shelves.get(dimension)
            if shelf is None:
                layout = Layout(
                    dimension,
                    keeps_templates=self._templates is None,
                    keeps_signs=self._kernel.keeps_signs(dimension),
                )
                shelf = self._shelves[dimension] = Shelf(layout)
            # All collections of a pack share one: there may be tens of thousands of them.
            vector = None if centre is None else np.asarray(centre, np.float32).tobytes()
            shared = self._centres.get((dimension, vector))
            if shared is None:
                shared = self._centres[dimension, vector] = Centre.of(centre, dimension)
            gallery = _Gallery(shelf, self._kernel, shared)
            self._spaces[space] = gallery

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
        dimension = gallery.shelf.layout.dimension
        assert probe.shape == (dimension,), "probe comes from another model"
        assert abs(float(np.linalg.norm(probe)) - 1.0) < 1e-3, "probe is not unit length"
        query = self._kernel.query(probe, gallery.centre)
        with gallery.reading() as view:
            wanted = count_max + (exclude is not None)
            rows = self._scanner.survivors(view, query, wanted, score_min)
            if not len(rows):
                return []
            ids = self._kernel.ids(view, rows)
            if self._templates is None:
                scores = self._kernel.scores(view, rows, query)
        if self._templates is not None:
            scores = exact.scores(self._templates(space, unpacked(ids)), query.probe)
        shut_out = None if exclude is None else packed([exclude]).tobytes()
        ids, scores = best(ids, scores, count_max, score_min, shut_out)
        return [
            Candidate(face_id, score)
            for face_id, score in zip(unpacked(ids), scores.tolist(), strict=True)
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
        self._scanner.close()


class _Gallery:
    """One space: its extents, its directory of ids, and the views that searches hold."""

    def __init__(self, shelf: Shelf, kernel: Kernel, centre: Centre) -> None:
        self.shelf = shelf
        self.kernel = kernel
        self.centre = centre
        self.sequence = 0
        self._view = View(0, ())
        self._directory: Directory | None = None
        # Held by a writer for a whole change. Searches never take it.
        self._writing = threading.Lock()
        # Guards view, sequence, readers and leftovers; held for a few instructions.
        self._swapping = threading.Lock()
        self._readers: dict[int, int] = {}
        self._leftovers: list[tuple[int, Callable[[], None]]] = []
        self._clearing = threading.Lock()
        self._dropped = False

    @contextmanager
    def reading(self) -> Iterator[View]:
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
            for part in self._view.parts:
                ids = part.extent.chunk.ids[part.extent.start + part.live()]
                self._directory.add(ids, part.extent.address + part.live())
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
                self._view = View(version, change.parts)
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
                    self._leftovers.pop(0)[1]()
            finally:
                self._clearing.release()

    def _overwritable(self) -> bool:
        with self._swapping:
            oldest = min(self._readers, default=self._view.version)
            return bool(self._leftovers) and self._leftovers[0][0] <= oldest


class _Change:
    """The parts of the next view, in the making, sorted by address."""

    def __init__(self, gallery: _Gallery, view: View) -> None:
        self.gallery = gallery
        self.parts = list(view.parts)
        self.sequence = gallery.sequence
        self.taken: list[Extent] = []
        self._step = max(LOADED_BYTES // (4 * gallery.shelf.layout.dimension), 64)
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
            part = self.parts[owner]
            here = addresses[known][owners == owner] - part.extent.address
            self.parts[owner] = part.without(here)
            self.leftovers.append(partial(part.extent.wipe, here))

    def append(self, ids: Bytes, templates: Templates) -> None:
        """Write rows that no view shows yet."""
        assert templates.dtype == np.float32
        assert templates.shape[1:] == (self.gallery.shelf.layout.dimension,), "of another model"
        lengths = np.einsum("ij,ij->i", templates, templates)
        assert (np.abs(lengths - 1) < 2e-3).all(), "a template is not unit length"
        done = 0
        while done < len(ids):
            index, rows = self._room(len(ids) - done)
            taken = slice(done, done + rows.stop - rows.start)
            part = self.parts[index]
            chunk = part.extent.chunk
            widest = self.gallery.kernel.encode(templates[taken], self.gallery.centre, chunk, rows)
            chunk.ids[rows] = ids[taken]
            if chunk.templates is not None:
                chunk.templates[rows] = templates[taken]
            self._enter(index, rows, widest)
            done = taken.stop

    def compact(self) -> None:
        """Move the live rows out of extents that are dead for the greater part."""
        sparse = [part for part in self.parts if part.sparse]
        if not sparse:
            return
        self.parts = [part for part in self.parts if not part.sparse]
        for old in sparse:
            live = old.extent.start + old.live()
            self.gallery.directory.remove(old.extent.chunk.ids[live])
            done = 0
            while done < len(live):
                index, rows = self._room(len(live) - done)
                taken = slice(done, done + rows.stop - rows.start)
                new = self.parts[index].extent.chunk
                for to, since in zip(new.columns, old.extent.chunk.columns, strict=True):
                    to[rows] = since[live[taken]]
                self._enter(index, rows, old.widest)
                done = taken.stop
        self.leave(sparse)

    def leave(self, parts: Sequence[Part]) -> None:
        """Give the extents of parts back once no search sees them."""
        self.leftovers.append(partial(self.gallery.shelf.give, [part.extent for part in parts]))

    def _room(self, count: int) -> tuple[int, slice]:
        """Find free rows for some of `count` new ones: a part's index, and rows of its chunk."""
        index = next((i for i, part in enumerate(self.parts) if part.room), None)
        if index is None:
            # A quarter of the space at a time keeps both the extents and the free rows few.
            total = sum(part.rows for part in self.parts)
            extent = self.gallery.shelf.take(max(EXTENT_ROWS_MIN, count, total // 4))
            self.taken.append(extent)
            index = bisect.bisect([part.extent.address for part in self.parts], extent.address)
            self.parts.insert(index, Part(extent))
        part = self.parts[index]
        first = part.extent.start + part.rows
        return index, slice(first, first + min(part.room, count, self._step))

    def _enter(self, index: int, rows: slice, widest: Widest) -> None:
        """Make rows that have been written part of the next view, and of the directory."""
        part = self.parts[index]
        self.parts[index] = part.longer(rows.stop - rows.start, widest)
        if self.gallery._directory is not None:
            chunk = part.extent.chunk
            addresses = chunk.number * CHUNK_ROWS + np.arange(rows.start, rows.stop)
            self.gallery._directory.add(chunk.ids[rows], addresses)


def packed(ids: Sequence[str]) -> Bytes:
    """Lower-case UUID strings as bytes, shape (count, 16)."""
    raw = bytes.fromhex("".join(ids).replace("-", ""))
    assert len(raw) == 16 * len(ids), "an id is not a UUID"
    return np.frombuffer(raw, np.uint8).reshape(len(ids), 16)


def unpacked(ids: Bytes) -> list[str]:
    """Bytes of shape (count, 16) as lower-case UUID strings."""
    text = np.full((len(ids), 36), ord("-"), np.uint8)
    text[:, DIGITS] = HEXADECIMAL[ids].reshape(len(ids), 32)
    return [str(face_id) for face_id in text.view("S36").ravel().astype("U36").tolist()]
