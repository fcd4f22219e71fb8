"""A file to a connection without passing through Python.

The kernel copies; neither this process nor its event loop touches the bytes. What
that cannot do is look at them, so whether the file stayed the same is asked of the
file system, before the last byte goes out: a client that has all promised bytes
would take them for one version of the file.

A file of its own: the one way of sending that passes aiohttp's writer by.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Final

from aiostreams.errors import SizeMismatch
from aiostreams.web.state import tally_of

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.abc import AbstractStreamWriter

    from aiostreams.files.file import FileStream

__all__ = ["may_sendfile", "sendfile"]

# Sent after the file was found unchanged.
_TAIL: Final = 64 * 1024


def may_sendfile(request: web.BaseRequest, response: web.StreamResponse) -> bool:
    """Return whether the bytes may go out as they are, over a plain connection."""
    transport = request.transport
    return (
        transport is not None
        and not transport.is_closing()
        and transport.get_extra_info("sslcontext") is None
        and request.method != "HEAD"
        and response.status not in {204, 304}  # they end with their header section
        and not response.chunked
        and not response.compression
        and "AIOHTTP_NOSENDFILE" not in os.environ
    )


async def sendfile(
    stream: FileStream, request: web.BaseRequest, writer: AbstractStreamWriter
) -> bool:
    """Send all of ``stream``, which is open and was not read yet.

    Returns:
        False if this event loop, or this kind of connection or file, cannot;
        nothing but the header section was sent then.

    Raises:
        SizeMismatch: the file has become shorter.
        StorageError: the file was written to meanwhile.
        ConnectionError: the client has gone.
    """
    transport = request.transport
    count = stream.size
    assert transport is not None
    assert count is not None
    writer.send_headers()
    tail = min(count, _TAIL)
    file: Any = _Descriptor(stream.fileno())
    loop = asyncio.get_running_loop()
    done = 0
    for length in (count - tail, tail):
        if done:
            stream.check_same()
        if not length:
            continue
        try:
            sent = await loop.sendfile(
                transport, file, stream.offset + done, length, fallback=False
            )
        except (NotImplementedError, asyncio.SendfileNotAvailableError) as error:
            if not done:
                return False
            # asyncio says so of a first call that fails, whyever it does. This kind
            # of file is sent well: so it is the disk, or else the connection.
            await _check_readable(stream, done)
            raise ConnectionResetError("the client has gone") from error
        except BaseException:
            # How far it came asyncio leaves in the descriptor, whose position nobody
            # else uses.
            reached = os.lseek(file.fileno(), 0, os.SEEK_CUR) - stream.offset - done
            _count(request, min(max(0, reached), length))
            raise
        _count(request, sent)
        done += sent
        if sent != length:
            raise SizeMismatch(
                f"the file ended after {done} bytes, expected {count}",
                expected=count,
                seen=done,
            )
    return True


def _count(request: web.BaseRequest, sent: int) -> None:
    tally = tally_of(request)
    if tally is not None:
        tally.sent_file += sent


async def _check_readable(stream: FileStream, position: int) -> None:
    async with await stream.slice(position, 1) as part:
        await part.read()


class _Descriptor:
    """What ``loop.sendfile`` needs of a file: it asks for the descriptor only."""

    mode = "rb"

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd
