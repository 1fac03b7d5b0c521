"""The index in a sealed file, so that a start need not read and quantise the truth again.

It is disposable: what it holds is in the truth, and a space counts only if it stands at the change
sequence that the truth has. Content, in order: a record for each space, then an empty one. A record
is the length of its JSON (4 bytes, little endian), the JSON, the centre's float32 values where it
has one, and the rows in blocks of at most 16,384: each block is the columns of `columns.Chunk`, one
behind the other.
"""

from __future__ import annotations

import math
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from recollect.gallery.codes import Widest
from recollect.gallery.columns import Layout
from recollect.gallery.crypt import Damaged
from recollect.gallery.sealed import SealedReader, SealedWriter
from recollect.gallery.store import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from recollect.gallery.columns import AnyColumn
    from recollect.gallery.region import Region
    from recollect.gallery.store import Template

FORMAT: Final = 2
"""Counts up when records, codes, sign bits or their rotation come to mean something else."""

BLOCK_ROWS: Final = 16_384


class Version(msgspec.Struct, frozen=True):
    """What every version of a record begins with."""

    format: int


class Record(Version, frozen=True):
    """What a snapshot says of a space before its rows."""

    key: int
    kind: Kind
    sequence: int
    dimension: int
    keeps_templates: bool
    keeps_signs: bool
    centred: bool
    rows: int
    widest: Widest

    @property
    def layout(self) -> Layout:
        """Of its columns."""
        return Layout(self.dimension, self.keeps_templates, self.keeps_signs)


def write(file: IO[bytes], key: bytes, regions: Iterable[tuple[tuple[int, Kind], Region]]) -> None:
    """Write spaces, each as a search would see it now."""
    sealed = SealedWriter(file, key)
    for (collection, kind), region in regions:
        with region.reading() as view:
            layout, centre = region.shelf.layout, region.centre
            widest = Widest()
            for part in view.parts:
                widest = widest.or_(part.widest)
            record = Record(
                FORMAT,
                collection,
                kind,
                view.sequence,
                layout.dimension,
                layout.keeps_templates,
                layout.keeps_signs,
                bool(centre.square),
                sum(part.rows - part.dead_count for part in view.parts),
                widest,
            )
            _write_json(sealed, msgspec.json.encode(record))
            if record.centred:
                sealed.write(centre.vector.data)
            for part in view.parts:
                live = part.extent.start + part.live()
                for first in range(0, len(live), BLOCK_ROWS):
                    rows = live[first : first + BLOCK_ROWS]
                    sealed.write(len(rows).to_bytes(4, "little"))
                    for column in part.extent.chunk.columns:
                        sealed.write(column[rows].data)
    _write_json(sealed, b"")
    sealed.finish()


class Reader:
    """Reads the spaces of a snapshot in order.

    Raises:
        Damaged: from any method, where the file is not one that `write` finished with this key.
    """

    def __init__(self, file: IO[bytes], key: bytes) -> None:
        self._sealed = SealedReader(file, key)

    def records(self) -> Iterator[tuple[Record, Template | None]]:
        """Each space with its centre; its `blocks` have to be read before the next."""
        while json := self._sealed.read(int.from_bytes(self._sealed.read(4), "little")):
            if msgspec.json.decode(json, type=Version).format != FORMAT:
                raise Damaged("the snapshot is of another version of recollect")
            record = msgspec.json.decode(json, type=Record)
            centre = (
                self._array(np.dtype(np.float32), (record.dimension,)) if record.centred else None
            )
            yield record, centre
        self._sealed.finish()

    def blocks(self, record: Record) -> Iterator[list[AnyColumn]]:
        """Columns of a space's rows, block by block."""
        kinds = record.layout.columns().values()
        done = 0
        while done < record.rows:
            count = int.from_bytes(self._sealed.read(4), "little")
            if not 0 < count <= BLOCK_ROWS:
                raise Damaged("a block of the snapshot has an impossible length")
            yield [self._array(kind, (count, *shape)) for kind, shape in kinds]
            done += count

    def _array(self, kind: np.dtype[Any], shape: tuple[int, ...]) -> AnyColumn:
        raw = self._sealed.read(kind.itemsize * math.prod(shape))
        return np.frombuffer(raw, kind).reshape(shape)


def _write_json(sealed: SealedWriter, json: bytes) -> None:
    sealed.write(len(json).to_bytes(4, "little"))
    sealed.write(json)
