"""What the bytes claim, read before anything decodes them."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from recollect.errors import (
    ImageTooLargeException,
    InvalidImageFormatException,
    InvalidParameterException,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8"

PARTS_MAX = 100_000
"""Most segments or chunks walked. Phones write some dozens; a PNG of 15 MB in IDATs of 1 KiB has
15,000. The bound keeps the walk below a tenth of a second for any bytes."""

EXIF_ENTRIES_MAX = 1_000
"""Most directory entries searched for the orientation."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a picture may claim to be."""

    side_px_min: int = 80
    """Rekognition's own minimum, both sides."""
    side_px_max: int = 10_000
    """Rekognition's own maximum for labels, used here for faces too."""
    pixels_max: int = 64_000_000
    """Ours: bounds the memory and the time of a decoding, whatever the file's length."""
    scans_max: int = 50
    """Ours: every scan of a progressive JPEG visits all pixels again. Honest files have at most 11
    scans."""
    pixel_visits_max: int = 11 * 64_000_000
    """Ours: pixels times scans, so that the largest picture cannot also have the most scans."""


@dataclass(frozen=True, slots=True)
class Header:
    """The claims of a picture that is small enough to be decoded."""

    format: Literal["jpeg", "png"]
    width: int
    """Pixels of a row as stored, before the orientation is applied."""
    height: int
    channels: int
    """Colour components as stored, 1 for a palette."""
    bits: int
    """Bits of a component or of a palette index."""
    orientation: int
    """EXIF orientation 1..8 of a JPEG; 1 where there is none, where it makes no sense, and in a
    PNG: Rekognition corrects JPEGs only."""
    progressive: bool
    """A progressive JPEG or an interlaced PNG."""
    scans: int
    """Scans of a JPEG; 1 for a PNG."""

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height after the orientation is applied."""
        if self.orientation >= 5:
            return self.height, self.width
        return self.width, self.height


def read(data: bytes, limits: Limits | None = None) -> Header:
    """Find out what the picture claims to be, by its content, and refuse what cannot be served.

    Nothing is inflated or decoded. The time is linear in the length: at most PARTS_MAX steps in
    Python, everything between them is searched by ``re``.

    Args:
        data: the whole file.
        limits: defaults to the limits of Rekognition and ours.

    Raises:
        InvalidImageFormatException: neither JPEG nor PNG, or its structure is broken or ends early.
        ImageTooLargeException: a side, the number of pixels or the number of scans is over a limit.
        InvalidParameterException: a side is shorter than the limit.
    """
    limits = limits or Limits()
    if data[:2] == JPEG_SIGNATURE:
        header = _jpeg(data, limits)
    elif data[:8] == PNG_SIGNATURE:
        header = _png(data)
    else:
        raise InvalidImageFormatException

    width, height = header.width, header.height
    if width == 0 or height == 0:
        raise InvalidImageFormatException
    if max(width, height) > limits.side_px_max:
        raise ImageTooLargeException(
            f"Input image dimensions {width} x {height} exceed maximum dimension size of "
            f"{limits.side_px_max} pixels"
        )
    if width * height > limits.pixels_max:
        raise ImageTooLargeException(
            f"Image dimensions: {width} x {height} pixels exceed the maximum limit."
        )
    if header.scans > limits.scans_max or header.scans * width * height > limits.pixel_visits_max:
        raise ImageTooLargeException
    if min(width, height) < limits.side_px_min:
        raise InvalidParameterException
    return header


# JPEG. Source: ITU-T T.81, annex B; and libjpeg's reader, whose idea of "the next marker" counts.

SOF0, SOF2, DHT, JPG, DAC = 0xC0, 0xC2, 0xC4, 0xC8, 0xCC
EOI, SOS, APP1 = 0xD9, 0xDA, 0xE1
HUFFMAN_FRAMES = range(SOF0, SOF2 + 1)
"""Baseline, extended and progressive. Lossless, hierarchical and arithmetic frames are refused:
no browser reads them and a decoder's rarely used half is where its bugs are."""
FRAMES = frozenset(range(SOF0, 0xD0)) - {DHT, DAC} | {0xDE}
"""All frame headers, the reserved one (JPG) and the hierarchical one (DHP) included."""

MARKER = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])")
"""The next marker that starts a segment or ends the picture. libjpeg skips anything up to an FF
that is followed by neither 00 (a stuffed byte) nor another FF (a fill byte), inside entropy-coded
data as well as between segments. Restart markers (D0..D7) and TEM (01) carry nothing; a second SOI
(D8) and 02..BF make the decoder give up."""


def _jpeg(data: bytes, limits: Limits) -> Header:
    """Walk the segments up to the end marker; a file without one was cut off."""
    frame: tuple[int, bytes] | None = None
    orientation: int | None = None
    scans = 0
    for code, segment in _segments(data):
        if code in FRAMES:
            if frame is not None or code not in HUFFMAN_FRAMES or len(segment) < 6:
                raise InvalidImageFormatException
            frame = code, segment
        elif code == APP1 and orientation is None and segment[:6] == b"Exif\0\0":
            orientation = _orientation(segment[6:])
        elif code == SOS:
            if frame is None:
                raise InvalidImageFormatException
            scans += 1
            if scans > limits.scans_max:
                # Enough is known; the rest may be long.
                break
    if frame is None or scans == 0:
        raise InvalidImageFormatException

    code, segment = frame
    bits, height, width, channels = struct.unpack_from(">BHHB", segment)
    return Header("jpeg", width, height, channels, bits, orientation or 1, code == SOF2, scans)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker code and payload of each segment before the end of the picture."""
    position = len(JPEG_SIGNATURE)
    for _ in range(PARTS_MAX):
        marker = MARKER.search(data, position)
        if marker is None:
            raise InvalidImageFormatException
        code, position = marker[1][0], marker.end()
        if code == EOI:
            return
        length = int.from_bytes(data[position : position + 2], "big")
        if length < 2 or position + length > len(data):
            raise InvalidImageFormatException
        yield code, data[position + 2 : position + length]
        position += length
    raise InvalidImageFormatException


def _orientation(tiff: bytes) -> int:
    """EXIF orientation 1..8; 1 for anything that cannot be read, as viewers do.

    Source: TIFF 6.0 section 2; EXIF 2.32 section 4.6.4, tag 0x0112.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, directory)
        for entry in range(min(count, EXIF_ENTRIES_MAX)):
            start = directory + 2 + 12 * entry
            tag, kind = struct.unpack_from(f"{order}HH", tiff, start)
            if tag == 0x0112:
                # SHORT by the standard; some writers use LONG.
                (value,) = struct.unpack_from(
                    f"{order}{'I' if kind == 4 else 'H'}", tiff, start + 8
                )
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        pass  # The directory points outside its segment: no orientation is known.
    return 1


# PNG. Source: ISO/IEC 15948:2004, sections 5 and 11.

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
BITS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
ESSENTIAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})


def _png(data: bytes) -> Header:
    """Walk the chunks up to IEND. Lengths are checked, contents other than IHDR's are not read."""
    chunks = _chunks(data)
    kind, start, end = next(chunks)
    if kind != b"IHDR" or end - start != 8 + 13 + 4:
        raise InvalidImageFormatException
    width, height, bits, colour, compression, filtering, interlace = struct.unpack_from(
        ">IIBBBBB", data, start + 8
    )
    if bits not in BITS.get(colour, ()) or compression or filtering or interlace > 1:
        raise InvalidImageFormatException
    kinds = {kind for kind, _, _ in chunks}
    if b"IHDR" in kinds or b"IDAT" not in kinds or (colour == 3 and b"PLTE" not in kinds):
        raise InvalidImageFormatException
    return Header("png", width, height, CHANNELS[colour], bits, 1, interlace == 1, 1)


def bare_png(data: bytes) -> bytes:
    """Drop all of a PNG that ``read`` accepted but its size, palette and pixels.

    What is left holds no profile or text to inflate, no EXIF to turn it, no frames after the first
    and no transparency: Rekognition's documentation knows none of these, and a decoder that never
    sees them cannot be attacked through them. Alpha is thereby ignored, never composited.
    """
    parts = [data[start:end] for kind, start, end in _chunks(data) if kind in ESSENTIAL]
    return PNG_SIGNATURE + b"".join(parts)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start and end of each chunk, length and checksum included, up to IEND."""
    position = len(PNG_SIGNATURE)
    for _ in range(PARTS_MAX):
        kind = data[position + 4 : position + 8]
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        if end > len(data) or not kind.isalpha():
            raise InvalidImageFormatException
        yield kind, position, end
        if kind == b"IEND":
            return
        position = end
    raise InvalidImageFormatException
