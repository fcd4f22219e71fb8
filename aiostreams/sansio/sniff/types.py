"""The type of a file by its first bytes, and whether to accept it.

``sniff`` names the type that the bytes show, after the WHATWG's MIME Sniffing standard
but stricter where two letters would decide (``BM``, ``MZ``): a text that happens to
begin so is no picture. ``accepted_type`` and ``resolve_type`` weigh what the bytes show
against what the client said:

- Bytes that show a type decide. A page named ``.png`` is ``text/html``.
- A container (zip, OLE, Ogg) may be any type of its family, by the client's word.
- Text shows nothing but that it is text, unless it begins like HTML, SVG, XML, PHP or
  RTF. Whether it is CSV or JSON is the client's word and the extension's together:
  clients look a type up in tables of their system, where ``.csv`` is an Excel file on
  Windows, and ``.json`` may be ``text/plain``.
- Other bytes have a type for ``accept`` only if it can't be told from the bytes
  (no signature is known) and the list has it by its full name.

This helps an allow-list, and proves nothing. A file can begin as a picture and go on
as a program (``GIF89a;<?php``), or be two formats at once. ``image/*`` has SVG in it,
which can carry scripts. So serve what clients sent with ``nosniff``, as an attachment
or from a host of its own, and let a parser that may fail have the last word.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from aiostreams.extras import require
from aiostreams.sansio.mediatype import OCTET_STREAM, guess_content_type, media_type_of
from aiostreams.sansio.sniff.binary import BINARY_TYPES, binary_type
from aiostreams.sansio.sniff.markup import MARKUP_TYPES, markup_type
from aiostreams.sansio.sniff.signatures import ALIASES, FAMILIES, TEXTUAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "SNIFF_BYTES",
    "accepted_type",
    "check_pattern",
    "looks_like_text",
    "magic_sniffer",
    "named_type",
    "resolve_type",
    "sniff",
]
SNIFF_BYTES: Final = 4096


"""How many bytes are looked at. The standard asks for 1445; the entries of a zip file
that tell a document from an archive, and the root element of an SVG behind comments,
stand further in."""


_PLAIN: Final = "text/plain"
# Every type that bytes can show, be it as one of its family.
_KNOWN: Final = BINARY_TYPES | MARKUP_TYPES | frozenset[str]().union(*FAMILIES.values())
# All but the standard's "binary data bytes" (section 3).
_TEXT_BYTES: Final = bytes(
    byte for byte in range(256) if byte >= 0x20 or byte in b"\t\n\x0c\r\x1b"
)
_BOMS: Final = (b"\xef\xbb\xbf", b"\xfe\xff", b"\xff\xfe")
_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+\-]{0,126}"  # RFC 6838 section 4.2
_DECLARED: Final = re.compile(rf"({_NAME}/{_NAME})[ \t]*(;[ -~]*)?")
_PATTERN: Final = re.compile(rf"\*/\*|{_NAME}/(?:\*|{_NAME})")
# As long as a Content-Type in storage may be.
_LONGEST: Final = 255


def sniff(head: bytes, *, text: bool = False) -> str | None:
    """Tell the media type of a file by its first bytes.

    Takes a few microseconds, and never raises. It helps an allow-list, and proves
    nothing: a file can begin as a picture and go on as a program, or be two formats at
    once. ``image/*`` has SVG in it, which can carry scripts.

    Args:
        head: the beginning of the file; 4 KiB of it are looked at. With fewer, what
            stands further in is not seen.
        text: whether to call text without a type of its own ``text/plain``, by the
            standard's rule: no byte of it is a control character of binary data.

    Returns:
        A media type without parameters, or ``None`` when the bytes show none.
    """
    head = bytes(head[:SNIFF_BYTES])
    found = binary_type(head) or markup_type(head)
    if found is None and text and looks_like_text(head):
        return _PLAIN
    return found


def looks_like_text(head: bytes) -> bool:
    """Return whether no byte is binary data (MIME Sniffing, sections 3 and 7.2).

    A byte order mark makes anything text. An empty file is text.
    """
    return head.startswith(_BOMS) or not head.translate(None, _TEXT_BYTES)


def accepted_type(
    sniffed: str | None,
    declared: str | None,
    accept: Iterable[str],
    filename: str | None = None,
) -> str | None:
    """Return the type as which ``accept`` lets a file in.

    Args:
        sniffed: what ``sniff(head, text=True)``, or another sniffer, says of the
            bytes; ``None`` when it does not know them.
        declared: what the client says, parameters included.
        accept: patterns: ``image/png``, ``image/*`` or ``*/*``. Aliases count alike:
            ``audio/x-wav`` lets ``audio/wav`` in.
        filename: whose extension says what text it is, where the client declares a
            type that is not accepted, or ``text/plain`` and the extension's type is
            listed by its full name.

    Returns:
        A media type; ``None`` when the file is not let in.

    Raises:
        ValueError: a pattern is none of these.
    """
    patterns = _patterns(frozenset(accept))
    actual = _canonical(sniffed) or OCTET_STREAM
    said = _clean(declared)
    essence = _canonical(said)
    named = _named_text(actual, filename)
    if essence == _PLAIN and named in patterns:
        return named
    if said is not None and essence is not None:
        fits = _fits(essence, patterns) or _fits(media_type_of(said), patterns)
        if fits and essence == actual:
            return actual
        if fits and _refines(essence, actual):
            return said
        by_name = essence in patterns or "*/*" in patterns
        if by_name and _undecided(actual) and not _tellable(essence):
            return said
    if named is not None and _fits(named, patterns):
        return named
    return actual if _fits(actual, patterns) else None


def _named_text(actual: str, filename: str | None) -> str | None:
    """Return the kind of text by a file's extension, if its bytes are text."""
    if filename is None or not _is_plain(actual):
        return None
    named = _canonical(guess_content_type(filename))
    return named if named is not None and _is_plain(named) else None


def resolve_type(
    head: bytes,
    declared: str | None,
    filename: str | None = None,
    *,
    sniffer: Callable[[bytes], str | None] | None = None,
) -> str:
    """Return the type of an unrestricted file: the bytes', else the client's.

    Args:
        head: the beginning of the file.
        declared: what the client says, parameters included.
        filename: whose extension counts when the client says nothing.
        sniffer: asked in place of :func:`sniff`.

    Returns:
        What the bytes show, or a member of its family that the client declares; else
        what it declares, cleaned of what is no media type; else what the name promises,
        unless the bytes speak against it; else ``application/octet-stream``.
    """
    actual = _canonical((sniffer or sniff)(head)) or OCTET_STREAM
    said = _clean(declared)
    essence = _canonical(said)
    if not _undecided(actual):
        refined = essence is not None and _refines(essence, actual)
        return said if said is not None and refined else actual
    if said is not None:
        return said
    if actual != OCTET_STREAM:  # text, says another sniffer than ours
        return actual
    return named_type(head, None, filename)


def named_type(head: bytes, declared: str | None, name: str | None) -> str:
    """Return the type of a file by its name, where the bytes show none.

    Args:
        head: the beginning of the file.
        declared: what the client says; it comes before any name.
        name: a filename or a key, or ``None``.

    Returns:
        What is declared; else what the extension promises, unless the bytes speak
        against it: they would show that type, or it is text and they are none. Else
        ``application/octet-stream``.
    """
    said = _clean(declared)
    if said is not None:
        return said
    guess = guess_content_type(name or "")
    essence = media_type_of(guess)
    if ALIASES.get(essence, essence) in _KNOWN:
        return OCTET_STREAM
    if _is_plain(essence) and not looks_like_text(head):
        return OCTET_STREAM
    return guess


def magic_sniffer() -> Callable[[bytes], str | None]:
    """Make a sniffer that asks libmagic, by ``python-magic`` (extra ``magic``).

    It knows far more types than :func:`sniff`, and takes some 100 µs for a file. What
    it calls ``application/octet-stream`` or empty is ``None``.

    Raises:
        ImportError: ``python-magic`` is not installed, or libmagic is not, the C
            library of the operating system.
    """
    magic = require("magic", extra="magic", what="magic_sniffer()")
    asked = magic.Magic(mime=True)

    def ask(head: bytes) -> str | None:
        found = str(asked.from_buffer(bytes(head)))
        return None if found in _NOTHING else found

    return ask


_NOTHING: Final = {OCTET_STREAM, "application/x-empty", "inode/x-empty"}


def check_pattern(pattern: str) -> str:
    """``pattern`` in lower case and without space around it.

    Raises:
        ValueError: it is neither ``type/subtype`` nor ``type/*`` nor ``*/*``.
    """
    tidy = pattern.strip().lower()
    if _PATTERN.fullmatch(tidy) is None:
        raise ValueError(
            f"{pattern!r} is not a media type such as 'image/png' or 'image/*'"
        )
    return tidy


@lru_cache(maxsize=256)
def _patterns(accept: frozenset[str]) -> frozenset[str]:
    tidy = (check_pattern(pattern) for pattern in accept)
    return frozenset(ALIASES.get(pattern, pattern) for pattern in tidy)


def _fits(media_type: str, patterns: frozenset[str]) -> bool:
    return (
        media_type in patterns
        or media_type.partition("/")[0] + "/*" in patterns
        or "*/*" in patterns
    )


def _canonical(media_type: str | None) -> str | None:
    if media_type is None:
        return None
    essence = media_type_of(media_type)
    return ALIASES.get(essence, essence)


def _clean(declared: str | None) -> str | None:
    """Return what a client declared, if it is a media type, spelled as usual."""
    if declared is None or len(declared) > _LONGEST:
        return None
    match = _DECLARED.fullmatch(declared.strip())
    if match is None:
        return None
    return match[1].lower() + (match[2] or "")


def _tellable(media_type: str) -> bool:
    """Return whether ``sniff`` would show bytes of that type, or that they are text."""
    return media_type in _KNOWN or _is_plain(media_type)


def _undecided(actual: str) -> bool:
    return actual == OCTET_STREAM or _is_plain(actual)


def _is_plain(media_type: str) -> bool:
    """Return whether that is a kind of text which only its author knows."""
    return media_type not in _KNOWN and (
        media_type.startswith("text/")
        or media_type in TEXTUAL
        or media_type.endswith(("+json", "+xml", "+yaml"))
    )


def _refines(declared: str, actual: str) -> bool:
    """Return whether bytes that show ``actual`` may be of the type ``declared``."""
    if declared in FAMILIES.get(actual, ()):
        return True
    if actual == "text/xml":
        return declared.endswith("+xml") and declared not in _KNOWN
    if actual == "application/zip":
        return declared.endswith("+zip")
    # Without a declaration of its own, XML is text like any other.
    return _is_plain(actual) and (_is_plain(declared) or declared == "text/xml")
