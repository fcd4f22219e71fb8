"""A check by ClamAV: the bytes go to its daemon while they arrive (``INSTREAM``).

The command, then pieces with their lengths before them, then a length of zero; the
daemon answers with one line. It closes the connection when there are more bytes than
its ``StreamMaxLength``; the line may then be there still. It is a file of its own
because it is a protocol, and nothing else here depends on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from aiostreams.errors import InvalidContent, LimitExceeded, StorageError
from aiostreams.limits import KiB
from aiostreams.streams.tasks import end, settle, start
from aiostreams.streams.transforms import LimitStream
from aiostreams.uploads.rules import call_file

if TYPE_CHECKING:
    from aiostreams.streams.base import Stream
    from aiostreams.uploads.checks import Check
    from aiostreams.uploads.stored import StoredFile

__all__ = ["clamd"]

# A longer answer is none of clamd's.
_LONGEST_ANSWER: Final = 4 * KiB

_logger = logging.getLogger("aiostreams.uploads")


def clamd(
    address: str,
    *,
    fail: Literal["closed", "open"] = "closed",
    timeout: float = 20.0,
    max_size: int | None = None,
) -> Check:
    """Make a check for ``receive(check=...)`` that asks a ClamAV daemon.

        receive(request, check=clamd("unix:///run/clamav/clamd.ctl"))

    A file with a signature that the daemon knows is ``InvalidContent``. One that is
    larger than its ``StreamMaxLength`` is ``LimitExceeded``, if its answer arrives
    before it cuts the connection, else a ``StorageError`` of 503; with ``max_size`` it
    is always the former. The connection is not encrypted.

    Args:
        address: ``unix:///path`` or ``tcp://host:port``.
        fail: what becomes of a file that could not be scanned: ``"closed"`` refuses
            it, ``"open"`` lets it in and logs that.
        timeout: for how many seconds the daemon may keep a connection, a write or its
            answer waiting. ``receive`` gives up a check that neither reads nor returns
            for ``Limits.idle_timeout``, so it should be less than that.
        max_size: how many bytes the daemon takes (its ``StreamMaxLength``).

    Raises:
        ValueError: the address is none, or an argument is out of range.
    """
    if fail not in {"closed", "open"}:
        raise ValueError(f"fail must be 'closed' or 'open', not {fail!r}")
    if timeout <= 0:
        raise ValueError(f"timeout must be positive, not {timeout}")
    url = urlsplit(address)
    tcp = url.scheme == "tcp" and url.hostname and url.port and not url.path
    unix = url.scheme == "unix" and url.path and not url.netloc
    if not tcp and not unix:
        raise ValueError(
            f"{address!r} is not an address, expected unix:///path or tcp://host:port"
        )

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if unix:
            return await asyncio.open_unix_connection(url.path)
        return await asyncio.open_connection(url.hostname, url.port)

    async def check(stream: Stream, file: StoredFile) -> None:
        try:
            async with asyncio.timeout(timeout):
                reader, writer = await connect()
            try:
                source = stream if max_size is None else LimitStream(stream, max_size)
                answer = await _scan(source, reader, writer, timeout)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    writer.transport.abort()
            _judge(answer, file)
        except (StorageError, TimeoutError, OSError) as error:
            wrong = str(error) or "the daemon takes too long"
            if fail == "open":
                _logger.warning("a file was not scanned: %s", wrong)
                return
            failed = StorageError(f"the file can't be scanned: {wrong}")
            failed.status = 503
            raise failed from error
        except LimitExceeded as error:
            if fail != "open":
                raise _too_large(file) from error
            _logger.warning("a file was not scanned: it is too large")

    return check


async def _scan(
    stream: Stream,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    timeout: float,
) -> bytes:
    """Return the daemon's answer, without the NUL at its end."""
    # From the beginning: the answer may come early, and is lost with the connection.
    answering = start(reader.readuntil(b"\0"))
    try:
        broken = await _send(stream, writer, answering, timeout)
        try:
            async with asyncio.timeout(timeout):
                await settle(answering)
            answer = answering.result()
        except TimeoutError:
            raise
        except (
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
            OSError,
        ) as error:
            raise StorageError("the daemon closed the connection") from broken or error
    finally:
        await end(answering)
    return answer[:-1][:_LONGEST_ANSWER]


async def _send(
    stream: Stream,
    writer: asyncio.StreamWriter,
    answering: asyncio.Task[bytes],
    timeout: float,
) -> ConnectionError | None:
    """Send the file, or what the daemon wants of it; how the connection broke."""
    try:
        writer.write(b"zINSTREAM\0")
        while not answering.done() and (piece := await stream.readany()):
            writer.write(len(piece).to_bytes(4, "big") + piece)
            async with asyncio.timeout(timeout):
                await writer.drain()
            # What has come meanwhile is read before more is sent.
            await asyncio.sleep(0)
        if not answering.done():
            writer.write(bytes(4))
            async with asyncio.timeout(timeout):
                await writer.drain()
    except ConnectionError as error:
        return error
    return None


def _judge(answer: bytes, file: StoredFile) -> None:
    text = answer.decode("utf-8", "replace").strip()
    if text == "stream: OK":
        return
    if text.startswith("stream: ") and text.endswith(" FOUND"):
        found = text[len("stream: ") : -len(" FOUND")]
        error = InvalidContent(
            f"{call_file(file.field, file.filename)} is malicious: {found}"
        )
        error.logged = f"{call_file(file.field, None)} is malicious: {found}"
        raise error
    if "size limit exceeded" in text:
        raise _too_large(file)
    raise StorageError(f"the daemon answered {text[:100]!r}")


def _too_large(file: StoredFile) -> LimitExceeded:
    error = LimitExceeded(
        f"{call_file(file.field, file.filename)} is too large to be scanned"
    )
    error.logged = f"{call_file(file.field, None)} is too large to be scanned"
    return error
