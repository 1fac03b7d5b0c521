"""One space of the arena: its extents, where each id stands, and the views that searches hold."""

from __future__ import annotations

import bisect
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from recollect.gallery.codes import SQUARE_ERROR
from recollect.gallery.columns import CHUNK_ROWS, EXTENT_ROWS_MIN, GROUP_ROWS, Chunk
from recollect.gallery.directory import Directory
from recollect.gallery.ids import packed_all
from recollect.gallery.view import Part, View

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from recollect.gallery.codes import Centre, Widest
    from recollect.gallery.columns import AnyColumn, Bytes, Extent, Shelf
    from recollect.gallery.directory import Addresses
    from recollect.gallery.kernel import Kernel
    from recollect.gallery.store import Template, Templates

LOADED_BYTES: Final = 512 << 10
"""Templates quantised in one step, so that they stay in the processor's cache."""


class Region:
    """One space: its extents, its directory of ids, and the views that searches hold.

    There may be tens of thousands, most of them small.
    """

    __slots__ = (
        *("_clearing", "_directory", "_dropped", "_earlier", "_leftovers", "_swapping", "_view"),
        *("_writing", "centre", "kernel", "shelf"),
    )

    def __init__(self, shelf: Shelf, kernel: Kernel, centre: Centre, sequence: int) -> None:
        self.shelf = shelf
        self.kernel = kernel
        self.centre = centre
        self._view = View(0, (), sequence)
        self._directory: Directory | None = None
        # Held by a writer for a whole change. Searches never take it.
        self._writing = threading.Lock()
        # Guards all below; held for a few instructions.
        self._swapping = threading.Lock()
        self._earlier: tuple[View, ...] = ()
        """Views that were replaced while a search held them, oldest first."""
        self._leftovers: tuple[tuple[int, Callable[[], None]], ...] = ()
        """What is to be overwritten once no view before a version is held, oldest first."""
        self._clearing = False
        self._dropped = False

    @contextmanager
    def reading(self) -> Iterator[View]:
        """Hold the current view: no row that it shows is overwritten meanwhile."""
        with self._swapping:
            view = self._view
            view.readers += 1
        try:
            yield view
        finally:
            with self._swapping:
                view.readers -= 1
            self._clear_up()

    @property
    def sequence(self) -> int:
        """The last change applied."""
        return self._view.sequence

    def held_bytes(self) -> int:
        """Memory of its extents; the directory of ids is not counted."""
        rows = sum(part.extent.capacity for part in self._view.parts)
        return rows * self.shelf.row_bytes

    def load(self, ids: Bytes, templates: Templates) -> None:
        """Append references and show them; the sequence stays."""
        assert len(ids) == len(templates)
        with self._drafting() as draft:
            draft.append(ids, templates)

    def quantised(self, ids: Bytes, templates: Templates) -> tuple[list[AnyColumn], Widest]:
        """References as `restore` takes them, of this region or others of its shelf and centre."""
        groups, rows = -(-len(ids) // GROUP_ROWS), slice(0, len(ids))
        chunk = Chunk(0, self.shelf.layout, groups * GROUP_ROWS)
        self.check(templates)
        widest = self.write(ids, templates, chunk, rows)
        return [column[rows] for column in chunk.columns], widest

    def restore(self, columns: Sequence[AnyColumn], widest: Widest) -> None:
        """Append rows as a space of the same layout and centre held them."""
        with self._drafting() as draft:
            draft.copy(columns, widest)

    def publish(
        self, sequence: int, added: Sequence[tuple[str, Template]], removed: Sequence[str]
    ) -> None:
        """Apply one change of the sequence."""
        with self._drafting() as draft:
            if sequence <= self.sequence:
                return
            latest = dict(added)
            gone = list({*removed, *latest})
            if gone:
                draft.remove(packed_all(gone))
            if latest:
                draft.append(packed_all(list(latest)), np.stack(list(latest.values())))
            draft.compact()
            draft.sequence = sequence

    def drop(self) -> None:
        """Give every extent back; nothing can be written any more."""
        with self._drafting() as draft:
            draft.leave(draft.parts)
            draft.parts = []
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

    def check(self, templates: Templates) -> None:
        """Make sure that templates are of this model."""
        assert templates.dtype == np.float32
        assert templates.shape[1:] == (self.shelf.layout.dimension,), "of another model"
        lengths = np.einsum("ij,ij->i", templates, templates)
        assert (np.abs(lengths - 1) < SQUARE_ERROR).all(), "a template is not unit length"

    def write(self, ids: Bytes, templates: Templates, chunk: Chunk, rows: slice) -> Widest:
        """Fill all columns of rows."""
        chunk.ids[rows] = ids
        if chunk.templates is not None:
            chunk.templates[rows] = templates
        return self.kernel.encode(templates, self.centre, chunk, rows)

    @contextmanager
    def _drafting(self) -> Iterator[_Draft]:
        """Make the next view; show it to every search that begins from then on."""
        with self._writing:
            if self._dropped:
                raise KeyError("the space was dropped")
            draft = _Draft(self, self._view)
            try:
                yield draft
            except BaseException:
                # The view is as it was; the directory may be half changed and is built again.
                self._directory = None
                self.shelf.give(draft.taken)
                raise
            with self._swapping:
                if self._view.readers:
                    self._earlier += (self._view,)
                version = self._view.version + 1
                self._view = View(version, draft.parts, draft.sequence)
                self._leftovers += tuple((version, leftover) for leftover in draft.leftovers)
        self._clear_up()

    def _clear_up(self) -> None:
        """Overwrite what no view in use shows any more, oldest first, one thread at a time.

        Whoever finds another thread at it leaves the work to that thread, which looks again.
        """
        while self._leftovers:
            with self._swapping:
                self._earlier = tuple(view for view in self._earlier if view.readers)
                oldest = (*self._earlier, self._view)[0].version
                if self._clearing or not self._leftovers or self._leftovers[0][0] > oldest:
                    return
                self._clearing = True
                (_, clear), *later = self._leftovers
                self._leftovers = tuple(later)
            try:
                clear()
            finally:
                self._clearing = False


class _Draft:
    """The parts of the next view, in the making, sorted by address."""

    def __init__(self, region: Region, view: View) -> None:
        self.region = region
        self.parts = list(view.parts)
        self.sequence = view.sequence
        self.taken: list[Extent] = []
        self._step = max(LOADED_BYTES // (4 * region.shelf.layout.dimension), 64)
        self.leftovers: list[Callable[[], None]] = []

    def remove(self, ids: Bytes) -> None:
        """Mark rows as dead; ids that are not here are ignored."""
        directory = self.region.directory
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
        self.region.check(templates)

        def write(taken: slice, chunk: Chunk, rows: slice) -> Widest:
            return self.region.write(ids[taken], templates[taken], chunk, rows)

        self._fill(len(ids), write)

    def copy(self, columns: Sequence[AnyColumn], widest: Widest) -> None:
        """Write rows that are coded already, given as the columns of a chunk."""

        def write(taken: slice, chunk: Chunk, rows: slice) -> Widest:
            for to, since in zip(chunk.columns, columns, strict=True):
                to[rows] = since[taken]
            return widest

        self._fill(len(columns[0]), write)

    def compact(self) -> None:
        """Move the live rows out of extents that are dead for the greater part."""
        sparse = [part for part in self.parts if part.sparse]
        if not sparse:
            return
        self.parts = [part for part in self.parts if not part.sparse]
        for part in sparse:
            columns = part.live_columns()
            self.region.directory.remove(part.extent.chunk.ids[part.extent.start + part.live()])
            self.copy(columns, part.widest)
        self.leave(sparse)

    def leave(self, parts: Sequence[Part]) -> None:
        """Give the extents of parts back once no search sees them."""
        self.leftovers.append(partial(self.region.shelf.give, [part.extent for part in parts]))

    def _fill(self, count: int, write: Callable[[slice, Chunk, slice], Widest]) -> None:
        """Find room for `count` rows and let `write` put some of them into rows of a chunk."""
        done = 0
        while done < count:
            index = self._roomy(count - done)
            part = self.parts[index]
            some = min(part.room, count - done, self._step)
            first = part.extent.start + part.rows
            chunk, rows = part.extent.chunk, slice(first, first + some)
            self.parts[index] = part.longer(some, write(slice(done, done + some), chunk, rows))
            chunk.top(rows)
            if self.region._directory is not None:
                addresses = chunk.number * CHUNK_ROWS + np.arange(rows.start, rows.stop)
                self.region._directory.add(chunk.ids[rows], addresses)
            done += some

    def _roomy(self, count: int) -> int:
        """Index of a part that has room; a new one where `count` more rows need it."""
        for index, part in enumerate(self.parts):
            if part.room:
                return index
        # A quarter of the space at a time keeps both the extents and the free rows few.
        total = sum(part.rows for part in self.parts)
        extent = self.region.shelf.take(max(EXTENT_ROWS_MIN, count, total // 4))
        self.taken.append(extent)
        index = bisect.bisect([part.extent.address for part in self.parts], extent.address)
        self.parts.insert(index, Part(extent))
        return index
