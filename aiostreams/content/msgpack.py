"""MsgPack: one value as MessagePack, by msgspec (extra ``msgspec``).

A file of its own, as each content type has one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar, overload

from aiostreams.content.base import Content, offload, read_all
from aiostreams.content.models import dump, model_of
from aiostreams.errors import MalformedBody
from aiostreams.extras import require
from aiostreams.streams.memory import ByteStream

if TYPE_CHECKING:
    from builtins import type as type_

    from aiostreams.limits import Limits
    from aiostreams.streams.base import Stream

__all__ = ["MsgPack"]

if TYPE_CHECKING:
    # ``MsgPack`` alone is ``MsgPack[Any]``; as in ``json``.
    from typing_extensions import TypeVar as TypeVarWithDefault

    T = TypeVarWithDefault("T", default=Any)
else:
    T = TypeVar("T")
M = TypeVar("M")

_CONTENT_TYPE: Final = "application/vnd.msgpack"


class MsgPack(Content, Generic[T]):
    """A MessagePack value: ``application/vnd.msgpack``.

    Args:
        data: what ``JSON`` takes, and bytes.
    """

    def __init__(self, data: T) -> None:
        self.data = data

    @property
    def content_type(self) -> str:
        return _CONTENT_TYPE

    def encode(self) -> ByteStream:
        """Return the bytes; the size is known.

        Raises:
            ImportError: the extra ``msgspec`` is missing.
            ValueError: a value is inside itself or nested too deeply, an integer has
                more than 64 bits, or a string a lone surrogate.
            TypeError: MessagePack has nothing for an object.
        """
        msgpack: Any = _msgpack()
        try:
            data = msgpack.encode(self.data, enc_hook=dump)
        except RecursionError:
            raise ValueError("the value is nested too deeply") from None
        except UnicodeEncodeError:
            raise ValueError(
                "a string has a lone surrogate, which UTF-8 cannot encode"
            ) from None
        except OverflowError as error:
            raise ValueError(str(error)) from None
        return ByteStream(data, content_type=_CONTENT_TYPE)

    @overload
    @classmethod
    async def decode(
        cls, stream: Stream, *, type: type_[M], limits: Limits | None = None
    ) -> MsgPack[M]: ...
    @overload
    @classmethod
    async def decode(
        cls, stream: Stream, *, type: Any = None, limits: Limits | None = None
    ) -> MsgPack[Any]: ...
    @classmethod
    async def decode(
        cls,
        stream: Stream,
        *,
        type: Any = None,  # noqa: A002 - the contract's name
        limits: Limits | None = None,
    ) -> MsgPack[Any]:
        """Read and parse a value; a large one in a worker thread.

        Args:
            stream: the body.
            type: what the value has to be, as for :meth:`JSON.decode`.
            limits: ``max_memory`` counts here.

        Raises:
            ImportError: the extra ``msgspec`` is missing, or the one of ``type``.
            LimitExceeded: the body has more than ``limits.max_memory`` bytes.
            MalformedBody: it is not MessagePack, or nested too deeply.
            InvalidContent: the value is not of ``type``; each fault is named with its
                JSON Pointer.
            TypeError: no validator supports ``type``.
        """
        _msgpack()
        model = None if type is None else model_of(type)

        def parse(data: bytes) -> Any:
            value = _parse(data)
            return value if model is None else model.check(value)

        return MsgPack(await offload(parse, await read_all(stream, limits)))

    def __repr__(self) -> str:
        return f"<MsgPack {type(self.data).__name__}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MsgPack):
            return NotImplemented
        return bool(self.data == other.data)

    __hash__: ClassVar[None] = None  # type: ignore[assignment] # data may change


def _msgpack() -> Any:
    return require("msgspec", extra="msgspec", what="MsgPack").msgpack


def _parse(data: bytes) -> Any:
    msgspec: Any = require("msgspec", extra="msgspec", what="MsgPack")
    try:
        return msgspec.msgpack.decode(data)
    except RecursionError as error:
        raise MalformedBody("MessagePack: nested too deeply") from error
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        # A string that is not UTF-8 is the second, an unhashable key the last.
        raise MalformedBody("the body is not MessagePack") from error
