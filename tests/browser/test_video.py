"""Chromium plays a video of the example app, and seeks in it by ranges."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aiostreams import ByteStream, DiskStorage, MiB
from example_app.app import Settings, create_app
from tests.browser.webm import webm
from tests.servers import serving

SECONDS = 20
FRAMES = 8  # a second

# Each frame has its number, as eight bars of black and white.
ENCODE = """async ([seconds, frames]) => {
    const chunks = [], canvas = new OffscreenCanvas(160, 120);
    const context = canvas.getContext('2d');
    const encoder = new VideoEncoder({
        output: chunk => {
            const data = new Uint8Array(chunk.byteLength);
            chunk.copyTo(data);
            chunks.push(btoa(String.fromCharCode(...data)));
        },
        error: error => { throw error; },
    });
    encoder.configure({codec: 'vp8', width: 160, height: 120, bitrate: 1e6});
    for (let n = 0; n < seconds * frames; n++) {
        for (let bit = 0; bit < 8; bit++) {
            context.fillStyle = n >> bit & 1 ? 'white' : 'black';
            context.fillRect(20 * bit, 0, 20, 120);
        }
        const frame = new VideoFrame(canvas, {timestamp: n * 1e6 / frames});
        encoder.encode(frame, {keyFrame: n % frames == 0});
        frame.close();
    }
    await encoder.flush();
    return chunks;
}"""

LOAD = """async () => {
    const video = document.querySelector('video');
    video.muted = true;
    if (video.readyState < 2) await new Promise((resolve, reject) => {
        video.onloadeddata = resolve;
        video.onerror = () => reject(new Error(video.error.message));
        video.preload = 'auto';
    });
    window.video = video;
    return [video.duration, video.videoWidth, video.videoHeight];
}"""

PLAY = """async until => {
    video.playbackRate = 4;
    await video.play();
    while (video.currentTime < until) await new Promise(requestAnimationFrame);
    video.pause();
    return video.currentTime;
}"""

SEEK = """async time => {
    const seeked = new Promise(resolve => { video.onseeked = resolve; });
    video.currentTime = time;
    await seeked;
    const canvas = new OffscreenCanvas(160, 120);
    const context = canvas.getContext('2d');
    context.drawImage(video, 0, 0);
    let number = 0;
    for (let bit = 0; bit < 8; bit++) {
        const [red] = context.getImageData(20 * bit + 10, 60, 1, 1).data;
        number |= (red > 127) << bit;
    }
    return number;
}"""


async def make_video(page: Any) -> bytes:
    chunks = await page.evaluate(ENCODE, [SECONDS, FRAMES])
    frames = [base64.b64decode(chunk) for chunk in chunks]
    assert len(frames) == SECONDS * FRAMES
    seconds = [frames[n : n + FRAMES] for n in range(0, len(frames), FRAMES)]
    # More than it reads ahead: to seek it has to ask.
    return webm(seconds, width=160, height=120, empty=4 * MiB)


async def test_a_video_is_played_and_sought_in(page: Any, tmp_path: Path) -> None:
    app = create_app(DiskStorage(tmp_path), Settings(max_file=256 * MiB))
    asked: list[tuple[str | None, int, str | None]] = []

    async def note(request: Any, response: Any) -> None:
        if request.method == "GET" and request.path.endswith(".webm"):
            place = response.headers.get("Content-Range")
            asked.append((request.headers.get("Range"), response.status, place))

    app.on_response_prepare.append(note)
    async with serving(app, auto_decompress=False) as (host, port):
        site = f"http://{host}:{port}"
        await page.goto(site)
        if not await page.evaluate("'VideoEncoder' in window"):
            pytest.skip("this chromium encodes no video")
        video = await make_video(page)
        async with (
            aiohttp.ClientSession() as client,
            client.put(f"{site}/files/a.webm", data=ByteStream(video)) as response,
        ):
            assert response.status == 201
        await page.reload()
        await page.click("#files [data-action=preview]")
        loaded = await page.evaluate(LOAD)
        assert loaded == [SECONDS, 160, 120]
        assert await page.evaluate(PLAY, 1.5) >= 1.5
        whole = len(asked)
        assert asked[0][:2] == ("bytes=0-", 206)
        for time in (17.55, 3.3, 11.8):
            assert await page.evaluate(SEEK, time) == int(time * FRAMES)
        played = list(asked)
        # In a tab of its own it is played too. No script runs there, not even one of
        # ours that waits for an event.
        await page.goto(f"{site}/preview/a.webm")
        async with asyncio.timeout(10):
            while await page.evaluate("document.querySelector('video').readyState") < 2:
                await asyncio.sleep(0.05)
    # 304 is for what its cache has, and asks about by If-None-Match.
    assert {status for _, status, _ in played} <= {206, 304}
    starts = []
    for value, status, place in played[whole:]:
        if status == 206:
            start = int((value or "").removeprefix("bytes=").partition("-")[0])
            assert place is not None
            assert place.startswith(f"bytes {start}-")
            assert place.endswith(f"/{len(video)}")
            starts.append(start)
    # It went straight to the second that was asked for.
    assert any(start > 16 * 4 * MiB for start in starts)
