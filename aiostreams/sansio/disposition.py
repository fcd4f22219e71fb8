r"""Content-Disposition of body parts, read and written as browsers do.

RFC 7578 section 4.2 and the WHATWG's multipart/form-data encoding rule: names
and filenames are UTF-8 in quotes, where ``"``, CR and LF stand as ``%22``,
``%0D`` and ``%0A``, and a backslash stands for itself. Older clients write
``\"``, which is read too. ``filename*`` (RFC 8187) must not be used in forms; it
is kept beside ``filename``, never in place of it, and :func:`decode_extended`
is there for those who ask for it.

Reading twice must not give two answers, so a second ``name`` or ``filename`` is
an error, and what cannot be written so that it reads back the same is refused.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from aiostreams.errors import MalformedBody, UnsupportedContent
from aiostreams.sansio.headers import Parameter, split_parameters

__all__ = [
    "Disposition",
    "decode_extended",
    "format_disposition",
    "parse_disposition",
]

_ESCAPED: Final = re.compile("%(?:22|0D|0A)")
_CHARACTERS: Final = {"%22": '"', "%0D": "\r", "%0A": "\n"}
_ESCAPES: Final = str.maketrans({v: k for k, v in _CHARACTERS.items()})
# A control character but CR and LF, which have escapes; a lone surrogate.
_UNWRITABLE: Final = re.compile("[\x00-\x09\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++")
_EXTENDED: Final = re.compile(
    r"([!#$%&+\-^_`{}~0-9A-Za-z]++)'[A-Za-z0-9\-]*+'"
    r"((?:[!#$&+\-.^_`|~0-9A-Za-z]|%[0-9A-Fa-f]{2})*+)"
)
_EXTENDED_CHARSETS: Final = {"utf-8": "utf-8", "iso-8859-1": "iso-8859-1"}


class Disposition(NamedTuple):
    """A parsed Content-Disposition.

    Attributes:
        type: ``form-data``, ``attachment``, ... in lower case; may be empty.
        name: the ``name`` parameter, or None.
        filename: the ``filename`` parameter as sent, or None. The one exception
            is an absolute Windows path that ends in a backslash: it names a
            folder and no file, and gives an empty filename.
        extended: ``filename*`` as sent, still encoded, or None.
    """

    type: str
    name: str | None
    filename: str | None
    extended: str | None


def parse_disposition(text: str) -> Disposition:
    """Parse a Content-Disposition value.

    Raises:
        MalformedBody: ``name``, ``filename`` or ``filename*`` is there twice, or
            a quoted value has no end.
    """
    kind, parameters = split_parameters(text)
    found: dict[str, str] = {}
    for parameter in parameters:
        if parameter.name in {"name", "filename", "filename*"}:
            if parameter.name in found:
                raise MalformedBody(f"Content-Disposition has {parameter.name!r} twice")
            found[parameter.name] = _unescape(parameter)
    filename = found.get("filename")
    if filename and filename.endswith("\\"):
        filename = _file_of_windows_path(filename)
    return Disposition(
        kind.lower(), found.get("name"), filename, found.get("filename*")
    )


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
        MalformedBody: it breaks the grammar, or its bytes are not in its charset.
        UnsupportedContent: its charset is neither UTF-8 nor ISO-8859-1.
    """
    match = _EXTENDED.fullmatch(value)
    if match is None:
        raise MalformedBody("filename* is not in the form of RFC 8187")
    charset = _EXTENDED_CHARSETS.get(match[1].lower())
    if charset is None:
        raise UnsupportedContent("filename* is in a charset other than UTF-8")
    try:
        return unquote_to_bytes(match[2]).decode(charset)
    except UnicodeDecodeError as exc:
        raise MalformedBody("filename* is not in the charset it names") from exc


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
    if not _TOKEN.fullmatch(kind):
        raise ValueError(f"not a disposition type: {kind!r}")
    text = kind
    if name is not None:
        text += f'; name="{_escape("name", name)}"'
    if filename is not None:
        text += f'; filename="{_escape("filename", filename)}"'
    return text


def _escape(what: str, value: str) -> str:
    if _UNWRITABLE.search(value):
        raise ValueError(f"{what} has a character that no header can carry: {value!r}")
    if _ESCAPED.search(value):
        raise ValueError(f"{what} would read back with its %-escape undone: {value!r}")
    if "\\\\" in value or value.endswith("\\"):
        raise ValueError(f"{what} has a backslash that reads as an escape: {value!r}")
    return value.translate(_ESCAPES)
