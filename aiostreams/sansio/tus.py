"""tus 1.0.0 (tus.io/protocols/resumable-upload): what its fields say.

Each function reads or writes one field, or the fields of one kind of request, and
refuses what the protocol refuses; which upload is meant, and what becomes of it, is for
others. Numbers are plain digits; metadata and checksums are base64 as in RFC 4648
section 4, with its padding. What is sent back verbatim (``Upload-Metadata``) has been
read by its grammar first, so it is printable ASCII.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Final

from aiostreams.errors import MalformedBody
from aiostreams.sansio.negotiation import join_lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multidict import CIMultiDict, CIMultiDictProxy

    from aiostreams.sansio.negotiation import FieldLines

    Headers = CIMultiDictProxy[str] | CIMultiDict[str]

__all__ = [
    "CHECKSUMS",
    "CHUNK_TYPE",
    "CONCAT",
    "DEFER_LENGTH",
    "EXTENSIONS",
    "LENGTH",
    "METADATA",
    "OFFSET",
    "VERSION",
    "Creation",
    "format_expires",
    "format_metadata",
    "parse_checksum",
    "parse_concat",
    "parse_creation",
    "parse_length",
    "parse_metadata",
    "parse_offset",
]

VERSION: Final = "1.0.0"
# All but checksum-trailer: aiohttp hands out no trailers.
EXTENSIONS: Final = (
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "termination",
    "concatenation",
    "concatenation-unfinished",
    "expiration",
    "checksum",
)
CHUNK_TYPE: Final = "application/offset+octet-stream"
# The algorithms of Upload-Checksum, and the bytes of their digests.
CHECKSUMS: Final = {"sha1": 20, "sha256": 32, "sha512": 64, "md5": 16, "crc32": 4}

OFFSET: Final = "Upload-Offset"
LENGTH: Final = "Upload-Length"
DEFER_LENGTH: Final = "Upload-Defer-Length"
METADATA: Final = "Upload-Metadata"
CONCAT: Final = "Upload-Concat"

_number = re.compile(r"[0-9]{1,18}", re.ASCII).fullmatch
# A key is printable ASCII without space and comma; its value may be missing, with the
# space or without.
_pair = re.compile(r"([!-+\--~]++)(?: ([A-Za-z0-9+/=]*+))?").fullmatch
_checksum = re.compile(r"([a-z0-9]+) ([A-Za-z0-9+/=]+)").fullmatch


@dataclass(frozen=True, slots=True)
class Creation:
    """The fields of a POST that creates an upload.

    Attributes:
        length: of the whole upload in bytes; ``None`` when it is deferred, or is the
            sum of ``parts``.
        partial: whether it is a part for a concatenation, and no upload by itself.
        parts: the URLs of the uploads that are concatenated to make this one.
        concat: ``Upload-Concat``, and
        metadata: ``Upload-Metadata``, as sent; ``None`` when absent.
    """

    length: int | None
    partial: bool = False
    parts: tuple[str, ...] = ()
    concat: str | None = None
    metadata: str | None = None


def parse_creation(headers: Headers) -> Creation:
    """Read the fields of a POST that creates an upload.

    Raises:
        MalformedBody: a field breaks its grammar, or there is not exactly one of
            ``Upload-Length``, ``Upload-Defer-Length: 1`` and ``Upload-Concat: final``.
    """
    metadata = join_lines(headers.getall(METADATA, None))
    parse_metadata(metadata)
    concat = join_lines(headers.getall(CONCAT, None))
    parts = parse_concat(concat)
    length = parse_length(headers)
    defer = join_lines(headers.getall(DEFER_LENGTH, None))
    if defer is not None and defer.strip() != "1":
        raise MalformedBody(f"{DEFER_LENGTH} is not 1")
    given = (length is not None) + (defer is not None) + bool(parts)
    if given != 1:
        raise MalformedBody(
            f"{given} of {LENGTH}, {DEFER_LENGTH} and {CONCAT}: final are given, "
            "expected exactly 1"
        )
    return Creation(length, parts is not None and not parts, parts or (), concat,
                    metadata)  # fmt: skip


def parse_offset(headers: Headers) -> int:
    """Read ``Upload-Offset``.

    Raises:
        MalformedBody: it is missing, or no number.
    """
    offset = _read_number(headers, OFFSET)
    if offset is None:
        raise MalformedBody(f"{OFFSET} is missing")
    return offset


def parse_length(headers: Headers) -> int | None:
    """Read ``Upload-Length``; ``None`` when it is absent.

    Raises:
        MalformedBody: it is no number.
    """
    return _read_number(headers, LENGTH)


def _read_number(headers: Headers, name: str) -> int | None:
    value = join_lines(headers.getall(name, None))
    if value is None:
        return None
    if _number(value.strip()) is None:
        raise MalformedBody(f"{name} is not a number of 1 to 18 digits")
    return int(value)


def parse_metadata(lines: FieldLines) -> dict[str, str]:
    """Read ``Upload-Metadata``: keys to values.

    An absent field and an empty one have no metadata. Values are UTF-8; bytes that are
    not become U+FFFD.

    Raises:
        MalformedBody: it breaks the grammar, or a key is there twice.
    """
    value = join_lines(lines)
    metadata: dict[str, str] = {}
    if value is None or not value.strip():
        return metadata
    for number, pair in enumerate(value.split(","), 1):
        found = _pair(pair.strip(" \t"))
        # A key that is followed by its space alone has an empty value.
        if found is None:
            raise MalformedBody(f"pair {number} of {METADATA} is not a key and base64")
        key, encoded = found.groups(default="")
        if key in metadata:
            raise MalformedBody(
                f"pair {number} of {METADATA} has the same key as another pair"
            )
        metadata[key] = _decode(encoded, f"pair {number} of {METADATA}").decode(
            errors="replace"
        )
    return metadata


def format_metadata(metadata: Mapping[str, str]) -> str:
    """Write ``Upload-Metadata``.

    Raises:
        ValueError: a key is empty, or not printable ASCII without space and comma.
    """
    pairs: list[str] = []
    for key, value in metadata.items():
        if _pair(key) is None or " " in key:
            raise ValueError(f"{key!r} is not printable ASCII without space and comma")
        encoded = base64.b64encode(value.encode()).decode()
        pairs.append(f"{key} {encoded}" if encoded else key)
    return ",".join(pairs)


def parse_checksum(lines: FieldLines) -> tuple[str, bytes] | None:
    """Read ``Upload-Checksum``: the algorithm and the digest; ``None`` when absent.

    Raises:
        MalformedBody: it breaks the grammar, the algorithm is not known, or the digest
            has not its length.
    """
    value = join_lines(lines)
    if value is None:
        return None
    found = _checksum(value.strip(" \t"))
    if found is None:
        raise MalformedBody("Upload-Checksum is not an algorithm and base64")
    algorithm, encoded = found.groups()
    size = CHECKSUMS.get(algorithm)
    if size is None:
        known = ", ".join(CHECKSUMS)
        raise MalformedBody(
            f"Upload-Checksum has the algorithm {algorithm[:20]!r}; expected one of "
            f"{known}"
        )
    digest = _decode(encoded, "Upload-Checksum")
    if len(digest) != size:
        raise MalformedBody(
            f"Upload-Checksum has {len(digest)} bytes, expected {size} for {algorithm}"
        )
    return algorithm, digest


def parse_concat(lines: FieldLines) -> tuple[str, ...] | None:
    """Read ``Upload-Concat``.

    Returns:
        The URLs of a final upload's parts in their order; ``()`` for a partial upload;
        ``None`` when the field is absent.

    Raises:
        MalformedBody: it is neither, or a final upload of no parts.
    """
    value = join_lines(lines)
    if value is None:
        return None
    kind, semicolon, rest = value.strip().partition(";")
    if kind == "partial" and not semicolon:
        return ()
    urls = tuple(rest.split())
    if kind != "final" or not urls:
        raise MalformedBody(f"{CONCAT} is neither 'partial' nor 'final;' and URLs")
    return urls


def format_expires(when: float) -> str:
    """Write ``Upload-Expires``, an IMF-fixdate.

    Args:
        when: in POSIX seconds.
    """
    return formatdate(when, usegmt=True)


def _decode(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise MalformedBody(f"{what} is not base64") from error
