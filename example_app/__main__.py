"""``python -m example_app``: the flags, and the server."""

from __future__ import annotations

import argparse
import errno
import functools
import logging
import sys

from yarl import URL

from aiostreams import DiskStorage, MiB, Storage, run_app, storage_from_url
from example_app.app import Settings, create_app


def storage(text: str) -> Storage:
    """A folder's storage, or the one that a URL names."""
    if "://" not in text and text != "memory:":
        return DiskStorage(text)
    try:
        return storage_from_url(text)
    except (ImportError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def media_types(text: str) -> frozenset[str] | None:
    """Media types, divided by commas."""
    return frozenset(filter(None, map(str.strip, text.split(",")))) or None


def arguments() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(
        prog="example_app", description="A small file service on aiostreams."
    )
    parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    parser.add_argument("--port", default=8080, type=int, help="default: %(default)s")
    parser.add_argument(
        "--storage",
        default="uploads",
        type=storage,
        metavar="URL",
        help="where files are kept: a folder, file:///path, memory:, "
        "s3://bucket/prefix?endpoint=http://host:port, gs://... or az://...; "
        "credentials come from the environment; default: ./%(default)s",
    )
    parser.add_argument(
        "--max-file",
        default=8192,
        type=int,
        metavar="MIB",
        help="the largest file, in MiB; default: %(default)s",
    )
    parser.add_argument(
        "--max-files",
        default=100,
        type=int,
        metavar="COUNT",
        help="how many files one form may have; default: %(default)s",
    )
    parser.add_argument(
        "--accept",
        type=media_types,
        metavar="TYPES",
        help='media types that are welcome, such as "image/*,application/pdf", held '
        "against the first bytes of each file; default: all",
    )
    parser.add_argument(
        "--upstream",
        type=URL,
        metavar="URL",
        help="where /proxy/KEY is fetched from; default: this app's own files",
    )
    return parser.parse_args()


def main() -> int:
    """Serve until interrupted; the exit status."""
    flags = arguments()
    # One line for each request, and one more for a body that was refused.
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    settings = Settings(
        max_file=flags.max_file * MiB,
        max_files=flags.max_files,
        accept=flags.accept,
        upstream=flags.upstream,
    )
    try:
        # The address is to be seen at once, also in a pipe or a file.
        say = functools.partial(print, flush=True)
        run_app(
            create_app(flags.storage, settings),
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
