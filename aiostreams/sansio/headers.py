"""Header blocks, parameters and Content-Type: the grammar below multipart.

What is read here was written by a client, so every function is linear in its
input: regular expressions use possessive quantifiers and cannot backtrack, and
each loop moves forward. Three layers, lowest first:

* :func:`parse_header_block` splits the header bytes of one body part (RFC 9112
  section 5 without folding) into names and values;
* :func:`split_parameters` takes ``value; name=value; ...`` apart, quoted or not,
  and keeps values as they stood on the wire, since Content-Type (RFC 9110) and
  Content-Disposition (WHATWG) undo quoting differently;
* :func:`parse_content_type`, :func:`boundary_of` and :func:`text_codec` give
  those values a meaning; :func:`format_content_type` and
  :func:`format_header_block` are the way back.

What is parsed here has its bytes that are not UTF-8 as surrogate escapes, so that
nothing is lost: :func:`decode_header` and :func:`header_bytes`. What is handed out
has none: :func:`header_text`.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from aiostreams.errors import MalformedBody

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "ContentType",
    "HeaderPair",
    "Parameter",
    "boundary_of",
    "carried_text",
    "decode_header",
    "format_content_type",
    "format_header_block",
    "header_bytes",
    "header_text",
    "is_token",
    "parse_content_type",
    "parse_header_block",
    "split_parameters",
    "unquote",
]
HeaderPair = tuple[bytes, bytes]
_TCHAR: Final = r"!#$%&'*+\-.^_`|~0-9A-Za-z"
_LINE: Final = re.compile(
    rb"([%s]++):([^\x00-\x08\x0a-\x1f\x7f]*+)" % _TCHAR.encode(),
)
_TOKEN: Final = re.compile(rf"[{_TCHAR}]++")
# RFC 9110 allows no blanks around the "=", but RFC 2045 did, and mailers and aiohttp
# read them still: a file whose "filename =" is passed over would become a text field.
_PARAMETER: Final = re.compile(rf"[ \t]*+([{_TCHAR}]++)[ \t]*+=[ \t]*+")
_QUOTED: Final = re.compile(r'"((?:[^"\\]++|\\.)*+)"', re.DOTALL)
# An unquoted value ends at the first ";" outside of quotes: old clients send
# filename=a";".txt, and taking part of that for a parameter would be worse.
_BARE: Final = re.compile(
    r'(?:[^;"]++|"(?:[^"\\]++|\\(?:.|\Z))*+(?:"|\Z))*+', re.DOTALL
)
_QUOTED_PAIR: Final = re.compile(r"\\(.)", re.DOTALL)
_FIELD_VALUE: Final = "[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]*+"  # for re
_MEDIA_TYPE: Final = re.compile(rf"[{_TCHAR}]++/[{_TCHAR}]++")
# What may stand in a quoted string that we write: no control but a tab.
_QUOTABLE: Final = re.compile(r"[\t\x20-\x7e]*+")
# RFC 2046 section 5.1.1 bchars, and the other characters that a parameter value
# may have without quotes (RFC 2045 token): clients with "$" in theirs exist.
_BOUNDARY: Final = re.compile(
    r"[0-9A-Za-z'()+_,\-./:=? !#$%&*^`|~]{0,69}[0-9A-Za-z'()+_,\-./:=?!#$%&*^`|~]"
)


class Parameter(NamedTuple):
    """One ``name=value`` of a header.

    Attributes:
        name: in lower case.
        value: as on the wire, without surrounding quotes, escapes not undone.
        quoted: whether it stood in quotes.
    """

    name: str
    value: str
    quoted: bool


class ContentType(NamedTuple):
    """A parsed Content-Type (RFC 9110 section 8.3.1).

    Attributes:
        media_type: ``type/subtype`` in lower case.
        parameters: values by lower-case name, quoting undone.
    """

    media_type: str
    parameters: Mapping[str, str]


def decode_header(value: bytes) -> str:
    """Header bytes as text: UTF-8, other bytes as surrogate escapes."""
    return value.decode("utf-8", "surrogateescape")


def header_bytes(text: str) -> bytes:
    """Return the bytes that :func:`decode_header` made text of."""
    return text.encode("utf-8", "surrogateescape")


def header_text(value: bytes | str) -> str:
    """Header bytes, or what :func:`decode_header` made of them, to be handed out.

    Bytes that are not UTF-8 are U+FFFD, as the WHATWG decodes: no surrogates, which
    neither JSON nor a header could carry on.
    """
    data = header_bytes(value) if isinstance(value, str) else value
    return data.decode("utf-8", "replace")


def carried_text(text: str) -> str:
    """Return a decoded field value as it can be written again.

    aiohttp writes UTF-8, and leaves out lone surrogates without a word. A byte that
    is not UTF-8 becomes the character that it is in ISO-8859-1, which is what such
    bytes once were (RFC 9110 section 5.5).
    """
    if text.isprintable():
        return text  # surrogates are not
    return re.sub(_ESCAPED_BYTE, lambda match: chr(ord(match[0]) - 0xDC00), text)


_ESCAPED_BYTE: Final = "[\udc80-\udcff]"  # for re


def parse_header_block(block: bytes) -> tuple[HeaderPair, ...]:
    """Split the header bytes of a part; every line ends in CR LF.

    Names keep their case, values lose surrounding blanks.

    Raises:
        MalformedBody: a folded line, a control byte, a bare CR or LF, a name that
            is no token or not followed by its colon at once.
    """
    if not block:
        return ()
    if not block.endswith(b"\r\n"):
        raise MalformedBody("a part header does not end in CR LF")
    pairs = []
    for number, line in enumerate(block[:-2].split(b"\r\n"), 1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise MalformedBody(
                f"line {number} of a part's headers is not 'name: value'"
            )
        name, value = match.groups()
        pairs.append((name, value.strip(b" \t")))
    return tuple(pairs)


def is_token(text: str) -> bool:
    """Return whether ``text`` is a token (RFC 9110 section 5.6.2)."""
    return _TOKEN.fullmatch(text) is not None


def format_header_block(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Write headers, each with its CR LF, so that they read back as they are.

    Raises:
        ValueError: a name is no token; a value has a control character but a tab,
            a lone surrogate, or blanks around it.
    """
    block = bytearray()
    for name, value in pairs:
        if not is_token(name):
            raise ValueError(f"not a header name: {name!r}")
        if not re.fullmatch(_FIELD_VALUE, value) or value != value.strip(" \t"):
            raise ValueError(
                f"the value of header {name} has a character not allowed in its place"
            )
        block += f"{name}: {value}\r\n".encode()
    return bytes(block)


def split_parameters(text: str) -> tuple[str, list[Parameter]]:
    """Take ``value; name=value; ...`` apart.

    A piece between semicolons that is no ``name = value`` is skipped, and so is
    what follows a closing quote: clients that quote badly are many, and their
    files must arrive. Whoever needs one meaning checks for duplicates.

    Returns:
        What stands before the first semicolon, and the parameters in order.

    Raises:
        MalformedBody: a quoted value without an end.
    """
    pos = text.find(";")
    if pos < 0:
        return text.strip(" \t"), []
    head = text[:pos].strip(" \t")
    found = []
    while pos >= 0:
        match = _PARAMETER.match(text, pos + 1)
        if match is not None:
            parameter, pos = _value(text, match)
            found.append(parameter)
        else:
            pos += 1
        pos = text.find(";", pos)
    return head, found


def _value(text: str, start: re.Match[str]) -> tuple[Parameter, int]:
    """Return the value that follows ``start``, and where it ends."""
    name = start[1].lower()
    pos = start.end()
    if not text.startswith('"', pos):
        match = _BARE.match(text, pos)
        assert match is not None
        return Parameter(name, match[0].strip(" \t"), quoted=False), match.end()
    match = _QUOTED.match(text, pos)
    if match is not None:
        return Parameter(name, match[1], quoted=True), match.end()
    # Browsers send backslashes raw, so a value may end in one: only when every
    # quote up to the end looked escaped, the last one closes after all.
    rest = text[pos + 1 :].rstrip(" \t;")
    if not rest.endswith('"'):
        raise MalformedBody(f"the quoted value of parameter {name!r} has no end")
    return Parameter(name, rest[:-1], quoted=True), len(text)


def unquote(parameter: Parameter) -> str:
    """Return the value with quoted pairs undone (RFC 9110 section 5.6.4)."""
    if parameter.quoted and "\\" in parameter.value:
        return _QUOTED_PAIR.sub(r"\1", parameter.value)
    return parameter.value


def parse_content_type(text: str) -> ContentType:
    """Parse a Content-Type value.

    The media type itself is not judged; an unknown or odd one is the caller's.

    Raises:
        MalformedBody: a parameter is there twice, or a quote has no end.
    """
    media_type, pairs = split_parameters(text)
    parameters: dict[str, str] = {}
    for parameter in pairs:
        name, value = parameter.name, unquote(parameter)
        # Clients that add a charset to a type which has it already are common, and
        # mean it. A second boundary is somebody's attempt at two meanings.
        if name in parameters and (name != "charset" or parameters[name] != value):
            raise MalformedBody(f"Content-Type has {name!r} twice")
        parameters[name] = value
    return ContentType(media_type.lower(), parameters)


def format_content_type(
    media_type: str, parameters: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Write a Content-Type, quoting parameter values that are no token.

    Raises:
        ValueError: the media type, a name or a value cannot be written so that
            it reads back the same: control or non-ASCII characters, no token.
    """
    if not _MEDIA_TYPE.fullmatch(media_type):
        raise ValueError(f"not a media type: {media_type!r}")
    pieces = [media_type]
    for name, value in parameters.items():
        if not is_token(name):
            raise ValueError(f"not a parameter name: {name!r}")
        if is_token(value):
            pieces.append(f"{name}={value}")
        elif _QUOTABLE.fullmatch(value):
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            pieces.append(f'{name}="{escaped}"')
        else:
            raise ValueError(
                f"parameter {name!r} has characters not allowed in a header"
            )
    return "; ".join(pieces)


def boundary_of(content_type: str) -> bytes:
    """Return the boundary that a multipart Content-Type announces (RFC 2046 5.1.1).

    Raises:
        MalformedBody: it is missing, there twice, empty, longer than 70
            characters, ends in a space, or has characters no boundary has.
    """
    boundary = parse_content_type(content_type).parameters.get("boundary")
    if boundary is None:
        raise MalformedBody("the multipart Content-Type has no boundary")
    if not _BOUNDARY.fullmatch(boundary):
        raise MalformedBody(
            f"the multipart boundary of {len(boundary)} characters is not 1 to 70 "
            "of those that RFC 2046 allows"
        )
    return boundary.encode("ascii")
