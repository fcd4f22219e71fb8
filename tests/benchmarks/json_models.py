"""JSON into models, beside the libraries themselves under aiohttp's own reading."""

from __future__ import annotations

import functools
from typing import Any

from aiohttp import web

from aiostreams import KiB, Limits, MiB, read_json
from tests.benchmarks.contestants import aiohttp_app, aiostreams_app
from tests.benchmarks.json_bodies import reading
from tests.benchmarks.rows import Entry, Peer, Row, at_most

__all__ = ["AREA", "ROWS"]

AREA = "json_bodies"

_LIMITS = Limits(max_memory=2 * MiB)


@functools.cache
def struct_type() -> Any:
    """The rows as structs of msgspec."""
    import msgspec

    fields = [
        ("id", int), ("name", str), ("email", str), ("score", float),
        ("tags", list[str]), ("active", bool), ("parent", str | None),
    ]  # fmt: skip
    return list.__class_getitem__(msgspec.defstruct("Row", fields))


@functools.cache
def model_type() -> Any:
    """The rows as models of pydantic."""
    import pydantic

    class Row(pydantic.BaseModel):
        id: int
        name: str
        email: str
        score: float
        tags: list[str]
        active: bool
        parent: str | None

    return list.__class_getitem__(Row)


@aiohttp_app("msgspec")
async def aiohttp_struct(request: web.Request) -> web.Response:
    value = struct_decoder().decode(await request.read())
    return web.Response(text=str(len(value)))


@functools.cache
def struct_decoder() -> Any:
    import msgspec

    return msgspec.json.Decoder(struct_type())


@aiohttp_app("pydantic")
async def aiohttp_model(request: web.Request) -> web.Response:
    value = model_adapter().validate_json(await request.read())
    return web.Response(text=str(len(value)))


@functools.cache
def model_adapter() -> Any:
    import pydantic

    return pydantic.TypeAdapter(model_type())


@aiostreams_app()
async def ours_struct(request: web.Request) -> web.Response:
    value = await read_json(request, type=struct_type(), limits=_LIMITS)
    return web.Response(text=str(len(value)))


@aiostreams_app()
async def ours_model(request: web.Request) -> web.Response:
    value = await read_json(request, type=model_type(), limits=_LIMITS)
    return web.Response(text=str(len(value)))


def _typed(size: int, name: str) -> list[Row]:
    request = reading(size)
    return [
        Row(
            f"read_json(type=Struct) of {name}",
            14,
            Entry("read_json(type=)", ours_struct, request),
            [Peer(Entry("msgspec.json.decode", aiohttp_struct, request), at_most(1.1))],
        ),
        Row(
            f"read_json(type=BaseModel) of {name}",
            14,
            Entry("read_json(type=)", ours_model, request),
            [Peer(Entry("validate_json", aiohttp_model, request), at_most(1.1))],
        ),
    ]


ROWS = [*_typed(1 * KiB, "1 KiB"), *_typed(1 * MiB, "1 MiB")]
