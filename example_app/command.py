"""``python -m example_app``: the server, in one process or several.

Not in ``__main__.py``: what a worker is started with has to be importable by its name.
"""

from __future__ import annotations

import errno
import functools
import ipaddress
import logging
import sys
from typing import TYPE_CHECKING

from aiostreams import MemoryStorage, run_app
from example_app.app import create_app
from example_app.flags import open_storage, parser, settings_of
from example_app.workers import GRACE, Place, run_workers

if TYPE_CHECKING:
    import socket

    from example_app.settings import Settings

__all__ = ["main"]

ACCESS = '%a "%r" %s in %Tf s'

_logger = logging.getLogger("example_app")


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted; the exit status."""
    known = parser()
    flags = known.parse_args(arguments)
    settings = settings_of(flags)
    storage = open_storage(flags.storage)
    if flags.workers > 1 and isinstance(storage, MemoryStorage):
        known.error(
            "what is in the memory of one process no other one has: "
            "with --workers, keep files in a folder or a bucket"
        )
    log()
    if not is_loopback(flags.host):
        _logger.warning(
            "whoever reaches %s may read, upload and delete: there are no accounts",
            flags.host,
        )
    try:
        if flags.workers > 1:
            serve = functools.partial(serve_one, flags.storage, settings)
            return run_workers(serve, flags.workers, Place(flags.host, flags.port))
        run_app(
            create_app(storage, settings),
            host=flags.host,
            port=flags.port,
            # The address is to be seen at once, also in a pipe or a file.
            print=functools.partial(print, flush=True),
            shutdown_timeout=GRACE,
            access_log_format=ACCESS,
        )
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        sys.stderr.write(
            f"Port {flags.port} is in use. Take another one: "
            f"make run PORT={flags.port + 1}\n"
        )
        return 1
    return 0


def serve_one(
    kept: str,
    settings: Settings,
    number: int,
    listening: socket.socket,
    channel: socket.socket,
) -> None:
    """Be one of several workers: the whole life of its process."""
    log(f"[{number}] ")
    # Its own storage: what talks to a cloud has threads and connections, which no
    # other process can have.
    run_app(
        create_app(open_storage(kept), settings, channel=channel),
        sock=listening,
        print=None,
        shutdown_timeout=GRACE,
        access_log_format=ACCESS,
    )


def log(prefix: str = "") -> None:
    """One line for each request, and one more for a body that was refused."""
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {prefix}%(message)s")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
