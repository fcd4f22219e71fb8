"""Decorators of handlers, on all that aiohttp takes for one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from aiostreams import Limits, Text, limit, limits_of, setup, uncompressed
from tests.servers import connected, post, serving

BODY = "x" * 5000


async def answer(request: web.Request) -> Any:
    ceilings = limits_of(request)
    return Text(f"{ceilings.max_body} {ceilings.max_parts} {BODY}")


def function() -> Any:
    """A new function, since a mark stays on it."""

    async def handler(request: web.Request, *_: object, **__: object) -> Any:
        return await answer(request)

    return handler


def methods() -> Any:
    """An instance of a new class."""

    class Handlers:
        async def method(self, request: web.Request, *_: object, **__: object) -> Any:
            assert type(self) is Handlers
            return await answer(request)

        @classmethod
        async def of_class(cls, request: web.Request) -> Any:
            assert cls is Handlers
            return await answer(request)

        @staticmethod
        async def static(request: web.Request) -> Any:
            return await answer(request)

    return Handlers()


def logged(handler: Any) -> Any:
    @functools.wraps(handler)
    async def wrapper(request: web.Request) -> Any:
        return await handler(request)

    return wrapper


EACH = pytest.mark.parametrize(
    "make",
    [
        function,
        lambda: methods().method,
        lambda: methods().of_class,
        lambda: methods().static,
        lambda: functools.partial(function(), a=1),
        lambda: functools.partial(methods().method, a=1),
        lambda: functools.partial(functools.partial(function(), a=1), b=2),
        lambda: logged(methods().method),
    ],
    ids=[
        "function", "bound method", "class method", "static method", "partial",
        "partial of a bound method", "partial of a partial", "wrapped",
    ],
)  # fmt: skip


async def ask(*handlers: Any) -> list[tuple[bool, str]]:
    """Of each: whether its answer was compressed, and the ceilings that it has seen."""
    app = setup(web.Application(), limits=Limits(max_body=1000, max_parts=1000))
    for number, handler in enumerate(handlers):
        app.router.add_get(f"/{number}", handler)
    found = []
    async with serving(app) as address, connected(address) as raw:
        for number in range(len(handlers)):
            for coding in ("identity", "gzip"):
                fields = [("Accept-Encoding", coding)]
                path = f"/{number}"
                raw.writer.write(post(None, path=path, method="GET", headers=fields))
                status, headers, body = await raw.response()
                assert status == 200
                if coding == "identity":
                    seen = " ".join(body.decode("latin-1").split(" ")[:2])
            found.append(("content-encoding" in headers, seen))
    return found


@EACH
async def test_limit_holds_for_what_it_returns(make: Callable[[], Any]) -> None:
    inner = limit(max_body=5, max_parts=3)(make())
    assert [seen for _, seen in await ask(make(), inner)] == ["1000 1000", "5 3"]
    outer = limit(max_body=4)(inner)
    assert [seen for _, seen in await ask(outer)] == ["4 3"]


@EACH
async def test_uncompressed_holds_for_what_it_returns(make: Callable[[], Any]) -> None:
    assert [coded for coded, _ in await ask(make(), uncompressed(make()))] == [
        True,
        False,
    ]


@EACH
async def test_a_partial_and_a_wrapper_show_the_marks_of_what_they_call(
    make: Callable[[], Any],
) -> None:
    marked = uncompressed(limit(max_body=5)(make()))
    again = limit(max_parts=3)(functools.partial(marked))
    assert await ask(functools.partial(marked), logged(marked), again) == [
        (False, "5 1000"),
        (False, "5 1000"),
        (False, "5 3"),
    ]


async def test_a_mark_of_a_bound_method_is_not_that_of_another_instance() -> None:
    handlers = methods()
    other = type(handlers)()
    marked = uncompressed(limit(max_body=5)(handlers.method))
    assert marked.__name__ == "method"
    assert await ask(marked, handlers.method, other.method) == [
        (False, "5 1000"),
        (True, "1000 1000"),
        (True, "1000 1000"),
    ]


async def test_a_method_that_was_marked_in_its_class_is_so_when_bound() -> None:
    class Handlers:
        @uncompressed
        @limit(max_body=7)
        async def method(self, request: web.Request) -> Any:
            return await answer(request)

    bound = Handlers().method
    assert await ask(bound, limit(max_parts=3)(bound)) == [
        (False, "7 1000"),
        (False, "7 3"),
    ]
