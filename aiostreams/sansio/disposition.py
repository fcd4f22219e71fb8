r"""Content-Disposition of body parts and of responses, and safe names for files.

**Body parts** are read and written as browsers do: RFC 7578 section 4.2 and the
WHATWG's multipart/form-data encoding rule. Names and filenames are UTF-8 in quotes,
where ``"``, CR and LF stand as ``%22``, ``%0D`` and ``%0A``, and a backslash stands for
itself. Older clients write ``\"``, which is read too.

RFC 7578 forbids ``filename*`` (RFC 8187) in forms. Clients send it all the same:
urllib3 1.x alone, for a name that is not ASCII, and .NET together with a ``filename``
that is an encoded word (RFC 2047). In these two cases it counts. Where both are plain
``filename`` wins, so that no second name gets past a check of the first.

Text has no lone surrogates: bytes that are neither UTF-8 nor of the form's charset
become U+FFFD. They stay available as they were sent.

Reading twice must not give two answers, so a second ``name`` or ``filename`` is
an error, and what cannot be written so that it reads back the same is refused.

**Responses** have the field of RFC 6266 and RFC 8187.

    attachment; filename="naive.txt"; filename*=UTF-8''na%C3%AFve.txt

``filename*`` says the name exactly; ``filename`` is for those who do not read the
other, curl among them, and is harmless to all. It is sent alone when it is exact for
everyone. What makes it inexact is what today's clients do with it:

    non-ASCII             read as Latin-1, as UTF-8, or not at all
    " and \               cut the name short in curl, which knows no escapes
    / and \               lose the path before them (curl), or become "_" (browsers)
    % and two hex digits  are decoded by Chromium; a lone % is left alone
    =?                    begins an encoded word (RFC 2047) in Chromium and Firefox
    spaces at either end  are trimmed

In the fallback accents are dropped, and each other such character becomes "_". So
does, in both, a character that ends a header or is invisible: a name that a client has
sent is written here as it is handed out, whatever is in it.

**Safe names** can be used as a path component. The filename on the wire is data: it may
be a path, a device, a terminal escape, or empty. :func:`safe_filename` keeps what a
person would recognise (letters of every script, spaces inside, the extension) and
nothing a file system or a shell could take for something else, on POSIX and on Windows.
It does not make names unique: two uploads may well have the same one.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from aiostreams.errors import MalformedBody, StreamError, UnsupportedContent
from aiostreams.sansio.headers import (
    Parameter,
    header_bytes,
    is_token,
    split_parameters,
)

__all__ = [
    "Disposition",
    "content_disposition",
    "decode_extended",
    "format_disposition",
    "parse_disposition",
    "safe_filename",
]
# An expression that few names need is compiled by `re` when one does, and kept there.
_ESCAPED: Final = re.compile("%(?:22|0D|0A)")
_CHARACTERS: Final = {"%22": '"', "%0D": "\r", "%0A": "\n"}
_ESCAPES: Final = str.maketrans({v: k for k, v in _CHARACTERS.items()})
# A control character but CR and LF, which have escapes; a lone surrogate.
_UNWRITABLE: Final = "[\x00-\x09\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]"
_EXTENDED: Final = (
    r"([!#$%&+\-^_`{}~0-9A-Za-z]++)'[A-Za-z0-9\-]*+'"
    r"((?:[!#$&+\-.^_`|~0-9A-Za-z]|%[0-9A-Fa-f]{2})*+)"
)
_EXTENDED_CHARSETS: Final = {"utf-8": "utf-8", "iso-8859-1": "iso-8859-1"}
# One encoded word (RFC 2047 section 2) or several.
_ENCODED_WORDS: Final = (
    r"=\?[^?\s]++\?[BbQq]\?[^?\s]*+\?=(?:\s++=\?[^?\s]++\?[BbQq]\?[^?\s]*+\?=)*+"
)


class Disposition(NamedTuple):
    """A parsed Content-Disposition.

    Attributes:
        type: ``form-data``, ``attachment``, ... in lower case; may be empty.
        name: the ``name`` parameter, or None.
        filename: the filename, or None if there is none. Empty when ``filename*``
            stands alone and cannot be decoded, or for an absolute Windows path that
            ends in a backslash: it names a folder and no file.
        raw_name: the bytes of ``name`` as sent, escapes not undone, without quotes.
        raw_filename: likewise the bytes of the parameter that gave ``filename``.
    """

    type: str
    name: str | None
    filename: str | None
    raw_name: bytes | None
    raw_filename: bytes | None


def parse_disposition(text: str, codec: str | None = None) -> Disposition:
    """Parse a Content-Disposition value.

    Args:
        text: the value, with bytes that are not UTF-8 as surrogate escapes.
        codec: Python's codec for names that are not UTF-8, if one is known.

    Raises:
        MalformedBody: ``name``, ``filename`` or ``filename*`` is there twice, or
            a quoted value has no end.
    """
    kind, parameters = split_parameters(text)
    found: dict[str, Parameter] = {}
    for parameter in parameters:
        if parameter.name in {"name", "filename", "filename*"}:
            if parameter.name in found:
                raise MalformedBody(f"Content-Disposition has {parameter.name!r} twice")
            found[parameter.name] = parameter
    name, raw_name = _read(found.get("name"), codec)
    filename, raw_filename = _read(found.get("filename"), codec)
    if filename and filename.endswith("\\"):
        filename = _file_of_windows_path(filename)
    extended = found.get("filename*")
    if extended is not None and (
        filename is None or re.fullmatch(_ENCODED_WORDS, filename)
    ):
        try:
            filename = decode_extended(extended.value)
            raw_filename = header_bytes(extended.value)
        except StreamError:
            if filename is None:  # a file all the same, of which no name is known
                filename, raw_filename = "", header_bytes(extended.value)
    return Disposition(kind.lower(), name, filename, raw_name, raw_filename)


def _read(
    parameter: Parameter | None, codec: str | None
) -> tuple[str | None, bytes | None]:
    """Return the text of a parameter, and its bytes as sent."""
    if parameter is None:
        return None, None
    text, raw = _unescape(parameter), header_bytes(parameter.value)
    if not text.isascii():
        data = header_bytes(text)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text = _decode(data, codec)
    return text, raw


def _decode(data: bytes, codec: str | None) -> str:
    if codec is not None:
        try:
            return data.decode(codec)
        except UnicodeError:
            pass
    return data.decode("utf-8", "replace")


def _unescape(parameter: Parameter) -> str:
    value = parameter.value
    if not parameter.quoted:
        return value
    if "\\" in value:
        value = value.replace('\\"', '"')
    if "%" in value:
        value = _ESCAPED.sub(lambda match: _CHARACTERS[match[0]], value)
    return value


def _file_of_windows_path(path: str) -> str:
    return "" if path.startswith("\\\\") or path[1:3] == ":\\" else path


def decode_extended(value: str) -> str:
    """Decode an RFC 8187 ``filename*`` value, as ``UTF-8''na%C3%AFve.txt``.

    Raises:
        MalformedBody: it breaks the grammar, its bytes are not in its charset, or it
            has a control character that no header can carry.
        UnsupportedContent: its charset is neither UTF-8 nor ISO-8859-1.
    """
    match = re.fullmatch(_EXTENDED, value)
    if match is None:
        raise MalformedBody("filename* is not in the form of RFC 8187")
    charset = _EXTENDED_CHARSETS.get(match[1].lower())
    if charset is None:
        raise UnsupportedContent("filename* is in a charset other than UTF-8")
    try:
        text = unquote_to_bytes(match[2]).decode(charset)
    except UnicodeDecodeError as exc:
        raise MalformedBody("filename* is not in the charset it names") from exc
    if re.search(_UNWRITABLE, text):
        raise MalformedBody("filename* has a control character")
    return text


def format_disposition(
    name: str | None = None,
    filename: str | None = None,
    *,
    kind: str = "form-data",
) -> str:
    """Write a Content-Disposition value by the WHATWG's rule.

    Raises:
        ValueError: a name that no escape makes unambiguous: with a control
            character other than CR and LF, a lone surrogate, a literal ``%22``,
            ``%0D`` or ``%0A``, two backslashes in a row or one at the end.
    """
    if not is_token(kind):
        raise ValueError(f"not a disposition type: {kind!r}")
    text = kind
    if name is not None:
        text += f'; name="{_escape("name", name)}"'
    if filename is not None:
        text += f'; filename="{_escape("filename", filename)}"'
    return text


def _escape(what: str, value: str) -> str:
    if re.search(_UNWRITABLE, value):
        raise ValueError(
            f"{what} has a character that a header field cannot have: {value!r}"
        )
    if _ESCAPED.search(value):
        raise ValueError(
            f"{what} has a %-escape, which a reader would decode: {value!r}"
        )
    if "\\\\" in value or value.endswith("\\"):
        raise ValueError(
            f"{what} has a backslash, which a reader would take as escape: {value!r}"
        )
    return value.translate(_ESCAPES)


# C0, DEL and C1 controls, the two Unicode line ends, and surrogates, which have no
# UTF-8: none belongs in a name, and some end a header.
_FORBIDDEN: Final = r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]"
_AMBIGUOUS: Final = (
    r"""[^\x20-\x7e]|["\\/]|%(?=[0-9A-Fa-f]{2})|=(?=\?)|^\x20+|(?<!\x20)\x20++\Z"""
)
# attr-char (RFC 8187 section 3.2.1), beyond the letters, digits and _.-~ that
# quote() keeps in any case.
_ATTR_CHARS: Final = "!#$&+^`|"


def content_disposition(kind: str, filename: str | None = None) -> str:
    """Build the value of a ``Content-Disposition`` response field.

    Args:
        kind: ``"attachment"`` (to be saved), ``"inline"`` (to be shown), or another
            disposition type, which is treated as attachment (RFC 6266 section 4.2).
        filename: the name to save under, if there is one to suggest. A path is not
            shortened: it is the caller who knows which part of it is the name.
            Control characters, Unicode line ends and lone surrogates become ``_``.

    Returns:
        An ASCII string; ``kind`` alone for no filename or an empty one.

    Raises:
        ValueError: ``kind`` is not a token.
    """
    if not is_token(kind):
        raise ValueError(f"the disposition type {kind!r} is not a token")
    if not filename:
        return kind
    filename = re.sub(_FORBIDDEN, "_", filename)
    if not re.search(_AMBIGUOUS, filename):
        return f'{kind}; filename="{filename}"'
    exact = quote(filename, safe=_ATTR_CHARS)
    return f"{kind}; filename=\"{_fallback(filename)}\"; filename*=UTF-8''{exact}"


def _fallback(filename: str) -> str:
    """Return an ASCII name that every client takes as it stands."""
    # Taken apart first, for that can give new quotes and slashes: U+FF02, U+2100.
    apart = unicodedata.normalize("NFKD", filename)
    plain = "".join(char for char in apart if not unicodedata.combining(char))
    return re.sub(_AMBIGUOUS, "_", plain) or "_"


_MAX_BYTES: Final = 255  # NAME_MAX of every common file system
_FALLBACK: Final = "file"
# Controls, line and paragraph separators, bidirectional controls (they make
# "gpj.exe" of "exe.jpg"), zero-width marks and soft hyphens that hide, and
# non-characters.
_INVISIBLE: Final = (
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ufffe\uffff]"
)
_RESERVED: Final = '[/\\\\:*?"<>|]'
# Names of devices on Windows, whatever the extension, in any case.
_DEVICE: Final = (
    "(?:CON|PRN|AUX|NUL|CONIN\\$|CONOUT\\$|(?:COM|LPT)[0-9\u00b9\u00b2\u00b3])"
)


def safe_filename(name: str | None) -> str:
    """Return the last component of ``name``, made harmless; ``"file"`` for none.

    The result encodes to at most 255 bytes of UTF-8, keeps the last extension
    where it fits, has no separator, control or bidirectional character, does not
    start with a dot, ``-`` or ``~``, does not end in a dot or a space, and is no
    device of Windows. Applying the function again changes nothing.
    """
    text = (name or "").encode("utf-8", "replace").decode("utf-8")
    text = unicodedata.normalize("NFC", text)
    text = re.split(r"[/\\]", text)[-1]
    text = re.sub(_RESERVED, "_", re.sub(_INVISIBLE, "", text))
    # Taking characters out may have brought combining ones together.
    text = unicodedata.normalize("NFC", text)
    while True:
        cleaned = _shorten(_trim(text))
        if cleaned == text:
            return text
        text = cleaned


def _trim(text: str) -> str:
    """Give the ends of ``text`` a shape that no shell or system reacts to."""
    text = text.strip().lstrip(". ").rstrip(". ").strip()
    if not text:
        return _FALLBACK
    stem = text.partition(".")[0].rstrip().upper()
    if text[0] in "-~" or re.fullmatch(_DEVICE, stem):
        return "_" + text
    return text


def _shorten(text: str) -> str:
    """Cut ``text`` to 255 bytes between characters, before its extension."""
    if len(text.encode()) <= _MAX_BYTES:
        return text
    stem, dot, extension = text.rpartition(".")
    suffix = (dot + extension).encode()
    room = _MAX_BYTES - len(suffix)
    if not stem or room < len(stem[0].encode()):
        return _cut(text, _MAX_BYTES)
    return _cut(stem, room) + suffix.decode()


def _cut(text: str, size: int) -> str:
    return text.encode()[:size].decode("utf-8", "ignore")
