"""Form: fields as a browser sends them without files.

The syntax is the WHATWG's (URL standard, section 5): pairs divided by ``&`` alone,
``+`` and ``%20`` are a space, ``*-._`` and alphanumerics stand for themselves, all
else is a percent-encoded byte of UTF-8. A ``%`` that no two hexadecimal digits
follow stands for itself, pieces between two ``&`` may be empty and mean nothing.

A ``str`` is parsed as the WHATWG says, where bytes that are not UTF-8 turn into
U+FFFD. A request body is held to its charset: what cannot be decoded is refused.
"""

from __future__ import annotations

import re
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, Self, overload
from urllib.parse import unquote_to_bytes

from aiostreams.content.base import Content, offload, read_all
from aiostreams.errors import MalformedBody, exceeded
from aiostreams.limits import DEFAULT_LIMITS, Limits
from aiostreams.multipart.multidict import ImmutableMultiDict
from aiostreams.sansio.charsets import ascii_codec_of
from aiostreams.streams.memory import ByteStream

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aiostreams.streams.base import Stream

__all__ = ["Form"]

_CONTENT_TYPE: Final = "application/x-www-form-urlencoded"
_SAFE: Final = re.compile(r"[A-Za-z0-9*\-._]*")
_SAFE_BYTES: Final = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789*-._"
)
_ESCAPES: Final = tuple(
    "+" if byte == 0x20 else chr(byte) if byte in _SAFE_BYTES else f"%{byte:02X}"
    for byte in range(256)
)
_PIECE: Final = re.compile(rb"[^&]+")


class Form(ImmutableMultiDict[str], Content):
    """Fields: ``application/x-www-form-urlencoded``. An immutable multidict.

    Written and read by the WHATWG's URL standard. ``[]`` and ``get`` give the first
    value of a name, ``getall`` every one. Equal to another one with the same pairs in
    the same order.

    Args:
        fields: a mapping of names to a value, or to a list or tuple of values;
            pairs; a urlencoded ``str``; or ``None`` for no fields.

    Raises:
        TypeError: a name or a value is not a ``str``.
    """

    _value_type = str

    @overload
    def __init__(self, fields: Mapping[str, str | Sequence[str]]) -> None: ...
    @overload
    def __init__(
        self, fields: Iterable[tuple[str, str]] | str | None = None
    ) -> None: ...
    def __init__(
        self,
        fields: Mapping[str, str | Sequence[str]]
        | Iterable[tuple[str, str]]
        | str
        | None = None,
    ) -> None:
        if isinstance(fields, str):
            fields = _parse(fields.encode("utf-8", "replace"), "utf-8", "replace")
        super().__init__(fields)

    @property
    def content_type(self) -> str:
        return _CONTENT_TYPE

    def encode(self) -> ByteStream:
        """Return the fields, urlencoded; the size is known.

        Raises:
            ValueError: a field has a lone surrogate, which UTF-8 cannot encode.
        """
        return ByteStream(str(self).encode("ascii"), content_type=_CONTENT_TYPE)

    @classmethod
    async def decode(cls, stream: Stream, *, limits: Limits | None = None) -> Self:
        """Read and parse a urlencoded body.

        Raises:
            LimitExceeded: more than ``max_memory`` bytes, ``max_parts`` fields, or
                ``max_field`` bytes in one field.
            MalformedBody: a field is not of the body's charset, UTF-8 unless given.
            UnsupportedContent: the charset is unknown, or no superset of ASCII.
        """
        limits = limits or DEFAULT_LIMITS
        codec = ascii_codec_of(stream.content_type)
        data = await read_all(stream, limits)
        _check_limits(data, limits)
        return cls._of(await offload(partial(_parse, codec=codec), data))

    def __str__(self) -> str:
        try:
            return "&".join(
                f"{_escape(name)}={_escape(value)}" for name, value in self.items()
            )
        except UnicodeEncodeError:
            raise ValueError("a form field has a lone surrogate") from None

    def __repr__(self) -> str:
        return f"<Form {len(self)} field{'s' * (len(self) != 1)}>"


def _escape(text: str) -> str:
    if _SAFE.fullmatch(text):
        return text
    return "".join(map(_ESCAPES.__getitem__, text.encode()))


def _check_limits(data: bytes, limits: Limits) -> None:
    """Count fields before there is an object for each of them."""
    most = limits.max_parts
    if data.count(b"&") >= most:
        # Empty pieces are no fields, so this counts again, no further than needed.
        seen = sum(1 for _ in islice(_PIECE.finditer(data), most + 1))
        if seen > most:
            raise exceeded("the form", seen, most, "fields")
    if len(data) > limits.max_field:
        for piece in _PIECE.finditer(data):
            value = piece[0].partition(b"=")[2]
            if len(value) > limits.max_field:
                _check_field(value, limits.max_field)


def _check_field(value: bytes, ceiling: int) -> None:
    size = len(unquote_to_bytes(value))
    if size > ceiling:
        raise exceeded("a field", size, ceiling, exact=True)


def _parse(data: bytes, codec: str, errors: str = "strict") -> list[tuple[str, str]]:
    data = data.replace(b"+", b" ")
    pairs = []
    number = 0
    try:
        if b"%" not in data:
            # Decoded at once: most small forms have no escape at all.
            for text in data.decode(codec, errors).split("&"):
                if text:
                    name, _, value = text.partition("=")
                    pairs.append((name, value))
            return pairs
        for piece in data.split(b"&"):
            if not piece:
                continue
            number += 1
            raw_name, _, raw_value = piece.partition(b"=")
            if b"%" in piece:
                raw_name = unquote_to_bytes(raw_name)
                raw_value = unquote_to_bytes(raw_value)
            pairs.append(
                (raw_name.decode(codec, errors), raw_value.decode(codec, errors))
            )
    except UnicodeError as exc:
        which = f"field {number}" if number else "a field"
        raise MalformedBody(f"{which} of the form is not {codec}") from exc
    return pairs
