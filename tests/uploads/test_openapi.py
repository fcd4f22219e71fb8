"""OpenAPI of bodies: valid, complete, and of what the validators take."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated, Any

import pytest

pytest.importorskip("msgspec", reason="needs the extra msgspec")
pytest.importorskip("pydantic", reason="needs the extra pydantic")
pytest.importorskip("openapi_spec_validator")

import attrs
import msgspec
import openapi_spec_validator
import pydantic

from aiostreams import (
    File,
    FileRule,
    FormField,
    KiB,
    StoredFile,
    body_schema,
    problem_responses,
)


@dataclasses.dataclass
class Line:
    name: str
    price: Annotated[float, msgspec.Meta(ge=0)] = 0.0


@dataclasses.dataclass
class Order:
    lines: list[Line]
    note: str | None = None


class StructOrder(msgspec.Struct, rename="camel"):
    first_line: Line
    more: list[Line] = []


@attrs.define
class AttrsOrder:
    lines: list[Line]


class ModelLine(pydantic.BaseModel):
    name: str
    price: float = pydantic.Field(0.0, ge=0)


class ModelOrder(pydantic.BaseModel):
    lines: list[ModelLine]
    note: str | None = pydantic.Field(None, alias="theNote")


@dataclasses.dataclass
class Mixed:
    lines: list[ModelLine]


@dataclasses.dataclass
class Tree:
    children: list[Tree]


class ModelTree(pydantic.BaseModel):
    children: list[ModelTree]


RULE = FileRule(accept={"image/png", "image/gif"}, max_size=64 * KiB)


@dataclasses.dataclass
class Album:
    title: Annotated[str, FormField("album-title")]
    cover: Annotated[StoredFile, RULE]
    lines: list[Line]
    public: bool
    pages: Annotated[list[StoredFile], FileRule(min_count=1, max_count=5)]
    back: StoredFile | None = None


class ModelAlbum(pydantic.BaseModel):
    title: Annotated[str, FormField("album-title")]
    cover: Annotated[StoredFile, RULE]
    lines: list[ModelLine]
    public: bool
    pages: Annotated[list[StoredFile], FileRule(min_count=1, max_count=5)]
    back: StoredFile | None = None


class WithFile(pydantic.BaseModel):
    photo: File


def document(body: dict[str, Any], schemas: dict[str, Any] | None = None) -> Any:
    """A document around a body, as a tool would make it; valid."""
    made = {
        "openapi": "3.1.0",
        "info": {"title": "t", "version": "1"},
        "paths": {
            "/": {
                "post": {
                    "requestBody": body,
                    "responses": {
                        "200": {"description": "done"},
                        **problem_responses(),
                    },
                }
            }
        },
        "components": {"schemas": schemas or {}},
    }
    made = json.loads(json.dumps(made))
    openapi_spec_validator.validate(made)
    return made


FORMS = ["multipart/form-data", "application/x-www-form-urlencoded"]


@pytest.mark.parametrize(
    "model",
    [
        Order,
        StructOrder,
        AttrsOrder,
        ModelOrder,
        Mixed,
        list[Line],
        list[ModelLine],
        int,
    ],
    ids=str,
)
@pytest.mark.parametrize("components", [False, True])
def test_a_model_is_a_valid_body(model: Any, components: bool) -> None:
    schemas: dict[str, Any] | None = {} if components else None
    body = body_schema(model, schemas=schemas)
    assert body["required"] is True
    assert list(body["content"]) == ["application/json"]
    text = json.dumps(document(body, schemas))
    assert components or "#/components/schemas/" not in text
    if isinstance(model, type):
        both = ["application/json", *FORMS]
        if model is not int:
            assert list(body_schema(model, media_types=both)["content"]) == both


def test_the_schema_is_of_what_the_client_sends() -> None:
    content = body_schema(ModelOrder)["content"]["application/json"]["schema"]
    assert content["required"] == ["lines"]
    assert set(content["properties"]) == {"lines", "theNote"}
    line = content["properties"]["lines"]["items"]
    assert line["properties"]["price"]["minimum"] == 0
    content = body_schema(StructOrder)["content"]["application/json"]["schema"]
    assert set(content["properties"]) == {"firstLine", "more"}
    assert content["properties"]["firstLine"]["required"] == ["name"]


@pytest.mark.parametrize("model", [Album, ModelAlbum], ids=str)
def test_a_form_with_files(model: Any) -> None:
    body = body_schema(model)
    document(body)
    ((media_type, content),) = body["content"].items()
    assert media_type == "multipart/form-data"
    properties = content["schema"]["properties"]
    assert list(properties) == [
        "album-title", "cover", "lines", "public", "pages", "back",
    ]  # fmt: skip
    assert properties["cover"] == {
        "type": "string",
        "contentMediaType": "application/octet-stream",
        "maxLength": 65536,
    }
    assert properties["pages"]["minItems"] == 1
    assert properties["pages"]["maxItems"] == 5
    assert properties["lines"]["items"]["required"] == ["name"]
    assert content["schema"]["required"] == ["album-title", "cover", "pages"]
    assert content["encoding"] == {
        "cover": {"contentType": "image/gif, image/png"},
        "lines": {"contentType": "application/json"},
    }
    with pytest.raises(TypeError, match="has files, which JSON cannot contain"):
        body_schema(model, media_types=["application/json"])
    with pytest.raises(TypeError, match="has no files"):
        body_schema(model, media_types=[FORMS[1]])


def test_rules_are_a_body() -> None:
    body = body_schema(
        {
            "photo": FileRule(accept={"image/png"}, min_count=1, max_count=1),
            "more": FileRule(max_size=5),
        }
    )
    document(body)
    content = body["content"]["multipart/form-data"]
    assert content == {
        "schema": {
            "type": "object",
            "properties": {
                "photo": {"type": "string", "contentMediaType": "image/png"},
                "more": {
                    "type": "array",
                    "items": {
                        "type": "string",
                        "contentMediaType": "application/octet-stream",
                        "maxLength": 5,
                    },
                },
            },
            "required": ["photo"],
        },
        "encoding": {"photo": {"contentType": "image/png"}},
    }
    document(body_schema(WithFile))


@pytest.mark.parametrize("model", [Tree, ModelTree], ids=str)
def test_a_model_that_refers_to_itself_needs_components(model: Any) -> None:
    with pytest.raises(TypeError, match="refers to itself"):
        body_schema(model)
    schemas: dict[str, Any] = {}
    body = body_schema(model, schemas=schemas)
    assert list(schemas) == [model.__name__]
    document(body, schemas)


def test_components_are_shared_and_their_names_are_unique() -> None:
    schemas: dict[str, Any] = {}
    body_schema(Order, schemas=schemas)
    body_schema(StructOrder, schemas=schemas)
    assert {"Line"} <= set(schemas)
    other = dataclasses.make_dataclass("Line", [("other", int)])
    holder = dataclasses.make_dataclass("Holder", [("line", other)])
    with pytest.raises(TypeError, match="two schemas have the name 'Line'"):
        body_schema(holder, schemas=schemas)


def test_problems() -> None:
    assert list(problem_responses()) == ["400", "413", "415", "422"]
    problem = problem_responses(422)["422"]["content"]["application/problem+json"]
    assert set(problem["schema"]["properties"]["errors"]["items"]["properties"]) == {
        "pointer",
        "detail",
    }
    with pytest.raises(ValueError, match="unknown status 404"):
        problem_responses(404)


def test_what_has_no_such_body_is_refused() -> None:
    with pytest.raises(TypeError, match="a body of type text/csv cannot become"):
        body_schema(Order, media_types=["text/csv"])
    with pytest.raises(TypeError, match="has no members"):
        body_schema(int, media_types=FORMS)
