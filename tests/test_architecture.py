"""Who may import whom: read from the source, so that a comment can't disagree.

    errors, limits, extras <- sansio <- streams <- codings, files
        <- content, storage <- multipart <- uploads <- resumable <- web

Each folder imports only what stands left of it, or its own files without a cycle.
``testing`` needs ``streams`` and ``storage``, and is used by nobody. Imports for type checkers count like the others; an import inside
of a function counts for the direction, not for cycles.
"""

from __future__ import annotations

import ast
import collections
import graphlib
import importlib
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.covered import OWN

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "aiostreams"
LAYERS = {
    "errors": 0,
    "limits": 0,
    "extras": 0,
    "sansio": 1,
    "streams": 2,
    "codings": 3,
    "files": 3,
    "content": 4,
    "storage": 4,
    "multipart": 5,
    "testing": 5,
    "uploads": 6,
    "resumable": 7,
    "web": 8,
    # Faces: they pass on what fewer people need.
    "compression": 9,
    "sniffing": 9,
    "stats": 9,
}
PUBLIC = {
    "aiostreams",
    "aiostreams.codings",
    "aiostreams.compression",
    "aiostreams.sniffing",
    "aiostreams.stats",
    "aiostreams.storage",
}
# What sansio must not touch: time that passes, files, sockets, threads.
IO = {
    "asyncio", "concurrent", "fcntl", "glob", "io", "mmap", "os", "pathlib",
    "queue", "select", "selectors", "shutil", "signal", "socket", "ssl",
    "subprocess", "tempfile", "threading",
}  # fmt: skip
# Files that a single other file imports. This number only falls: who adds one merges
# it, or another, into the file that needs it.
SINGLE_IMPORTERS = 40
# Tests that hold for all files of a folder.
FOR_ALL = {
    "storage/test_promises.py",
    "streams/test_laws.py",
    "streams/test_machine.py",
}


@dataclass(frozen=True)
class Import:
    """One imported module, as seen from one line."""

    module: str
    line: int
    deferred: bool


def imports_of(path: Path) -> Iterator[Import]:
    tree = ast.parse(path.read_text(), str(path))
    deferred = {
        inner
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "typing_extensions":
            assert "if TYPE_CHECKING:" in path.read_text()
            continue  # every type checker brings it
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, node in deferred)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: a relative import"
            assert node.module is not None
            for alias in node.names:
                # `from package import module` is an import of the module.
                name = f"{node.module}.{alias.name}"
                if name in MODULES or node.module not in MODULES:
                    yield Import(
                        name if name in MODULES else node.module,
                        node.lineno,
                        node in deferred,
                    )
                else:
                    yield Import(node.module, node.lineno, node in deferred)


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
IMPORTS = {name: list(imports_of(path)) for name, path in MODULES.items()}


def layer_of(module: str) -> str:
    return module.split(".")[1]


def test_every_module_has_a_layer() -> None:
    layers = {layer_of(name) for name in MODULES if name != "aiostreams"}
    assert layers <= set(LAYERS)


@pytest.mark.parametrize("module", [name for name in MODULES if "." in name])
def test_imports_go_left(module: str) -> None:
    own = layer_of(module)
    for imported in IMPORTS[module]:
        if imported.module.split(".")[0] != "aiostreams":
            continue
        where = f"{MODULES[module]}:{imported.line}"
        assert imported.module != "aiostreams", f"{where}: imports the root"
        other = layer_of(imported.module)
        if other != own:
            assert LAYERS[other] < LAYERS[own], f"{where}: {own} imports {other}"


def test_nothing_is_imported_in_a_circle() -> None:
    graph = {
        module: {
            imported.module
            for imported in found
            if imported.module in MODULES and not imported.deferred
        }
        - {module}
        for module, found in IMPORTS.items()
    }
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(graph)


def test_aiohttp_is_imported_at_the_edge_only() -> None:
    users = {
        module
        for module, found in IMPORTS.items()
        if any(imported.module.split(".")[0] == "aiohttp" for imported in found)
    }
    inside = {name for name in users if layer_of(name) != "web"}
    assert inside == {"aiostreams.streams.http"}


@pytest.mark.parametrize("module", [name for name in MODULES if ".sansio" in name])
def test_sansio_does_no_io(module: str) -> None:
    found = {imported.module.split(".")[0] for imported in IMPORTS[module]}
    assert not found & IO


def test_what_is_imported_is_declared() -> None:
    """Optional libraries too: each is the matter of some extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = {name_of(line) for line in project["dependencies"]}
    optional = {
        name_of(line)
        for extra, lines in project["optional-dependencies"].items()
        if extra
        not in {"all", "test", "dev", "bench", "fuzz", "docs", "plugins", "release"}
        for line in lines
    }
    for module, found in IMPORTS.items():
        for imported in found:
            top = imported.module.split(".")[0]
            if top in sys.stdlib_module_names or top == "aiostreams":
                continue
            where = f"{MODULES[module]}:{imported.line}"
            assert top in required | optional, f"{where}: {top} is not declared"


def name_of(requirement: str) -> str:
    """The module that a requirement brings; most are named alike."""
    match = re.match(r"[\w-]+", requirement)
    assert match is not None
    name = match[0].replace("-", "_").lower()
    return {"opentelemetry_api": "opentelemetry"}.get(name, name)


def test_no_more_files_with_a_single_importer() -> None:
    """A file that only one other imports is a part of that one, unless it says why."""
    importers = collections.Counter(
        imported
        for module, found in IMPORTS.items()
        if module != "aiostreams"
        for imported in {one.module for one in found} - {module}
    )
    single = {
        module
        for module, path in MODULES.items()
        if path.name != "__init__.py" and importers[module] == 1
    }
    assert len(single) == SINGLE_IMPORTERS, sorted(single)
    for module in single:
        said = ast.get_docstring(ast.parse(MODULES[module].read_text())) or ""
        assert "file of its own" in " ".join(said.split()), f"{module}: why?"


def test_tests_stand_where_the_code_stands() -> None:
    """Those of ``web/response.py`` are ``tests/web/test_response*.py``."""
    tests = Path(__file__).parent
    astray = set()
    for path in tests.rglob("test_*.py"):
        folder = PACKAGE / path.parent.relative_to(tests)
        if path.parent == tests or not folder.is_dir():
            continue
        name = path.stem.removeprefix("test_") + "_"
        if not any(name.startswith(f"{file.stem}_") for file in folder.glob("*.py")):
            astray.add(path.relative_to(tests).as_posix())
    assert astray == FOR_ALL


def test_tests_that_count_for_other_files_exist() -> None:
    for module, tests in OWN.items():
        assert (PACKAGE / module).exists(), module
        for test in tests:
            assert (ROOT / "tests" / test).exists(), f"{module}: {test}"


def test_the_example_app_uses_public_names_only() -> None:
    for path in (ROOT / "example_app").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert all(
                    not alias.name.startswith("aiostreams.") for alias in node.names
                )
            elif isinstance(node, ast.ImportFrom) and (
                (node.module or "").split(".")[0] == "aiostreams"
            ):
                assert node.module in PUBLIC, f"{path}:{node.lineno}"
                public = importlib.import_module(node.module).__all__
                assert {alias.name for alias in node.names} <= set(public)
