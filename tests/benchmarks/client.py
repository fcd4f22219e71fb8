"""Prepared requests over a blocking socket: as little work as a client can do.

The client shares the machine with the servers, so it neither parses nor builds
anything in a sample: bytes that were made before go out, and of the answer only its
length, its status and, for checking, a short body are looked at.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Answer", "Client", "Request", "get", "put"]

_LENGTH = re.compile(rb"\r\nContent-Length: *(\d+)", re.IGNORECASE)
_LOCATION = re.compile(rb"\r\nLocation: *(?:https?://[^/\r]*)?(\S+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\nTransfer-Encoding: *chunked", re.IGNORECASE)
_KEEP = 4096


@dataclass(frozen=True)
class Request:
    """A request.

    Attributes:
        head: request line and fields, without the line that ends them. ``<location>``
            in it is what an answer has named last.
        body: makes the body; the Content-Length is added, unless ``head`` has a
            Transfer-Encoding.
        answer: what the body of the answer has to be, to know that the contestant
            did the work; unchecked when ``None``.
        length: what the length of that body has to be; unchecked when ``None``.
        then: what follows on the same connection, where a protocol takes several
            requests for one thing; they count as one.
        before: what is sent once before any of them is measured, for its ``Location``.
        at_once: on how many connections it is sent before an answer is read. What it
            costs is told of one.
    """

    head: bytes
    body: Callable[[], bytes] | None = None
    answer: bytes | None = None
    length: int | None = None
    then: Request | None = None
    before: Request | None = None
    at_once: int = 1

    @property
    def script(self) -> list[Request]:
        """This one, and what follows."""
        return [self, *(self.then.script if self.then else [])]

    def prepare(self) -> list[bytes]:
        """The bytes to send, a small request in one piece."""
        if self.body is None:
            return [self.head + b"\r\n"]
        body = self.body()
        head = self.head
        if not _CHUNKED.search(b"\r\n" + head):
            head += b"Content-Length: %d\r\n" % len(body)
        if len(body) < 2**20:
            return [head + b"\r\n" + body]
        return [head + b"\r\n", body]


def put(
    body: Callable[[], bytes],
    *,
    fields: str = "",
    answer: bytes | None = None,
    path: str = "/",
) -> Request:
    """A request with a body; ``fields`` are whole lines."""
    head = f"PUT {path} HTTP/1.1\r\nHost: bench\r\n{fields}".encode()
    return Request(head, body, answer)


def get(path: str = "/", *, fields: str = "", length: int | None = None) -> Request:
    """A request without a body."""
    head = f"GET {path} HTTP/1.1\r\nHost: bench\r\n{fields}".encode()
    return Request(head, None, None, length)


@dataclass(frozen=True)
class Answer:
    """What came back: the status, the body's length, and a short body."""

    status: int
    length: int
    body: bytes


class Client:
    """One kept-alive connection.

    Attributes:
        location: the path that an answer has named last.
    """

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(120)
        self._buffer = memoryview(bytearray(2**20))
        self.location: bytes = b""
        self._head_only = False

    def exchange(self, pieces: list[bytes]) -> Answer:
        """Send the pieces of a request, and read the whole answer.

        Raises:
            ConnectionError: the server has closed the connection.
        """
        self.send(pieces)
        return self.answer()

    def send(self, pieces: list[bytes]) -> None:
        """Send the pieces of a request."""
        self._head_only = pieces[0].startswith(b"HEAD ")
        for piece in pieces:
            if self.location and len(piece) < 2**10:
                piece = piece.replace(b"<location>", self.location)
            self._socket.sendall(piece)

    def answer(self) -> Answer:
        """Read the whole answer.

        Raises:
            ConnectionError: the server has closed the connection.
        """
        head, rest = self._read_head()
        status = int(head[9:12])
        if found := _LOCATION.search(head):
            self.location = found[1]
        if status == 204 or self._head_only:  # which never have a body
            return Answer(status, 0, rest)
        if found := _LENGTH.search(head):
            return self._read_length(status, int(found[1]), rest)
        if _CHUNKED.search(head):
            return self._read_chunked(status, rest)
        raise ConnectionError(f"an answer of unknown length: {head!r}")

    def _read_head(self) -> tuple[bytes, bytes]:
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._receive()
        return data[: end + 2], data[end + 4 :]

    def _receive(self) -> bytes:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("the server has closed the connection")
        return data

    def _read_length(self, status: int, length: int, rest: bytes) -> Answer:
        body = rest
        missing = length - len(rest)
        while missing:
            got = self._socket.recv_into(self._buffer, min(missing, 2**20))
            if not got:
                raise ConnectionError("the server has closed the connection")
            missing -= got
            if len(body) < _KEEP:
                body += self._buffer[: min(got, _KEEP)]
        return Answer(status, length, body)

    def _read_chunked(self, status: int, data: bytes) -> Answer:
        body = b""
        length = 0
        while True:
            while (end := data.find(b"\r\n")) < 0:
                data += self._receive()
            size = int(data[:end].partition(b";")[0], 16)
            last = not size
            length += size
            data = data[end + 2 :]
            need = size + 2
            while len(data) < need:
                body += data[: min(size, _KEEP)]
                size = max(0, size - len(data))
                need -= len(data)
                data = self._receive()
            body = (body + data[: min(size, _KEEP)])[:_KEEP]
            data = data[need:]
            if last:
                return Answer(status, length, body)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
