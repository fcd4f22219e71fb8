"""MessagePack, by msgspec."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any, assert_type

import pytest

pytest.importorskip("msgspec", reason="needs the extra msgspec")

import msgspec

from aiostreams import (
    ByteStream,
    InvalidContent,
    LimitExceeded,
    Limits,
    MalformedBody,
    MsgPack,
)
from tests.content.ways import failing, ways


@dataclasses.dataclass
class Row:
    n: int
    raw: bytes = b""
    day: dt.date | None = None


async def test_round_trip() -> None:
    value = {"a": [1, 2.5, None, True], "b": b"\x00\xff", "c": "é"}
    stream = MsgPack(value).encode()
    assert stream.content_type == "application/vnd.msgpack"
    data = await stream.read()
    assert stream.size == len(data)
    for arrived in ways(data):
        assert await MsgPack.decode(arrived) == MsgPack(value)


async def test_models() -> None:
    row = Row(1, b"\xff", dt.date(2026, 1, 31))
    content = await MsgPack.decode(MsgPack(row).encode(), type=Row)
    assert_type(content, MsgPack[Row])
    assert content.data == row
    with pytest.raises(InvalidContent) as caught:
        await MsgPack.decode(MsgPack({"raw": 3, "day": "x"}).encode(), type=Row)
    assert [pointer for pointer, _ in caught.value.errors] == ["#/n", "#/raw", "#/day"]


async def test_models_of_pydantic() -> None:
    pydantic = pytest.importorskip("pydantic", reason="needs the extra pydantic")

    class Model(pydantic.BaseModel):  # type: ignore[name-defined, misc]
        n: int = pydantic.Field(alias="N")
        raw: bytes = b""

    made = (await MsgPack.decode(MsgPack({"N": 1}).encode(), type=Model)).data
    assert await MsgPack.decode(MsgPack(made).encode()) == MsgPack({"N": 1, "raw": ""})
    raw = await MsgPack.decode(MsgPack({"N": 1, "raw": b"\xff"}).encode(), type=Model)
    assert raw.data.raw == b"\xff"
    with pytest.raises(InvalidContent) as caught:
        await MsgPack.decode(MsgPack({"raw": b"\xff", "N": "x"}).encode(), type=Model)
    assert [pointer for pointer, _ in caught.value.errors] == ["#/N"]


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc1", b"\x92\x01", b"\x01\x02", b"\xd9\x02\xff\xff", b"\x81\x80\x01"],
)
async def test_what_is_no_messagepack_is_malformed(data: bytes) -> None:
    for stream in ways(data):
        with pytest.raises(MalformedBody):
            await MsgPack.decode(stream)


async def test_a_bomb_of_depth_is_malformed() -> None:
    with pytest.raises(MalformedBody):
        await MsgPack.decode(ByteStream(b"\x91" * 500_000 + b"\x01"))


async def test_limits_and_failures() -> None:
    with pytest.raises(LimitExceeded):
        await MsgPack.decode(MsgPack("x" * 100).encode(), limits=Limits(max_memory=50))
    with pytest.raises(ConnectionResetError):
        await MsgPack.decode(failing(b"\x01"))


def test_what_messagepack_lacks_is_an_error_before_any_byte() -> None:
    inside: list[Any] = []
    inside.append(inside)
    for value in ("\ud800", 2**70, inside):
        with pytest.raises(ValueError):
            MsgPack(value).encode()
    with pytest.raises(TypeError):
        MsgPack(object()).encode()


def test_repr_and_equality() -> None:
    assert repr(MsgPack({"secret": 1})) == "<MsgPack dict>"
    assert MsgPack(1) != 1
    with pytest.raises(TypeError, match="unhashable"):
        hash(MsgPack(1))
    assert msgspec.__name__ == "msgspec"
