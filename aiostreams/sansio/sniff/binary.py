"""The type of a file that is not text, by its first bytes.

The first byte chooses the few signatures that can follow it, so the length of the
table costs nothing. A signature is bytes, or a function for formats where more has to
be looked at: a length, a checksum of the header, the next frame. Such a function
returns ``None`` for what only begins alike. Each looks at every byte a bounded number
of times, and takes heads of any length: what is missing is not there.

MPEG sound and transport streams have no signature. They are runs of frames, each
behind a few fixed bits. A single one proves nothing, so there have to be two, the
second where the first one ends (MIME Sniffing section 6.2.4 for MP3; ISO/IEC 13818-7
section 6.2 for ADTS, 13818-1 section 2.4.3 for packets).

A file of its own, as binary signatures, markup and names of types each have one.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeAlias

from aiostreams.sansio.sniff.signatures import BRANDS, CONTAINED, PACKAGED, PREFIXES

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BINARY_TYPES", "adts_type", "binary_type", "mp3_type", "transport_type"]
_Decide: TypeAlias = Callable[[bytes], str | None]


def binary_type(head: bytes) -> str | None:
    """Return the type that the bytes at their places show, or ``None``."""
    for prefix, decide in _BY_FIRST_BYTE[head[0]] if head else ():
        if head.startswith(prefix):
            found = decide if isinstance(decide, str) else decide(head)
            if found is not None:
                return found
    for offset, marker, decide in _LATER:
        if head.startswith(marker, offset):
            return decide(head)
    return None


# -- pictures, sound, fonts ------------------------------------------------------------


def _bmp(head: bytes) -> str | None:
    # The reserved fields, and a size that a header has had (Windows and OS/2).
    size = int.from_bytes(head[14:18], "little")
    known = size in {12, 16, 40, 52, 56, 64, 108, 124}
    return "image/bmp" if known and head[6:10] == b"\x00\x00\x00\x00" else None


def _icon(head: bytes) -> str | None:
    return "image/vnd.microsoft.icon" if head[4:6] not in {b"", b"\x00\x00"} else None


def _riff(head: bytes) -> str | None:
    kind = head[8:12]
    if kind == b"WEBP":
        return "image/webp" if head[12:14] == b"VP" else None
    return {b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}.get(kind)


def _form(head: bytes) -> str | None:
    return "audio/aiff" if head[8:12] in {b"AIFF", b"AIFC"} else None


def _base_media(head: bytes) -> str | None:
    """ISO base media file, by its brands (ISO/IEC 14496-12 section 4.3)."""
    size = int.from_bytes(head[:4], "big")
    if size < 16 or size % 4:
        return None
    major = BRANDS.get(head[8:12])
    # A structural brand says less than those it is compatible with.
    if major is not None and major not in {"image/heif", "image/heif-sequence"}:
        return major
    brands = (head[at : at + 4] for at in range(16, min(size, len(head), 256), 4))
    compatible = [BRANDS[brand] for brand in brands if brand in BRANDS]
    if major is not None:
        heirs = ("image/avif", "image/heic", "image/heic-sequence")
        return next((kind for kind in compatible if kind in heirs), major)
    return next(iter(compatible), None)


def _jpeg2000(head: bytes) -> str | None:
    if head[16:20] != b"ftyp":
        return None
    return BRANDS.get(head[20:24])


def _ogg(head: bytes) -> str | None:
    # The first page of each logical stream stands before all others, and begins with
    # the name of its codec (RFC 3533).
    if b"\x80theora" in head:
        return "video/ogg"
    start = 27 + (head[26] if len(head) > 26 else 0)
    sound = (b"\x01vorbis", b"OpusHead", b"\x7fFLAC", b"Speex   ")
    return "audio/ogg" if head.startswith(sound, start) else "application/ogg"


# Of 4 and 8 bytes, as a variable-size integer of any width (RFC 8794 section 4).
_LENGTHS: Final = b"\x84\x88\x00\x01\x02\x04\x08\x10\x20\x40"


def _matroska(head: bytes) -> str | None:
    """By its DocType (RFC 8794 section 11.2.6), which stands in the first 64 bytes."""
    at = head.find(b"\x42\x82", 4, 64)
    if at < 0:
        return None
    # The length takes one byte, or several where a writer left room.
    name = head[at + 3 : at + 19].lstrip(
        b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x84\x88"
    )
    if name.startswith(b"webm"):
        return "video/webm"
    return "video/matroska" if name.startswith(b"matroska") else None


def _truetype(head: bytes) -> str | None:
    # The number of tables; Access databases begin alike.
    return "font/ttf" if head[4:5] == b"\x00" and head[5:6] > b"\x00" else None


def _embedded_opentype(head: bytes) -> str | None:
    version = int.from_bytes(head[8:12], "little")
    known = version in {0x10000, 0x20001, 0x20002}
    return "application/vnd.ms-fontobject" if known else None


# -- archives and documents ------------------------------------------------------------


def _late_pdf(head: bytes) -> str | None:
    """PDF behind a byte order mark or line ends, as scripts put before it.

    Readers look for its header in the first 1,024 bytes (ISO 32000-1 annex H, note 13).
    """
    text = head[:1024].removeprefix(b"\xef\xbb\xbf").lstrip(b"\t\n\x0c\r ")
    return "application/pdf" if text.startswith(b"%PDF-") else None


# Each entry costs a search; a head can have a thousand that are empty.
_MOST_ENTRIES: Final = 24


def _entries(head: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield the names of zip entries, and where the content of each begins."""
    at = 0
    # Sizes may stand behind the content (flag 3), so the next entry is searched for.
    while at >= 0:
        names = int.from_bytes(head[at + 26 : at + 28], "little")
        extra = int.from_bytes(head[at + 28 : at + 30], "little")
        yield head[at + 30 : at + 30 + names], at + 30 + names + extra
        at = head.find(b"PK\x03\x04", at + 30)


def _zip(head: bytes) -> str | None:
    entries = list(islice(_entries(head), _MOST_ENTRIES))
    first, start = entries[0]
    if first == b"mimetype":
        # Stored as it is, and first, so that it can be read from here.
        end = head.find(b"PK\x03\x04", start)
        said = head[start : end if end >= 0 else start + 80]
        # A size that stands behind the content comes with a marker, or without.
        said = said.partition(b"PK\x07\x08")[0].strip()
        return PACKAGED.get(said, "application/zip")
    names = [name for name, _ in entries]
    if b"[Content_Types].xml" in names:
        for name in names:
            for folder, media_type in CONTAINED.items():
                if name.startswith(folder):
                    return media_type
    if b"AndroidManifest.xml" in names:
        return "application/vnd.android.package-archive"
    if first in {b"META-INF/", b"META-INF/MANIFEST.MF"}:
        return "application/java-archive"
    return "application/zip"


def _ole(head: bytes) -> str | None:
    """By its first directory entries (MS-CFB section 2.6), if they stand in here."""
    shift = 12 if head[30:31] == b"\x0c" else 9
    at = (int.from_bytes(head[48:52], "little") + 1) << shift
    directory = head[at : at + 1024] if at < len(head) else b""
    for name, media_type in _OLE_STREAMS:
        if name in directory:
            return media_type
    return "application/x-ole-storage"


_OLE_STREAMS: Final = tuple(
    (name.encode("utf-16-le"), media_type)
    for name, media_type in (
        ("WordDocument", "application/msword"),
        ("Workbook", "application/vnd.ms-excel"),
        ("PowerPoint Document", "application/vnd.ms-powerpoint"),
        ("__nameid_version1.0", "application/vnd.ms-outlook"),
    )
)


def _bzip2(head: bytes) -> str | None:
    # The level, then pi: a block; or the square root of pi: the end of an empty file.
    block = {b"\x31\x41\x59\x26\x53\x59", b"\x17\x72\x45\x38\x50\x90"}
    levelled = head[3:4].isdigit() and head[3:4] != b"0"
    return "application/x-bzip2" if levelled and head[4:10] in block else None


def _tar(head: bytes) -> str | None:
    # POSIX writes a version behind the magic, GNU two spaces.
    posix, gnu = b"\x00", b"  \x00"
    known = head.startswith((posix, gnu), 262)
    return "application/x-tar" if known else None


# -- programs --------------------------------------------------------------------------


def _windows(head: bytes) -> str | None:
    at = int.from_bytes(head[60:64], "little")
    if not head.startswith(b"PE\x00\x00", at) and b"\x00" not in head[:64]:
        return None
    return "application/vnd.microsoft.portable-executable"


def _fat(head: bytes) -> str | None:
    # Java's version, or how many architectures a Mach-O file is for.
    number = int.from_bytes(head[4:8], "big")
    if len(head) < 8 or not number:
        return None
    return "application/x-mach-binary" if number < 40 else "application/java-vm"


def _quicktime(_head: bytes) -> str | None:
    return "video/quicktime"


def _dicom(_head: bytes) -> str | None:
    return "application/dicom"


def adts_type(head: bytes) -> str | None:
    """``audio/aac`` for two ADTS frames."""
    if len(head) < 7:
        return None
    size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    follows = head[size : size + 2] == head[:2] and size >= 7
    return "audio/aac" if follows else None


def mp3_type(head: bytes) -> str | None:
    """``audio/mpeg`` for two frames of layer III."""
    size = _mp3_frame(head, 0)
    return "audio/mpeg" if size and _mp3_frame(head, size) else None


def transport_type(head: bytes) -> str | None:
    """``video/mp2t`` for packets of 188 bytes that begin with ``G``.

    No text does: the tables that come first have zeros in them.
    """
    starts = head[: 5 * _PACKET : _PACKET]
    if len(starts) < 3 or starts.strip(b"G") or b"\x00" not in head:
        return None
    return "video/mp2t"


_FUNCTIONS: Final[tuple[tuple[bytes, _Decide], ...]] = (
    (b"BM", _bmp),
    (b"\x00\x00\x01\x00", _icon),
    (b"\x00\x00\x02\x00", _icon),
    (b"RIFF", _riff),
    (b"FORM", _form),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", _jpeg2000),
    (b"OggS\x00", _ogg),
    (b"\x1a\x45\xdf\xa3", _matroska),
    (b"\x00\x01\x00\x00", _truetype),
    (b"PK\x03\x04", _zip),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", _ole),
    (b"BZh", _bzip2),
    (b"MZ", _windows),
    (b"\xca\xfe\xba\xbe", _fat),
    *((bytes((0xFF, second)), mp3_type) for second in (0xE2, 0xE3, 0xF2, 0xF3)),
    *((bytes((0xFF, second)), mp3_type) for second in (0xFA, 0xFB)),
    *((bytes((0xFF, second)), adts_type) for second in (0xF0, 0xF1, 0xF8, 0xF9)),
    (b"G", transport_type),
    *((first, _late_pdf) for first in (b"\xef\xbb\xbf", b"\r", b"\n", b"\t", b" ")),
)
# Looked for when the beginning shows nothing.
_LATER: Final[tuple[tuple[int, bytes, _Decide], ...]] = (
    (4, b"ftyp", _base_media),
    (4, b"moov", _quicktime),
    (4, b"mdat", _quicktime),
    (4, b"wide", _quicktime),
    (257, b"ustar", _tar),
    (34, b"LP", _embedded_opentype),
    (128, b"DICM", _dicom),
)
_SIGNATURES: Final[tuple[tuple[bytes, str | _Decide], ...]] = (*PREFIXES, *_FUNCTIONS)
_BY_FIRST_BYTE: Final[list[list[tuple[bytes, str | _Decide]]]] = [
    [] for _ in range(256)
]
for _signature in _SIGNATURES:
    _BY_FIRST_BYTE[_signature[0][0]].append(_signature)
BINARY_TYPES: Final = frozenset(
    {media_type for _, media_type in PREFIXES}
    | {media_type for _, media_type in _OLE_STREAMS}
    | set(BRANDS.values())
    | set(PACKAGED.values())
    | set(CONTAINED.values())
    | {
        "application/dicom", "application/java-archive", "application/java-vm",
        "application/ogg", "application/vnd.android.package-archive",
        "application/vnd.microsoft.portable-executable",
        "application/vnd.ms-fontobject", "application/x-bzip2",
        "application/x-mach-binary", "application/x-ole-storage", "application/x-tar",
        "application/zip", "audio/aac", "audio/aiff", "audio/mpeg", "audio/ogg",
        "audio/wav", "font/ttf", "image/bmp", "image/vnd.microsoft.icon", "image/webp",
        "video/matroska", "video/mp2t", "video/ogg", "video/quicktime", "video/webm",
        "video/x-msvideo",
    }
)  # fmt: skip


"""Every type that :func:`binary_type` can find."""


# kbit/s of layer III, by the field's value: version 1, and versions 2 and 2.5.
_RATES: Final = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
# Hz of version 1; version 2 has a half of it, version 2.5 a quarter.
_FREQUENCIES: Final = (44100, 48000, 32000)
_HALVINGS: Final = {3: 0, 2: 1, 0: 2}
_PACKET: Final = 188


def _mp3_frame(head: bytes, at: int) -> int:
    """Return the size of the frame at ``at``; 0 when there is none."""
    if len(head) < at + 4:
        return 0
    first, second, third = head[at : at + 3]
    version, layer = (second >> 3) & 3, (second >> 1) & 3
    rate, frequency = third >> 4, (third >> 2) & 3
    if first != 0xFF or second < 0xE0 or version == 1 or layer != 1:
        return 0
    if rate in {0, 15} or frequency == 3:
        return 0
    halvings = _HALVINGS[version]
    bits = _RATES[halvings > 0][rate] * 1000
    samples_in_bytes = 72 if halvings else 144
    padding = (third >> 1) & 1
    return samples_in_bytes * bits // (_FREQUENCIES[frequency] >> halvings) + padding
