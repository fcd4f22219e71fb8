"""What applications of aiohttp do with any response, done with one that is a stream.

Their middlewares read ``response.body`` to hash or sign it, put another one in its
place, and call ``enable_compression()``. A value that a handler returns is a plain
``web.Response`` or a stream by what the client asks for, and they must not notice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import Payload, web

from aiostreams.streams.memory import ByteStream
from aiostreams.web.pipe import PayloadStream

if TYPE_CHECKING:
    from aiostreams.streams.base import Stream

__all__ = ["StreamedResponse"]


class StreamedResponse(web.Response):
    """A response whose body comes from ``stream``.

    Attributes:
        stream: the body. A middleware may put another one around it before the
            response is prepared.
        path: where a local file is that it sends, else ``None``.
        wish: the argument of ``enable_compression``, if that was called.
    """

    stream: Stream
    path: str | None = None
    wish: tuple[bool | web.ContentCoding | None] | None = None

    @property
    def body(self) -> bytes | bytearray | Payload | None:
        """The bytes, while they are in memory; ``None`` of a stream.

        What is assigned is sent in the place of the stream.
        """
        body = super().body
        if body is None and not self.prepared and isinstance(self.stream, ByteStream):
            return None if self.stream.closed else self.stream.getvalue()
        return body

    @body.setter
    def body(self, body: Any) -> None:
        web.Response.body.__set__(self, body)  # type: ignore[attr-defined]

    @property
    def text(self) -> str | None:
        """``body`` as text, by the charset of the content type."""
        body = self.body
        return None if body is None else body.decode(self.charset or "utf-8")

    @text.setter
    def text(self, text: str) -> None:
        web.Response.text.__set__(self, text)  # type: ignore[attr-defined]

    def enable_compression(
        self,
        force: bool | web.ContentCoding | None = None,  # noqa: FBT001 - aiohttp's
        strategy: int | None = None,  # noqa: ARG002 - aiohttp's
    ) -> None:
        """As aiohttp has it, by this package's encoders: whole representations only.

        aiohttp would encode a range, and end a 304 or the answer to a HEAD with
        bytes of its encoder, which the client takes for the next response.
        """
        self.wish = (force,)

    async def adopt(self) -> None:
        """Make what was assigned to ``body`` or ``text`` the stream, if anything was.

        The validators of the source go with it; those that the handler gave stay.
        """
        body = super().body
        if body is None:
            return
        self.body = None
        source, self.path = self.stream, None
        if isinstance(body, Payload):
            self.stream = PayloadStream(body)
        else:
            self.stream = ByteStream(body)
        await source.close()
