"""Numbers as JSON and as NDJSON: values in a body, checked against their types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from aiostreams import (
    JSON,
    NDJSON,
    ClientGone,
    KiB,
    StreamError,
    iter_ndjson,
    limit,
    read_json,
    respond,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["routes"]

routes = web.RouteTableDef()


@dataclass
class Series:
    """The body of ``POST /api/summary``."""

    values: list[float]


@dataclass
class Reading:
    """One line of the body of ``POST /api/running``."""

    value: float


@dataclass
class Summary:
    """What is known of some numbers without keeping them."""

    count: int = 0
    sum: float = 0
    min: float | None = None
    max: float | None = None

    def add(self, value: float) -> None:
        """Count one more."""
        self.count += 1
        self.sum += value
        self.min = value if self.min is None else min(self.min, value)
        self.max = value if self.max is None else max(self.max, value)


@routes.post("/api/summary")
@limit(max_body=64 * KiB)
async def summary(request: web.Request) -> web.StreamResponse:
    """Sum up a JSON document, which is checked against its type."""
    result = Summary()
    for value in (await read_json(request, type=Series)).values:
        result.add(value)
    return respond(JSON(result))


@routes.post("/api/running")
@limit(min_rate=0)  # who waits for an answer before the next line is not slow
async def running(request: web.Request) -> web.StreamResponse:
    """Answer each line as it arrives; the body may be of any length."""
    readings = iter_ndjson(
        request,
        type=Reading,
        max_line_length=KiB,
        content_type="application/x-ndjson",
    )
    return respond(NDJSON(sums(readings)))


async def sums(readings: AsyncIterator[Reading]) -> AsyncIterator[Any]:
    """Yield the summary so far, after each reading."""
    result = Summary()
    try:
        async for reading in readings:
            result.add(reading.value)
            yield result
    except ClientGone:
        raise
    except StreamError as error:
        # The status has been sent by now, so this has to be a line as well.
        yield {"error": str(error)}
