"""What a server and its model processes say to each other: a job with its picture, faces back."""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from recollect.vision.face import Face, Template

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recollect.vision.face import Image
    from recollect.vision.model_pack import ModelPack

READY, FORK = b"ready", b"fork"
"""The words between a server and the process that loads the models."""
LENGTH = struct.Struct("<I")
MESSAGE_BYTES_MAX = 16 << 20
"""More than 100 faces of the longest templates take, and the manifests of all packs."""
PIECE_BYTES = 1 << 16


class Job(msgspec.Struct, frozen=True):
    """One call of a pack's method on a picture that travels beside it."""

    pack: str
    method: Literal["faces", "largest_face", "embed"]
    shape: tuple[int, int, int]
    """Of the picture: height, width, 3."""
    quality_filter: str = ""
    faces: tuple[Face, ...] = ()

    def run(self, pack: ModelPack, image: Image) -> tuple[Face, ...]:
        """Call it; `largest_face` gives one face or none."""
        if self.method == "faces":
            return tuple(pack.faces(image))
        if self.method == "embed":
            return tuple(pack.embed(image, self.faces))
        face = pack.largest_face(image, self.quality_filter)
        return () if face is None else (face,)


class Answer(msgspec.Struct, frozen=True):
    """What became of a job."""

    faces: tuple[Face, ...] = ()
    fault: str = ""
    """The traceback where the method raised."""


def encode(message: object) -> bytes:
    """Job, Answer or what is made of strings to bytes."""
    return _ENCODER.encode(message)


def _written(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a job or an answer holds no {type(value).__name__}")


def _read(kind: object, value: bytes) -> object:
    """A face has arrays of two kinds: its template, and points, which have two columns."""
    if kind == Template:
        return np.frombuffer(value, np.float32)
    return np.frombuffer(value, np.float64).reshape(-1, 2)


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_written)
jobs = msgspec.msgpack.Decoder(Job, dec_hook=_read)
answers = msgspec.msgpack.Decoder(Answer, dec_hook=_read)
"""Readers of either; what the other side sends becomes these types or a ValidationError."""


def send(to: socket.socket, message: bytes, descriptors: Sequence[int] = ()) -> None:
    """Send one message, and descriptors with it; the other side answers before the next one."""
    data = LENGTH.pack(len(message)) + message
    # In one piece where it fits, so that the other side wakes up once.
    sent = socket.send_fds(to, [data], list(descriptors))
    to.sendall(memoryview(data)[sent:])


def receive(of: socket.socket) -> tuple[bytes, list[int]]:
    """Wait for one message and the descriptor that may come with it.

    Raises:
        EOFError: the other side is gone, or sends no message.
        TimeoutError: nothing came in the time that the socket allows.
    """
    piece, descriptors, _, _ = socket.recv_fds(of, PIECE_BYTES, 1)
    data = bytearray(piece)
    while piece and not _whole(data):
        data += (piece := of.recv(PIECE_BYTES))
    if not piece:
        for descriptor in descriptors:
            os.close(descriptor)
        raise EOFError
    return bytes(data[LENGTH.size :]), descriptors


def _whole(data: bytearray) -> bool:
    if len(data) < LENGTH.size:
        return False
    (length,) = LENGTH.unpack_from(data)
    if length > MESSAGE_BYTES_MAX:
        raise EOFError
    return bool(len(data) - LENGTH.size >= length)
