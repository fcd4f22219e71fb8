"""All access to ``obstore``, with the safeguards it needs.

``obstore`` (extra ``s3``) speaks to S3, Google, Azure and others in Rust, on threads
of its own. What a caller of it has to know, and this module takes care of:

* without timeouts a server that hangs is waited for for minutes: both timeouts and
  retries are set, unless the user did (``with_defaults``);
* after a ``fork`` its threads are missing in the child and every call hangs: a child
  gets an error instead (``enter``);
* an interpreter that exits right after a call may abort: it is given a moment;
* its futures, when cancelled, leave a request under way whose end goes unnoticed:
  those that change something are waited for (``finish``);
* its errors are long, name URLs, and are of many kinds: ``explain`` makes ours.
"""

from __future__ import annotations

import atexit
import errno
import logging
import os
import re
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from aiostreams.errors import ObjectExists, ObjectNotFound, StorageError, StreamError
from aiostreams.extras import require
from aiostreams.streams import tasks

if TYPE_CHECKING:
    import asyncio
    from types import ModuleType

__all__ = [
    "CLIENT_OPTIONS",
    "FAREWELL",
    "PATIENCE",
    "RETRY_CONFIG",
    "enter",
    "explain",
    "finish",
    "load",
    "with_defaults",
]

T = TypeVar("T")

# A part of 8 MiB at 140 KB/s takes a minute. The timeout is for a whole answer, but
# a download that is cut by it goes on where it was.
CLIENT_OPTIONS = {"timeout": "60s", "connect_timeout": "5s"}
RETRY_CONFIG: dict[str, Any] = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=5),
        "base": 2,
    },
}
# A conditional copy that keeps the attributes; S3's own since 2025. obstore's other
# way, "multipart", loses them.
_COPY_IF_NOT_EXISTS = "header:if-none-match:*"

# How long, in seconds, a cancelled call waits for a request that cannot be undone.
PATIENCE = 10.0
# How long obstore's threads take to let go of the interpreter: 6 of 40 scripts
# aborted without it, none with it.
FAREWELL = 0.05

_STATUS = re.compile(r"status code: (\d{3} [A-Za-z ]+)")
_OS_ERROR = re.compile(r"\(os error (\d+)\)")

_logger = logging.getLogger("aiostreams.uploads")

# The process that has used obstore first.
_used_by: int | None = None


def load() -> ModuleType:
    """Import the library.

    Raises:
        ImportError: it is not installed; the message names the extra.
    """
    return require("obstore", extra="s3", what="ObjectStorage")


def enter() -> None:
    """Call it before each use.

    Raises:
        StorageError: this process was forked from one that had used obstore.
    """
    global _used_by  # noqa: PLW0603 - of the process, not of a storage
    pid = os.getpid()
    if _used_by is None:
        _used_by = pid
        atexit.register(time.sleep, FAREWELL)
    elif _used_by != pid:
        raise StorageError(
            "obstore was used before this process was forked, and hangs now: make "
            "the first request after the fork (in on_startup, not at import)"
        )


def with_defaults(store: Any) -> Any:
    """Return a store like it, with timeouts, retries, checksums, conditional copies.

    What the user has set is kept. Stores that are not clouds are kept as they are.
    """
    stores = require("obstore.store", extra="s3", what="ObjectStorage")
    kind = type(store)
    if kind not in {stores.S3Store, stores.GCSStore, stores.AzureStore}:
        return store
    config = dict(store.config)
    if kind is stores.S3Store:
        config.setdefault("copy_if_not_exists", _COPY_IF_NOT_EXISTS)
        # The signature covers a hash of the body too, but not every server checks
        # that one; it is SHA-256 as well, so this one costs nothing more.
        config.setdefault("checksum_algorithm", "SHA256")
    return kind(
        config=config,
        prefix=store.prefix,
        client_options={**CLIENT_OPTIONS, **(store.client_options or {})},
        retry_config={**RETRY_CONFIG, **(store.retry_config or {})},
        credential_provider=store.credential_provider,
    )


def explain(error: BaseException, what: str, key: str) -> StreamError:
    """Our error for one of obstore's.

    Args:
        error: what it raised.
        what: what was tried, as a verb.
        key: with which object.
    """
    if isinstance(error, StreamError):
        return error
    # Who stores an object looks for none: the bucket is missing, or the store has
    # thrown away the parts that it had.
    if isinstance(error, FileNotFoundError) and what != "store":
        return ObjectNotFound(f"no object {key!r}")
    text = str(error)
    number = _OS_ERROR.search(text)
    if number and int(number[1]) in {errno.EISDIR, errno.ENOTDIR}:
        return ObjectNotFound(f"no object {key!r}")
    name = type(error).__name__
    if name == "AlreadyExistsError":
        return ObjectExists(f"{key!r} exists already")
    cause: BaseException = error
    if status := _STATUS.search(text):
        why = f"the store answered {status[1].strip()}"
        if status[1].startswith("507"):
            cause = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    elif number:
        cause = OSError(int(number[1]), os.strerror(int(number[1])))
        why = os.strerror(int(number[1]))
    else:
        # The whole text, with URLs, stays with the cause.
        why = name
    if cause is not error:
        cause.__cause__ = error
    return StorageError(f"cannot {what} {key!r}: {why}", cause)


async def finish(future: asyncio.Future[Any]) -> None:
    """Wait until it is done, through cancellations, and raise those afterwards.

    It waits for at most 10 seconds; the future then goes on by itself, and how it
    ends is logged.
    """
    try:
        await tasks.finish(future, timeout=PATIENCE)
    finally:
        if not future.done():
            _logger.warning("request to the store hangs, left to itself")
        future.add_done_callback(_retrieve)


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Retrieve an error that has no reader; asyncio would call it forgotten."""
    if not future.cancelled() and (error := future.exception()) is not None:
        _logger.warning("request to the store failed, unheard: %s", error)
