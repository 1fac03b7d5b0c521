"""The C library's heap: what a call gave back is kept for the next one."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Source: glibc 2.40, malloc.h."""
PIECE_BYTES_MAX = 32 << 20
"""The most that glibc takes from its heap; anything larger is asked of the kernel by itself."""
KEPT_BYTES = 64 << 20
"""Free memory at the end of a heap that is not given back; there is one heap a thread, at most."""


def keep_freed_memory() -> None:
    """Let a call use the pages of the one before.

    By default glibc gives large pieces back at once, and a call asks the kernel for all of its
    pages anew: bodies, pictures and arrays of a megabyte each, of which every page is cleared and
    faulted in again, while the other threads of the process wait for its page tables. For a body of
    1.3 MB this was four fifths of what receiving it takes. Elsewhere than on glibc it does nothing.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, PIECE_BYTES_MAX)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
