"""A storage from one line of configuration.

    memory:
    file:///var/lib/app/uploads?fsync=true
    s3://bucket/prefix?endpoint=http://127.0.0.1:8333&region=us-east-1
    gs://bucket/prefix
    az://container/prefix?account=name

Credentials are never in a URL, which ends up in logs: obstore finds them in the
environment (``AWS_ACCESS_KEY_ID`` and so on), or asks the cloud it runs in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from yarl import URL

from aiostreams.extras import require
from aiostreams.limits import MiB
from aiostreams.storage.disk import DiskStorage
from aiostreams.storage.memory import MemoryStorage
from aiostreams.storage.object_store import ObjectStorage

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiostreams.storage.base import Storage

__all__ = ["storage_from_url"]

_TRUTH = {"true": True, "1": True, "false": False, "0": False}


def storage_from_url(url: str | URL) -> Storage:
    """Make the storage that ``url`` names.

    ``memory:`` is a :class:`MemoryStorage`, ``file:///path`` a :class:`DiskStorage`
    (option ``fsync``), and ``s3://``, ``gs://`` and ``az://`` an
    :class:`ObjectStorage` (options ``part_size`` in MiB, ``concurrency``; for S3
    ``endpoint`` and ``region``; for Azure ``account`` and ``endpoint``). An
    ``http:`` endpoint is used without TLS.

    Raises:
        ValueError: the URL has another scheme, an unknown option, credentials, or
            lacks a part; the message says which.
        ImportError: a cloud is named and obstore is not installed.
    """
    try:
        parsed = URL(url)
    except ValueError as error:
        raise ValueError(f"not the URL of a storage: {error}") from None
    make = _SCHEMES.get(parsed.scheme)
    if make is None:
        schemes = ", ".join(f"{scheme}:" for scheme in _SCHEMES)
        raise ValueError(
            f"the URL has the scheme {parsed.scheme!r}, expected one of {schemes}"
        )
    if parsed.user is not None or parsed.password is not None:
        raise ValueError("the URL has credentials, expected them in the environment")
    if parsed.fragment:
        raise ValueError("the URL of a storage must not have a fragment")
    options = _Options(parsed)
    storage = make(parsed, options)
    options.check_empty()
    return storage


class _Options:
    """The query of a URL, of which each option is taken once."""

    def __init__(self, url: URL) -> None:
        self._scheme = url.scheme
        self._left = dict(url.query)
        if len(self._left) != len(url.query):
            raise ValueError("an option is given twice")

    def text(self, name: str) -> str | None:
        return self._left.pop(name, None)

    def number(self, name: str, default: int) -> int:
        value = self._left.pop(name, str(default))
        if not (value.isascii() and value.isdigit()):
            raise ValueError(f"{name} must be a number, not {value!r}")
        return int(value)

    def truth(self, name: str) -> bool:
        value = self._left.pop(name, "false").lower()
        if value not in _TRUTH:
            raise ValueError(f"{name} must be true or false, not {value!r}")
        return _TRUTH[value]

    def check_empty(self) -> None:
        if self._left:
            raise ValueError(f"{self._scheme}: has no option {min(self._left)!r}")


def _memory(url: URL, _options: _Options) -> Storage:
    if url.host or url.path.strip("/"):
        raise ValueError("memory: must not have a path")
    return MemoryStorage()


def _file(url: URL, options: _Options) -> Storage:
    if url.host not in {None, "", "localhost"} or not url.path.startswith("/"):
        raise ValueError("not the URL of a folder, expected file:///an/absolute/path")
    return DiskStorage(url.path, fsync=options.truth("fsync"))


def _s3(url: URL, options: _Options) -> Storage:
    config = {"region": options.text("region"), "endpoint": options.text("endpoint")}
    return _store("S3Store", url, options, "bucket", config)


def _gs(url: URL, options: _Options) -> Storage:
    return _store("GCSStore", url, options, "bucket", {})


def _az(url: URL, options: _Options) -> Storage:
    config = {
        "account_name": options.text("account"),
        "endpoint": options.text("endpoint"),
    }
    return _store("AzureStore", url, options, "container_name", config)


def _store(
    kind: str,
    url: URL,
    options: _Options,
    place: str,
    config: dict[str, str | None],
) -> Storage:
    if url.host is None or url.explicit_port is not None:
        raise ValueError(
            f"{url.scheme}: lacks the name of a {place.removesuffix('_name')}"
        )
    part_size = options.number("part_size", 8) * MiB
    concurrency = options.number("concurrency", 4)
    options.check_empty()
    name = url.host
    given: dict[str, Any] = {k: v for k, v in config.items() if v is not None}
    endpoint = given.get("endpoint")
    client_options = {}
    if endpoint is not None:
        if not endpoint.startswith(("http://", "https://")):
            raise ValueError(f"endpoint must be an http(s) URL, not {endpoint!r}")
        client_options["allow_http"] = endpoint.startswith("http://")
    stores = require("obstore.store", extra="s3", what=f"{url.scheme}:")
    try:
        store = getattr(stores, kind)(
            config={place: name, **given}, client_options=client_options
        )
    except Exception as error:
        brief = str(error).partition("\n")[0]
        raise ValueError(f"cannot use {url.scheme}://{name}: {brief}") from error
    return ObjectStorage(store, url.path, part_size=part_size, concurrency=concurrency)


_SCHEMES: dict[str, Callable[[URL, _Options], Storage]] = {
    "memory": _memory,
    "file": _file,
    "s3": _s3,
    "gs": _gs,
    "az": _az,
}
