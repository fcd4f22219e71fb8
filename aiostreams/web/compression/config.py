"""Response compression: what to compress, in which coding, and how to say so.

``Compression`` is the configuration, ``compression_middleware`` applies it: to a
``BodyResponse`` when that prepares itself, since only then it is known whether a
whole representation is sent; to aiohttp's own ``web.Response`` and errors at once.

``Predicate`` says whether a response is worth compressing, and combines with others:

    compressible() & ~path_prefix("/video")
    compressible("application/x-mine") | Predicate(lambda c: c.size == 7)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from aiostreams.codings.registry import find_coding, known_codings, unknown_coding
from aiostreams.limits import KiB

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiohttp import web

    from aiostreams.codings.registry import Coding

__all__ = [
    "DEFAULT_COMPRESSION",
    "Candidate",
    "Compression",
    "Predicate",
    "compressible",
    "path_prefix",
]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """How responses are compressed.

    Args:
        codings: what may be used, best first among what a client likes equally; all
            there are when ``None``: zstd, br, gzip, deflate, and those that were
            registered. One whose library is missing is left out.
        minimum_size: smaller bodies are sent as they are, in bytes. One network
            packet holds about 1,400.
        when: what is worth it; ``compressible()`` knows the types that are. Combine
            predicates with ``&``, ``|`` and ``~``.
        levels: the level for a body that is made anew for each response, by coding.
            What is not named has the coding's default, which is quick and good.
        static_levels: likewise, for a body that is likely kept by a cache: one with
            an ETag or a Last-Modified. What is not named is as in ``levels``. As
            each coding has it when ``None``: 6 for zstd, gzip and deflate, 5 for br.
        precompressed: whether ``page.html.zst``, ``.br`` or ``.gz`` beside a
            ``File("page.html")``, if it is not older, is served in its place: of a
            type that ``when`` takes, and while the file itself is there.

    Raises:
        ValueError: there is no such coding or level.
    """

    codings: tuple[str, ...] | None = None
    minimum_size: int = 1 * KiB
    when: Predicate = field(default_factory=compressible)
    levels: Mapping[str, int] = field(default_factory=dict)
    static_levels: Mapping[str, int] | None = None
    precompressed: bool = True

    def __post_init__(self) -> None:
        for name in self.codings or ():
            _find(name)
        if self.minimum_size < 0:
            raise ValueError(f"minimum_size must not be negative: {self.minimum_size}")
        for field_name in ("levels", "static_levels"):
            given = getattr(self, field_name)
            if given is None:
                continue
            for name, level in given.items():
                low, high = _find(name).levels
                if not low <= level <= high:
                    raise ValueError(
                        f"{field_name}: {name} has levels {low} to {high}, not {level}"
                    )
            object.__setattr__(self, field_name, MappingProxyType(dict(given)))

    @property
    def preference(self) -> tuple[str, ...]:
        """The codings that may be used, best first."""
        return known_codings() if self.codings is None else self.codings

    def level(self, coding: str, *, static: bool) -> int | None:
        """Return the level for one response; ``None``: the coding's default."""
        if static:
            level = (
                _find(coding).static_level
                if self.static_levels is None
                else self.static_levels.get(coding)
            )
            if level is not None:
                return level
        return self.levels.get(coding)


def _find(name: str) -> Coding:
    coding = find_coding(name)
    if coding is None or coding.name != name:
        raise ValueError(unknown_coding(name))
    return coding


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


class Candidate(NamedTuple):
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


def path_prefix(*prefixes: str) -> Predicate:
    """Make a predicate for requests whose path begins with one of ``prefixes``."""
    return Predicate(lambda candidate: candidate.request.path.startswith(prefixes))


DEFAULT_COMPRESSION: Final = Compression()
