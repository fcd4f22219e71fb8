"""One call that installs everything, and one that runs the application."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from aiostreams.codings.zlib_backend import set_zlib_backend
from aiostreams.limits import DEFAULT_LIMITS, Limits
from aiostreams.web.compression.config import DEFAULT_COMPRESSION, Compression
from aiostreams.web.middleware import outer_half
from aiostreams.web.resumable.service import APP_UPLOADS, Service
from aiostreams.web.state import (
    APP_LIMITS,
    APP_STORAGE,
    APP_SUBSCRIPTIONS,
    Subscriptions,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from aiostreams.storage.base import Storage
    from aiostreams.web.resumable.config import ResumableUploads
    from aiostreams.web.stats.model import OnStats

__all__ = ["run_app", "setup"]

# What makes handlers resumable. Where nothing has imported it, no handler is, and an
# application does without the fifteen modules behind it.
_ROUTE: Final = "aiostreams.web.resumable.route"
# What handlers may use as ``aiostreams.name``, without an import of their own: loaded
# at the start, so that no request waits for that.
_FOR_HANDLERS: Final = (
    "aiostreams.content.events",
    "aiostreams.content.msgspec_model",
    "aiostreams.content.zip",
    "aiostreams.files.replay",
    "aiostreams.uploads.direct",
    "aiostreams.web.contents",
    "aiostreams.web.iter_json",
    "aiostreams.web.proxy",
    "aiostreams.web.receive",
    "aiostreams.web.wrap_body",
    "aiostreams.web.wrap_response",
)


def setup(
    app: web.Application,
    *,
    limits: Limits = DEFAULT_LIMITS,
    storage: Storage | None = None,
    compression: Compression | None = DEFAULT_COMPRESSION,
    etags: bool = True,
    on_stats: OnStats | None = None,
    models: Iterable[Any] = (),
    resumable: ResumableUploads | None = None,
) -> web.Application:
    """Install aiostreams on an application: every body becomes a stream.

    Errors and clean-up go around the application's own middlewares. Inside of them, and
    of those of sub-applications, returned values become responses, and a handler's
    ``StreamError`` the ``HTTPException`` of its status: whatever their order of
    registration, middlewares see what they know from aiohttp, with plain bytes. A
    ``StreamError`` that one of them raises is answered like any other.

    Args:
        app: not frozen yet. Sub-applications are covered by their parent; one that
            needs other limits, or another storage, is set up as well.
        limits: the limits for every route; ``@limit`` overrides them.
        storage: where ``receive`` puts files unless given another. It is closed
            with the application.
        compression: how responses are compressed; not at all when ``None``.
        etags: whether a JSON, Text or HTML in memory is given an entity tag made of its
            bytes, and so answers ``If-None-Match``.
        on_stats: called with the :class:`BodyStats` of each request when it is over,
            exactly once, however it ended; one callback or several, plain or async.
            A plain one must be quick, an async one runs as a task of its own; what
            they raise is logged. ``log_stats()``, ``prometheus_stats()`` and
            ``opentelemetry_stats()`` make some. A ``RequestTracer``, as
            ``opentelemetry_tracing()`` is, may stand among them. A callback with a
            method ``expire_upload`` has that called with the protocol of each resumable
            upload of this application that expires before it is complete. A request
            that aiohttp's parser refuses never becomes one of an application, and is
            not told.
        models: the types that handlers validate bodies into; each is looked at now,
            where a mistake in it would be found by the first request.
        resumable: how the uploads of ``@resumable`` handlers are kept; as
            :class:`ResumableUploads` has it unless given.

    Returns:
        ``app``.

    Raises:
        ImportError: the extra that a model needs is missing.
        TypeError: no validator supports a model.
        RuntimeError: ``setup`` was called for this application before, or it is
            already running.
    """
    if APP_LIMITS in app:
        raise RuntimeError("aiostreams.setup() was called twice for one application")
    for model in models:
        from aiostreams.uploads.formmodel import check_model  # noqa: PLC0415 - few have one

        check_model(model)
    app[APP_LIMITS] = limits
    if storage is not None:
        app[APP_STORAGE] = storage
        app.on_cleanup.append(_close_storage)
    app[APP_SUBSCRIPTIONS] = subscriptions = Subscriptions()
    # Before aiohttp waits for handlers: these would never come to an end.
    app.on_shutdown.append(subscriptions.end)
    service = app[APP_UPLOADS] = Service(resumable, storage)
    if resumable is not None:
        from aiostreams.web.resumable.route import add_fields  # noqa: PLC0415 - see _ROUTE

        # Else when the application starts; a sub-application's signal is frozen then.
        app.on_response_prepare.append(add_fields)
    # Without limits: those of the innermost application that has some, as found by
    # the request, so that a sub-application may have its own, larger ones too.
    outer = outer_half(compression=compression, etags=etags)
    app.middlewares.insert(0, outer)

    async def outermost_again(app: web.Application) -> None:
        # Others may have been put around it since. A sub-application's list is frozen
        # by now; then the order is what it was.
        if not app.middlewares.frozen and app.middlewares[0] is not outer:
            app.middlewares.remove(outer)
            app.middlewares.insert(0, outer)

    app.on_startup.append(outermost_again)
    if on_stats is not None:
        from aiostreams.web.stats.reporter import Reporter  # noqa: PLC0415 - few want it

        reporter = Reporter(on_stats)
        reporter.install(app)  # further out
        service.on_expired = reporter.expire_upload

    async def start_uploads(app: web.Application) -> None:
        if _ROUTE in sys.modules:
            from aiostreams.web.resumable.route import install  # noqa: PLC0415 - see _ROUTE

            if install(app):
                await service.start()

    async def end_uploads(_app: web.Application) -> None:
        await service.shutdown()

    async def stop_uploads(_app: web.Application) -> None:
        await service.stop()

    app.on_startup.append(start_uploads)
    app.on_shutdown.append(end_uploads)
    app.on_cleanup.insert(0, stop_uploads)
    app.on_startup.append(_adopt_zlib_backend)
    app.on_startup.append(_load_for_handlers)
    return app


async def _close_storage(app: web.Application) -> None:
    await app[APP_STORAGE].close()


async def _load_for_handlers(_app: web.Application) -> None:
    for name in _FOR_HANDLERS:
        importlib.import_module(name)


async def _adopt_zlib_backend(_app: web.Application) -> None:
    """Use the zlib that ``aiohttp.set_zlib_backend`` was given.

    aiohttp has no public way to ask which one that is; the name of the module is
    the most harmless thing to know. Its default says nothing.
    """
    from aiohttp.compression_utils import ZLibBackend  # noqa: PLC0415 - see above

    if ZLibBackend.name != "zlib" and ZLibBackend.name in sys.modules:
        set_zlib_backend(sys.modules[ZLibBackend.name])


def run_app(app: web.Application | Awaitable[web.Application], **kwargs: Any) -> None:
    """``aiohttp.web.run_app`` with content codings left to aiostreams.

    By default aiohttp decodes bodies in its parser, where a truncated or corrupt
    one passes for a complete one. ``AppRunner(app, auto_decompress=False)`` is the
    same thing spelled out.

    Args:
        app: the application.
        kwargs: as ``aiohttp.web.run_app`` takes them.
    """
    kwargs.setdefault("auto_decompress", False)
    web.run_app(app, **kwargs)
