"""Errors as answers: the document, its phrases, and errors that others derive."""

from __future__ import annotations

import json
import logging
from http import HTTPStatus
from typing import Any

import pytest
from aiohttp import web

from aiostreams import (
    LimitExceeded,
    MalformedBody,
    ObjectNotFound,
    StreamError,
    setup,
)
from aiostreams.web.errors import BrokenConnection, not_acceptable
from tests.servers import connected, post, serving

Answer = tuple[int, dict[str, str], bytes]


async def answer_to(error: Exception, *headers: tuple[str, str]) -> Answer:
    async def handler(request: web.Request) -> Any:
        raise error

    app = web.Application()
    app.router.add_post("/", handler)
    async with serving(setup(app)) as address, connected(address) as raw:
        await raw.send(post(b"", headers=headers))
        return await raw.response()


def derived(status: int) -> StreamError:
    """An error as an application would derive it."""
    kind: type[StreamError] = type("Derived", (StreamError,), {"status": status})
    return kind("not today")


@pytest.mark.parametrize(
    ("status", "title"),
    [
        (400, "Bad Request"),
        (408, "Request Timeout"),
        # Python 3.13 renamed these.
        (413, "Content Too Large"),
        (416, "Range Not Satisfiable"),
        (422, "Unprocessable Content"),
        (429, "Too Many Requests"),
        (500, "Internal Server Error"),
        (503, "Service Unavailable"),
        (507, "Insufficient Storage"),
    ],
)
async def test_the_title_is_the_phrase_of_the_rfc(status: int, title: str) -> None:
    got, _, body = await answer_to(derived(status))
    problem = json.loads(body)
    assert (got, problem["status"], problem["title"]) == (status, status, title)


@pytest.mark.parametrize(
    "status", [status for status in HTTPStatus if 400 <= status <= 499]
)
async def test_a_derived_error_is_answered_with_its_status_or_as_a_fault(
    status: HTTPStatus,
) -> None:
    """Never one status on the wire and another one in the document."""
    got, _, body = await answer_to(derived(status))
    assert got == json.loads(body)["status"]
    assert got in {status, 500}


@pytest.mark.parametrize("status", [0, 101, 200, 304, 499, 999])
async def test_a_status_that_is_no_error_is_a_fault(status: int) -> None:
    got, _, body = await answer_to(derived(status))
    assert got == 500
    assert "not today" not in body.decode(), "no business of the client"


async def test_the_document_is_compact_and_ascii() -> None:
    """So a proxy, a log or a terminal of whatever charset shows it as it is."""
    _, headers, body = await answer_to(MalformedBody("a stray “quote”"))
    assert headers["content-type"] == "application/problem+json; charset=utf-8"
    assert body == (
        b'{"type":"about:blank","title":"Bad Request","status":400,'
        b'"detail":"a stray \\u201cquote\\u201d"}'
    )


@pytest.mark.parametrize("accept", ["application/json", "text/plain", "*/*"])
async def test_a_cache_does_not_give_a_document_to_whom_it_is_not_for(
    accept: str,
) -> None:
    """A 404 is kept without being told so (RFC 9111 section 4.2.2)."""
    status, headers, _ = await answer_to(ObjectNotFound("gone"), ("Accept", accept))
    assert (status, headers["vary"]) == (404, "Accept")


async def test_a_limit_may_say_that_the_body_is_malformed() -> None:
    class TooManyParts(LimitExceeded):
        status = 400

    got, _, body = await answer_to(TooManyParts("parts", limit=1, seen=2))
    problem = json.loads(body)
    assert (got, problem["limit"], problem["seen"]) == (400, 1, 2)


async def test_a_limit_without_numbers_has_none_in_the_document() -> None:
    """NaN is no JSON."""
    got, _, body = await answer_to(LimitExceeded("too many comments", limit=3))
    assert (got, json.loads(body).get("limit")) == (413, 3)
    assert b"seen" not in body


async def test_a_long_message_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aiostreams.web")
    _, _, body = await answer_to(MalformedBody("x" * 5000))
    assert json.loads(body)["detail"] == "x" * 400
    assert len(caplog.records[0].getMessage()) < 500


async def test_an_unacceptable_request_is_told_why() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        raise not_acceptable("only JSON here", request, {"X-Offer": "json"})

    app = web.Application()
    app.router.add_post("/", handler)
    async with serving(setup(app)) as address, connected(address) as raw:
        await raw.send(post(b"", headers=[("Accept", "text/plain")]))
        status, headers, body = await raw.response()
    assert (status, headers["x-offer"]) == (406, "json")
    assert body == b"406: only JSON here"


async def test_an_error_after_the_head_breaks_the_connection() -> None:
    """Half of an answer is out: no second head may follow it."""

    async def handler(request: web.Request) -> Any:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        raise MalformedBody("too late")

    app = web.Application()
    app.router.add_post("/", handler)
    async with serving(setup(app)) as address, connected(address) as raw:
        await raw.send(post(b""))
        sent = await raw.reader.read()
    assert sent.count(b"HTTP/1.1") == 1
    assert not sent.endswith(b"0\r\n\r\n")


def test_a_broken_connection_is_logged_as_nginx_does() -> None:
    assert BrokenConnection().status == 499


async def test_other_errors_are_not_ours() -> None:
    got, headers, _ = await answer_to(web.HTTPConflict(text="own"))
    assert (got, headers["content-type"]) == (409, "text/plain; charset=utf-8")
