"""``Content-Digest`` and ``Repr-Digest`` (RFC 9530): structured fields, in and out.

Both are dictionaries (RFC 9651 section 3.2) of byte sequences:

    Content-Digest: sha-256=:4REjxQ4yrqUVicfSKYNO/cF9zNj5ANbzgDZt3/h3Qxo=:

Only sha-256 and sha-512 are read and written: the others are deprecated (md5, sha,
adler, crc32c, unixsum; section 5) or unknown, and are ignored, as section 2 allows,
once they have been read by the grammar. A key said twice counts as said last.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import TYPE_CHECKING, Final

from aiostreams.errors import MalformedBody
from aiostreams.sansio.negotiation import join_lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiostreams.sansio.negotiation import FieldLines

__all__ = ["DIGEST_ALGORITHMS", "choose_digest", "format_digest", "parse_digest"]

# The name in the field to hashlib's, best last.
DIGEST_ALGORITHMS: Final = {"sha-256": "sha256", "sha-512": "sha512"}

_MAX_LENGTH: Final = 8192
_comma = re.compile(r"[ \t]*+(?:(,)[ \t]*+|\Z)").match


def parse_digest(lines: FieldLines) -> dict[str, bytes]:
    """Read the field's lines to digests by algorithm, as ``sha-256``.

    Empty when the field is absent, or has no algorithm that is read here.

    Raises:
        MalformedBody: it is no dictionary, or a digest is no byte sequence of its
            algorithm's length.
    """
    items = _members(lines)
    return {key: _digest(key, items[key]) for key in DIGEST_ALGORITHMS if key in items}


def choose_digest(lines: FieldLines) -> str | None:
    """Choose an algorithm by ``Want-Content-Digest`` or ``Want-Repr-Digest``.

    The highest weight of 1 to 10 wins, among equals sha-256; 0 refuses. The key ``*``
    stands for every algorithm that is not named.

    Args:
        lines: the lines of the field.

    Returns:
        The algorithm, as ``sha-256``; ``""`` when all of them are refused, or none is
        named that is known here; ``None`` when the field is absent, or malformed: a
        preference that cannot be read is none.
    """
    try:
        items = _members(lines)
    except MalformedBody:
        return None
    if not items:
        return None
    weights = {key: _weight(item) for key, item in items.items()}
    best, highest = "", 0
    for algorithm in DIGEST_ALGORITHMS:
        weight = weights.get(algorithm, weights.get("*", 0))
        if weight > highest:
            best, highest = algorithm, weight
    return best


def _weight(item: str | None) -> int:
    return int(item) if item is not None and re.fullmatch("10|[0-9]", item) else 0


def _members(lines: FieldLines) -> dict[str, str | None]:
    """Return the keys of a dictionary, each with its item as it was written.

    Raises:
        MalformedBody: it is no dictionary.
    """
    value = (join_lines(lines) or "").strip(" ")
    if len(value) > _MAX_LENGTH:
        raise MalformedBody(
            f"a digest field has {len(value)} characters, limit {_MAX_LENGTH}"
        )
    if not value:
        return {}
    # Few requests have such a field.
    from aiostreams.sansio.structured import (  # noqa: PLC0415
        end_of_parameters,
        end_of_value,
        match_key,
    )

    items: dict[str, str | None] = {}
    position = 0
    comma: str | None = None
    while position < len(value) or comma:
        key = match_key(value, position)
        at = -1 if key is None else position + len(key)
        item: str | None = None
        if value.startswith("=", at):
            end = end_of_value(value, at + 1)
            item, at = value[at + 1 : end], end
        after = None if at < 0 else _comma(value, end_of_parameters(value, at))
        if key is None or after is None:
            raise MalformedBody(f"not a digest field at character {position + 1}")
        items[key] = item
        comma, position = after[1], after.end()
    return items


def _digest(algorithm: str, item: str | None) -> bytes:
    if item is None or item[0] != ":":
        raise MalformedBody(f"the {algorithm} digest is not a byte sequence")
    text = item[1:-1]
    try:
        # Section 4.2.7: padding may be missing.
        digest = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise MalformedBody(f"the {algorithm} digest is not base64") from error
    size = hashlib.new(DIGEST_ALGORITHMS[algorithm]).digest_size
    if len(digest) != size:
        raise MalformedBody(
            f"the {algorithm} digest has {len(digest)} bytes, expected {size}"
        )
    return digest


def format_digest(digests: Mapping[str, bytes]) -> str:
    """Write digests by algorithm, as ``{"sha-256": b"..."}``, to the field's value.

    Raises:
        ValueError: an algorithm is not written here.
    """
    for algorithm in digests:
        _check(algorithm)
    return ", ".join(
        f"{algorithm}=:{base64.b64encode(digest).decode()}:"
        for algorithm, digest in digests.items()
    )


def _check(algorithm: str) -> str:
    try:
        return DIGEST_ALGORITHMS[algorithm]
    except KeyError:
        names = ", ".join(DIGEST_ALGORITHMS)
        raise ValueError(
            f"unknown digest {algorithm!r}; expected one of {names}"
        ) from None
