"""``python -m example_app``: the flags, and the server."""

from __future__ import annotations

import argparse
import errno
import functools
import logging
import sys
from pathlib import Path

from yarl import URL

from aiostreams import MiB, run_app
from example_app.app import create_app


def main() -> int:
    """Serve until interrupted; the exit status."""
    parser = argparse.ArgumentParser(
        prog="example_app", description="A small file service on aiostreams."
    )
    parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    parser.add_argument("--port", default=8080, type=int, help="default: %(default)s")
    parser.add_argument(
        "--storage",
        default="uploads",
        type=Path,
        metavar="FOLDER",
        help="where files are kept; default: ./%(default)s",
    )
    parser.add_argument(
        "--max-file",
        default=8192,
        type=int,
        metavar="MIB",
        help="the largest file, in MiB; default: %(default)s",
    )
    parser.add_argument(
        "--upstream",
        type=URL,
        metavar="URL",
        help="where /proxy/NAME is fetched from; default: this app's own files",
    )
    flags = parser.parse_args()
    # One line for each request, and one more for a body that was refused.
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    app = create_app(
        flags.storage, max_file=flags.max_file * MiB, upstream=flags.upstream
    )
    try:
        # The address is to be seen at once, also in a pipe or a file.
        say = functools.partial(print, flush=True)
        run_app(
            app,
            host=flags.host,
            port=flags.port,
            print=say,
            access_log_format='%a "%r" %s in %Tf s',
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


if __name__ == "__main__":
    sys.exit(main())
