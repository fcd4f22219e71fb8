"""The table of content codings: one row for each, and all that is known of it.

Everything that depends on the list of codings asks here: the streams, the compression
of responses, the fields that name codings, the precompressed files, the statistics.
``register_coding`` adds a row for a coding of an application's own.

A library that is missing is the client's problem when the client sent the coding (415,
with what it may send instead), and the application's when the application asked for it
(``ImportError`` that names the extra).
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from aiostreams.codings.gzip import (
    DeflateDecoder,
    DeflateEncoder,
    GzipDecoder,
    GzipEncoder,
)
from aiostreams.codings.zstd_brotli import (
    BrotliDecoder,
    BrotliEncoder,
    ZstdDecoder,
    ZstdEncoder,
    missing_brotli,
    missing_zstd,
)
from aiostreams.errors import UnsupportedContent
from aiostreams.sansio.headers import is_token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from aiostreams.codings.base import Decoder, Encoder

__all__ = [
    "Coding",
    "coding_aliases",
    "find_coding",
    "known_codings",
    "make_decoder",
    "make_encoder",
    "register_coding",
    "supported_codings",
    "unknown_coding",
]


class Coding(NamedTuple):
    """One row: see :func:`register_coding` for what the columns mean.

    Attributes:
        missing: says what brings the library that the coding needs, or ``None`` when
            that is installed. A coding without one needs no library.
    """

    name: str
    encoder: Callable[[int], Encoder]
    decoder: Callable[[], Decoder]
    levels: tuple[int, int]
    default_level: int
    static_level: int | None = None
    aliases: tuple[str, ...] = ()
    extension: str | None = None
    missing: Callable[[], str | None] | None = None

    def remedy(self) -> str | None:
        """Say what has to be installed; ``None`` when nothing is missing."""
        return None if self.missing is None else self.missing()


# In the order a server prefers them: zstd compresses faster than gzip to fewer bytes,
# br is smaller but slower, deflate has no checksum worth the name and two readings.
# Levels: zstd's 2 has 0.7 to 0.9 times the bytes of zlib's 6, in a sixth to a ninth of
# the CPU time; 4 is the last one of br that is quick; -1 is the choice of the zlib at
# hand. For a body that is kept, so that encoding it once more is seldom, more is done.
_TABLE: Final = (
    Coding(
        "zstd",
        ZstdEncoder,
        ZstdDecoder,
        levels=(-7, 22),
        default_level=2,
        static_level=6,
        extension=".zst",
        missing=missing_zstd,
    ),
    Coding(
        "br",
        BrotliEncoder,
        BrotliDecoder,
        levels=(0, 11),
        default_level=4,
        static_level=5,
        extension=".br",
        missing=missing_brotli,
    ),
    Coding(
        "gzip",
        GzipEncoder,
        GzipDecoder,
        levels=(0, 9),
        default_level=-1,
        static_level=6,
        aliases=("x-gzip",),  # RFC 9110 section 8.4.1.3
        extension=".gz",
    ),
    Coding(
        "deflate",
        DeflateEncoder,
        DeflateDecoder,
        levels=(0, 9),
        default_level=-1,
        static_level=6,
    ),
)

_codings: dict[str, Coding] = {}
_aliases: dict[str, str] = {}
_ALIASES: Final = MappingProxyType(_aliases)


def _add(coding: Coding) -> None:
    _codings[coding.name] = coding
    for alias in coding.aliases:
        _aliases[alias] = coding.name


for _coding in _TABLE:
    _add(_coding)


def register_coding(
    name: str,
    *,
    encoder: Callable[[int], Encoder],
    decoder: Callable[[], Decoder],
    levels: tuple[int, int] = (0, 0),
    default_level: int = 0,
    static_level: int | None = None,
    aliases: Iterable[str] = (),
    extension: str | None = None,
) -> None:
    """Add a content coding (RFC 9110 section 8.4.1) to those of this process.

    From then on the coding is read in requests, under the limits of all codings, and
    named in the ``Accept-Encoding`` of a 415. Responses are sent in it to clients that
    accept it: codings that were registered earlier are preferred, unless
    ``Compression(codings=...)`` orders them otherwise. Statistics name it. Call this
    once for each process, before a ``Compression`` names the coding.

    Args:
        name: a token (RFC 9110 section 5.6.2), in any case.
        encoder: makes the encoder for one body, at a level.
        decoder: makes the decoder for one body.
        levels: the lowest and the highest level; the same number twice for a coding
            that has none.
        default_level: the level when none was asked for.
        static_level: the level for responses that a cache is likely to keep, see
            :class:`Compression`; ``default_level`` when ``None``.
        aliases: other names by which clients know it.
        extension: of a file in this coding, such as ``".gz"``: ``page.html.gz`` is
            then served in the place of ``File("page.html")``.

    Raises:
        ValueError: a name is not a token, or is taken; the lowest level is above the
            highest, or a level is not between them; the extension does not begin
            with a dot, or is taken.
    """
    names: list[str] = []
    for given in (name, *aliases):
        # Asked before lower(), which turns a Kelvin sign into an ASCII k.
        if not is_token(given):
            raise ValueError(f"the name {given!r} of a coding is not a token")
        lower = given.lower()
        # identity is no coding, and * stands for any.
        if lower in {"identity", "*", *names} or find_coding(lower) is not None:
            raise ValueError(f"the name {lower!r} of a coding is taken")
        names.append(lower)
    low, high = levels
    if low > high:
        raise ValueError(f"levels of {name}: {low} is more than {high}")
    for level in (default_level, static_level):
        if level is not None and not low <= level <= high:
            raise ValueError(f"{name} has levels {low} to {high}, not {level}")
    if extension is not None:
        if re.fullmatch(r"\.[\w.+-]+", extension) is None:
            raise ValueError(
                f"extension {extension!r} of {name} is not a dot and a word, as '.gz'"
            )
        if any(coding.extension == extension for coding in _codings.values()):
            raise ValueError(f"the extension {extension!r} of {name} is taken")
    _add(
        Coding(
            names[0],
            encoder,
            decoder,
            levels=(low, high),
            default_level=default_level,
            static_level=static_level,
            aliases=tuple(names[1:]),
            extension=extension,
        )
    )


def known_codings() -> tuple[str, ...]:
    """Return the codings that have a row, whether or not their library is there."""
    return tuple(_codings)


def supported_codings() -> tuple[str, ...]:
    """Return the codings that can be read and written here, best first."""
    return tuple(name for name, coding in _codings.items() if coding.remedy() is None)


def coding_aliases() -> Mapping[str, str]:
    """Return the other names of codings, in lower case, and what they stand for."""
    return _ALIASES


def find_coding(name: str) -> Coding | None:
    """Return the coding of that name or alias, in lower case."""
    return _codings.get(_aliases.get(name, name))


def make_decoder(coding: str) -> Decoder:
    """Make a decoder for one coding, named in lower case and not by an alias.

    Raises:
        UnsupportedContent: there is none; says which ones there are.
    """
    row = _codings.get(coding)
    if row is None or row.remedy() is not None:
        what = "is unknown" if row is None else "needs a library that is missing"
        supported = ", ".join(supported_codings())
        # The name comes from the client: shown as far as it can be a name.
        raise UnsupportedContent(
            f"the content coding {coding[:32]!r} {what}; supported: {supported}",
            accept_encoding=supported,
        )
    return row.decoder()


def make_encoder(coding: str, level: int | None = None) -> Encoder:
    """Make an encoder for one coding, named in lower case and not by an alias.

    Args:
        coding: its name.
        level: of the coding's own; its default when ``None``.

    Raises:
        ImportError: its library is missing; names the extra that brings it, if one
            does.
        ValueError: there is no such coding, or it has no such level.
    """
    row = _codings.get(coding)
    if row is None:
        raise ValueError(unknown_coding(coding))
    remedy = row.remedy()
    if remedy is not None:
        raise ImportError(f"the content coding {coding!r} needs a library: {remedy}")
    if level is None:
        level = row.default_level
    low, high = row.levels
    if not low <= level <= high and level != row.default_level:
        raise ValueError(f"{coding} has levels {low} to {high}, not {level}")
    return row.encoder(level)


def unknown_coding(name: str) -> str:
    """Say that there is no coding of this name, and which ones there are."""
    return f"unknown content coding {name!r}; expected one of {', '.join(_codings)}"
