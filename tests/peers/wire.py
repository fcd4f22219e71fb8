"""Forms as bytes, and one request over one connection, which may break off."""

from __future__ import annotations

import base64
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["BOUNDARY", "TYPE", "Reply", "Tus", "field", "file", "form", "send"]

BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def field(name: str, value: str = "some words") -> bytes:
    """A form field."""
    return _part(f'Content-Disposition: form-data; name="{name}"', value.encode())


def file(data: bytes, name: str = "file.bin") -> bytes:
    """A file part."""
    return _part(
        f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream",
        data,
    )


def _part(head: str, data: bytes) -> bytes:
    return f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + data + b"\r\n"


def form(*parts: bytes) -> bytes:
    """A whole body."""
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


@dataclass(frozen=True)
class Reply:
    """What came back; status 0 if nothing did."""

    status: int
    head: str = ""
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The value of one field."""
        found = re.search(
            rf"^{name}: *(.*?)\r?$", self.head, re.MULTILINE | re.IGNORECASE
        )
        return found[1] if found else None


def send(
    port: int,
    body: bytes = b"",
    *,
    method: str = "POST",
    path: str = "/",
    length: int | None = None,
    fields: Iterable[str] = (f"Content-Type: {TYPE}",),
    wait: float = 20.0,
) -> Reply:
    """Send a request and read the answer.

    Args:
        port: of the server.
        body: what is sent of the body.
        method, path: of the request.
        length: what is announced, if that is more than is sent.
        fields: header lines.
        wait: for the answer, in seconds; then the connection is closed.
    """
    head = [f"{method} {path} HTTP/1.1", "Host: peers", "Connection: close", *fields]
    if method not in {"GET", "HEAD"}:
        head.append(f"Content-Length: {len(body) if length is None else length}")
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as sock:
        data = b""
        try:
            sock.sendall("\r\n".join([*head, "", ""]).encode() + body)
        except (ConnectionError, TimeoutError):
            pass  # refused early: the answer may be there all the same
        try:
            while piece := sock.recv(65536):
                data += piece
        except (ConnectionError, TimeoutError):
            pass
    top, _, rest = data.partition(b"\r\n\r\n")
    if not top:
        return Reply(0)
    return Reply(int(top[9:12]), top.decode("latin-1"), rest)


class Tus:
    """The client's side of tus 1.0, as far as it is needed here."""

    _VERSION = "Tus-Resumable: 1.0.0"

    def __init__(self, port: int, size: int, name: str = "file.bin") -> None:
        self._port = port
        metadata = f"filename {base64.b64encode(name.encode()).decode()}"
        self.created = send(
            port,
            path="/uploads",
            fields=[
                self._VERSION,
                f"Upload-Length: {size}",
                f"Upload-Metadata: {metadata}",
            ],
        )
        location = self.created.header("Location") or ""
        self.path = "/" + location.partition("://")[2].partition("/")[2]

    def offset(self) -> int:
        """How much has arrived, as the server says."""
        reply = send(self._port, method="HEAD", path=self.path, fields=[self._VERSION])
        return int(reply.header("Upload-Offset") or -1)

    def patch(self, data: bytes, offset: int, length: int | None = None) -> Reply:
        """Send a chunk."""
        return send(
            self._port,
            data,
            method="PATCH",
            path=self.path,
            length=length,
            wait=5 if length is None else 0.5,
            fields=[
                self._VERSION,
                f"Upload-Offset: {offset}",
                "Content-Type: application/offset+octet-stream",
            ],
        )
