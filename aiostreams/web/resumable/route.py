"""Resumable uploads on routes: the decorator, the endpoint, and what they add.

``resumable`` puts a function around a handler, so that an upload's requests pass the
application's own middlewares like any other. When the application starts, each resource
with such a handler gets the methods of an upload that it lacks; those that it has are
put behind the question whether a request is of an upload.

A file of its own, though only ``setup`` imports it: it is what applications call.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aiohttp import hdrs, web

from aiostreams.content.json import JSON
from aiostreams.errors import InvalidContent
from aiostreams.sansio.mediatype import media_type_of
from aiostreams.sansio.negotiation import join_lines, merge_vary
from aiostreams.sansio.rufh import COMPLETE, INCOMPLETE, INTEROP, PARTIAL_TYPE
from aiostreams.sansio.structured import parse_boolean
from aiostreams.sansio.tus import CHUNK_TYPE, VERSION
from aiostreams.web.expect import expect_continue
from aiostreams.web.marks import mark_of
from aiostreams.web.receive import receive
from aiostreams.web.respond import respond
from aiostreams.web.resumable import rufh, tus
from aiostreams.web.resumable.config import Options
from aiostreams.web.resumable.exchange import Exchange, id_in
from aiostreams.web.resumable.service import APP_UPLOADS
from aiostreams.web.state import UPLOADS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator

    from aiohttp.typedefs import Handler

    from aiostreams.uploads.stored import StoredFile
    from aiostreams.web.resumable.config import OnCreate, Owner

__all__ = [
    "add_fields",
    "install",
    "resumable",
    "resumable_route",
    "serve",
    "speaks",
]

F = TypeVar("F")

_OPTIONS: Final = "__aiostreams_resumable__"
_METHODS: Final = (
    hdrs.METH_HEAD,
    hdrs.METH_PATCH,
    hdrs.METH_DELETE,
    hdrs.METH_OPTIONS,
)
_OF_AN_UPLOAD: Final = frozenset({hdrs.METH_HEAD, hdrs.METH_PATCH, hdrs.METH_DELETE})


def resumable(
    *,
    max_size: int | None = None,
    accept: Collection[str] | None = None,
    on_create: OnCreate | None = None,
    owner: Owner | None = None,
    expires: float | None = None,
    max_age: float | None = None,
) -> Callable[[F], F]:
    """Make a handler's requests resumable: by tus 1.0, and by the IETF's protocol.

        @routes.post("/videos")
        @resumable(max_size=50 * GiB)
        async def add(request):
            async with receive(request, accept={"video/*"}) as upload:
                return JSON({"key": upload.files["file"].key})

    The handler is as it would be without. It runs once, when all bytes are there, and
    reads them as its body. An upload is at ``<the same path>?upload=<id>``, where its
    client asks how far it is, goes on and cancels; these requests pass the middlewares
    of the application. A request that speaks neither protocol is handled as without
    the decorator. ``setup`` has to be called for the application.

    Args:
        max_size: how many bytes an upload may have; the route's ``max_body`` unless
            given. In the handler both ``max_body`` and, unless it is lower,
            ``max_file`` are this.
        accept: media types that are welcome; what is declared otherwise, or shows
            otherwise by its first bytes, is refused before the rest arrives.
        on_create: called with the request and its :class:`ResumableUpload` before an
            upload is created; plain or async. What it raises is the answer: for quotas.
        owner: says whose a request is; plain or async. Another one's upload is not
            found.
        expires: how many seconds an upload is kept that is not continued, in place of
            the application's.
        max_age: how many seconds it is kept at all, likewise.

    Raises:
        ValueError: a number is negative, or a pattern no media type.
    """
    options = Options(
        max_size=max_size,
        accept=accept,
        on_create=on_create,
        owner=owner,
        expires=expires,
        max_age=max_age,
    )
    return functools.partial(_decorate, options=options)


def _decorate(handler: Any, *, options: Options) -> Any:
    @functools.wraps(handler)
    async def wrapper(*args: Any) -> Any:
        # The last argument is the request, or the view that has it.
        target = args[-1]
        is_view = isinstance(target, web.View)
        request: web.Request = target.request if is_view else target
        if not speaks(request, options):
            return await handler(*args)

        async def call(request: web.Request) -> Any:
            last = type(target)(request) if is_view else request
            return await handler(*args[:-1], last)

        response = await serve(request, options, call)
        return await handler(*args) if response is None else response

    setattr(wrapper, _OPTIONS, options)
    setattr(wrapper, UPLOADS, functools.partial(speaks, options=options))
    return wrapper


def speaks(request: web.Request, options: Options) -> bool:
    """Tell whether a request is of a resumable upload, by either protocol."""
    headers, method = request.headers, request.method
    if tus.RESUMABLE in headers:
        return True
    if method in _OF_AN_UPLOAD:
        return id_in(request, options) is not None
    if method == hdrs.METH_GET:
        return False
    if media_type_of(headers.get(hdrs.CONTENT_TYPE)) == PARTIAL_TYPE:
        return True
    return any(
        parse_boolean(headers.getall(name, None)) is not None
        for name in (COMPLETE, INCOMPLETE)
    )


async def serve(
    request: web.Request,
    options: Options,
    call: Callable[[web.Request], Awaitable[Any]],
) -> web.StreamResponse | None:
    """Answer a request of a resumable upload; ``None`` if it is an ordinary one.

    Args:
        request: the request.
        options: of its route.
        call: the handler.
    """
    exchange = Exchange(request, options, call)
    if request.method == hdrs.METH_OPTIONS:
        return web.Response(
            status=204,
            headers={**rufh.announcement(exchange), **tus.announcement(exchange)},
        )
    await exchange.identify()
    if tus.RESUMABLE in request.headers or _misses_version(request):
        return await tus.serve_tus(exchange)
    return await rufh.serve_rufh(exchange)


def _misses_version(request: web.Request) -> bool:
    """Return whether it is an append of tus without its version."""
    return (
        request.method == hdrs.METH_PATCH
        and media_type_of(request.headers.get(hdrs.CONTENT_TYPE)) == CHUNK_TYPE
        and INTEROP not in request.headers
    )


# -- the endpoint ----------------------------------------------------------------------


class _ResumableRoute(web.AbstractRouteDef):
    """The definition of an endpoint for uploads: one resource, and one for each."""

    def __init__(self, path: str, handler: Handler) -> None:
        self._path = path
        self._handler = handler

    def register(self, router: web.UrlDispatcher) -> list[web.AbstractRoute]:
        """Add the routes."""
        base = router.add_resource(self._path)
        upload = router.add_resource(f"{self._path.rstrip('/')}/{{upload}}")
        return [
            base.add_route(hdrs.METH_POST, self._handler),
            *_add_methods(upload, [upload], self._handler, (*_METHODS, hdrs.METH_POST)),
        ]


def resumable_route(
    path: str,
    on_complete: Callable[[web.Request, StoredFile], Awaitable[Any]],
    *,
    max_size: int | None = None,
    accept: Collection[str] | None = None,
    on_create: OnCreate | None = None,
    owner: Owner | None = None,
    expires: float | None = None,
    max_age: float | None = None,
) -> web.AbstractRouteDef:
    """Make an endpoint for uploads, as tus servers have it: POST there, a URL for each.

        async def on_complete(request, file):
            return JSON({"key": file.key, "size": file.size})

        app.add_routes([resumable_route("/files", on_complete, max_size=5 * GiB)])

    Args:
        path: where uploads are created; each is at ``<path>/<id>``.
        on_complete: called with the request that has completed an upload, and the file
            that was stored by ``receive``; what it returns is answered, as by a
            handler, or 201 with the key when that is ``None``. When it raises, the
            file is removed.
        max_size: as of :func:`resumable`, and so are the others.
        accept: likewise; held against the stored file again.
        on_create: likewise.
        owner: likewise.
        expires: likewise.
        max_age: likewise.

    Returns:
        A route definition for ``app.add_routes``.

    Raises:
        ValueError: a number is negative, or a pattern no media type.
    """

    async def store(request: web.Request) -> Any:
        async with receive(request, accept=accept) as upload:
            files = list(upload.files.values())
            if len(files) != 1:
                raise InvalidContent(f"1 file is expected, got {len(files)}")
            result = await on_complete(request, files[0])
            if result is None:
                return respond(JSON({"key": files[0].key}), status=201)
            return result

    options = Options(
        max_size=max_size,
        accept=accept,
        on_create=on_create,
        owner=owner,
        expires=expires,
        max_age=max_age,
        in_path=True,
    )
    return _ResumableRoute(path, _decorate(store, options=options))


# -- when the application starts -------------------------------------------------------


def install(app: web.Application) -> bool:
    """Give each resource with a resumable handler the methods of an upload.

    Args:
        app: about to start. Sub-applications are covered, but those with a ``setup`` of
            their own.

    Returns:
        Whether there is such a resource.
    """
    found = False
    by_path: dict[str, list[web.Resource]] = {}
    for resource in _resources(app):
        by_path.setdefault(resource.canonical, []).append(resource)
    for peers in by_path.values():
        for resource in peers:
            for route in list(resource):
                if _options_of(route.handler) is not None:
                    found = True
                    _add_methods(resource, peers, route.handler, _METHODS)
    signal = app.on_response_prepare
    if found and not signal.frozen and add_fields not in signal:
        signal.append(add_fields)
    return found


def _resources(app: web.Application) -> Iterator[web.Resource]:
    for resource in app.router.resources():
        inner = resource.get_info().get("app")
        if inner is not None:
            if APP_UPLOADS not in inner:
                yield from _resources(inner)
        elif isinstance(resource, web.Resource):
            yield resource


def _options_of(handler: Any) -> Options | None:
    """Return the options of a resumable handler; ``None`` of another one."""
    if inspect.isclass(handler):
        for name in ("post", "put", "patch"):
            options = mark_of(getattr(handler, name, None), _OPTIONS)
            if options is not None:
                break
    else:
        options = mark_of(handler, _OPTIONS)
    return options if isinstance(options, Options) else None


def _add_methods(
    resource: web.Resource,
    peers: list[web.Resource],
    handler: Any,
    methods: tuple[str, ...],
) -> list[web.AbstractRoute]:
    """Answer requests of uploads at ``resource`` by ``handler``.

    Args:
        resource: where the handler is.
        peers: all resources of that path; the methods of each stay what they are.
        handler: a resumable one.
        methods: those of an upload.
    """
    options = _options_of(handler)
    assert options is not None
    if inspect.isclass(handler) and issubclass(handler, web.View):
        _add_to_view(handler, options)
    taken = {route.method: (peer, route) for peer in peers for route in peer}
    added: list[web.AbstractRoute] = []
    for method in methods:
        peer, route = taken.get(method, taken.get(hdrs.METH_ANY, (resource, None)))
        if route is not None and _options_of(route.handler) is not None:
            continue  # it knows by itself, or was told already
        either = _either(
            handler, options, None if route is None else route.handler, tuple(taken)
        )
        new = web.ResourceRoute(
            method,
            either,
            peer,
            # Of what is not welcome nothing is asked for.
            expect_handler=expect_continue if route is None else None,
        )
        peer.register_route(new)
        added.append(new)
    return added


def _either(
    handler: Any, options: Options, other: Any, allowed: tuple[str, ...]
) -> Handler:
    """Return a handler for requests of uploads, and for all others if ``other`` is.

    Args:
        handler: the resumable one.
        options: of it.
        other: the one that was there, or ``None``.
        allowed: the methods that there are else.
    """

    async def either(request: web.Request) -> Any:
        if request.method == hdrs.METH_OPTIONS and other is None:
            return await serve(request, options, handler)
        if speaks(request, options):
            return await handler(request)
        if other is None:
            raise web.HTTPMethodNotAllowed(request.method, allowed)
        return await other(request)

    # With its marks: its ceilings hold for its uploads, whatever the method.
    return functools.update_wrapper(either, handler)


def _add_to_view(view: type[web.View], options: Options) -> None:
    """Give a class-based view the methods of an upload."""
    creating = next(
        method
        for name in ("post", "put", "patch")
        if mark_of(method := getattr(view, name, None), _OPTIONS) is not None
    )
    assert creating is not None
    for method in _METHODS:
        name = method.lower()
        other = getattr(view, name, None)
        if mark_of(other, _OPTIONS) is not None:
            continue
        setattr(view, name, _either_method(creating, options, other))


def _either_method(creating: Any, options: Options, other: Any) -> Any:
    async def either(view: web.View) -> Any:
        request = view.request
        if request.method == hdrs.METH_OPTIONS and other is None:
            return await serve(request, options, creating)
        if speaks(request, options):
            return await creating(view)
        if other is None:
            allowed = [name for name in hdrs.METH_ALL if hasattr(view, name.lower())]
            raise web.HTTPMethodNotAllowed(request.method, allowed)
        return await other(view)

    functools.update_wrapper(either, creating)
    return either


# -- fields of each response -----------------------------------------------------------

_EXPOSED: Final = (
    "Location", "Retry-After", "Tus-Checksum-Algorithm", "Tus-Extension",
    "Tus-Max-Size", "Tus-Resumable", "Tus-Version", "Upload-Complete", "Upload-Concat",
    "Upload-Defer-Length", "Upload-Draft-Interop-Version", "Upload-Expires",
    "Upload-Incomplete", "Upload-Length", "Upload-Limit", "Upload-Metadata",
    "Upload-Offset",
)  # fmt: skip
_ALLOWED: Final = (
    "Authorization", "Content-Digest", "Content-Disposition", "Content-Encoding",
    "Content-Type", "Repr-Digest", "Tus-Resumable", "Upload-Checksum",
    "Upload-Complete", "Upload-Concat", "Upload-Defer-Length",
    "Upload-Draft-Interop-Version", "Upload-Incomplete", "Upload-Length",
    "Upload-Metadata", "Upload-Offset", "X-HTTP-Method-Override", "X-Request-ID",
    "X-Requested-With",
)  # fmt: skip
_PREFLIGHT: Final = "Access-Control-Request-Method"


async def add_fields(request: web.Request, response: web.StreamResponse) -> None:
    """Add what each response of a resumable route has, whoever makes it.

    A receiver of ``on_response_prepare``.
    """
    if _options_of(request.match_info.handler) is None:
        return
    headers = response.headers
    if tus.RESUMABLE in request.headers:
        headers.setdefault(tus.RESUMABLE, VERSION)
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None:
        return
    # Not config_dict, in which a parent finds only its own.
    apps = [app for app in request.match_info.apps if APP_UPLOADS in app]
    cors = apps[-1][APP_UPLOADS].config.cors
    if cors is not None and hdrs.ACCESS_CONTROL_ALLOW_ORIGIN not in headers:
        if cors == "*":
            headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = "*"
        else:
            headers[hdrs.VARY] = merge_vary(headers.get(hdrs.VARY), hdrs.ORIGIN)
            if origin in cors:
                headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
        if request.method == hdrs.METH_OPTIONS and _PREFLIGHT in request.headers:
            asked = join_lines(
                request.headers.getall(hdrs.ACCESS_CONTROL_REQUEST_HEADERS, None)
            )
            headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = (
                "DELETE, HEAD, OPTIONS, PATCH, POST, PUT"
            )
            headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = asked or ", ".join(_ALLOWED)
            headers[hdrs.ACCESS_CONTROL_MAX_AGE] = "86400"
    if hdrs.ACCESS_CONTROL_ALLOW_ORIGIN in headers:
        exposed = headers.get(hdrs.ACCESS_CONTROL_EXPOSE_HEADERS, "")
        if exposed.strip() != "*" and _EXPOSED[-1] not in exposed:
            headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = ", ".join(
                [*([exposed] if exposed else []), *_EXPOSED]
            )
