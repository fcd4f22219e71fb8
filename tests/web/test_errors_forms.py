"""What a client hears of a form that does not fit: every field, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
from aiohttp import ClientSession, web

pytest.importorskip("msgspec", reason="needs the extra msgspec")

from aiostreams import File, FormField, InvalidContent, setup
from aiostreams.uploads.formmodel import bind
from tests.servers import serving


@dataclass
class Order:
    count: int
    name: Annotated[str, FormField("first-name")]
    photo: File | None = None


@pytest.fixture
def app() -> web.Application:
    async def handler(request: web.Request) -> web.Response:
        pairs = list(request.query.items())
        order = bind(Order, pairs, file_type=File, unknown="forbid")
        return web.json_response(order.count)

    async def plain(_request: web.Request) -> web.Response:
        raise InvalidContent("the digest differs")

    app = web.Application()
    app.router.add_get("/", handler)
    app.router.add_get("/plain", plain)
    setup(app)
    return app


async def test_each_field_is_named_in_the_problem_document(
    app: web.Application,
) -> None:
    async with serving(app) as (host, port), ClientSession() as session:
        url = f"http://{host}:{port}/"
        async with session.get(url, params={"count": "x", "no\nsuch": "<b>"}) as answer:
            assert answer.status == 422
            assert answer.content_type == "application/problem+json"
            problem = await answer.json()
        assert problem["errors"] == [
            {"pointer": "#/count", "detail": "Expected `int`, got `str`"},
            {"pointer": "#/first-name", "detail": "required"},
            {"pointer": "#/no%0Asuch", "detail": "no such field"},
        ]
        assert problem["detail"] == (
            "count: Expected `int`, got `str`; first-name: required; "
            "no%0Asuch: no such field"
        )
        good = {"count": "7", "first-name": "Zelda"}
        async with session.get(url, params=good) as answer:
            assert await answer.json() == 7


async def test_plain_text_names_them_as_well(app: web.Application) -> None:
    async with serving(app) as (host, port), ClientSession() as session:
        answer = await session.get(
            f"http://{host}:{port}/", headers={"Accept": "text/plain"}
        )
        assert answer.status == 422
        assert await answer.text() == "422: count: required; first-name: required"


async def test_an_error_of_no_field_lists_none(app: web.Application) -> None:
    async with serving(app) as (host, port), ClientSession() as session:
        answer = await session.get(f"http://{host}:{port}/plain")
        problem = await answer.json()
        assert problem["detail"] == "the digest differs"
        assert "errors" not in problem
