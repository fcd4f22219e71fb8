"""HTML, SVG, XML and PHP: text that a browser or a server acts on, by its beginning.

What precedes the first element is stepped over as a parser would: a byte order mark,
white space, comments, processing instructions. The element, or the document type,
decides. More counts as HTML than by the MIME Sniffing standard (section 7.1), which
knows 17 elements: here what is told apart is what may be stored under an innocent
name, not what a browser of today would render unasked. Text in UTF-16 is looked at as
well: XML may be written so, and HTML behind a byte order mark.

A file of its own, as binary signatures, markup and names of types each have one.
"""

from __future__ import annotations

import re
from typing import Final

from aiostreams.sansio.sniff.signatures import HTML_TAGS

__all__ = ["MARKUP_TYPES", "markup_type"]
_HTML: Final = "text/html"
_XHTML: Final = "application/xhtml+xml"
_SVG: Final = "image/svg+xml"
_XML: Final = "text/xml"
_PHP: Final = "application/x-httpd-php"
MARKUP_TYPES: Final = frozenset({_HTML, _XHTML, _SVG, _XML, _PHP})
_SPACE: Final = re.compile(rb"\s*")
_PHP_TAG: Final = re.compile(rb"<\?(?:php(?=\s|\Z)|=)", re.IGNORECASE)
_XML_DECLARATION: Final = re.compile(rb"<\?xml[\s?]")
_DOCTYPE: Final = re.compile(rb"<!doctype\s+(?:[\w.-]+:)?([\w.-]+)", re.IGNORECASE)
_ELEMENT: Final = re.compile(rb"<(?:[A-Za-z_][\w.-]*:)?([A-Za-z_][\w.-]*)(?=[\s/>])")
_NAMESPACE: Final = re.compile(rb"<[^<>]*?\sxmlns(?::[\w.-]+)?\s*=")
# The mark of an encoding, and how many bytes of it are no text: with a byte order
# mark, or "<?" as XML without one must begin (XML 1.0 appendix F).
_UTF16: Final = (
    (b"\xff\xfe", "utf-16-le", 2),
    (b"\xfe\xff", "utf-16-be", 2),
    (b"<\x00?\x00", "utf-16-le", 0),
    (b"\x00<\x00?", "utf-16-be", 0),
)
# A head has room for a thousand; no author writes so many.
_MOST_SKIPPED: Final = 32


def markup_type(head: bytes) -> str | None:
    """Return the type of a text that begins with markup, or ``None``."""
    text = _ascii(head).lstrip()
    if not text.startswith(b"<"):
        return None
    is_xml = _XML_DECLARATION.match(text) is not None
    doubtful = False
    at = 0
    for _ in range(_MOST_SKIPPED):
        if text.startswith(b"<!--", at):
            doubtful = True
            end = text.find(b"-->", at + 4) + 3
        elif _PHP_TAG.match(text, at):
            return _PHP
        elif text.startswith(b"<?", at):
            end = text.find(b"?>", at + 2) + 2
        else:
            break
        if end < at:  # it ends beyond the head
            at = len(text)
            break
        at = _end_of_space(text, end)
    else:
        doubtful = True
    found = _root_type(text, at, is_xml=is_xml)
    if found is None and is_xml:
        return _XML
    return _HTML if found is None and doubtful else found


def _end_of_space(text: bytes, at: int) -> int:
    space = _SPACE.match(text, at)
    assert space is not None
    return space.end()


def _ascii(head: bytes) -> bytes:
    if head.startswith(b"\xef\xbb\xbf"):
        return head[3:]
    for mark, codec, length in _UTF16:
        if head.startswith(mark):
            return head[length:].decode(codec, "replace").encode("ascii", "replace")
    return head


def _root_type(text: bytes, at: int, *, is_xml: bool) -> str | None:
    doctype = _DOCTYPE.match(text, at)
    element = doctype or _ELEMENT.match(text, at)
    if element is None:
        return None
    name = element[1].lower()
    if name == b"svg":
        return _SVG
    if name == b"html":
        return _XHTML if is_xml else _HTML
    if is_xml or doctype is not None:
        return _XML
    if name.decode() in HTML_TAGS:
        return _HTML
    return _XML if _NAMESPACE.match(text, at) else None
