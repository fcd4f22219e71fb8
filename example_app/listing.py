"""What is there: searched, the newest first, a page at a time.

A storage lists its objects in any order, and may have millions. So the work is
bounded, not the truth bent: of the first ``MOST_LOOKED_AT`` objects those that match
are considered, the newest of them kept in a heap no longer than a page, and the answer
says whether that was all. A ``prefix`` is given to the storage, which then need not
look at anything else.

The next page begins behind the last file of this one, by its time and key, and not at
a number: what is uploaded meanwhile shifts nothing.

Whoever wants everything asks for ``application/x-ndjson``: a line for each file, in
the storage's order, in constant memory, as long as it takes.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote

from aiohttp import hdrs, web

from aiostreams import JSON, NDJSON, MalformedBody, respond, storage_of
from example_app.media import kind_of, media_type, shown_path
from example_app.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from aiostreams import Storage, StoredObject

__all__ = ["Page", "Search", "entry", "entry_of", "find", "routes"]

MOST_LOOKED_AT: Final = 10_000
PAGE: Final = 50
LONGEST_PAGE: Final = 500
LONGEST_QUERY: Final = 200

routes = web.RouteTableDef()


@dataclass(frozen=True, kw_only=True)
class Search:
    """What to look for.

    Attributes:
        text: what the path contains, in upper or lower case.
        prefix: what the key begins with.
        after: the last file of the page before, as ``Page.next`` has it.
        limit: how many files at most.
    """

    text: str = ""
    prefix: str = ""
    after: tuple[float, str] | None = None
    limit: int = PAGE

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Self:
        """Read it from the query of a URL.

        Raises:
            MalformedBody: ``limit`` or ``after`` is not what it should be.
        """
        after = None
        try:
            if query.get("after"):
                time, _, key = query["after"].partition(",")
                after = float(time), key
            limit = int(query.get("limit") or PAGE)
        except ValueError:
            raise MalformedBody("limit is a number, after as it was given") from None
        return cls(
            text=query.get("q", "").strip()[:LONGEST_QUERY],
            prefix=query.get("prefix", "")[:LONGEST_QUERY],
            after=after,
            limit=min(max(1, limit), LONGEST_PAGE),
        )

    def matches(self, stored: StoredObject) -> bool:
        """Whether the file is one of those that are looked for."""
        return self.text.casefold() in shown_path(stored.key).casefold()


@dataclass(frozen=True)
class Page:
    """Some of the files that were found.

    Attributes:
        files: the newest first.
        count: how many were found, on all pages.
        complete: whether all objects of the storage were looked at.
        next: where the next page begins; ``None`` on the last one.
    """

    files: list[StoredObject]
    count: int
    complete: bool
    next: str | None


def place(stored: StoredObject) -> tuple[float, str]:
    """Where a file stands: by time, and by key among those of one moment."""
    return stored.modified or 0.0, stored.key


async def find(storage: Storage, search: Search) -> Page:
    """List the newest files that match."""
    looked = count = 0
    complete = True
    # The oldest on top, to be pushed out; one more than asked for tells of a next page.
    newest: list[tuple[tuple[float, str], StoredObject]] = []
    listed = storage.list(search.prefix)
    try:
        async for stored in listed:
            if looked == MOST_LOOKED_AT:
                complete = False
                break
            looked += 1
            if not search.matches(stored):
                continue
            count += 1
            here = place(stored)
            if search.after is not None and here >= search.after:
                continue
            if len(newest) <= search.limit:
                heapq.heappush(newest, (here, stored))
            elif here > newest[0][0]:
                heapq.heapreplace(newest, (here, stored))
    finally:
        if isinstance(listed, AsyncGenerator):  # what it has open is closed now
            await listed.aclose()
    newest.sort(key=lambda found: found[0], reverse=True)
    files = [stored for _, stored in newest[: search.limit]]
    following = None
    if len(newest) > search.limit:
        time, key = place(files[-1])
        following = f"{time!r},{key}"
    return Page(files, count, complete, following)


def entry(
    key: str, size: int, content_type: str | None, modified: float | None = None
) -> dict[str, Any]:
    """Describe a file."""
    content_type = media_type(key, content_type)
    kind = kind_of(content_type)
    path = quote(key)
    described = {
        "name": key.rpartition("/")[2],
        "path": shown_path(key),
        "size": size,
        "content_type": content_type,
        "url": f"/files/{path}",
        # A picture of it, to be shown beside its name.
        "preview": f"/preview/{path}" if kind == "image" else None,
        # What it would be shown as, at /preview/.
        "kind": kind,
    }
    if modified is not None:
        described["modified"] = formatdate(modified, usegmt=True)
    return described


def entry_of(stored: StoredObject) -> dict[str, Any]:
    """Describe a file for a listing."""
    modified = stored.modified or 0.0
    return entry(stored.key, stored.size, stored.content_type, modified)


@routes.get("/files")
async def files(request: web.Request) -> web.StreamResponse:
    """List files: a page of them as JSON, or all of them as NDJSON."""
    search = Search.of(request.query)
    storage = storage_of(request)
    if "application/x-ndjson" in request.headers.get(hdrs.ACCEPT, ""):
        return respond(NDJSON(every(storage, search)))
    settings = request.app[SETTINGS]
    page = await find(storage, search)
    answer = {
        "files": [entry_of(stored) for stored in page.files],
        "count": page.count,
        "complete": page.complete,
        "next": page.next,
        "max_file": settings.max_file,
        "accept": sorted(settings.accept or ()),
    }
    return respond(JSON(answer), headers={hdrs.CACHE_CONTROL: "no-store"})


async def every(storage: Storage, search: Search) -> AsyncIterator[dict[str, Any]]:
    """Every file that matches, in the storage's order."""
    async for stored in storage.list(search.prefix):
        if search.matches(stored):
            yield entry_of(stored)
