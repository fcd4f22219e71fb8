"""The bytes of a zip archive around those of its members (APPNOTE.TXT 6.3.10).

    local header, bytes, data descriptor      of each member
    central directory                         one header for each member
    end record                                with Zip64 ones before it where needed

A ``ZipDirectory`` knows the members in order: what is written before and after the
bytes of each, where that stands, and the directory that ends the archive. It holds
its columns in arrays, some 100 bytes and the name of each member: archives have
thousands.

What is decided here:

* A member whose CRC-32 is known beforehand has it in its local header and no data
  descriptor. Otherwise bit 3 is set and a descriptor follows, with its signature. The
  sizes of a stored member stand in its local header all the same, if they are known:
  readers that go from the front (macOS's Archive Utility, libarchive on a pipe) need
  them, and for those that go by the directory they change nothing.
* Zip64 fields are written only where a number needs them, the extra field first.
  A member of unknown size has none in its local header; its descriptor has eight-byte
  sizes if it turns out that large. Java's and Go's writers do the same.
* Names are UTF-8, and bit 11 says so. The version that made the archive is one on
  Unix, so that permissions count.
* Times are those of the DOS field, which has no zone and even seconds; where the
  moment is known, an extended timestamp (0x5455) says it in UTC.

It stands by itself, and not with the stream that sends the bytes, since it does no
I/O and is tested so.

A file of its own: the format without I/O; the stream sends what it says.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import struct
from array import array
from bisect import bisect_right
from typing import Final

__all__ = ["ZipDirectory", "check_name", "dos_time"]

_LOCAL: Final = struct.Struct("<IHHHIIIIHH")
_CENTRAL: Final = struct.Struct("<IHHHHIIIIHHHHHII")
_DESCRIPTOR: Final = struct.Struct("<IIII")
_DESCRIPTOR_64: Final = struct.Struct("<IIQQ")
_END_64: Final = struct.Struct("<IQHHIIQQQQ")
_LOCATOR_64: Final = struct.Struct("<IIQI")
_END: Final = struct.Struct("<IHHHHIIH")
_TIMESTAMP: Final = struct.Struct("<HHBI")
_SIZES_64: Final = struct.Struct("<HHQQ")
# Beyond these a number stands in a Zip64 field.
_MOST_32: Final = 0xFFFFFFFF
_MOST_16: Final = 0xFFFF

_STORED: Final = 0
_DEFLATED: Final = 8
# Bits of the general purpose flag.
_HAS_DESCRIPTOR: Final = 1 << 3
_UTF_8: Final = 1 << 11
# "Version made by": Unix, and 4.5 for Zip64. "Version needed" by what is used.
_MADE_BY: Final = 3 << 8 | 45
_NEEDED: Final = 10
_NEEDED_20: Final = 20
_NEEDED_64: Final = 45
# As st_mode has them.
_REGULAR: Final = 0o100000
_FOLDER: Final = 0o040000
_DOS_FOLDER: Final = 0x10

# What is kept of a member beside its numbers.
_IS_DEFLATED: Final = 1
_IS_FOLDER: Final = 2
_KNOWS_CRC: Final = 4
_KNOWS_TIME: Final = 8
# Its size stands in its local header.
_IS_SIZED: Final = 16
_IS_DESCRIBED: Final = 32

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_FIRST: Final = dt.datetime(1980, 1, 1)  # noqa: DTZ001 - the field has no zone
_LAST: Final = dt.datetime(2107, 12, 31, 23, 59, 58)  # noqa: DTZ001 - likewise
_FIRST_SECOND: Final = (_FIRST.replace(tzinfo=dt.UTC) - _EPOCH).total_seconds()
_LAST_SECOND: Final = (_LAST.replace(tzinfo=dt.UTC) - _EPOCH).total_seconds()
# The extended timestamp is signed.
_MOST_TIMESTAMP: Final = 0x7FFFFFFF

_DRIVE: Final = re.compile(r"[A-Za-z]:")


def check_name(name: str) -> bytes:
    """Return the bytes of ``name``, if no reader can take it for another place.

    Raises:
        TypeError: it is not a ``str``.
        ValueError: it is empty, absolute or longer than 65,535 bytes, has a drive
            letter, a backslash, NUL or a lone surrogate, or a segment is empty, ``.``
            or ``..``. A final ``/`` is fine.
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, not {type(name).__name__}")
    fault = None
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"name has a lone surrogate: {name[:80]!r}") from None
    if not name:
        fault = "is empty"
    elif len(encoded) > _MOST_16:
        raise ValueError(f"name has {len(encoded)} bytes, limit {_MOST_16}")
    elif "\0" in name:
        fault = "contains a NUL byte"
    elif "\\" in name:
        fault = "contains a backslash"
    elif name.startswith("/"):
        fault = "is absolute"
    elif _DRIVE.match(name):
        fault = "begins with a drive letter"
    elif "." in name or "//" in name:
        for segment in name.removesuffix("/").split("/"):
            if segment in {"", ".", ".."}:
                fault = f"has a segment {segment!r}"
                break
    if fault is not None:
        raise ValueError(f"name {fault}: {name[:80]!r}")
    return encoded


def dos_time(modified: float | dt.datetime | None) -> tuple[int, int | None]:
    """Return the DOS date and time of ``modified``, and POSIX seconds if known.

    What is outside of 1980 to 2107 becomes the nearest that is within.

    Args:
        modified: POSIX seconds, or a ``datetime``: one without a zone as it stands,
            another one in UTC. ``None`` is the beginning of 1980.

    Raises:
        ValueError: it is not a number.
    """
    seconds: float | None = None
    if modified is None:
        moment = _FIRST
    elif isinstance(modified, dt.datetime) and modified.utcoffset() is None:
        moment = min(max(modified.replace(tzinfo=None), _FIRST), _LAST)
    else:
        if isinstance(modified, dt.datetime):
            seconds = (modified - _EPOCH).total_seconds()
        else:
            seconds = float(modified)
        if math.isnan(seconds):
            raise ValueError("modified is not a number of seconds: nan")
        seconds = min(max(seconds, _FIRST_SECOND), _LAST_SECOND)
        moment = _EPOCH + dt.timedelta(seconds=math.floor(seconds))
    date = moment.year - 1980 << 9 | moment.month << 5 | moment.day
    time = moment.hour << 11 | moment.minute << 5 | moment.second // 2
    known = None if seconds is None or seconds > _MOST_TIMESTAMP else int(seconds)
    return date << 16 | time, known


class ZipDirectory:
    """The members of an archive, in order, and the bytes around theirs.

    Each is added, then placed, which says where it begins; where its size was not
    known then, ``finish`` says it before the next one is placed.

    Attributes:
        end: where the last member that was placed ends, and the next one, or the
            central directory, begins.
    """

    def __init__(self) -> None:
        self.end: int = 0
        self._names: list[bytes] = []
        self._taken: set[bytes] = set()
        self._flags = array("B")
        self._modes = array("H")
        self._times = array("I")
        self._stamps = array("I")
        self._crcs = array("I")
        self._sizes = array("Q")
        self._offsets = array("Q")
        # Of those only that are not stored as they are.
        self._packed: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._names)

    def add(
        self,
        name: str,
        *,
        modified: float | dt.datetime | None = None,
        mode: int | None = None,
        crc32: int | None = None,
        deflate: bool = False,
    ) -> int:
        """Add one more member, and return its number.

        Args:
            name: where it is unpacked to; with a final ``/`` it is a folder.
            modified: see :func:`dos_time`.
            mode: permission bits; 0o644, or 0o755 for a folder, unless given.
            crc32: the CRC-32 of its bytes, not deflated, if known.
            deflate: whether its bytes are deflated.

        Raises:
            ValueError: the name cannot be used (see :func:`check_name`) or is taken,
                or another argument is out of range.
        """
        encoded = check_name(name)
        # A file and a folder of one name are no two things either.
        key = encoded.removesuffix(b"/")
        if key in self._taken:
            raise ValueError(f"name is in the archive already: {name[:80]!r}")
        folder = len(key) < len(encoded)
        if mode is None:
            mode = 0o755 if folder else 0o644
        elif not 0 <= mode <= 0o7777:
            raise ValueError(f"mode has more than permission bits: {mode:#o}")
        if not 0 <= (crc32 or 0) <= _MOST_32:
            raise ValueError(f"crc32 is {crc32}, expected a number of 32 bits")
        time, stamp = dos_time(modified)
        flags = _IS_FOLDER if folder else _IS_DEFLATED if deflate else 0
        if stamp is not None:
            flags |= _KNOWS_TIME
        if crc32 is not None:
            flags |= _KNOWS_CRC
        self._taken.add(key)
        self._names.append(encoded)
        self._flags.append(flags)
        self._modes.append(mode)
        self._times.append(time)
        self._stamps.append(stamp or 0)
        self._crcs.append(crc32 or 0)
        self._sizes.append(0)
        return len(self._names) - 1

    def seal(self) -> None:
        """Let go of what finds names that are there twice: no more are added."""
        self._taken = set()

    def place(self, number: int, size: int | None) -> None:
        """Say that member ``number`` comes next, and how many bytes it has, if known.

        What is known of its CRC-32 by now stands in its local header.
        """
        flags = self._flags[number]
        if size is not None and not flags & _IS_DEFLATED:
            flags |= _IS_SIZED
            self._sizes[number] = size
            if not size:
                flags |= _KNOWS_CRC  # of no bytes it is 0, unless another was given
        if not (flags & _KNOWS_CRC and flags & _IS_SIZED):
            flags |= _IS_DESCRIBED
        self._flags[number] = flags
        self._offsets.append(self.end)
        if flags & _IS_SIZED:
            self.end = self.stop(number) + self._descriptor_size(number)

    def finish(self, number: int, *, crc32: int, size: int, packed: int) -> None:
        """Say what the bytes of member ``number`` were, the last one that was placed.

        Args:
            number: of the member.
            crc32: of its bytes, not deflated.
            size: their number, not deflated.
            packed: how many of them stand in the archive.
        """
        self.learn(number, crc32)
        if not self._flags[number] & _IS_SIZED:
            self._sizes[number] = size
            if packed != size:
                self._packed[number] = packed
            self.end = self.stop(number) + self._descriptor_size(number)

    def learn(self, number: int, crc32: int) -> None:
        """Say what the CRC-32 of the bytes of member ``number`` is."""
        self._flags[number] |= _KNOWS_CRC
        self._crcs[number] = crc32

    # -- what is known of a member ---------------------------------------------------

    def name(self, number: int) -> str:
        """Its name."""
        return self._names[number].decode()

    def size(self, number: int) -> int | None:
        """Return how many bytes it has, if that was known when it was placed."""
        sized = self._flags[number] & _IS_SIZED
        return self._sizes[number] if sized else None

    def crc32(self, number: int) -> int | None:
        """Return the CRC-32 of its bytes, if known."""
        known = self._flags[number] & _KNOWS_CRC
        return self._crcs[number] if known else None

    def deflated(self, number: int) -> bool:
        """Return whether its bytes are deflated."""
        return bool(self._flags[number] & _IS_DEFLATED)

    def at(self, offset: int) -> int:
        """Return the number of the member with byte ``offset`` of the archive."""
        return bisect_right(self._offsets, offset) - 1

    def start(self, number: int) -> int:
        """Return where its local header begins."""
        return self._offsets[number]

    def begin(self, number: int) -> int:
        """Return where its bytes begin."""
        return self._offsets[number] + self._header_size(number)

    def stop(self, number: int) -> int:
        """Return where its bytes end."""
        return self.begin(number) + self._packed.get(number, self._sizes[number])

    def _header_size(self, number: int) -> int:
        flags = self._flags[number]
        size = _LOCAL.size + len(self._names[number])
        if flags & _IS_SIZED and self._sizes[number] >= _MOST_32:
            size += _SIZES_64.size
        return size + _TIMESTAMP.size if flags & _KNOWS_TIME else size

    def _descriptor_size(self, number: int) -> int:
        if not self._flags[number] & _IS_DESCRIBED:
            return 0
        return _DESCRIPTOR_64.size if self._is_large(number) else _DESCRIPTOR.size

    def _is_large(self, number: int) -> bool:
        size = self._sizes[number]
        return size >= _MOST_32 or self._packed.get(number, size) >= _MOST_32

    # -- what is written -------------------------------------------------------------

    def header(self, number: int) -> bytes:
        """Return the local header of a member that was placed (section 4.3.7)."""
        flags = self._flags[number]
        name = self._names[number]
        crc32 = self._crcs[number]
        size = 0
        general = _UTF_8
        if flags & _IS_DESCRIBED:
            general |= _HAS_DESCRIPTOR
            crc32 = 0
        needed = self._needed(flags)
        extra = b""
        if flags & _IS_SIZED:
            size = self._sizes[number]
            if size >= _MOST_32:
                extra = _SIZES_64.pack(1, 16, size, size)
                size = _MOST_32
                needed = _NEEDED_64
        if flags & _KNOWS_TIME:
            extra += _TIMESTAMP.pack(0x5455, 5, 1, self._stamps[number])
        return (
            _LOCAL.pack(
                0x04034B50,
                needed,
                general,
                _DEFLATED if flags & _IS_DEFLATED else _STORED,
                self._times[number],
                crc32,
                size,
                size,
                len(name),
                len(extra),
            )
            + name
            + extra
        )

    def descriptor(self, number: int) -> bytes:
        """Return the data descriptor of a finished member, if any (section 4.3.9)."""
        if not self._flags[number] & _IS_DESCRIBED:
            return b""
        size = self._sizes[number]
        pack = _DESCRIPTOR_64.pack if self._is_large(number) else _DESCRIPTOR.pack
        packed = self._packed.get(number, size)
        return pack(0x08074B50, self._crcs[number], packed, size)

    def central(self, number: int) -> bytes:
        """Return the header of a member in the central directory (section 4.3.12)."""
        flags = self._flags[number]
        name = self._names[number]
        size = self._sizes[number]
        packed = self._packed.get(number, size)
        offset = self._offsets[number]
        extra = b""
        needed = self._needed(flags)
        large = [value for value in (size, packed, offset) if value >= _MOST_32]
        if large:
            length = 8 * len(large)
            extra = struct.pack(f"<HH{len(large)}Q", 1, length, *large)
            needed = _NEEDED_64
        if flags & _KNOWS_TIME:
            extra += _TIMESTAMP.pack(0x5455, 5, 1, self._stamps[number])
        mode = self._modes[number]
        attributes = (
            (_FOLDER | mode) << 16 | _DOS_FOLDER
            if flags & _IS_FOLDER
            else (_REGULAR | mode) << 16
        )
        return (
            _CENTRAL.pack(
                0x02014B50,
                _MADE_BY,
                needed,
                _UTF_8 | (_HAS_DESCRIPTOR if flags & _IS_DESCRIBED else 0),
                _DEFLATED if flags & _IS_DEFLATED else _STORED,
                self._times[number],
                self._crcs[number],
                min(packed, _MOST_32),
                min(size, _MOST_32),
                len(name),
                len(extra),
                0,
                0,
                0,
                attributes,
                min(offset, _MOST_32),
            )
            + name
            + extra
        )

    def central_size(self, number: int) -> int:
        """Return the length of that header."""
        size = self._sizes[number]
        numbers = (size, self._packed.get(number, size), self._offsets[number])
        large = sum(value >= _MOST_32 for value in numbers)
        length = _CENTRAL.size + len(self._names[number])
        if large:
            length += 4 + 8 * large
        if self._flags[number] & _KNOWS_TIME:
            length += _TIMESTAMP.size
        return length

    def end_record(self, size: int) -> bytes:
        """Return the end of the archive, with Zip64 if needed (sections 4.3.14-16).

        Args:
            size: of the central directory, all headers together.
        """
        count = len(self._names)
        offset = self.end
        records = b""
        if count >= _MOST_16 or size >= _MOST_32 or offset >= _MOST_32:
            records = _END_64.pack(
                0x06064B50,
                _END_64.size - 12,
                _MADE_BY,
                _NEEDED_64,
                0,
                0,
                count,
                count,
                size,
                offset,
            ) + _LOCATOR_64.pack(0x07064B50, 0, offset + size, 1)
        count = min(count, _MOST_16)
        return records + _END.pack(
            0x06054B50,
            0,
            0,
            count,
            count,
            min(size, _MOST_32),
            min(offset, _MOST_32),
            0,
        )

    def _needed(self, flags: int) -> int:
        # Folders and deflate came with 2.0.
        return _NEEDED_20 if flags & (_IS_DEFLATED | _IS_FOLDER) else _NEEDED
