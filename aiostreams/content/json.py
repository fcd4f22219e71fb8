"""JSON: one value, from a whole body or to one.

How strict the text is read and written is ``jsontext``'s matter, what a type allows
``schema``'s. Here the two meet msgspec: with it installed, ``type=`` is decoded by
msgspec in one step from the bytes, and only what it refuses is looked at again, to
tell text that is no JSON (400) from a value that does not fit (422), and to name
every error instead of the first. The one difference: members that the type does not
have are skipped by msgspec, strings and numbers in them are not looked into.
"""

from __future__ import annotations

import re
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar, overload

from aiostreams.content import jsontext
from aiostreams.content.base import Content, offload, read_all
from aiostreams.content.hints import unreadable
from aiostreams.content.schema import Schema
from aiostreams.errors import InvalidContent, MalformedBody
from aiostreams.sansio.charsets import codec_of, decode_text
from aiostreams.streams.memory import ByteStream

if TYPE_CHECKING:
    from builtins import type as type_
    from collections.abc import Callable

    from aiostreams.limits import Limits
    from aiostreams.streams.base import Stream

__all__ = ["JSON", "json_checker", "json_reader"]

T = TypeVar("T")
M = TypeVar("M")

_CONTENT_TYPE: Final = "application/json"
# msgspec repeats what the client sent in these messages; ours never do.
_ECHO: Final = re.compile(
    r"(Invalid enum value|Invalid value|Object contains unknown field) .*?( - at `.*)?",
    re.DOTALL,
)


class JSON(Content, Generic[T]):
    """A JSON document (RFC 8259): ``application/json``, which has no charset.

    Args:
        data: what ``json`` can write, and dataclasses, ``msgspec.Struct``, dates,
            times, ``UUID``, ``Decimal``, ``Enum``, sets and read-only dicts.
    """

    def __init__(self, data: T) -> None:
        self.data = data

    @property
    def content_type(self) -> str:
        return _CONTENT_TYPE

    def encode(self) -> ByteStream:
        """Compact UTF-8; the size is known.

        The value is written here and now, so a wrong one is an error before any
        byte is sent. For rows without end there is ``NDJSON``.

        Raises:
            ValueError: NaN, an infinity, a lone surrogate, a value inside itself,
                or nested too deeply.
            TypeError: JSON has nothing for an object, or for the key of one.
        """
        return ByteStream(jsontext.serialise(self.data), content_type=_CONTENT_TYPE)

    @overload
    @classmethod
    async def decode(
        cls,
        stream: Stream,
        *,
        type: type_[M],
        limits: Limits | None = None,
        loads: Callable[[Any], Any] | None = None,
    ) -> JSON[M]: ...
    @overload
    @classmethod
    async def decode(
        cls,
        stream: Stream,
        *,
        type: Any = None,
        limits: Limits | None = None,
        loads: Callable[[Any], Any] | None = None,
    ) -> JSON[Any]: ...
    @classmethod
    async def decode(
        cls,
        stream: Stream,
        *,
        type: Any = None,  # noqa: A002 - the contract's name
        limits: Limits | None = None,
        loads: Callable[[Any], Any] | None = None,
    ) -> JSON[Any]:
        """Read and parse a document; a large one in a worker thread.

        The last of several members of one name wins; a byte order mark is ignored;
        NaN, infinities, numbers beyond a double and lone surrogates are refused.
        Nesting is bounded by the parser: about 1,000 levels on Python 3.11, 10,000
        on 3.13, and from 3.14 on by the stack, 65,000 levels in 8 MiB.

        Args:
            stream: the body, in UTF-8 unless its type has a ``charset``.
            type: what the value has to be: a dataclass, TypedDict, ``msgspec.Struct``
                or anything made of them and of what JSON has. ``data`` is then of
                that type.
            limits: ``max_memory`` counts here.
            loads: parses in place of the parser here, from bytes (or ``str``, when
                the charset is not UTF-8); its ``ValueError`` is a malformed body.

        Raises:
            LimitExceeded: the body has more than ``limits.max_memory`` bytes.
            MalformedBody: it is not JSON, not of its charset, or nested too deeply.
            InvalidContent: the value is not of ``type``; each error is named with
                its path (``$.items[3].price``).
            UnsupportedContent: nobody knows the charset.
            TypeError: nothing here can validate into ``type``; a class inside it that
                msgspec does not know is a ``NotImplementedError`` when it is met.
        """
        read = json_reader(type, loads)
        codec = codec_of(stream.content_type)
        body: bytes | str = await read_all(stream, limits)
        if codec != "utf-8":
            assert isinstance(body, bytes)
            body = await offload(partial(decode_text, codec=codec), body)
        return JSON(await offload(read, body))

    def __repr__(self) -> str:
        kind = "null" if self.data is None else type(self.data).__name__
        if isinstance(self.data, (dict, list, tuple, set, frozenset)):
            return f"<JSON {kind} of {len(self.data)}>"
        return f"<JSON {kind}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, JSON):
            return NotImplemented
        return bool(self.data == other.data)

    __hash__: ClassVar[None] = None  # type: ignore[assignment] # data may change


def json_reader(
    kind: Any, loads: Callable[[Any], Any] | None = None
) -> Callable[[bytes | str], Any]:
    """What turns JSON text into a value of type ``kind``; of any for ``None``.

    Raises:
        TypeError: nothing here can validate into ``kind``.
    """
    if kind is None:
        return jsontext.parse if loads is None else partial(jsontext.parse_with, loads)
    reader = _reader(kind)
    return reader.read if loads is None else partial(reader.read_with, loads)


def json_checker(kind: Any) -> Callable[[Any], Any]:
    """What makes a value of type ``kind`` of one that JSON has.

    Raises:
        TypeError: nothing here can validate into ``kind``.
    """
    return _reader(kind).check


def _reader(kind: Any) -> _Reader:
    try:
        hash(kind)
    except TypeError:  # Annotated with something unhashable
        return _Reader(kind)
    return _cached_reader(kind)


class _Reader:
    """Reads one type: by msgspec if it can, by a Schema if that can."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self._msgspec = jsontext.msgspec
        self._schema: Schema | None = None
        if self._msgspec is not None:
            try:
                self._decode = self._msgspec.json.Decoder(
                    kind, dec_hook=_unknown_type
                ).decode
            except TypeError:
                self._msgspec = None
            except NameError as error:
                raise unreadable(kind, error) from error
        try:
            self._schema = Schema(kind)
        except TypeError:
            if self._msgspec is None:
                raise

    def read(self, text: bytes | str) -> Any:
        """The value of a JSON text."""
        if self._msgspec is None:
            return self.check(jsontext.parse(text))
        refusal = None
        try:
            return self._decode(text)
        except self._msgspec.ValidationError as error:
            refusal = error
        except (self._msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        return self.check(jsontext.parse(text), refusal)

    def read_with(self, loads: Callable[[Any], Any], text: bytes | str) -> Any:
        """The value of a JSON text that another parser reads."""
        return self.check(jsontext.parse_with(loads, text))

    def check(self, value: Any, refusal: Exception | None = None) -> Any:
        """``value`` as the type; ``refusal`` is why msgspec did not think so."""
        made = value if self._schema is None else self._schema.validate(value)
        if self._msgspec is None:
            return made
        if refusal is None:
            # Known to the schema or not, msgspec's constraints hold as well.
            try:
                return self._msgspec.convert(value, self._kind, dec_hook=_unknown_type)
            except self._msgspec.ValidationError as error:
                refusal = error
            except RecursionError as exc:
                raise MalformedBody("JSON: nested too deeply") from exc
        message = str(refusal)
        echo = _ECHO.fullmatch(message)
        if echo is not None:
            message = echo[1] + (echo[2] or "")
        raise InvalidContent(message) from refusal


def _unknown_type(kind: type, _value: object) -> object:
    """For a class that msgspec cannot make; without this every value is invalid.

    ``TypeError`` would be: msgspec takes that for the value's fault.
    """
    raise NotImplementedError(f"msgspec cannot validate JSON into {kind!r}")


_cached_reader = lru_cache(maxsize=256)(_Reader)
