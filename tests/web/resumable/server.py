"""An application that takes resumable uploads, and a client that says what it is told."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

import aiostreams
from aiostreams import (
    JSON,
    DiskStorage,
    MemoryStorage,
    ResumableUploads,
    Storage,
    receive,
    resumable,
    setup,
    upload_of,
)
from tests.servers import serving
from tests.waiting import turns, until

CHUNK = {"Content-Type": "application/offset+octet-stream"}
PARTIAL = {"Content-Type": "application/partial-upload"}
KINDS = ("memory", "disk")


def storage_of(kind: str, path: Path) -> Storage:
    return DiskStorage(path / "uploads") if kind == "disk" else MemoryStorage()


class Service:
    """An application with one resumable route, and what its handler has seen."""

    def __init__(self, storage: Storage, **options: Any) -> None:
        self.storage = storage
        self.uploads: dict[str, Any] = options.pop("uploads", {})
        self.limits = options.pop("limits", aiostreams.Limits())
        self.ran: list[aiostreams.ResumableUpload | None] = []
        self.bodies: list[bytes] = []
        self.options = options
        self.handler: Any = None
        self.middlewares: list[Any] = [self._see]
        self._request: web.Request | None = None

    @web.middleware
    async def _see(self, request: web.Request, handler: Any) -> Any:
        self._request = request
        return await handler(request)

    @property
    def method(self) -> str | None:
        """The latest request's."""
        return None if self._request is None else self._request.method

    async def taken(self, size: int) -> None:
        """Wait until so many bytes of the latest request's body have been read."""

        def read() -> bool:
            assert self._request is not None
            # Below aiostreams' own reader: what waits in aiohttp's.
            content: Any = self._request.content
            content = getattr(content, "_raw", content)
            return bool(content.total_bytes == size and not content._size)

        await until(read)
        await turns()

    async def handle(self, request: web.Request) -> Any:
        self.ran.append(upload_of(request))
        if self.handler is not None:
            return await self.handler(request)
        async with receive(request) as upload:
            [file] = upload.files.values()
            async with await file.open() as stream:
                self.bodies.append(await stream.read())
            return aiostreams.respond(
                JSON({"key": file.key, "name": file.filename, **dict(upload.form)}),
                headers={"X-Key": file.key},
            )

    def app(self) -> web.Application:
        app = web.Application(middlewares=self.middlewares)
        app.router.add_post("/files", resumable(**self.options)(self.handle))
        setup(
            app,
            storage=self.storage,
            limits=self.limits,
            resumable=ResumableUploads(**self.uploads),
        )
        return app

    async def keys(self) -> list[str]:
        return [found.key async for found in self.storage.list()]

    @contextlib.asynccontextmanager
    async def running(self, **kwargs: Any) -> AsyncIterator[Client]:
        async with serving(self.app(), **kwargs) as address, client(address) as made:
            yield made


class Answer:
    """A response that was read."""

    def __init__(self, response: aiohttp.ClientResponse, body: bytes) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = body

    @property
    def offset(self) -> int | None:
        value = self.headers.get("Upload-Offset")
        return None if value is None else int(value)

    @property
    def complete(self) -> bool | None:
        value = self.headers.get("Upload-Complete")
        return None if value is None else {"?1": True, "?0": False}[value]

    def __repr__(self) -> str:
        return f"<{self.status} {dict(self.headers)} {self.body[:200]!r}>"


class Client:
    """Sends requests, as tus has them and as the IETF's draft does."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def __call__(
        self, method: str, url: str, data: Any = None, **headers: str
    ) -> Answer:
        return await self.send(
            method, url, data, {k.replace("_", "-"): v for k, v in headers.items()}
        )

    async def send(
        self, method: str, url: str, data: Any, headers: Mapping[str, str]
    ) -> Answer:
        async with self.session.request(
            method,
            URL(url, encoded=True),
            data=data,
            headers=headers,
            allow_redirects=False,
            skip_auto_headers=("Content-Type",),
        ) as response:
            return Answer(response, await response.read())

    async def tus(
        self, method: str, url: str, data: Any = None, **headers: str
    ) -> Answer:
        fields = {k.replace("_", "-"): v for k, v in headers.items()}
        fields.setdefault("Tus-Resumable", "1.0.0")
        if method == "PATCH":
            fields = {**CHUNK, **fields}
        return await self.send(method, url, data, fields)

    async def rufh(
        self,
        method: str,
        url: str,
        data: Any = None,
        *,
        version: int | None = 9,
        **headers: str,
    ) -> Answer:
        fields = {k.replace("_", "-"): v for k, v in headers.items()}
        if version is not None:
            fields["Upload-Draft-Interop-Version"] = str(version)
        if method == "PATCH":
            fields = {**PARTIAL, **fields}
        return await self.send(method, url, data, fields)

    async def create(self, length: int | None, **headers: str) -> str:
        """A tus upload; gives its URL."""
        if length is None:
            headers["Upload_Defer_Length"] = "1"
        else:
            headers["Upload_Length"] = str(length)
        answer = await self.tus("POST", "/files", **headers)
        assert answer.status == 201, answer
        return answer.headers["Location"]

    async def begin(self, data: bytes = b"", **headers: Any) -> str:
        """An upload of the draft that is not complete; gives its URL."""
        answer = await self.rufh(
            "POST", "/files", data, Upload_Complete="?0", **headers
        )
        assert answer.status == 201, answer
        return answer.headers["Location"]


@contextlib.asynccontextmanager
async def client(address: tuple[str, int]) -> AsyncIterator[Client]:
    base = f"http://{address[0]}:{address[1]}"
    async with aiohttp.ClientSession(base) as session:
        yield Client(session)


def metadata(**pairs: str) -> str:
    return ",".join(
        f"{key} {base64.b64encode(value.encode()).decode()}"
        for key, value in pairs.items()
    )


async def chunked(*pieces: bytes) -> AsyncIterator[bytes]:
    """A body whose length is not said."""
    for piece in pieces:
        yield piece
