"""Who may ask for what, and what a browser may do with the answers.

There are no accounts: whoever reaches the port may read, upload and delete. Put a
proxy that asks for a password in front where that is too many. What is prevented is
that *other sites* do it, through the browser of somebody who may:

- by a name of theirs that leads here (DNS rebinding): only names that the operator
  has allowed are answered, and addresses, which belong to nobody;
- by a form or script on their pages (cross-site request forgery): a request that
  changes something must come from this site's own pages, or from no page at all;
- by embedding what is stored here: other sites may only link to it.

And that *uploads* act as this site: a page, drawing or script that somebody stored is
sent as an attachment, never under another type than its own, in a sandbox where it
can run nothing, and never into a place where the browser expects a script.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from aiohttp import web
from yarl import URL

from aiostreams import StreamError
from example_app.settings import SETTINGS

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

__all__ = [
    "PREVIEW_HEADERS",
    "UPLOAD_HEADERS",
    "add_headers",
    "middlewares",
    "page_policy",
]

# For every response that has none of its own. The page loads its own scripts, styles
# and pictures and nothing else; no script of it can make markup out of a string.
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "media-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'; "
        "trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # With "no-referrer" browsers send `Origin: null` with this site's own forms.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    # Ask whether it has changed, every time: an answer without a body, mostly.
    "Cache-Control": "no-cache",
}
UPLOAD_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
}
# Opened in a tab of its own, a picture or video is a document that shows itself, with
# styles that are the browser's. To fetch itself it has to be of this origin; scripts
# are kept from it all the same.
PREVIEW_HEADERS: Final = {
    **UPLOAD_HEADERS,
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self'; media-src 'self'; "
        "style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox allow-same-origin"
    ),
}

# Where uploads are served, and what browsers may want them for: a tab or download, a
# picture, sound or video, and what scripts of this site fetch.
UPLOADED: Final = ("/files/", "/preview/", "/proxy/")
HARMLESS: Final = frozenset({"document", "image", "audio", "video", "empty"})


class Refused(StreamError):
    """Nothing is wrong with the request, but with who asks."""

    status = 403


def page_policy(origin: str) -> str:
    """Return the policy of a page that may also ask another origin."""
    policy = HEADERS["Content-Security-Policy"]
    return policy.replace("connect-src 'self'", f"connect-src 'self' {origin}")


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Give every response the headers that it does not have of its own."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)


@web.middleware
async def known_hosts_only(
    request: web.Request, handler: Handler
) -> web.StreamResponse:
    """Answer under names that were allowed, and under addresses."""
    hosts = request.app[SETTINGS].hosts
    try:
        host = (URL.build(authority=request.host).host or "").lower()
    except ValueError:
        host = ""
    if not ({"*", host} & hosts or host == "localhost" or is_address(host)):
        raise Refused(
            f"this server was not told that it is {host[:100]!r}; "
            f"if it is, start it with --allow-host {host[:100]}"
        )
    return await handler(request)


def is_address(host: str) -> bool:
    """Whether it is an IP address, and not a name that somebody may own."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@web.middleware
async def own_pages_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let pages of other sites change nothing: a form needs no leave to be sent."""
    if request.method not in {"GET", "HEAD"} and not same_site(request):
        raise Refused(
            "a page of another site asked for this in your browser; "
            "only this site's own pages may"
        )
    return await handler(request)


def same_site(request: web.Request) -> bool:
    """Whether a page of this very site asks, or nobody's, as curl does.

    Browsers tell it by ``Sec-Fetch-Site``, but only over TLS and to localhost;
    elsewhere the ``Origin`` must be the host that is asked.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = request.headers.get("Origin")
    if origin is None:
        return True
    return origin.partition("://")[2].lower() == request.host.lower()


@web.middleware
async def no_uploads_as_code(
    request: web.Request, handler: Handler
) -> web.StreamResponse:
    """Send what was uploaded to no place where it would run, or be framed."""
    if request.path.startswith(UPLOADED):
        purpose = request.headers.get("Sec-Fetch-Dest", "document")
        if purpose not in HARMLESS:
            raise Refused(f"what was uploaded cannot be used as a {purpose[:20]}")
    return await handler(request)


middlewares: Final[tuple[Middleware, ...]] = (
    known_hosts_only,
    own_pages_only,
    no_uploads_as_code,
)
