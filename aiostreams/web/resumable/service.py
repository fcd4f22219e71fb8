"""The resumable uploads of one application: where they are kept, and their sweep.

``setup`` makes a ``Service`` for each application. When that starts, and a route of it
takes resumable uploads, the service tries whether the storage keeps its promises, and
sweeps, at once and every hour. When it is shut down, requests that append commit.

Every application has a ``Service``, and few have such a route: what keeps uploads is
imported when there are some to keep.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from aiostreams.errors import StorageError, StreamError
from aiostreams.streams.tasks import end

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiostreams.resumable.engine import Uploads
    from aiostreams.resumable.staging import Staging
    from aiostreams.resumable.state import Protocol
    from aiostreams.storage.base import Storage
    from aiostreams.web.resumable.config import ResumableUploads

__all__ = ["APP_UPLOADS", "Service", "sweep_uploads"]

# Every hour, give or take a quarter: many workers need not do it at once.
_INTERVAL: Final = 3600.0
# How long a start waits for the storage, in seconds.
_TRIAL: Final = 10.0
# How old in seconds, at least, is what a killed process has left.
_LEFT_AFTER: Final = 86400.0
_JITTER: Final = 900.0

_logger = logging.getLogger("aiostreams.resumable")


class Service:
    """The resumable uploads of one application.

    Args:
        config: how they are kept; the defaults if ``None``.
        storage: of the application; ``None`` for one that has none.

    Attributes:
        on_expired: called with the protocol of each upload that has expired.
        warned: whether there was a warning of a proxy that takes complete requests.
    """

    def __init__(
        self, config: ResumableUploads | None, storage: Storage | None
    ) -> None:
        self._config = config
        self._storage = storage
        self._uploads: Uploads | None = None
        self._sweeping: asyncio.Task[None] | None = None
        self._is_tried = False
        self.on_expired: Callable[[Protocol], None] | None = None
        self.warned = False

    @property
    def config(self) -> ResumableUploads:
        """How the uploads are kept."""
        if self._config is None:
            from aiostreams.web.resumable.config import DEFAULT_UPLOADS  # noqa: PLC0415

            self._config = DEFAULT_UPLOADS
        return self._config

    @property
    def uploads(self) -> Uploads:
        """The uploads.

        Raises:
            RuntimeError: there is nowhere to keep them.
        """
        if self._uploads is None:
            from aiostreams.resumable.engine import Uploads  # noqa: PLC0415

            self._uploads = Uploads(self._staging(), claim=self.config.claim)
        return self._uploads

    def _staging(self) -> Staging:
        from aiostreams.resumable.disk import DiskStaging  # noqa: PLC0415
        from aiostreams.resumable.log import LogStaging  # noqa: PLC0415
        from aiostreams.storage.disk import DiskStorage  # noqa: PLC0415

        storage = self.config.staging
        if storage is None and self._storage is not None:
            hidden: Storage | None = getattr(self._storage, "hidden", None)
            if hidden is None:
                # One that is not of this package: its keys are all there is.
                return LogStaging(self._storage, prefix="aiostreams-uploads/")
            storage = hidden
        if storage is None:
            raise RuntimeError(
                "resumable uploads need a storage: setup(app, storage=...), or "
                "setup(app, resumable=ResumableUploads(staging=...))"
            )
        if isinstance(storage, DiskStorage):
            return DiskStaging(storage.root, fsync=storage.fsync)
        return LogStaging(storage)

    async def start(self) -> None:
        """Try the storage, and begin to sweep.

        Raises:
            Unsuitable: it does not keep the promises that uploads rely on.
            RuntimeError: there is no storage.
        """
        from aiostreams.resumable.staging import Unsuitable  # noqa: PLC0415

        try:
            async with asyncio.timeout(_TRIAL):
                await self.try_storage()
        except Unsuitable:
            raise
        except (StorageError, TimeoutError) as error:
            # It may be there in a minute; whatever else there is goes on till then.
            _logger.warning(
                "storage of uploads not tried: %s", str(error) or "it hangs"
            )
        self._sweeping = asyncio.create_task(self._sweep_hourly())

    async def try_storage(self) -> None:
        """Find out, once, whether uploads can rely on the storage.

        Raises:
            Unsuitable: they cannot.
            StorageError: the storage failed; the next call tries again.
        """
        if not self._is_tried:
            await self.uploads.staging.check()
            self._is_tried = True

    async def _sweep_hourly(self) -> None:
        while True:
            try:
                await self.sweep()
            except StreamError as error:
                _logger.warning("sweep of uploads failed: %s", error)
            except Exception:
                _logger.exception("sweep of uploads failed")
            await asyncio.sleep(_INTERVAL + random.uniform(-_JITTER, _JITTER))  # noqa: S311 - no secret

    async def sweep(self) -> int:
        """Remove what has expired, and give how many uploads that were.

        What is no upload of this kind is a day old at least: somebody may still write
        it, or be about to confirm it, however soon these expire.

        Raises:
            StorageError: the storage failed.
        """
        older_than = max(self.config.expires, _LEFT_AFTER)
        removed = await self.uploads.sweep(older_than, self.on_expired)
        for storage in (self._storage, self.config.staging):
            tidy: Any = getattr(storage, "sweep", None)
            if tidy is not None:
                await tidy(older_than)
        if removed:
            _logger.info("uploads swept: %d", removed)
        return removed

    async def shutdown(self) -> None:
        """Let requests that append commit and end."""
        if self._uploads is not None:
            await self._uploads.shutdown()

    async def stop(self) -> None:
        """End the sweep."""
        task, self._sweeping = self._sweeping, None
        if task is not None:
            await end(task)
        if self._config is not None and self._config.staging is not None:
            await self._config.staging.close()


APP_UPLOADS: Final = web.AppKey("aiostreams.uploads", Service)


async def sweep_uploads(app: web.Application) -> int:
    """Remove resumable uploads that have expired, and what killed processes left.

    The latter is whatever ``sweep()`` of the storage removes: temporary files, uploads
    straight to the store that were never confirmed, and on S3 incomplete multipart
    uploads, when they are a day old, or older than uploads get. An application does
    that by itself when it starts, and every hour; any number may do so at once.

    Args:
        app: one that ``setup`` was called for.

    Returns:
        How many uploads were removed.

    Raises:
        StorageError: the storage failed.
        RuntimeError: ``app`` was not set up, or has no storage.
    """
    service = app.get(APP_UPLOADS)
    if service is None:
        raise RuntimeError("aiostreams.setup() was not called for this application")
    return await service.sweep()
