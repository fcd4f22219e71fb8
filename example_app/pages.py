"""HTML: the pages, what they load, and errors as a browser's user should see them.

The page works without a script: the list, the search, its pages, an upload and a
deletion are links and forms. The scripts make them pleasant, and take the list from
the same page, so that it is drawn in one place: here.
"""

from __future__ import annotations

import hashlib
import http
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aiohttp import hdrs, web

from aiostreams import HTML, File, ObjectStorage, StreamError, respond, storage_of
from example_app.listing import Page, Search, entry_of, find
from example_app.markup import Markup, Template
from example_app.media import size_in_words, types_in_words
from example_app.settings import SETTINGS

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from aiostreams import StoredObject
    from example_app.settings import Settings

__all__ = ["errors_as_pages", "page", "routes", "wants_page", "welcome"]

STATIC: Final = Path(__file__).parent / "static"

FRAME = Template("frame.html")
FILES_PAGE = Template("files.html")
DIRECT_LINK = Template("direct_link.html")
LISTING = Template("listing.html")
FILE = Template("file.html")
PICTURE = Template("picture.html")
PREVIEW = Template("preview.html")
MORE = Template("more.html")
NOTICE = Template("notice.html")
SCRIPT = Template("script.html")
DELETE_PAGE = Template("delete.html")
ERROR_PAGE = Template("error.html")
API_PAGE = Template("api.html")

NOTHING: Final = Markup()

routes = web.RouteTableDef()


@routes.get("/")
async def files_page(request: web.Request) -> web.StreamResponse:
    """Show the page: a place to upload, and what is there."""
    settings = request.app[SETTINGS]
    search = Search.of(request.query)
    storage = storage_of(request)
    found = await find(storage, search)
    return page(
        "Files",
        FILES_PAGE(
            notice=notice(request.query.get("stored", "")),
            accept=",".join(sorted(settings.accept or ())),
            max_file=settings.max_file,
            welcome=welcome(settings),
            direct=DIRECT_LINK() if isinstance(storage, ObjectStorage) else NOTHING,
            query=search.text,
            listing=listing(found, search),
        ),
        here="files",
        script="app.js",
    )


@routes.get("/api")
async def api_page(request: web.Request) -> web.StreamResponse:
    """Show the same service for programs, to be tried out."""
    address = f"{request.scheme}://{request.host}"
    return page("API", API_PAGE(address=address), here="api", script="numbers.js")


@routes.get(r"/static/{name:(\w+\.(?:js|css|svg))}")
async def static(request: web.Request) -> web.StreamResponse:
    """Send what the pages load."""
    return respond(File(STATIC / request.match_info["name"]))


@routes.get("/delete/{key:.+}")
async def delete_page(request: web.Request) -> web.StreamResponse:
    """Ask before a file is removed, where no script does."""
    stored = await storage_of(request).stat(request.match_info["key"])
    described = entry_of(stored)
    content = DELETE_PAGE(
        path=described["path"],
        size=size_in_words(stored.size),
        action=described["url"].replace("/files/", "/delete/", 1),
    )
    return page("Delete a file", content)


def page(
    title: str, content: Markup, *, here: str = "", script: str = ""
) -> web.StreamResponse:
    """Return a page, which is not sent to whoever has it already."""
    text = framed(title, content, here, script)
    return respond(HTML(text), etag=hashlib.sha256(text.encode()).hexdigest()[:24])


def framed(title: str, content: Markup, here: str = "", script: str = "") -> str:
    """Return a page, with what all of them have."""
    current = Markup(' aria-current="page"')
    return FRAME(
        title=title,
        content=content,
        script=SCRIPT(name=script) if script else NOTHING,
        files_here=current if here == "files" else NOTHING,
        api_here=current if here == "api" else NOTHING,
    )


def welcome(settings: Settings) -> str:
    """Say in words what may be uploaded."""
    each = f"up to {size_in_words(settings.max_file)} each"
    words = ", ".join([*types_in_words(sorted(settings.accept or ())), each])
    return words[0].upper() + words[1:]


def notice(count: str) -> Markup:
    """Show what became of a form that was sent without a script."""
    if not (count.isascii() and count.isdigit()):
        return NOTHING
    return NOTICE(text=f"{int(count[:6])} stored")


# -- the list ------------------------------------------------------------------------


def listing(found: Page, search: Search) -> Markup:
    """Return the files that were found."""
    more = NOTHING
    if found.next is not None:
        more = MORE(query=search.text, after=found.next, text="Older files")
    elif search.after is not None:
        more = MORE(query=search.text, after="", text="Back to the newest")
    return LISTING(
        summary=summary(found, search),
        files=Markup.join_all(file_row(stored) for stored in found.files),
        more=more,
    )


def summary(found: Page, search: Search) -> str:
    """How many files there are, in words."""
    many = f"{found.count:,} file{'s' * (found.count != 1)}"
    if not found.complete:
        many = f"more than {many}"
    if search.text:
        return f"{many if found.count else 'No file'} with “{search.text}”"
    if not found.count:
        return "Nothing here yet. What you upload is kept whole, or not at all."
    return many


def file_row(stored: StoredObject) -> Markup:
    """One file of the list."""
    described = entry_of(stored)
    name, url = described["path"], described["url"]
    then = time.gmtime(stored.modified or 0)
    preview = NOTHING
    shown = url.replace("/files/", "/preview/", 1)
    if described["kind"]:
        preview = PREVIEW(url=shown, name=name)
    picture = PICTURE(url=shown) if described["preview"] else NOTHING
    return FILE(
        # Another version under the same key is another file.
        id=f"{stored.key}|{stored.etag}",
        key=stored.key,
        name=name,
        url=url,
        kind=described["kind"] or "",
        size=stored.size,
        size_in_words=size_in_words(stored.size),
        iso=time.strftime("%Y-%m-%dT%H:%M:%SZ", then),
        when=time.strftime("%d %b %Y, %H:%M UTC", then),
        content_type=described["content_type"].partition(";")[0],
        extension=extension(name),
        picture=picture,
        preview=preview,
        digest=url.replace("/files/", "/sha256/", 1),
        delete=url.replace("/files/", "/delete/", 1),
    )


def extension(name: str) -> str:
    """Return what stands in place of a picture."""
    _, dot, last = name.rpartition("/")[2].rpartition(".")
    return last if dot and 0 < len(last) <= 4 else "file"


# -- errors --------------------------------------------------------------------------

# What has happened, for people; what exactly, the detail says.
WORDS: Final = {
    400: "This cannot be done",
    403: "This is not allowed from here",
    404: "This is not here",
    405: "This is not here",
    408: "The connection was too slow",
    409: "There is a file of that name already",
    413: "This is too large",
    415: "This kind of file is not welcome here",
    422: "Something is missing",
    507: "The storage is full",
}


def wants_page(request: web.Request) -> bool:
    """Whether a person has followed a link, or sent a form without a script."""
    return "text/html" in request.headers.get(hdrs.ACCEPT, "")


@web.middleware
async def errors_as_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Show people a page; programs keep their problem document."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status >= 400 and wants_page(request):
            error.text = error_page(error.status, detail_of(error))
            error.content_type = "text/html"
        raise
    except (
        StreamError
    ) as error:  # of a middleware; a handler's is made one of the above
        if not wants_page(request):
            raise
        return web.Response(
            status=error.status,
            text=error_page(error.status, str(error)),
            content_type="text/html",
        )


def error_page(status: int, detail: str) -> str:
    """Show the page that says what has gone wrong."""
    return framed(
        http.HTTPStatus(status).phrase,
        ERROR_PAGE(
            words=WORDS.get(status, "Something went wrong"),
            detail=detail,
            status=status,
        ),
    )


def detail_of(error: web.HTTPException) -> str:
    """Say exactly what has happened."""
    if error.content_type == "application/problem+json":
        document: dict[str, Any] = json.loads(error.text or "{}")
        return str(document.get("detail", ""))
    return "" if error.text is None else error.text.partition(": ")[2]
