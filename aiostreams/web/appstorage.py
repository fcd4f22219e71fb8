"""The storage of an application: given to ``setup``, found again by the request."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from aiostreams.uploads.storage import Storage

__all__ = ["APP_STORAGE", "find_storage", "storage_of"]

APP_STORAGE: Final = web.AppKey("aiostreams.storage", Storage)


def storage_of(request: web.BaseRequest) -> Storage:
    """The storage that ``setup`` was given for the application of this request.

    Of the applications on the way to the route the innermost counts that has one.

    Raises:
        LookupError: there is none.
    """
    storage = find_storage(request)
    if storage is None:
        raise LookupError("aiostreams.setup() was given no storage")
    return storage


def find_storage(request: web.BaseRequest) -> Storage | None:
    """The same, or ``None``."""
    if not isinstance(request, web.Request):
        return None
    return request.config_dict.get(APP_STORAGE)
