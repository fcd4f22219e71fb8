"""The detection of a disconnect while a response is being streamed.

While a handler runs, aiohttp informs the request's reader when the connection is lost.
Once the handler has returned it does not, and a body that is made from the request
while it is read (an echo, a proxy, a transcoder) would wait for a client that has left
until its timeout, or forever.

A body that is generated while it is sent (events, rows, a generator's pieces) has the
same problem: as long as there is no event nothing is written, and only a write would
show the disconnect. Such a body is closed.

aiohttp has no callback for this, so the connection is checked once a second while such
a response is sent. A body with a known size, or one that can seek, is not checked.

A file of its own: one concern of a response, which can be read without the rest.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from aiohttp import web

    from aiostreams.streams.base import Stream

__all__ = ["DisconnectWatch"]

# In seconds.
_EVERY = 1.0


class DisconnectWatch:
    """Ends a request's body when the connection is lost; on the event loop.

    Args:
        request: whose body, if it has not arrived in full.
        feed: a stream that is made while it is sent, and closed then.

    Attributes:
        lost: whether the feed was closed.
    """

    def __init__(self, request: web.BaseRequest, feed: Stream | None) -> None:
        self.lost: bool = False
        self._request = request
        self._feed = feed
        self._closing: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(_EVERY, self._look)

    @classmethod
    def over(cls, request: web.BaseRequest, stream: Stream) -> Self | None:
        """Make a watch while ``stream`` is sent, if one is needed."""
        if stream.live or (stream.size is None and not stream.seekable):
            return cls(request, stream)
        return None if request.content.is_eof() else cls(request, None)

    def _look(self) -> None:
        content = self._request.content
        comes = not content.is_eof() and content.exception() is None
        if self._request.transport is None:
            if comes:
                content.set_exception(ConnectionResetError("Connection lost"))
            if self._feed is not None:
                self.lost = True
                self._closing = self._loop.create_task(self._feed.close())
        elif comes or self._feed is not None:
            self._timer = self._loop.call_later(_EVERY, self._look)

    async def stop(self) -> None:
        """Stop watching: the response was sent, or could not be.

        Raises:
            Exception: closing the feed did.
        """
        self._timer.cancel()
        if self._closing is not None:
            await asyncio.wait([self._closing])
            self._closing.result()
