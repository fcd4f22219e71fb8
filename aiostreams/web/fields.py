"""Fields of a response that speak of its body, and when they would not be true.

A handler says them of the whole representation. A coding, a range, or an answer that
sends nothing of it makes some of them wrong: RFC 9110 sections 8 and 15.4.5, RFC 9530.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import hdrs

if TYPE_CHECKING:
    from multidict import CIMultiDict

__all__ = ["OF_THE_BYTES", "keep_to_part", "keep_to_refusal"]

_OF_THE_CONTENT: Final = (hdrs.CONTENT_LENGTH, "Content-Digest", hdrs.CONTENT_MD5)
# They speak of the very bytes of the body: it must not be encoded.
OF_THE_BYTES: Final = (
    hdrs.CONTENT_ENCODING,
    hdrs.CONTENT_RANGE,
    "Content-Digest",
    "Repr-Digest",
    "Digest",
    hdrs.CONTENT_MD5,
)
# What describes the representation, and so has no place in an answer without it.
_OF_THE_REPRESENTATION: Final = (
    *OF_THE_BYTES,
    hdrs.CONTENT_TYPE,
    hdrs.CONTENT_DISPOSITION,
    hdrs.CONTENT_LANGUAGE,
    hdrs.CONTENT_LENGTH,
)
# What is said of the representation beside that, and true with a 304: which one it
# is, and for how long it may be kept. A refusal is not to be kept for a year.
_OF_THE_CACHE: Final = (
    hdrs.CACHE_CONTROL,
    hdrs.ETAG,
    hdrs.EXPIRES,
    hdrs.LAST_MODIFIED,
)


def keep_to_part(headers: CIMultiDict[str]) -> None:
    """Drop what is not true of a range: the length and the digests of the content."""
    _drop(headers, _OF_THE_CONTENT)


def keep_to_refusal(headers: CIMultiDict[str], status: int) -> None:
    """Drop what is not true of a 304, 412 or 416."""
    _drop(headers, _OF_THE_REPRESENTATION)
    if status != 304:
        _drop(headers, _OF_THE_CACHE)


def _drop(headers: CIMultiDict[str], names: tuple[str, ...]) -> None:
    for name in names:
        headers.popall(name, None)
