"""The command line: what can be said, and what it means."""

from __future__ import annotations

import argparse

from yarl import URL

from aiostreams import DiskStorage, MiB, Storage, storage_from_url
from example_app.settings import Settings

__all__ = ["open_storage", "parser", "settings_of"]


def open_storage(text: str) -> Storage:
    """Return a folder's storage, or the one that a URL names.

    Raises:
        ImportError: what it takes is not installed.
        ValueError: the URL is none of a storage.
    """
    if "://" not in text and text != "memory:":
        return DiskStorage(text)
    return storage_from_url(text)


def storage(text: str) -> str:
    """Return the same text, if there is such a storage."""
    try:
        open_storage(text)
    except (ImportError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def media_types(text: str) -> frozenset[str] | None:
    """Media types, divided by commas."""
    return frozenset(filter(None, map(str.strip, text.split(",")))) or None


def positive(text: str) -> int:
    """Return a number of something that there has to be."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {number}")
    return number


def mebibytes(text: str) -> int:
    """MiB in bytes."""
    return positive(text) * MiB


def parser() -> argparse.ArgumentParser:
    """Parse the flags."""
    flags = argparse.ArgumentParser(
        prog="example_app",
        description="A small file service on aiostreams. It has no accounts: whoever "
        "reaches its port may read, upload and delete.",
    )
    serving = flags.add_argument_group("where it is served")
    serving.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    serving.add_argument("--port", default=8080, type=int, help="default: %(default)s")
    serving.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name under which it is reached, besides localhost and addresses; "
        "can be given several times; * for any",
    )
    serving.add_argument(
        "--workers",
        default=1,
        type=positive,
        metavar="N",
        help="how many processes serve the port; default: %(default)s",
    )
    serving.add_argument(
        "--upstream",
        type=URL,
        metavar="URL",
        help="where /proxy/KEY is fetched from; default: this app's own files",
    )
    kept = flags.add_argument_group("what is kept")
    kept.add_argument(
        "--storage",
        default="uploads",
        type=storage,
        metavar="URL",
        help="where files are kept: a folder, file:///path, memory:, "
        "s3://bucket/prefix?endpoint=http://host:port, gs://... or az://...; "
        "credentials come from the environment; default: ./%(default)s",
    )
    kept.add_argument(
        "--accept",
        type=media_types,
        metavar="TYPES",
        help='media types that are welcome, such as "image/*,application/pdf", held '
        "against the first bytes of each file; default: all",
    )
    kept.add_argument(
        "--max-file",
        default=8192 * MiB,
        type=mebibytes,
        metavar="MIB",
        help="the largest file, in MiB; default: 8192",
    )
    kept.add_argument(
        "--max-files",
        default=100,
        type=positive,
        metavar="COUNT",
        help="how many files one form may have; default: %(default)s",
    )
    kept.add_argument(
        "--max-body",
        type=mebibytes,
        metavar="MIB",
        help="the largest body, in MiB; default: room for all files of a form",
    )
    kept.add_argument(
        "--quota",
        type=mebibytes,
        metavar="MIB",
        help="how much all files together may have, in MiB; counted at each upload, "
        "which takes a listing of the storage; default: any amount",
    )
    return flags


def settings_of(flags: argparse.Namespace) -> Settings:
    """Return what the flags say to the application."""
    return Settings(
        max_file=flags.max_file,
        max_files=flags.max_files,
        max_body=flags.max_body,
        quota=flags.quota,
        accept=flags.accept,
        upstream=flags.upstream,
        hosts=frozenset(name.lower() for name in flags.allow_host),
    )
