"""Multipart uploads to S3 that were begun and never ended: found, and aborted.

A process that is killed while it stores a large object leaves its parts behind, which
no listing shows, and which are paid for. ``obstore`` can neither list nor abort them,
so this speaks to S3 itself: a few requests an hour, signed with the store's own keys,
by the standard library's client in a thread.

A file of its own: it shares nothing with the storage's other steps.
"""

from __future__ import annotations

import asyncio
import http.client
import inspect
import os
import time
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, quote, urlsplit
from xml.etree import ElementTree as ET

from aiostreams.errors import StorageError
from aiostreams.sansio.sigv4 import Keys, query_string, signed_fields
from aiostreams.storage.obstore import enter, explain, load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

__all__ = ["IncompleteUploads"]

_TIMEOUT: Final = 10.0  # seconds
# Its path shows where the bucket is; nothing is there.
_NOTHING: Final = "nothing"


class IncompleteUploads:
    """The incomplete multipart uploads of a bucket.

    Args:
        url: of the bucket, without a slash at the end.
        keys: to sign with.
    """

    def __init__(self, url: str, keys: Keys) -> None:
        split = urlsplit(url)
        self._is_secure = split.scheme == "https"
        self._host = split.netloc
        self._path = split.path
        self._keys = keys

    @classmethod
    async def of(cls, store: Any) -> IncompleteUploads | None:
        """Return those of an ``S3Store``, or ``None`` where its keys cannot be had.

        Raises:
            StorageError: the store could not get its keys.
        """
        if type(store).__name__ != "S3Store":
            return None
        enter()
        # What it signs shows all but the secret, wherever it has that from.
        try:
            url: str = await load().sign_async(
                store, "GET", _NOTHING, timedelta(minutes=1)
            )
        except Exception as error:
            raise explain(error, "sign", _NOTHING) from error
        plain, _, query = url.partition("?")
        signed = parse_qs(query)
        if "X-Amz-Credential" not in signed:
            return None
        access_key_id, _, region, *_ = signed["X-Amz-Credential"][0].split("/")
        secret = await _secret_of(store, access_key_id)
        if secret is None:
            return None
        path = f"/{store.prefix}/{_NOTHING}" if store.prefix else f"/{_NOTHING}"
        [token] = signed.get("X-Amz-Security-Token", [None])
        keys = Keys(access_key_id, secret, token, region)
        return cls(plain.removesuffix(quote(path)), keys)

    async def abort(self, prefix: str, older_than: float) -> int:
        """Abort those of objects below a prefix.

        Args:
            prefix: of the objects' keys in the bucket; empty for all.
            older_than: how many seconds ago they must have begun.

        Returns:
            How many there were.

        Raises:
            StorageError: S3 failed, or does not allow it.
        """
        begun_before = time.time() - older_than
        aborted = 0
        async for key, upload_id, begun in self._list(prefix):
            if begun < begun_before:
                await self._request("DELETE", key, {"uploadId": upload_id})
                aborted += 1
        return aborted

    async def _list(self, prefix: str) -> AsyncIterator[tuple[str, str, float]]:
        """Yield key and id of each, and when it began."""
        # Without "encoding-type": SeaweedFS says that it has encoded, and has not.
        query = {"uploads": ""}
        if prefix:
            query["prefix"] = f"{prefix}/"
        more = True
        while more:
            answer = await self._request("GET", "", query)
            try:
                found = _parse(answer)
            except (ET.ParseError, ValueError, KeyError) as error:
                raise StorageError(
                    "S3 listed multipart uploads in a way that is not understood"
                ) from error
            for upload in found.uploads:
                yield upload
            more = found.more is not None and found.more != (
                query.get("key-marker"), query.get("upload-id-marker")
            )  # fmt: skip
            if found.more is not None:
                query["key-marker"], query["upload-id-marker"] = found.more

    async def _request(self, method: str, key: str, query: Mapping[str, str]) -> bytes:
        path = self._path + quote(f"/{key}") if key else self._path or "/"
        return await asyncio.to_thread(self._send, method, path, query)

    def _send(self, method: str, path: str, query: Mapping[str, str]) -> bytes:
        now = datetime.now(UTC)
        fields = signed_fields(self._keys, method, self._host, path, query, now)
        kind = (
            http.client.HTTPSConnection
            if self._is_secure
            else http.client.HTTPConnection
        )
        connection = kind(self._host, timeout=_TIMEOUT)
        try:
            connection.request(method, f"{path}?{query_string(query)}", headers=fields)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise StorageError(f"S3 was not reached: {error}") from error
        finally:
            connection.close()
        gone = method == "DELETE" and response.status == HTTPStatus.NOT_FOUND
        if response.status >= 300 and not gone:
            raise StorageError(f"S3 answered {response.status} {response.reason}")
        return answer


class _Listed:
    """One page of a list."""

    def __init__(self) -> None:
        self.uploads: list[tuple[str, str, float]] = []
        # Where the next page begins.
        self.more: tuple[str, str] | None = None


def _parse(answer: bytes) -> _Listed:
    page = _Listed()
    root = ET.fromstring(answer)  # noqa: S314 - the store's own, as all it answers
    said = _members(root)
    for child in root:
        if _name(child) == "Upload":
            upload = _members(child)
            begun = datetime.fromisoformat(upload["Initiated"]).timestamp()
            page.uploads.append((upload["Key"], upload["UploadId"], begun))
    if said.get("IsTruncated") == "true":
        page.more = said["NextKeyMarker"], said["NextUploadIdMarker"]
    return page


def _name(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _members(element: ET.Element) -> dict[str, str]:
    return {_name(child): child.text or "" for child in element}


async def _secret_of(store: Any, access_key_id: str) -> str | None:
    """Return the secret that belongs to a key of the store."""
    provider = store.credential_provider
    if provider is not None:
        given = await asyncio.to_thread(provider)
        if inspect.isawaitable(given):
            given = await given
        if given is None or given["access_key_id"] != access_key_id:
            return None
        secret: str = given["secret_access_key"]
        return secret
    config = store.config
    if "access_key_id" in config:
        return (
            None
            if config["access_key_id"] != access_key_id
            else config.get("secret_access_key")
        )
    if os.environ.get("AWS_ACCESS_KEY_ID") == access_key_id:
        return os.environ.get("AWS_SECRET_ACCESS_KEY")
    return None
