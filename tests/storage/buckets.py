"""A bucket seen from outside: by signed requests of the tests' own, over a socket.

Not by the library under test, so that what it leaves behind shows.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import hmac
import http.client
import re
from html import unescape
from typing import Any
from urllib.parse import quote

__all__ = ["Bucket", "begin_upload", "store_of"]


class Bucket:
    """The bucket ``bkt`` of a server on 127.0.0.1."""

    def __init__(self, port: int) -> None:
        self.port = port

    def exists(self) -> bool:
        """Whether it is there; the server makes it some time after it began."""
        return "<ListBucketResult" in self._request("GET", "/bkt", {"list-type": "2"})

    def names(self) -> list[str]:
        return self._names(self._request("GET", "/bkt", {"list-type": "2"}))

    def uploads(self) -> list[tuple[str, str]]:
        """Key and id of each open multipart upload."""
        answer = self._request("GET", "/bkt", {"uploads": ""})
        ids = re.findall(r"<UploadId>(.*?)</UploadId>", answer)
        return list(zip(self._names(answer), ids, strict=True))

    def allow(self, origin: str) -> None:
        """Let the pages of one site store objects, and no others (CORS)."""
        rules = (
            "<CORSConfiguration><CORSRule>"
            f"<AllowedOrigin>{origin}</AllowedOrigin>"
            "<AllowedMethod>PUT</AllowedMethod><AllowedHeader>*</AllowedHeader>"
            "<ExposeHeader>ETag</ExposeHeader>"
            "</CORSRule></CORSConfiguration>"
        )
        self._request("PUT", "/bkt", {"cors": ""}, rules.encode())

    def allow_as_before(self) -> None:
        """Forget what ``allow`` said."""
        self._request("DELETE", "/bkt", {"cors": ""})

    def clear(self) -> None:
        for key in self.names():
            self._request("DELETE", f"/bkt/{key}", {})
        self.clear_uploads()

    def clear_uploads(self) -> None:
        for key, upload in self.uploads():
            self._request("DELETE", f"/bkt/{key}", {"uploadId": upload})

    @staticmethod
    def _names(answer: str) -> list[str]:
        return [unescape(key) for key in re.findall(r"<Key>(.*?)</Key>", answer)]

    def _request(
        self, method: str, path: str, query: dict[str, str], body: bytes = b""
    ) -> str:
        now = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
        host = f"127.0.0.1:{self.port}"
        path = quote(path)
        asked = "&".join(f"{k}={quote(v, safe='')}" for k, v in sorted(query.items()))
        sent = hashlib.sha256(body).hexdigest()
        fields = {"host": host, "x-amz-content-sha256": sent, "x-amz-date": now}
        names = ";".join(fields)
        canonical = "\n".join([
            method, path, asked, *(f"{k}:{v}" for k, v in fields.items()), "", names,
            sent,
        ])  # fmt: skip
        scope = f"{now[:8]}/us-east-1/s3/aws4_request"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        key = b"AWS4SK"
        for piece in scope.split("/"):
            key = hmac.digest(key, piece.encode(), "sha256")
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{digest}"
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        fields["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential=AK/{scope}, SignedHeaders={names}, "
            f"Signature={signature}"
        )
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            target = f"{path}?{asked}" if asked else path
            connection.request(method, target, body or None, headers=fields)
            response = connection.getresponse()
            answer = response.read().decode()
        finally:
            connection.close()
        if response.status >= 300 and response.status != 404:
            raise AssertionError(f"{method} {path}: {response.status} {answer}")
        return answer


def store_of(port: int, **kwargs: Any) -> Any:
    """The bucket by the library under test."""
    from obstore.store import S3Store

    kwargs.setdefault("client_options", {})
    kwargs["client_options"] = {"allow_http": True, **kwargs["client_options"]}
    return S3Store(
        "bkt",
        endpoint=f"http://127.0.0.1:{port}",
        access_key_id="AK",
        secret_access_key="SK",
        region="us-east-1",
        virtual_hosted_style_request=False,
        **kwargs,
    )


async def begin_upload(bucket: Bucket, store: Any, key: str) -> None:
    """Begin a multipart upload that nobody ends."""
    import obstore

    writer = obstore.open_writer_async(store, key, buffer_size=5 << 20)
    await writer.write(bytes(6 << 20))
    async with asyncio.timeout(10):
        while not any(found.endswith(key) for found, _ in bucket.uploads()):
            await asyncio.sleep(0.01)
