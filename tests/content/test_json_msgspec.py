"""JSON into what only msgspec knows: its structs, and its constraints."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated, Any

import pytest

from aiostreams import JSON, ByteStream, InvalidContent, MalformedBody
from aiostreams.content import members
from aiostreams.content.json import json_reader
from aiostreams.content.models import _cached_model

pytest.importorskip("msgspec", reason="needs the extra msgspec")

import msgspec


class Point(msgspec.Struct, forbid_unknown_fields=True):
    x: int
    color: Annotated[str, msgspec.Meta(max_length=3)] = ""


@dataclasses.dataclass
class Tree:
    child: Tree | None = None


def body(text: str) -> ByteStream:
    return ByteStream(text.encode())


async def test_decode_into_a_struct() -> None:
    content = await JSON.decode(body('{"x":1,"color":"red"}'), type=Point)
    assert content.data == Point(1, "red")
    assert await content.encode().read() == b'{"x":1,"color":"red"}'
    for loads in (None, json.loads):
        with pytest.raises(InvalidContent, match="x: Expected `int`, got `str`"):
            await JSON.decode(body('{"x":"1"}'), type=Point, loads=loads)
    with pytest.raises(MalformedBody):
        await JSON.decode(body('{"x":"1"'), type=Point)
    with_mark = ByteStream(b'\xef\xbb\xbf{"x":1}')
    assert (await JSON.decode(with_mark, type=Point)).data == Point(1)


async def test_decode_holds_msgspec_constraints_in_dataclasses() -> None:
    """The own validation knows nothing of them, and has nothing to add."""
    short = Annotated[str, msgspec.Meta(max_length=3)]
    for loads in (None, json.loads):
        with pytest.raises(InvalidContent, match="length <= 3"):
            await JSON.decode(body('["four"]'), type=list[short], loads=loads)


async def test_errors_of_msgspec_do_not_repeat_the_body() -> None:
    with pytest.raises(InvalidContent) as info:
        await JSON.decode(body('[{"x":1,"secret":1}]'), type=list[Point])
    assert info.value.errors == (("#/0/secret", "no such member"),)


async def test_decode_into_a_struct_without_msgspec_names_the_extra() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(members, "msgspec", None)
        _cached_model.cache_clear()
        stream = body('{"x":1}')
        with pytest.raises(ImportError, match=r"Point .*aiostreams\[msgspec\]"):
            await JSON.decode(stream, type=Point)
    assert stream.position == 0


async def test_decode_into_a_class_that_msgspec_cannot_make_is_no_client_error() -> (
    None
):
    for loads in (None, json.loads):
        with pytest.raises(TypeError, match="complex"):
            await JSON.decode(body("[1]"), type=list[complex], loads=loads)


async def test_decode_too_deep_to_convert_is_malformed() -> None:
    """The parser took it, msgspec's conversion does not."""
    value: Any = None
    for _ in range(50_000):
        value = {"child": value}
    struct = msgspec.defstruct("struct", [("child", Any)])
    reader = json_reader(list[struct] | Tree, lambda _: value)  # type: ignore[valid-type]
    with pytest.raises(MalformedBody, match="deep"):
        reader(b"")


def test_a_struct_whose_annotations_cannot_be_read_is_named() -> None:
    """msgspec's ``NameError`` would not tell whose they are."""

    class Keyed(msgspec.Struct):
        key: Nowhere  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(TypeError, match=r"Keyed.* name 'Nowhere' is not defined"):
        json_reader(list[Keyed])
