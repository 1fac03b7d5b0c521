"""The process that decodes: started by `image`, fed one picture at a time, killed at will.

It holds no secret and owns no descriptor but its socket and the two it is sent with each picture.
Only NumPy, OpenCV and the jail are imported here: a fresh child has to be ready in a fraction of a
second.
"""

from __future__ import annotations

import errno
import math
import mmap
import os
import resource
import socket
import struct
import sys

import cv2
import numpy as np

from recollect.vision import jail

JOB = struct.Struct("<QIIBB")
"""Bytes of the file; width and height to come out of the decoder, before it is turned; the
denominator by which a JPEG is reduced while decoding (1, 2, 4, 8); EXIF orientation (1..8)."""

READY, DONE, UNREADABLE, TOO_LARGE = b"R", b"D", b"U", b"L"

REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
"""All of these give BGR: OpenCV has no reduced decoding to RGB."""


MAPPED = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
"""All pages at once, where the system can: a fault for each costs more than decoding a pixel."""


def main(cpu_s: float, memory_bytes: int) -> None:
    """Say that we are ready, then decode until the parent hangs up."""
    with socket.socket(fileno=0) as parent:
        confine(memory_bytes)
        parent.sendall(READY)
        while True:
            message, descriptors, _, _ = socket.recv_fds(parent, JOB.size, 2)
            if not message:
                return
            allow_cpu(cpu_s)
            try:
                answer = decode(message, *descriptors)
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
            parent.sendall(answer)


def decode(message: bytes, file: int, picture: int) -> bytes:
    """Read the file from one piece of shared memory and write upright RGB into the other."""
    file_bytes, width, height, denominator, orientation = JOB.unpack(message)
    upright = (width, height) if orientation >= 5 else (height, width)
    try:
        # Both are mapped before any byte is looked at: from here on every descriptor is taken.
        encoded = np.frombuffer(mmap.mmap(file, file_bytes, MAPPED, mmap.PROT_READ), np.uint8)
        target = np.frombuffer(mmap.mmap(picture, width * height * 3, MAPPED), np.uint8)
        # Turned below by the orientation that the header reader found, so exactly once.
        image = cv2.imdecode(encoded, REDUCED[denominator] | cv2.IMREAD_IGNORE_ORIENTATION)
        if image is None or image.shape != (height, width, 3):
            return UNREADABLE
        cv2.cvtColor(turn(image, orientation), cv2.COLOR_BGR2RGB, target.reshape(*upright, 3))
    except MemoryError:
        return TOO_LARGE
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        return TOO_LARGE
    except cv2.error as error:
        return TOO_LARGE if error.code == cv2.Error.STS_NO_MEM else UNREADABLE
    return DONE


def turn(image: cv2.typing.MatLike, orientation: int) -> cv2.typing.MatLike:
    """Set the picture upright. Source: EXIF 2.32, section 4.6.4, tag 0x0112."""
    match orientation:
        case 2:
            return cv2.flip(image, 1)
        case 3:
            return cv2.rotate(image, cv2.ROTATE_180)
        case 4:
            return cv2.flip(image, 0)
        case 5:
            return cv2.transpose(image)
        case 6:
            return cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE)
        case 7:
            return cv2.flip(cv2.transpose(image), -1)
        case 8:
            return cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE)
        case _:
            return image


def confine(memory_bytes: int) -> None:
    """Give up what decoding does not need, after everything is imported."""
    cv2.setNumThreads(1)
    # What libjpeg and libpng say about a hostile file is no concern of the server's log. An error
    # before this line is: it is a broken installation.
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 2)
    os.close(silence)

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    # 0, 1, 2, the two sent with a picture and their copies in the mappings: while a picture is
    # decoded, no file can be opened and no socket made.
    resource.setrlimit(resource.RLIMIT_NOFILE, (7, 7))
    if sys.platform == "linux":
        # Should the machine run out of memory, the picture has to go and not the server.
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:  # noqa: PTH123
            score.write("1000")
        # Other systems do not enforce it; there the cap on pixels has to do.
        with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123
            mapped_bytes = int(statm.read().split()[0]) * resource.getpagesize()
        limit_bytes = mapped_bytes + memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    # Last, because nothing of the above could be done any more. What is left where there is no
    # such thing are the limits.
    jail.enter()


def allow_cpu(cpu_s: float) -> None:
    """Let the kernel end this process when it has computed that much longer, rounded up."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit_s = math.ceil(used.ru_utime + used.ru_stime + cpu_s)
    resource.setrlimit(resource.RLIMIT_CPU, (limit_s, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
