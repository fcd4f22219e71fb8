"""JSON: one value, from a whole body or to one.

How strict the text is read and written is ``jsontext``'s matter, what a type allows
``models``'s. With ``type=`` a library decodes the bytes in one step, and only what it
refuses is looked at again, to tell text that is no JSON (400) from a value that does
not fit (422), and to name every fault instead of the first. The one difference:
members that the type does not have are skipped by msgspec, strings and numbers in them
are not looked into.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar, overload

from aiostreams.content import jsontext
from aiostreams.content.base import Content, offload, read_all
from aiostreams.content.model import Undecided
from aiostreams.content.models import model_of
from aiostreams.sansio.charsets import codec_of, decode_text
from aiostreams.streams.memory import ByteStream

if TYPE_CHECKING:
    from builtins import type as type_
    from collections.abc import Callable

    from aiostreams.content.model import Model
    from aiostreams.limits import Limits
    from aiostreams.streams.base import Stream

__all__ = ["JSON", "json_checker", "json_reader"]

if TYPE_CHECKING:
    # ``JSON`` alone is ``JSON[Any]``. Python has defaults from 3.13 on.
    from typing_extensions import TypeVar as TypeVarWithDefault

    T = TypeVarWithDefault("T", default=Any)
else:
    T = TypeVar("T")
M = TypeVar("M")

_CONTENT_TYPE: Final = "application/json"


class JSON(Content, Generic[T]):
    """A JSON document (RFC 8259): ``application/json``, which has no charset.

    Args:
        data: what ``json`` can write, and models of pydantic and msgspec, dataclasses
            and attrs classes, files of a form (by :meth:`StoredFile.to_dict`), dates,
            times, ``UUID``, ``Decimal``, ``Enum``, sets and read-only dicts.
    """

    tagged = True

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
            type: what the value has to be: a model of pydantic (extra ``pydantic``),
                a ``msgspec.Struct``, dataclass, attrs class, ``TypedDict`` or anything
                made of them and of what JSON has (extra ``msgspec``). ``data`` is then
                of that type.
            limits: ``max_memory`` counts here.
            loads: parses in place of the parser here, from bytes (or ``str``, when
                the charset is not UTF-8); its ``ValueError`` is a malformed body.

        Raises:
            LimitExceeded: the body has more than ``limits.max_memory`` bytes.
            MalformedBody: it is not JSON, not of its charset, or nested too deeply.
            InvalidContent: the value is not of ``type``; each fault is named with its
                JSON Pointer (``#/items/3/price``).
            UnsupportedContent: the charset is unknown.
            ImportError: the extra that ``type`` needs is missing.
            TypeError: no validator supports ``type``.
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
    """Return what reads JSON text into a value of type ``kind``, or of any.

    Raises:
        ImportError: the extra that ``kind`` needs is missing.
        TypeError: no validator supports ``kind``.
    """
    if kind is None:
        return jsontext.parse if loads is None else partial(jsontext.parse_with, loads)
    model = model_of(kind)
    if loads is not None:
        return partial(_read_with, model, loads)
    return partial(_read, model)


def json_checker(kind: Any) -> Callable[[Any], Any]:
    """Return what makes a value of type ``kind`` of one that JSON has.

    Raises:
        ImportError: the extra that ``kind`` needs is missing.
        TypeError: no validator supports ``kind``.
    """
    return model_of(kind).check


def _read(model: Model, text: bytes | str) -> Any:
    if not model.strict and jsontext.may_be_no_number(text):
        jsontext.parse(text)
    try:
        return model.decode(text)
    except Undecided as error:
        refusal = error.refusal
    return model.check(jsontext.parse(text), refusal)


def _read_with(model: Model, loads: Callable[[Any], Any], text: bytes | str) -> Any:
    return model.check(jsontext.parse_with(loads, text))
