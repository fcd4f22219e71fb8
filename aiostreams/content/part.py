"""Part: what ``iter_parts`` gives, a Stream that knows its text and its JSON."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, overload

from aiostreams.content.base import offload, read_all
from aiostreams.content.json import JSON
from aiostreams.sansio.charsets import codec_of, decode_text
from aiostreams.sansio.headers import boundary_of
from aiostreams.streams.part import BodyPart
from aiostreams.streams.parts import PartReader, charset_of_form

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiostreams.limits import Limits
    from aiostreams.streams.base import Stream

__all__ = ["Part", "open_parts"]

T = TypeVar("T")


class Part(BodyPart):
    """One part of a multipart body (RFC 7578), a Stream over its content.

    It is readable until the next part is asked for, and ``StreamClosed`` afterwards.
    :func:`iter_parts` makes it.

    Attributes:
        name: the ``name`` of its Content-Disposition, or ``None``. Bytes that are not
            UTF-8 are surrogate escapes, as everywhere in a head.
        filename: the ``filename`` as sent, or ``None``. Data, never a path: to save
            under it, there is ``safe_filename``.
        limits: the ceilings of the body.
    """

    @property
    def codec(self) -> str:
        """Python's codec for its text.

        By the charset of its Content-Type, else by the form's ``_charset_`` field
        (RFC 7578 section 4.6), else by the charset of the form's own Content-Type,
        else UTF-8.

        Raises:
            MalformedBody: the parameters of the type cannot be read.
            UnsupportedContent: nobody knows the charset.
        """
        if self.charset is None and self._reader.charset is not None:
            return self._reader.charset
        return codec_of(self.content_type)

    async def text(self) -> str:
        """What is left of the content, at most ``max_memory`` bytes, as text.

        A leading byte order mark is left out.

        Raises:
            LimitExceeded: it is more.
            MalformedBody: the bytes are not of that charset.
            UnsupportedContent: nobody knows the charset.
            StreamError: as raised by reading.
        """
        codec = self.codec
        data = await read_all(self, self.limits)
        return await offload(partial(decode_text, codec=codec), data)

    @overload
    async def json(
        self, *, type: type[T], loads: Callable[[Any], Any] | None = None
    ) -> T: ...
    @overload
    async def json(
        self, *, type: Any = None, loads: Callable[[Any], Any] | None = None
    ) -> Any: ...
    async def json(
        self,
        *,
        type: Any = None,  # noqa: A002 - the contract's name
        loads: Callable[[Any], Any] | None = None,
    ) -> Any:
        """What is left of the content as a JSON value, whatever its Content-Type.

        Args:
            type: what the value has to be: a dataclass, TypedDict, ``msgspec.Struct``
                or anything made of them.
            loads: parses in place of the built-in parser.

        Raises:
            LimitExceeded: more than ``max_memory`` bytes.
            MalformedBody: it is not JSON.
            InvalidContent: it is not of ``type``; each error is named with its path.
            StreamError: as raised by reading.
        """
        content = await JSON.decode(self, type=type, limits=self.limits, loads=loads)
        return content.data


def open_parts(
    stream: Stream,
    content_type: str,
    limits: Limits,
    *,
    decode: bool | None = None,
    extended: bool = False,
) -> PartReader[Part]:
    """A reader of the parts of ``stream``, a body of that multipart type.

    Args:
        stream: the body; not closed.
        content_type: its type, with the boundary.
        limits: the ceilings.
        decode: whether the codings of parts are undone; ``None`` for what the type
            says. In form-data, RFC 7578 deprecates Content-Transfer-Encoding (section
            4.7) and has readers ignore Content-Encoding (section 4.8).
        extended: whether ``filename*`` counts where there is no ``filename``.

    Raises:
        MalformedBody: the boundary is missing or wrong, or the stream is a part
            inside of too many others.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    form_data = media_type == "multipart/form-data"
    reader = PartReader(
        stream,
        boundary_of(content_type),
        Part,
        limits=limits,
        form_data=form_data,
        decode=not form_data if decode is None else decode,
        extended=extended,
        parent=stream.reader if isinstance(stream, BodyPart) else None,
    )
    if form_data:
        reader.charset = charset_of_form(content_type)
    return reader
