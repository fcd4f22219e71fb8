"""Multipart bodies for tests: made, cut in every way, and read into outcomes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from aiostreams import Limits, StreamError
from aiostreams.limits import DEFAULT_LIMITS
from aiostreams.sansio.multipart import (
    BODY_END,
    PART_END,
    Event,
    MultipartParser,
    PartBegin,
)


@dataclass
class Outcome:
    """All that a body gave, as it must be however the body was cut."""

    parts: list[tuple[PartBegin, bytes]] = field(default_factory=list)
    unfinished: tuple[PartBegin, bytes] | None = None
    ended: bool = False
    error: tuple[type[StreamError], str] | None = None

    @property
    def values(self) -> list[tuple[str | None, bytes]]:
        return [(begin.name, data) for begin, data in self.parts]


def outcome(
    boundary: bytes,
    pieces: Iterable[bytes],
    *,
    limits: Limits = DEFAULT_LIMITS,
    form_data: bool = True,
) -> Outcome:
    parser = MultipartParser(boundary, limits=limits, form_data=form_data)
    result = Outcome()
    try:
        for piece in pieces:
            _collect(result, parser.feed(piece))
        _collect(result, parser.close())
    except StreamError as exc:
        result.error = (type(exc), str(exc))
    return result


def _collect(result: Outcome, events: list[Event]) -> None:
    for event in events:
        assert not result.ended, "an event after the end of the body"
        if event is BODY_END:
            assert result.unfinished is None
            result.ended = True
        elif event is PART_END:
            assert result.unfinished is not None
            result.parts.append(result.unfinished)
            result.unfinished = None
        elif isinstance(event, PartBegin):
            assert result.unfinished is None
            result.unfinished = (event, b"")
        else:
            assert isinstance(event, bytes | memoryview)
            assert result.unfinished is not None
            assert len(event) > 0
            begin, data = result.unfinished
            result.unfinished = (begin, data + event)


def cut(body: bytes, size: int) -> list[bytes]:
    return [body[at : at + size] for at in range(0, len(body), size)]


def splits(body: bytes) -> Iterator[list[bytes]]:
    """Every way to cut a body in two."""
    return ([body[:at], body[at:]] for at in range(len(body) + 1))


def form(*parts: tuple[bytes, bytes], boundary: bytes = b"B") -> bytes:
    """A body of parts given by their header lines and content."""
    pieces = []
    for head, content in parts:
        pieces.append(b"--" + boundary + b"\r\n" + head + b"\r\n\r\n" + content)
    return b"\r\n".join([*pieces, b"--" + boundary + b"--\r\n"])


def plain(name: str, filename: str | None = None) -> bytes:
    text = f'Content-Disposition: form-data; name="{name}"'
    if filename is not None:
        text += f'; filename="{filename}"'
    return text.encode()


def stable(
    boundary: bytes,
    body: bytes,
    *,
    limits: Limits = DEFAULT_LIMITS,
    form_data: bool = True,
) -> Outcome:
    """The outcome of a body, asserted to be the same in all pieces and splits."""
    whole = outcome(boundary, [body], limits=limits, form_data=form_data)
    ways = [cut(body, size) for size in (1, 2, 3, 7, 64, 4096)]
    if len(body) <= 2048:
        ways.extend(splits(body))
    for pieces in ways:
        other = outcome(boundary, pieces, limits=limits, form_data=form_data)
        assert other == whole, [len(piece) for piece in pieces[:4]]
    return whole
