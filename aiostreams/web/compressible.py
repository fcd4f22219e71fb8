"""Is it worth it to compress this? Small conditions that combine.

compressible() & ~path_prefix("/video")
compressible("application/x-mine") | Predicate(lambda c: c.size == 7)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

__all__ = ["Candidate", "Predicate", "compressible", "path_prefix"]

# Beside text/* and every type that ends in +json, +xml, +text or +yaml. Images,
# sound, video, archives and web fonts are compressed by themselves.
_TYPES: Final = frozenset(
    {
        "application/dash+xml",
        "application/ecmascript",
        "application/geo+json",
        "application/graphql",
        "application/javascript",
        "application/json",
        "application/ld+json",
        "application/manifest+json",
        "application/postscript",
        "application/rtf",
        "application/sql",
        "application/toml",
        "application/vnd.apple.mpegurl",
        "application/vnd.ms-fontobject",
        "application/wasm",
        "application/x-javascript",
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/x-sh",
        "application/x-tar",
        "application/x-www-form-urlencoded",
        "application/xml",
        "application/xml-dtd",
        "application/yaml",
        "font/otf",
        "font/ttf",
        "image/bmp",
        "image/svg+xml",
        "image/vnd.microsoft.icon",
        "image/x-icon",
        "image/x-ms-bmp",
        "message/rfc822",
        "model/gltf+json",
        "multipart/form-data",
    }
)
_SUFFIXES: Final = ("+json", "+xml", "+text", "+yaml")


@dataclass(frozen=True, slots=True)
class Candidate:
    """What may be compressed.

    Attributes:
        request: whom it answers.
        content_type: its media type, in lower case and without parameters.
        size: its bytes, or ``None`` when unknown.
    """

    request: web.BaseRequest
    content_type: str
    size: int | None


class Predicate:
    """A condition on a response; combines with ``&``, ``|`` and ``~``.

    Args:
        test: decides from a candidate: its ``request``, its ``content_type`` (in lower
            case, without parameters) and its ``size`` (in bytes, ``None`` when
            unknown).
    """

    __slots__ = ("_test",)

    def __init__(self, test: Callable[[Candidate], bool]) -> None:
        self._test = test

    def __call__(self, candidate: Candidate) -> bool:
        return self._test(candidate)

    def __and__(self, other: Predicate) -> Predicate:
        return Predicate(lambda candidate: self(candidate) and other(candidate))

    def __or__(self, other: Predicate) -> Predicate:
        return Predicate(lambda candidate: self(candidate) or other(candidate))

    def __invert__(self) -> Predicate:
        return Predicate(lambda candidate: not self(candidate))


def compressible(*more: str) -> Predicate:
    """Types that shrink: text, JSON, XML and their like.

    Args:
        more: further media types, such as ``"image/x-mine"``.
    """
    known = _TYPES.union(name.lower() for name in more)

    def test(candidate: Candidate) -> bool:
        media_type = candidate.content_type
        return (
            media_type.startswith("text/")
            or media_type in known
            or media_type.endswith(_SUFFIXES)
        )

    return Predicate(test)


def path_prefix(*prefixes: str) -> Predicate:
    """Requests whose path begins with one of ``prefixes``."""
    return Predicate(lambda candidate: candidate.request.path.startswith(prefixes))
