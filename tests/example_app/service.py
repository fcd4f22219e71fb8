"""What the tests of the example app share: forms, problems, and what is kept."""

from __future__ import annotations

import io
from pathlib import Path

from aiohttp import ClientResponse, FormData

__all__ = ["PNG", "form", "kept", "problem"]

PNG = b"\x89PNG\r\n\x1a\n" + bytes(1000)


def kept(tmp_path: Path) -> list[str]:
    """What is in the folder of the fixture ``url``.

    Not the folders of uploads that go on, which stay; but what is in them.
    """
    uploads = tmp_path / "uploads"
    found = [str(path.relative_to(uploads)) for path in uploads.rglob("*")]
    return sorted(
        path
        for path in found
        if not (path.startswith(".aiostreams-uploads") and (uploads / path).is_dir())
    )


def form(*files: tuple[str, bytes]) -> FormData:
    data = FormData(quote_fields=False)
    data.add_field("note", "some files")
    for name, content in files:
        data.add_field("file", io.BytesIO(content), filename=name)
    return data


async def problem(response: ClientResponse, status: int) -> str:
    """The detail of an error that is answered as RFC 9457 has it."""
    assert response.status == status
    assert response.content_type == "application/problem+json"
    document = await response.json()
    assert document["status"] == status
    detail: str = document["detail"]
    return detail
