"""FileRule(max_pixels=...): pictures are refused by their headers."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from aiostreams import FileRule, InvalidContent, MemoryStorage, receive
from aiostreams.sansio.sniff.pictures import PictureReader
from tests.servers import post
from tests.web.test_receive import keys, run

Image = pytest.importorskip("PIL.Image", reason="needs Pillow to make pictures")


def made(
    kind: str, frames: int = 1, size: tuple[int, int] = (37, 23), **more: Any
) -> bytes:
    pictures = [Image.new("RGB", size, (40 * n, 9, 9)) for n in range(frames)]
    out = io.BytesIO()
    if frames > 1:
        more |= {"save_all": True, "append_images": pictures[1:]}
    pictures[0].save(out, kind, **more)
    return out.getvalue()


EXIF = b"Exif\0\0" + made("JPEG", size=(9000, 9)) + bytes(40_000)
PICTURES = {
    "png": (made("PNG"), False),
    "apng": (made("PNG", 3), True),
    "jpeg": (made("JPEG"), False),
    "jpeg with a thumbnail": (made("JPEG", exif=EXIF[:65_000]), False),
    "progressive": (made("JPEG", progressive=True), False),
    "jpeg with comments": (
        made("JPEG")[:2]
        + b"\xff\xff\xfe\xff\xff" * 1
        + bytes(65_533)
        + made("JPEG")[2:],
        False,
    ),
    "gif": (made("GIF"), False),
    "animated gif": (made("GIF", 3), True),
    "webp": (made("WEBP"), False),
    "lossless webp": (made("WEBP", lossless=True), False),
    "webp with exif": (made("WEBP", exif=EXIF[:5000]), False),
    "animated webp": (made("WEBP", 3), True),
}
every_picture = pytest.mark.parametrize("name", PICTURES)


@every_picture
@pytest.mark.parametrize("step", [1, 7, 10**9])
def test_the_headers_say_how_large_it_is(name: str, step: int) -> None:
    data, animated = PICTURES[name]
    reader = PictureReader()
    for at in range(0, len(data), step):
        reader.feed(data[at : at + step])
    reader.finish()
    picture = reader.picture
    assert (picture.width, picture.height, picture.animated) == (37, 23, animated)


@every_picture
def test_each_cut_is_an_error_or_the_same(name: str) -> None:
    data = PICTURES[name][0]
    for cut in range(min(len(data), 2000)):
        reader = PictureReader()
        reader.feed(data[:cut])
        try:
            reader.finish()
        except InvalidContent:
            assert reader.picture.width == 0
        else:
            assert (reader.picture.width, reader.picture.height) == (37, 23)


@every_picture
def test_a_flipped_byte_is_an_error_or_a_size(name: str) -> None:
    data = PICTURES[name][0]
    for at in range(min(len(data), 300)):
        for flip in (1, 0x80, 0xFF):
            broken = bytearray(data)
            broken[at] ^= flip
            reader = PictureReader()
            try:
                reader.feed(bytes(broken))
                reader.finish()
            except InvalidContent:
                pass
            else:
                assert reader.picture.width >= 1
                assert reader.picture.height >= 1


def test_the_larger_of_two_sizes_counts() -> None:
    """A canvas that contradicts its picture."""
    gif = bytearray(made("GIF"))
    gif[6:10] = b"\1\0\1\0"
    webp = bytearray(made("WEBP", exif=b"Exif\0\0" + bytes(10)))
    at = webp.index(b"VP8X") + 8
    webp[at + 4 : at + 10] = bytes(6)
    for data in (gif, webp):
        reader = PictureReader()
        reader.feed(bytes(data))
        assert (reader.picture.width, reader.picture.height) == (37, 23)


async def upload(data: bytes, **rule: Any) -> None:
    storage = MemoryStorage()

    async def script(request: web.Request) -> Any:
        async with receive(request, storage, files={"file": FileRule(**rule)}):
            pass

    try:
        await run(script, post(data, method="PUT"))
    except InvalidContent:
        assert await keys(storage) == []
        raise
    assert len(await keys(storage)) == 1


@every_picture
async def test_what_is_too_large_is_refused(name: str) -> None:
    data, animated = PICTURES[name]
    await upload(data, max_pixels=37 * 23, max_width=37, max_height=23)
    for rule in (
        {"max_pixels": 37 * 23 - 1},
        {"max_width": 36},
        {"max_height": 22},
        {"animated": not animated},
    ):
        with pytest.raises(InvalidContent, match=r"pixels|animated"):
            await upload(data, **rule)
    await upload(data, animated=animated)


@pytest.mark.parametrize(
    "data", [b"", b"x" * 100, b"BM" + bytes(5000), b"\xff\xd8\xff"]
)
async def test_what_cannot_be_determined_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidContent, match=r"size .*(determined|unknown)"):
        await upload(data, max_pixels=10)
    await upload(data)


async def test_a_large_picture_is_refused_while_it_arrives(tmp_path: Path) -> None:
    async def script(request: web.Request) -> Any:
        rule = FileRule(max_width=10)
        async with receive(request, MemoryStorage(), files={"file": rule}):
            raise AssertionError("entered")

    head = post(headers=[("Content-Length", "50000000")], method="PUT")
    with pytest.raises(InvalidContent, match="37 pixels of width, limit 10"):
        await run(script, head + made("PNG") + bytes(600_000))


def test_a_negative_limit_is_none() -> None:
    with pytest.raises(ValueError, match="max_pixels"):
        FileRule(max_pixels=-1)
