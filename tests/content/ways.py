"""The ways in which a body arrives: whole, split at every point, byte by byte."""

from __future__ import annotations

from collections.abc import Iterator

from aiostreams import ByteStream, IterStream, Stream


def ways(data: bytes, content_type: str | None = None) -> Iterator[Stream]:
    """New streams over ``data``, one for each way."""
    yield ByteStream(data, content_type=content_type)
    yield IterStream([data], content_type=content_type)
    yield IterStream((bytes([byte]) for byte in data), content_type=content_type)
    for cut in range(1, min(len(data), 40)):
        yield IterStream([data[:cut], b"", data[cut:]], content_type=content_type)


def failing(data: bytes, content_type: str | None = None) -> Stream:
    """``data``, then a connection that breaks."""

    def pieces() -> Iterator[bytes]:
        yield data
        raise ConnectionResetError("gone")

    return IterStream(pieces(), content_type=content_type)
