"""The audit chain: each record bound to the one before it, under a key, so that no change hides."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

START: Final = bytes(32)
"""What the first record is bound to."""
BLOCK_MAX: Final = 1000
"""Records read at a time."""


@dataclass(frozen=True, slots=True)
class Record:
    """One entry of the log, as it is stored."""

    sequence: int
    """Position in the chain, rising by one from 1."""
    entry: bytes
    """JSON, as it was given."""
    mac: bytes
    """HMAC-SHA256 over the mac before it, the sequence and the entry."""


@dataclass(frozen=True, slots=True)
class Head:
    """How far the chain reaches."""

    sequence: int
    mac: bytes
    seal: bytes
    """HMAC-SHA256 over both, so that a shorter chain cannot be passed off as whole; empty where the
    last record there is was not the last that was written."""


class Log(Protocol):
    """Where the records lie."""

    def audit_chain(self) -> Chain:
        """The chain's arithmetic, under the store's key."""
        ...

    def audit_head(self) -> Head | None:
        """The end of the chain; None where nothing was recorded yet."""
        ...

    def audit_records(self, *, after: int, limit: int) -> list[Record]:
        """Records above a sequence, ascending."""
        ...


class Chain:
    """Computes what binds the records; whoever has not the key cannot."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._left: Head | None = None

    def mac(self, before: bytes, sequence: int, entry: bytes) -> bytes:
        """Bind an entry to its place."""
        return hmac.digest(self._key, b"record" + before + sequence.to_bytes(8) + entry, "sha256")

    def next(self, head: Head | None, entry: bytes) -> tuple[Record, Head]:
        """Lengthen the chain by one entry.

        Behind an end that is not the one that was sealed a number is left out: the log goes on, and
        `verify` says for good that something is missing there.
        """
        before, sequence = (head.mac, head.sequence + 1) if head else (START, 1)
        if head is not None and not self.is_end(head):
            sequence += 1
        mac = self.mac(before, sequence, entry)
        self._left = left = Head(sequence, mac, self.seal(sequence, mac))
        return Record(sequence, entry, mac), left

    def is_end(self, head: Head) -> bool:
        """Whether a chain was left with this end."""
        if head == self._left:  # Sealed here a moment ago.
            return True
        return hmac.compare_digest(head.seal, self.seal(head.sequence, head.mac))

    def seal(self, sequence: int, mac: bytes) -> bytes:
        """Seal the end of the chain."""
        return hmac.digest(self._key, b"head" + sequence.to_bytes(8) + mac, "sha256")


def verify(log: Log) -> list[str]:
    """Check every record and the chain's end; one sentence for each thing that is wrong.

    Finds records that were altered, dropped, swapped, put in or cut off at the end. It cannot
    find that the whole file was put back to an earlier moment: keep the head of `tail` elsewhere.
    """
    chain, wrong = log.audit_chain(), []
    head = log.audit_head()
    before, expected = START, 1
    for record in _records(log):
        if record.sequence != expected:
            wrong.append(f"record {expected} is missing: {record.sequence} follows")
        elif not hmac.compare_digest(record.mac, chain.mac(before, expected, record.entry)):
            wrong.append(f"record {expected} is not what was recorded there")
        before, expected = record.mac, record.sequence + 1
    if head is None:
        if expected > 1:
            wrong.append("the head of the chain is missing")
    elif not head.seal:
        wrong.append(f"what was recorded behind record {head.sequence} is missing")
    elif not chain.is_end(head):
        wrong.append("the head of the chain is not what was recorded there")
    elif (head.sequence, head.mac) != (expected - 1, before):
        wrong.append(f"the chain ends at record {expected - 1}, its head says {head.sequence}")
    return wrong


def tail(log: Log, count: int) -> list[Record]:
    """The last records, oldest first."""
    head = log.audit_head()
    if head is None:
        return []
    return log.audit_records(after=max(0, head.sequence - count), limit=count)


def export(log: Log, file: BinaryIO) -> int:
    """Write all entries as JSON lines; the number written."""
    count = 0
    for record in _records(log):
        file.write(record.entry.replace(b"\n", b" ") + b"\n")
        count += 1
    return count


def _records(log: Log) -> Iterator[Record]:
    after = 0
    while block := log.audit_records(after=after, limit=BLOCK_MAX):
        yield from block
        after = block[-1].sequence
