"""The index: every collection's templates in memory, exact, published before the acknowledgement.

A search reads an immutable view and never waits for a writer longer than the swap of one
reference. A row is written once, before a view shows it, and overwritten when no view that a
search holds shows it any more.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from recollect.gallery import disk, exact, snapshot
from recollect.gallery.codes import Centre
from recollect.gallery.columns import Layout, Shelf
from recollect.gallery.ids import packed_all, unpacked_all
from recollect.gallery.kernel import choose
from recollect.gallery.region import Region
from recollect.gallery.scan import Scanner, best
from recollect.gallery.store import Candidate, Kind

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping
    from pathlib import Path

    from recollect.gallery.kernel import Kernel
    from recollect.gallery.store import Ids, Template, Templates

SMALL_ROWS: Final = 512
"""References of one space from which on it pays to quantise them where they are to stay."""
TOGETHER_ROWS: Final = 4096
"""References quantised together, in memory that does not outlast it."""

Space = tuple[int, Kind]
"""A collection's key and what is searched in it: "faces" or "users"."""

_candidate = partial(tuple.__new__, Candidate)
"""A candidate of a pair, without Python's own steps: there may be thousands in an answer."""

Outside = Callable[[Sequence[str]], "Templates"]
"""Reads templates of ids, shape (count, dimension), NaN for an id that is not there any more."""


class Arena:
    """Spaces of templates, each searched as a whole; safe from any thread.

    Args:
        threads: most threads that one search may use.
        kernel: "auto", or "native", "numkong" or "numpy" to insist on one.

    Raises:
        OSError: the compiled kernel was insisted on and cannot be had.
    """

    def __init__(
        self,
        *,
        threads: int = 1,
        kernel: str | Kernel = "auto",
    ) -> None:
        assert threads >= 1
        self._kernel = choose(kernel) if isinstance(kernel, str) else kernel
        self._scanner = Scanner(self._kernel, threads)
        self._shelves: dict[tuple[int, bool], Shelf] = {}
        self._centres: dict[tuple[int, bytes | None], Centre] = {}
        self._spaces: dict[Space, Region] = {}
        self._lock = threading.Lock()

    @property
    def kernel(self) -> str:
        """The kernel that runs, and why it is not the compiled one where it is not."""
        return self._kernel.name

    def use_threads(self, threads: int) -> None:
        """Let each search use so many threads from now on; none may be in progress."""
        self._scanner.close()
        self._scanner = Scanner(self._kernel, threads)

    def open(
        self,
        space: Space,
        dimension: int,
        centre: Template | None,
        *,
        keeps_templates: bool = True,
        sequence: int = 0,
    ) -> None:
        """Make a space, which must not exist.

        Args:
            space: its name.
            dimension: of its templates.
            centre: what its codes are relative to for as long as it lives.
            keeps_templates: or codes only, which at 128 dimensions are 160 bytes a face in place of
                672 (`Layout.row_bytes`); a search then reads the templates of the few rows that it
                has to score.
            sequence: the last change of the truth that it will show when it is loaded.
        """
        with self._lock:
            assert space not in self._spaces, f"{space} is open already"
            shelf = self._shelves.get((dimension, keeps_templates))
            if shelf is None:
                shelf = Shelf(self._layout(dimension, keeps_templates=keeps_templates))
                self._shelves[dimension, keeps_templates] = shelf
            # All collections of a pack share one: there may be tens of thousands of them.
            vector = None if centre is None else np.asarray(centre, np.float32).tobytes()
            shared = self._centres.get((dimension, vector))
            if shared is None:
                shared = self._centres[dimension, vector] = Centre.of(centre, dimension)
            self._spaces[space] = Region(shelf, self._kernel, shared, sequence)

    def __contains__(self, space: Space) -> bool:
        return space in self._spaces

    def need_bytes(self, dimension: int, rows: int, *, keeps_templates: bool) -> int:
        """Memory that so many rows take; those of a space that changes take up to half more."""
        return self._layout(dimension, keeps_templates=keeps_templates).row_bytes() * rows

    def held_bytes(self, space: Space) -> int:
        """Memory that a space has taken from its shelf, rows without use included; 0 where it is
        not open."""
        region = self._spaces.get(space)
        return 0 if region is None else region.held_bytes()

    def load(self, references: Iterable[tuple[Space, Ids, Templates]]) -> None:
        """Add references to spaces in bulk, before their first `publish`; ids must be new.

        Those of many small spaces are quantised together.
        """
        waiting: list[tuple[Region, Ids, Templates]] = []
        rows = 0
        for space, ids, templates in references:
            region = self._spaces[space]
            if len(ids) > SMALL_ROWS:
                region.load(ids, templates)
                continue
            if waiting and not (
                region.shelf is waiting[0][0].shelf
                and region.centre is waiting[0][0].centre
                and rows + len(ids) <= TOGETHER_ROWS
            ):
                _load_together(waiting)
                waiting, rows = [], 0
            waiting.append((region, ids, templates))
            rows += len(ids)
        if waiting:
            _load_together(waiting)

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
        """The last change applied."""
        return self._spaces[space].sequence

    def search(
        self,
        space: Space,
        probe: Template,
        *,
        count_max: int,
        score_min: float,
        exclude: str | None = None,
        outside: Outside | None = None,
    ) -> list[Candidate]:
        """Find the references that reach a score, exactly.

        Sees everything published before it began, and nothing removed before it began.

        Args:
            space: where to search.
            probe: float32, shape (dimension,), unit length.
            count_max: most candidates returned, at least 1.
            score_min: lowest score returned, compared after the score's rounding to float32.
            exclude: an id that is never returned.
            outside: reads templates from the truth, where the space does not keep them; called
                once at most, with every id that can be an answer.

        Returns:
            Candidates by falling score; equal scores by rising id. Scores are `exact.scores`, to
            the bit.

        Raises:
            KeyError: the space is not open (dropped meanwhile, perhaps).
        """
        assert count_max >= 1
        region = self._spaces[space]
        dimension, kept = region.shelf.layout.dimension, region.shelf.layout.keeps_templates
        assert probe.shape == (dimension,), "probe comes from another model"
        assert abs(float(np.linalg.norm(probe)) - 1.0) < 1e-3, "probe is not unit length"
        query = self._kernel.query(probe, region.centre)
        with region.reading() as view:
            wanted = count_max + (exclude is not None)
            rows = self._scanner.survivors(view, query, wanted, score_min)
            if not len(rows):
                return []
            ids = self._kernel.ids(view, rows)
            if kept:
                scores = self._kernel.scores(view, rows, query)
        if not kept:
            assert outside is not None, "the space keeps no templates"
            scores = exact.scores(outside(unpacked_all([ids.tobytes()])), query.probe)
        shut_out = None if exclude is None else packed_all([exclude]).tobytes()
        ids, scores = best(ids, scores, count_max, score_min, shut_out)
        found = zip(unpacked_all([ids.tobytes()]), scores.tolist(), strict=True)
        return list(map(_candidate, found))

    def drop(self, space: Space) -> None:
        """Forget a space and overwrite its rows; searches in progress finish first."""
        with self._lock:
            region = self._spaces.pop(space)
        region.drop()

    def save(self, path: Path, key: bytes) -> None:
        """Write every space to a sealed file, for `restore` at the next start.

        The file takes the place of one that stands there only when it is whole and durable. It
        holds what was deleted after it was written: write it when nothing changes any more.

        Args:
            path: the file.
            key: 32 bytes, of this truth and no other: a truth that was put back from a backup
                may come to the same sequences in another way.
        """
        unfinished = path.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        with os.fdopen(
            os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb"
        ) as file:
            snapshot.write(file, key, list(self._spaces.items()))
        disk.replace(unfinished, path)

    def restore(
        self,
        path: Path,
        key: bytes,
        expected: Mapping[Space, int],
        codes_only: Container[Space] = (),
    ) -> tuple[set[Space], set[Space]]:
        """Open the spaces of a saved file that stand where the truth stands, and remove the file.

        Args:
            path: the file.
            key: that it was saved with.
            expected: the change sequence of each space that there is.
            codes_only: the spaces that are to keep no templates.

        Returns:
            The spaces that are open now, complete, and those that were left out: they, and what
            the file does not know, have to be read from the truth.

        Raises:
            FileNotFoundError: there is no such file.
            Damaged: the file is not what was saved; nothing is open.
        """
        opened: set[Space] = set()
        left_out: set[Space] = set()
        with path.open("rb") as file:
            # A snapshot is of one moment: it must not be there at a later start.
            path.unlink()
            reader = snapshot.Reader(file, key)
            try:
                for record, centre in reader.records():
                    space = record.key, record.kind
                    keeps = space not in codes_only
                    wanted = expected.get(space) == record.sequence
                    wanted &= record.layout == self._layout(record.dimension, keeps_templates=keeps)
                    if wanted:
                        self.open(
                            space,
                            record.dimension,
                            centre,
                            keeps_templates=keeps,
                            sequence=record.sequence,
                        )
                        opened.add(space)
                    else:
                        left_out.add(space)
                    for columns in reader.blocks(record):
                        if wanted:
                            self._spaces[space].restore(columns, record.widest)
            except BaseException:
                for space in opened:
                    self.drop(space)
                raise
        return opened, left_out

    def close(self) -> None:
        """Forget every space."""
        for space in list(self._spaces):
            self.drop(space)
        self._scanner.close()

    def _layout(self, dimension: int, *, keeps_templates: bool) -> Layout:
        return Layout(
            dimension,
            keeps_templates=keeps_templates,
            keeps_signs=self._kernel.keeps_signs(dimension),
        )


def _load_together(small: Sequence[tuple[Region, Ids, Templates]]) -> None:
    """Quantise what several regions of one shelf and centre are to hold, then hand it out."""
    if len(small) == 1:
        ((region, ids, templates),) = small
        region.load(ids, templates)
        return
    columns, widest = small[0][0].quantised(
        np.concatenate([ids for _, ids, _ in small]),
        np.concatenate([templates for _, _, templates in small]),
    )
    begin = 0
    for region, ids, _ in small:
        end = begin + len(ids)
        region.restore([column[begin:end] for column in columns], widest)
        begin = end
