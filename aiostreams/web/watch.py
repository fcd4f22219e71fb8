"""Whether the client is still there, while it is sent a response made of its request.

As long as a handler runs, aiohttp tells the request's reader that the connection was
lost. Once the handler has returned it does not, and a body that answers while it reads
(an echo, a proxy, a transcoder) would wait for a client that has left until its time is
up, or for ever.

So the connection is looked at once a second while such a response is sent: nothing
calls back, and only a request whose body has not arrived in full is watched, since no
other can keep its reader waiting.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from aiohttp import web

__all__ = ["Watch"]

# In seconds.
_EVERY = 1.0


class Watch:
    """Ends a request's body when the connection is lost; on the event loop.

    Args:
        request: whose body, which has not arrived in full.
    """

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(_EVERY, self._look)

    @classmethod
    def over(cls, request: web.BaseRequest) -> Self | None:
        """A watch, if one is needed."""
        return None if request.content.is_eof() else cls(request)

    def _look(self) -> None:
        content = self._request.content
        if content.is_eof() or content.exception() is not None:
            return
        if self._request.transport is None:
            content.set_exception(ConnectionResetError("Connection lost"))
            return
        self._timer = self._loop.call_later(_EVERY, self._look)

    def stop(self) -> None:
        """The response was sent, or could not be."""
        self._timer.cancel()
