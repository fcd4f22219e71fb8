"""What is known of a file before it is read, where no ``Part`` is there to say it.

Both are an ``Incoming``: what the key of a file is made from, and what its type is held
against.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import hdrs

from aiostreams.errors import MalformedBody
from aiostreams.sansio.disposition import parse_disposition, safe_filename

if TYPE_CHECKING:
    from aiohttp import web

    from aiostreams.content.received import ReceivedFile

__all__ = ["RAW_FIELD", "ArrivedFile", "RawFile"]

# What the one file of a body that is no form is called.
RAW_FIELD: Final = "file"


class ArrivedFile:
    """What a form in one piece says of a file."""

    __slots__ = ("content_type", "filename", "name")

    def __init__(self, name: str, file: ReceivedFile) -> None:
        self.name: str = name
        self.filename: str = file.filename
        self.content_type: str | None = file.sent_type

    @property
    def safe_filename(self) -> str:
        return safe_filename(self.filename)


class RawFile:
    """What the header section says of a body that is a file."""

    name = RAW_FIELD

    def __init__(self, request: web.BaseRequest) -> None:
        self.content_type: str | None = request.headers.get(hdrs.CONTENT_TYPE)
        self.filename: str | None = None
        disposition = request.headers.get(hdrs.CONTENT_DISPOSITION)
        if disposition is not None:
            try:
                self.filename = parse_disposition(disposition).filename
            except MalformedBody:
                # A wish of the client's that nobody can read: no name, then.
                pass

    @property
    def safe_filename(self) -> str:
        return safe_filename(self.filename)
