"""Forms bound to msgspec's structs, and held to its constraints."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, assert_type

import pytest

from aiostreams import FormField, StoredFile
from aiostreams.uploads.formmodel import bind, file_rules
from tests.uploads.test_formmodel import Color, Item, errors_of

pytest.importorskip("msgspec", reason="needs the extra msgspec")

import msgspec


class Box(msgspec.Struct):
    width: Annotated[int, msgspec.Meta(ge=1)]


@dataclass
class Inner:
    photo: StoredFile


class InnerStruct(msgspec.Struct):
    inner: Inner | None


def test_a_struct_is_a_model() -> None:
    class Model(msgspec.Struct, rename="camel"):
        first_name: str
        age: Annotated[int, msgspec.Meta(ge=0)]
        tags: list[str] = []
        nick: Annotated[str, FormField(name="nick-name")] = "none"

    made = bind(Model, [("firstName", "Zelda"), ("age", "7"), ("nick-name", "Z")])
    assert_type(made, Model)
    assert made == Model("Zelda", 7, [], "Z")
    assert errors_of(Model, ("firstName", "Zelda"), ("age", "-7")) == {
        "#/age": "Expected `int` >= 0"
    }


def test_a_collection_has_constraints() -> None:
    @dataclass
    class Model:
        tags: Annotated[list[Color], msgspec.Meta(min_length=1, max_length=2)]
        scores: list[Annotated[int, msgspec.Meta(le=10)]]
        items: Annotated[list[Item], msgspec.Meta(max_length=1)] | None = None

    assert bind(Model, [("tags", "red"), ("scores", "9")]) == Model([Color.RED], [9])
    assert errors_of(
        Model, ("scores", "11"), ("items", '{"name":"a"}'), ("items", '{"name":"a"}')
    ) == {
        "#/tags": "Expected `array` of length >= 1",
        "#/scores/0": "Expected `int` <= 10",
        "#/items": "Expected `array` of length <= 1",
    }


def test_a_struct_inside_of_a_model_is_json() -> None:
    @dataclass
    class Model:
        box: Box

    assert bind(Model, [("box", '{"width": 1}')]) == Model(Box(1))
    assert errors_of(Model, ("box", '{"width": 0}')) == {
        "#/box/width": "Expected `int` >= 1"
    }


def test_no_client_can_make_up_a_stored_file_in_a_struct() -> None:
    model = dataclasses.make_dataclass("Model", [("inner", InnerStruct)])
    with pytest.raises(TypeError):
        file_rules(model)


@pytest.mark.parametrize("kind", [Path, list[Path]])
def test_a_type_that_msgspec_knows_by_name_only_is_an_error(kind: type) -> None:
    model = dataclasses.make_dataclass("Model", [("a", kind)])
    with pytest.raises(TypeError, match=r"no validator supports Path \(Model.a\)"):
        bind(model, [])


def test_a_struct_whose_annotations_cannot_be_read_is_named() -> None:
    class Model(msgspec.Struct):
        key: Nowhere  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(TypeError, match=r"Model.* name 'Nowhere' is not defined"):
        bind(Model, [])
