"""gzip bodies by hand (RFC 1952): what must decode, and what must be refused."""

from __future__ import annotations

import struct
import zlib

PAYLOAD = b"The quick brown fox jumps over the lazy dog.\n" * 9 + bytes(range(256))


def member(
    data: bytes = PAYLOAD,
    *,
    magic: bytes = b"\x1f\x8b",
    method: int = 8,
    flags: int = 0,
    mtime: int = 0,
    extra: bytes = b"",
    name: bytes = b"",
    comment: bytes = b"",
    hcrc_xor: int = 0,
    crc_xor: int = 0,
    size_xor: int = 0,
    level: int = 9,
) -> bytes:
    """One member; the flags say which of the fields it has."""
    head = magic + struct.pack("<BBIBB", method, flags, mtime, 0, 255)
    if flags & 4:
        head += struct.pack("<H", len(extra)) + extra
    if flags & 8:
        head += name + b"\0"
    if flags & 16:
        head += comment + b"\0"
    if flags & 2:
        head += struct.pack("<H", (zlib.crc32(head) & 0xFFFF) ^ hcrc_xor)
    deflater = zlib.compressobj(level, zlib.DEFLATED, -15)
    body = deflater.compress(data) + deflater.flush()
    tail = struct.pack("<2I", zlib.crc32(data) ^ crc_xor, len(data) ^ size_xor)
    return head + body + tail


def _flip(data: bytes, index: int) -> bytes:
    changed = bytearray(data)
    changed[index] ^= 0xFF
    return bytes(changed)


ALL_FIELDS = member(flags=31, extra=b"ab\x03\x00xyz", name=b"n.txt", comment=b"why")
ACCEPT: dict[str, tuple[bytes, bytes]] = {
    "plain": (member(), PAYLOAD),
    "stored": (member(level=0), PAYLOAD),
    "empty": (member(b""), b""),
    "text flag": (member(flags=1), PAYLOAD),
    "mtime": (member(mtime=0xFFFFFFFF), PAYLOAD),
    "extra": (member(flags=4, extra=b"ab\x03\x00xyz"), PAYLOAD),
    "empty extra": (member(flags=4), PAYLOAD),
    "longest extra": (member(b"x", flags=4, extra=bytes(65535)), b"x"),
    "name": (member(flags=8, name=b"../../etc/passwd"), PAYLOAD),
    "empty name": (member(flags=8), PAYLOAD),
    "long name": (member(b"x", flags=8, name=b"n" * 5000), b"x"),
    "comment": (member(flags=16, comment=b"caf\xe9"), PAYLOAD),
    "header crc": (member(flags=2), PAYLOAD),
    "all fields": (ALL_FIELDS, PAYLOAD),
    "two members": (member(b"one") + member(b"two"), b"onetwo"),
    "empty members": (member(b"") * 3 + member(b"x") + member(b"") * 3, b"x"),
    "members with fields": (ALL_FIELDS * 3, PAYLOAD * 3),
    "900 members": (member(b"ab") * 900, b"ab" * 900),
    "one zero after": (member() + b"\0", PAYLOAD),
    "zero padding": (member() + bytes(40), PAYLOAD),
    "zeros after two members": (member(b"1") + member(b"2") + bytes(9), b"12"),
}
REJECT: dict[str, bytes] = {
    "no gzip": b"plain text, which is no gzip",
    "wrong magic": member(magic=b"\x1f\x8c"),
    "compress": member(magic=b"\x1f\x9d"),
    "wrong method": member(method=7),
    "reserved flag 5": member(flags=0x20),
    "reserved flag 6": member(flags=0x40),
    "reserved flag 7": member(flags=0x80),
    "wrong header crc": member(flags=2, hcrc_xor=1),
    "wrong header crc with fields": member(flags=31, name=b"n", hcrc_xor=0x8000),
    "wrong crc": member(crc_xor=1),
    "wrong crc, high bit": member(crc_xor=0x80000000),
    "wrong length": member(size_xor=1),
    "wrong length, high bit": member(size_xor=0x80000000),
    "wrong crc of nothing": member(b"", crc_xor=1),
    "invalid block type": member()[:10] + b"\x07" + member()[11:],
    "corrupt": _flip(member(), 14),
    "wrong crc in the second member": member() + member(crc_xor=1),
    "reserved flag in the second member": member() + member(flags=0x80),
    "garbage after": member() + b"garbage that goes on",
    "one byte after": member() + b"x",
    "newline after": member() + b"\n",
    "garbage after zeros": member() + bytes(10) + b"x",
    "member after zeros": member(b"shown") + bytes(8) + member(b"hidden"),
    "zeros before": bytes(4) + member(),
    "zeros alone": bytes(30),
    "zlib": zlib.compress(PAYLOAD),
    "half a second member": member() + member()[:12],
    "half a second magic": member() + b"\x1f",
}
