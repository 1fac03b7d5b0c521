"""Every bound on what the outside may ask of this process, with its unit."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recollect.wire.model import OperationModel, Shape


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of connections, bodies and calls. Deadlines are in seconds."""

    connections_max: int = 2000
    """Open connections; further ones are answered 503 and closed. `serve` lowers it to what the
    process may open."""
    header_deadline_s: float = 10.0
    """From the connection, or the first byte of a later request, to the end of the header."""
    header_bytes_max: int = 64 * 1024
    """Counted after each piece that arrives, so a header may be one piece longer."""
    header_count_max: int = 100
    body_deadline_s: float = 25.0
    """From the header to the end of the body, for a body that does not move."""
    body_rate_min_bytes_s: int = 256 * 1024
    """Each such piece of the body that has arrived extends its deadline by a second, so that an
    honest slow line can send a picture and a silent one is closed within 30 seconds."""
    idle_deadline_s: float = 65.0
    """Silence between two requests of one connection; longer than a load balancer's usual 60."""
    drain_deadline_s: float = 9.0
    """From SIGTERM to the end of the process, whatever is still in work."""

    body_bytes_max: int = 8 * 1024 * 1024
    """Body of one call, for each picture that it carries: 5 MiB are 6,990,508 characters of
    base64."""
    bodies_bytes_max: int = 512 * 1024 * 1024
    """All bodies held at once, by bytes that have arrived."""

    call_threads: int = 4
    """Calls in work at once, each in a thread of its own."""
    call_queue_max: int = 2000
    """Calls that wait for a thread."""
    call_wait_max_s: float = 0.5
    """Expected wait above which a call is refused at once."""
    call_last_wait_max_s: float = 50.0
    """Likewise for a call that says that it is its client's last attempt: to be refused would be a
    failure. boto3 waits 60 s for an answer."""
    key_rate_per_s: float = 0.0
    """Calls a second of one access key; 0 for no bound."""

    def body_bytes_for(self, operation: OperationModel | None) -> int:
        """Bytes that the body of this operation may have: CompareFaces carries two pictures."""
        pictures = _blobs(operation.input) if operation and operation.input else 0
        return self.body_bytes_max * max(1, pictures)


@cache
def _blobs(shape: Shape, above: frozenset[str] = frozenset()) -> int:
    """Count the blobs that a request of this shape has places for."""
    if shape.type == "blob":
        return 1
    if shape.name in above:
        return 0
    inside = above | {shape.name}
    return sum(_blobs(member.shape, inside) for member in shape.members.values())
