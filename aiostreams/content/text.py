"""Text and HTML: one string, in UTF-8."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar, Self

from aiostreams.content.base import Content, offload, read_all
from aiostreams.sansio.charsets import codec_of, decode_text
from aiostreams.streams.memory import ByteStream

if TYPE_CHECKING:
    from aiostreams.limits import Limits
    from aiostreams.streams.base import Stream

__all__ = ["HTML", "Text"]


class Text(Content):
    """Plain text: ``text/plain; charset=utf-8``.

    Equal to another one of the same class with the same text.

    Args:
        text: the text.

    Raises:
        TypeError: ``text`` is not a ``str``.
    """

    tagged = True
    _type: ClassVar[str] = "text/plain; charset=utf-8"

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise TypeError(
                f"{type(self).__name__} takes a str, not {type(text).__name__}"
            )
        self.text = text

    @property
    def content_type(self) -> str:
        return self._type

    def encode(self) -> ByteStream:
        """Return the text in UTF-8; the size is known, also of the empty text.

        Raises:
            ValueError: the text has a lone surrogate, which no charset has.
        """
        try:
            data = self.text.encode()
        except UnicodeEncodeError as exc:
            raise ValueError(
                f"character {exc.start} of the text is a lone surrogate"
            ) from None
        return ByteStream(data, content_type=self._type)

    @classmethod
    async def decode(cls, stream: Stream, *, limits: Limits | None = None) -> Self:
        """Read a text of any type, by its charset; UTF-8 unless one is given.

        A leading byte order mark is left out.

        Raises:
            LimitExceeded: it has more than ``limits.max_memory`` bytes.
            MalformedBody: the bytes are not of that charset.
            UnsupportedContent: the charset is unknown.
        """
        codec = codec_of(stream.content_type)
        data = await read_all(stream, limits)
        return cls(await offload(partial(decode_text, codec=codec), data))

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {len(self.text)} characters>"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.text == other.text

    def __hash__(self) -> int:
        return hash((type(self), self.text))


class HTML(Text):
    """A page: ``text/html; charset=utf-8``. Nothing in it is escaped."""

    _type = "text/html; charset=utf-8"
