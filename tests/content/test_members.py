"""The annotations of records, read where they are eager, postponed, lazy, or broken.

This module postpones its own, as all of this project do, so those that do not are made
from source text here. On Python 3.14 they are lazy (PEP 649), before it eager.
"""

from __future__ import annotations
import __future__

import datetime as dt
import json
import sys
import uuid
from collections.abc import Callable
from types import GenericAlias, ModuleType
from typing import Any

import pytest

from aiostreams import InvalidContent
from aiostreams.content.json import json_reader
from aiostreams.content.members import hints_of
from aiostreams.uploads.formmodel import bind, file_rules

pytest.importorskip("msgspec", reason="needs the extra msgspec")

Make = Callable[[str], Any]
Read = Callable[[Any, str], Any]

needs_lazy = pytest.mark.skipif(
    sys.version_info < (3, 14), reason="annotations are lazy from Python 3.14 on"
)

MODELS = """
import dataclasses
import datetime as dt
from typing import Annotated, ClassVar, NamedTuple, NotRequired, Optional, Required
from typing import TypedDict, Union

from aiostreams.uploads.formmodel import FormField
from aiostreams.uploads.rules import FileRule
from aiostreams.uploads.stored import StoredFile

@dataclasses.dataclass
class Tree:
    name: Annotated[str, "documented"]
    born: Optional[dt.date] = None
    size: int | float | None = None
    children: "list[Tree]" = dataclasses.field(default_factory=list)
    known: ClassVar[dict[str, int]] = {}

@dataclasses.dataclass(slots=True)
class Slotted(Tree):
    twin: "Optional[Slotted]" = None
    _: dataclasses.KW_ONLY
    key: Union[int, str] = 0

class Item(TypedDict):
    name: str
    note: "NotRequired[str]"
    price: NotRequired[float]

class Sparse(Item, total=False):
    tree: Required[Tree]
    more: "list[Sparse]"

class Pair(NamedTuple):
    first: int
    rest: "Pair | None" = None

@dataclasses.dataclass
class Profile:
    email: Annotated[str, FormField("e-mail")]
    born: dt.date | None
    tags: set[str]
    tree: Tree
    photo: Annotated[StoredFile, FileRule(accept={"image/*"})] | None
"""
# What only a lazy annotation can say without quotes.
LATER = """
import dataclasses

@dataclasses.dataclass
class Order:
    items: list[Line]
    next: Order | None = None

@dataclasses.dataclass
class Line:
    n: int

def local():
    @dataclasses.dataclass
    class Mine:
        items: list[Line]
        next: Mine | None = None

    @dataclasses.dataclass
    class Line:
        n: int

    return Mine
"""
CHECKED = """
import dataclasses
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from uuid import UUID

@dataclasses.dataclass
class Model:
    key: UUID

class Item(TypedDict):
    key: UUID

@dataclasses.dataclass
class Around:
    model: Model
"""
MISSING = r"models\.(Model|Item|Around).* name 'UUID' is not defined \(is it"
TREE = {"name": "a", "born": "2026-01-31", "children": [{"name": "b", "size": 1}]}


@pytest.fixture(params=["postponed", "as they are"])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a module of source text, as one that is imported."""
    postponed = __future__.annotations.compiler_flag
    flags = postponed if request.param == "postponed" else 0

    def run(source: str) -> Any:
        module = ModuleType("models")
        monkeypatch.setitem(sys.modules, "models", module)
        code = compile(source, "models.py", "exec", flags, dont_inherit=True)
        exec(code, module.__dict__)
        return module

    return run


@pytest.fixture
def read() -> Read:
    """Reads a JSON text as a type."""
    return lambda kind, text: json_reader(kind)(text)


def quoted(source: str) -> str:
    """The same, for a Python whose annotations are eager."""
    return source.replace(": UUID", ": 'UUID'")


def test_a_dataclass_is_read_however_it_is_annotated(make: Make, read: Read) -> None:
    models = make(MODELS)
    tree = read(models.Tree, json.dumps(TREE))
    assert tree.born == dt.date(2026, 1, 31)
    assert tree.children == [models.Tree("b", None, 1)]
    slotted = read(models.Slotted, '{"name":"a","key":"k","twin":{"name":"b"}}')
    assert slotted == models.Slotted("a", twin=models.Slotted("b"), key="k")
    with pytest.raises(InvalidContent, match="twin/key: "):
        read(models.Slotted, '{"name":"a","twin":{"name":"b","key":1.5}}')


def test_a_typed_dict_is_read_however_it_is_annotated(make: Make, read: Read) -> None:
    sparse = make(MODELS).Sparse
    whole = {"name": "n", "tree": TREE, "more": []}
    assert read(sparse, json.dumps(whole))["tree"].name == "a"
    for missing in ("name", "tree"):
        value = {key: whole[key] for key in whole if key != missing}
        with pytest.raises(InvalidContent, match=f"{missing}: required"):
            read(sparse, json.dumps(value))


def test_a_form_is_read_however_it_is_annotated(make: Make) -> None:
    models = make(MODELS)
    fields = [("e-mail", "z@x"), ("born", ""), ("tags", "a"), ("tags", "b")]
    made = bind(models.Profile, [*fields, ("tree", json.dumps(TREE))])
    assert made.email == "z@x"
    assert made.born is None
    assert made.tags == {"a", "b"}
    assert made.tree.children[0].name == "b"
    assert file_rules(models.Profile)["photo"].accept == {"image/*"}


def test_the_types_of_a_named_tuple(make: Make) -> None:
    pair = make(MODELS).Pair
    assert hints_of(pair) == {"first": int, "rest": pair | None}


@needs_lazy
@pytest.mark.parametrize("make", ["as they are"], indirect=True)
def test_a_class_may_name_what_is_made_later(make: Make, read: Read) -> None:
    """Also beside it in a function, where no postponed annotation finds it."""
    models = make(LATER)
    for kind in (models.Order, models.local()):
        made = read(kind, '{"items":[{"n":1}],"next":{"items":[]}}')
        assert made.items[0].n == 1
        assert type(made.next) is kind
        assert bind(kind, [("items", '{"n":2}')]).items[0].n == 2


# -- names that are not there ----------------------------------------------------------


def test_a_name_for_type_checkers_only_is_told_with_its_class(
    make: Make, read: Read
) -> None:
    models = make(quoted(CHECKED))
    many = GenericAlias(list, models.Model)
    for kind in (models.Model, models.Item, models.Around, many):
        with pytest.raises(TypeError, match=MISSING) as info:
            read(kind, "[]")
        assert isinstance(info.value.__cause__, NameError)
    with pytest.raises(TypeError, match=MISSING):
        file_rules(models.Model)
    with pytest.raises(TypeError, match=MISSING):  # somewhere in its JSON
        file_rules(models.Around)


@needs_lazy
@pytest.mark.parametrize("make", ["as they are"], indirect=True)
def test_a_name_for_type_checkers_only_is_told_when_lazy(
    make: Make, read: Read
) -> None:
    """The class is made without an error: the first that asks has to tell."""
    models = make(CHECKED)
    for kind in (models.Model, models.Item, models.Around):
        with pytest.raises(TypeError, match=MISSING):
            read(kind, "{}")
    with pytest.raises(TypeError, match=MISSING):
        file_rules(models.Model)


def test_a_name_that_comes_later_is_found_then(make: Make, read: Read) -> None:
    """What was told is not remembered: the module may not have been through."""
    models = make(quoted(CHECKED))
    with pytest.raises(TypeError, match=MISSING):
        read(models.Model, "{}")
    models.UUID = uuid.UUID
    key = uuid.uuid4()
    assert read(models.Model, f'{{"key":"{key}"}}').key == key
    assert bind(models.Model, [("key", str(key))]).key == key
