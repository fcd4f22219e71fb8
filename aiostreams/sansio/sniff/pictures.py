"""The size of a picture by the headers of PNG, JPEG, GIF, WebP: nothing is decoded.

``PictureReader`` is given the file piece by piece, and keeps a few bytes of it. Each
format is a generator that asks for so many bytes (``yield n``), or passes over them
(``yield -n``), so a header counts wherever in the file it stands. Where a file has
several sizes the largest counts: a decoder may go by any of them. It is a file of its
own, although only the rules for files ask, because it is bytes in and sizes out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiostreams.errors import InvalidContent

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import TypeAlias

    _Steps: TypeAlias = Generator[int, bytes, None]

__all__ = ["Picture", "PictureReader"]

_PNG = b"\x89PNG\r\n\x1a\n"


class Picture:
    """What the headers say.

    Attributes:
        width: in pixels; 0 when it is not known.
        height: likewise.
        frames: how many pictures it has, as far as counting makes a difference.
    """

    __slots__ = ("frames", "height", "width")

    def __init__(self) -> None:
        self.width: int = 0
        self.height: int = 0
        self.frames: int = 0

    @property
    def animated(self) -> bool:
        """Whether it has more than one picture."""
        return self.frames > 1

    def grow(self, width: int, height: int) -> None:
        """Take up one more size that the file has.

        Raises:
            InvalidContent: it has no pixels.
        """
        if not width or not height:
            raise InvalidContent("the picture has no pixels")
        self.width = max(self.width, width)
        self.height = max(self.height, height)


class PictureReader:
    """Reads the headers of a picture.

    Attributes:
        picture: what is known by now.
        complete: whether nothing more is to be learned.
    """

    def __init__(self) -> None:
        self.picture: Picture = Picture()
        self.complete: bool = False
        self._steps = _picture(self.picture)
        self._wanted = next(self._steps)
        self._held = b""

    @property
    def ahead(self) -> int:
        """How many of the next bytes are passed over."""
        return max(0, -self._wanted)

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the file.

        Raises:
            InvalidContent: it is none of these formats, or breaks its own.
        """
        if self.complete:
            return
        data = self._held + data
        at = 0
        try:
            while True:
                if self._wanted < 0:
                    step = min(-self._wanted, len(data) - at)
                    at += step
                    self._wanted += step
                    if self._wanted:
                        break
                    self._wanted = self._steps.send(b"")
                elif len(data) - at >= self._wanted:
                    end = at + self._wanted
                    self._wanted = self._steps.send(data[at:end])
                    at = end
                else:
                    break
        except StopIteration:
            self.complete = True
            self._held = b""
        else:
            self._held = data[at:]

    def finish(self) -> None:
        """Say that this was all.

        Raises:
            InvalidContent: its size can't be determined.
        """
        if not self.picture.width:
            raise InvalidContent("the size of the picture can't be determined")


def _picture(picture: Picture) -> _Steps:
    head = yield 12
    if head.startswith(_PNG):
        yield from _png(picture, head[8:])
    elif head[:6] in {b"GIF87a", b"GIF89a"}:
        yield from _gif(picture, head[6:])
    elif head.startswith(b"RIFF") and head[8:] == b"WEBP":
        yield from _webp(picture)
    elif head.startswith(b"\xff\xd8"):
        yield from _jpeg(picture, head[2:])
    else:
        raise InvalidContent("not a PNG, JPEG, GIF or WebP, so its size is unknown")


def _png(picture: Picture, length: bytes) -> _Steps:
    """Read the chunks up to the first one of pixels."""
    picture.frames = 1
    name = yield 4
    if name != b"IHDR" or length != b"\0\0\0\r":
        raise InvalidContent("the PNG does not begin with IHDR")
    size = yield 8
    picture.grow(_big(size[:4]), _big(size[4:]))
    yield -(5 + 4)
    while True:
        head = yield 8
        if head[4:] in {b"IDAT", b"IEND"}:
            return
        if head[4:] == b"acTL":
            picture.frames = 2
        yield -(_big(head[:4]) + 4)


def _gif(picture: Picture, begin: bytes) -> _Steps:
    """Read the blocks up to the trailer; a picture may be larger than the screen."""
    rest = yield 1
    screen = begin + rest
    picture.grow(_little(screen[:2]), _little(screen[2:4]))
    yield from _color_table(screen[4], skip=0)
    while (kind := (yield 1)) != b";":
        if kind == b"!":
            yield -1
        elif kind == b",":
            box = yield 9
            left, top, width, height = (
                _little(box[at : at + 2]) for at in range(0, 8, 2)
            )
            picture.grow(left + width, top + height)
            picture.frames += 1
            yield from _color_table(box[8], skip=1)
        else:
            raise InvalidContent("the GIF has a block of unknown kind")
        while (count := (yield 1)) != b"\0":
            yield -count[0]


def _color_table(flags: int, *, skip: int) -> _Steps:
    """Pass over what stands between a header and its first block."""
    if flags & 0x80:
        skip += 3 << ((flags & 7) + 1)
    yield -skip


def _webp(picture: Picture) -> _Steps:
    """Read all chunks: that with the pixels may contradict the canvas."""
    while True:
        head = yield 8
        name, length = head[:4], _little(head[4:])
        read = 0
        if name == b"VP8X" and length >= 10:
            canvas = yield 10
            read = 10
            picture.grow(_little(canvas[4:7]) + 1, _little(canvas[7:]) + 1)
        elif name == b"ANMF" and length >= 16:
            frame = yield 16
            read = 16
            left, top = 2 * _little(frame[:3]), 2 * _little(frame[3:6])
            width, height = _little(frame[6:9]) + 1, _little(frame[9:12]) + 1
            picture.grow(left + width, top + height)
            picture.frames += 1
        elif name == b"VP8 " and length >= 10:
            frame = yield 10
            read = 10
            if frame[3:6] != b"\x9d\x01\x2a":
                raise InvalidContent("the WebP has no key frame")
            width, height = _little(frame[6:8]), _little(frame[8:])
            picture.grow(width & 0x3FFF, height & 0x3FFF)
            picture.frames += 1
        elif name == b"VP8L" and length >= 5:
            frame = yield 5
            read = 5
            bits = _little(frame[1:])
            picture.grow((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
            picture.frames += 1
        elif name in {b"VP8X", b"ANMF", b"VP8 ", b"VP8L"}:
            raise InvalidContent("the WebP has a chunk that is too short")
        rest = length - read + (length & 1)
        if rest:
            yield -rest


# Start of frame: all of C0 to CF but the tables (C4, C8, CC).
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Markers without a length: TEM, RST0 to RST7, SOI.
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})


def _jpeg(picture: Picture, begin: bytes) -> _Steps:
    """Read the segments up to the first scan; an EXIF thumbnail's are inside one."""
    picture.frames = 1
    ahead = begin

    def read(count: int) -> Generator[int, bytes, bytes]:
        nonlocal ahead
        while len(ahead) < count:
            ahead += yield count - len(ahead)
        data, ahead = ahead[:count], ahead[count:]
        return data

    while True:
        mark = yield from read(1)
        if mark != b"\xff":
            raise InvalidContent("the JPEG has no marker where one is expected")
        while mark == b"\xff":
            mark = yield from read(1)
        kind = mark[0]
        if kind in _BARE:
            continue
        if kind in {0xDA, 0xD9}:
            return
        length = _big((yield from read(2))) - 2
        if length < 0:
            raise InvalidContent("the JPEG has a segment that is too short")
        if kind in _FRAMES:
            if length < 5:
                raise InvalidContent("the JPEG has a frame that is too short")
            frame = yield from read(5)
            length -= 5
            picture.grow(_big(frame[3:]), _big(frame[1:3]))
        known = min(length, len(ahead))
        ahead = ahead[known:]
        if length > known:
            yield -(length - known)


def _big(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")
