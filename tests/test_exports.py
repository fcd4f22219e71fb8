"""The public names: all there, all described, and no others."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import pickle
import subprocess
import sys
import types
from pathlib import Path

import pytest

import aiostreams

PACKAGE = Path(aiostreams.__file__).parent
MODULES = [
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "__init__.py"
]
# The names that users of this package rely on.
CONTRACT = set(
    """
    Stream ByteStream IterStream FileStream SpooledStream HTTPStream GZipStream
    GUnzipStream EncodedStream DecodedStream MultiPartStream LimitStream HashStream
    TeeStream ProgressStream ChainStream SliceStream Transform copy
    Content JSON NDJSON Text HTML Form File Files MultiPart EventStream
    open_stream read_bytes read_text read_json read_form read_content iter_parts
    iter_json iter_ndjson receive Part respond wrap_body wrap_response keep_body
    setup stream_middleware compression_middleware Compression Limits limit run_app
    StreamError StreamClosed StreamBusy SizeMismatch MalformedBody BodyTimeout
    LengthRequired LimitExceeded UnsupportedContent InvalidContent ClientGone
    Storage MemoryStorage DiskStorage ObjectStorage EncryptedStorage
    QuotaStorage QuotaLedger QuotaEntry MemoryLedger
    storage_from_url StoredFile
    by_digest clamd direct_upload DirectUpload confirm_upload
    StoredObject ObjectNotFound ObjectExists InvalidKey StorageError
    body_schema problem_responses CSV MsgPack register_content negotiate
    Result RouteTableDef handler add_validator
    Zip ZipMember ZipStream Replay Channel
    resumable resumable_route upload_of ResumableUpload ResumableUploads sweep_uploads
    KiB MiB GiB
    """.split()  # noqa: SIM905 - reads as the list it is
)
# Those of them that are still being written.
LATER: set[str] = set()
# What fewer people need stands in modules of its own, which only pass it on.
FACES = {
    "aiostreams.codings": [
        "Decoder",
        "Decompressor",
        "Encoder",
        "FrameDecoder",
        "register_coding",
        "supported_codings",
    ],
    "aiostreams.compression": ["Candidate", "Predicate", "compressible", "path_prefix"],
    "aiostreams.sniffing": ["magic_sniffer", "sniff"],
    "aiostreams.stats": [
        "BodyStats",
        "RequestTracer",
        "UploadStats",
        "log_stats",
        "opentelemetry_stats",
        "opentelemetry_tracing",
        "prometheus_stats",
    ],
    "aiostreams.storage": [
        "StagedObject",
        "check_attributes",
        "check_key",
        "check_prefix",
    ],
}


def test_the_contract_is_exported() -> None:
    missing = CONTRACT - set(aiostreams.__all__)
    assert missing <= LATER


def test_exports_are_sorted_and_unique() -> None:
    # Constants, classes, functions: as ruff's RUF022 sorts them.
    def key(name: str) -> tuple[int, str]:
        return (0 if name.isupper() else 1 if name[0].isupper() else 2), name

    assert aiostreams.__all__ == sorted(set(aiostreams.__all__), key=key)


def test_nothing_else_is_public() -> None:
    public = {
        name
        for name in dir(aiostreams)
        if not name.startswith("_")
        and not isinstance(getattr(aiostreams, name), types.ModuleType)
    }
    assert public - {"annotations"} == set(aiostreams.__all__)


def test_type_checkers_and_programs_find_a_name_in_the_same_module() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    assert ast.unparse(block.test) == "typing.TYPE_CHECKING"
    checked = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(checked) == set(aiostreams.__all__)
    for name, module in checked.items():
        assert f"aiostreams.{aiostreams._MODULES[name]}" == module
        found = getattr(aiostreams, name)
        assert found is getattr(importlib.import_module(module or ""), name)
        assert found is vars(aiostreams)[name], "looked up once"
    assert set(aiostreams._MODULES) == set(checked)


def test_a_name_that_is_not_there_is_an_error() -> None:
    with pytest.raises(AttributeError, match="module 'aiostreams' has no 'strem'"):
        aiostreams.strem  # type: ignore[attr-defined] # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'strem'"):
        from aiostreams import strem  # type: ignore[attr-defined] # noqa: F401


def test_the_import_loads_nothing_until_a_name_is_used() -> None:
    ran = python(
        "import sys, aiostreams\n"
        "def loaded(): return {n for n in sys.modules if 'aiostreams' in n}\n"
        "assert loaded() == {'aiostreams'}, loaded()\n"
        "assert 'setup' in dir(aiostreams)\n"
        "assert 'asyncio' not in sys.modules\n"
        "aiostreams.KiB\n"
        "assert loaded() == {'aiostreams', 'aiostreams.limits'}, loaded()\n"
    )
    assert (ran.returncode, ran.stderr) == (0, b"")


def test_no_request_waits_for_an_import() -> None:
    """Once an application runs, handlers may use any name without a word before.

    But what they can only be written with is there by then.
    """
    ran = python(
        "import asyncio, sys, aiostreams\n"
        "from aiohttp import web\n"
        "async def main():\n"
        "    runner = web.AppRunner(aiostreams.setup(web.Application()))\n"
        "    await runner.setup()\n"
        "    for name, module in aiostreams._MODULES.items():\n"
        "        if f'aiostreams.{module}' not in sys.modules: print(name)\n"
        "    await runner.cleanup()\n"
        "asyncio.run(main())\n"
    )
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert set(ran.stdout.decode().split()) == set(
        """
        Channel DiskStorage EncryptedStorage MemoryStorage ObjectStorage storage_from_url
        MemoryLedger QuotaEntry QuotaLedger QuotaStorage
        Result RouteTableDef handler expect_continue body_schema problem_responses clamd
        resumable resumable_route ResumableUpload ResumableUploads upload_of
        """.split()  # noqa: SIM905 - reads as the list it is
    )


def test_a_folder_does_not_take_the_name_of_what_is_exported() -> None:
    ran = python(
        "import aiostreams.resumable.state, aiostreams\n"
        "assert aiostreams.resumable.__module__ == 'aiostreams.web.resumable.route'\n"
        "import aiostreams.resumable.engine\n"
        "from aiostreams import resumable\n"
        "assert callable(resumable) and resumable is aiostreams.resumable\n"
        "from aiostreams.resumable import state\n"
    )
    assert (ran.returncode, ran.stderr) == (0, b"")


def test_values_are_pickled_by_a_program_that_imported_nothing_else() -> None:
    data = pickle.dumps([aiostreams.Limits(max_parts=3), aiostreams.LimitExceeded])
    ran = python(
        "import pickle, aiostreams\n"
        f"limits, error = pickle.loads({data!r})\n"
        "assert limits == aiostreams.Limits(max_parts=3)\n"
        "assert error is aiostreams.LimitExceeded\n"
    )
    assert (ran.returncode, ran.stderr) == (0, b"")


@pytest.mark.parametrize("face", FACES)
def test_a_face_passes_on_names_that_are_described(face: str) -> None:
    module = importlib.import_module(face)
    assert module.__all__ == FACES[face]
    assert not set(FACES[face]) & set(aiostreams.__all__)
    for name in FACES[face]:
        assert inspect.getdoc(getattr(module, name))


def test_star_import_gives_every_name() -> None:
    names: dict[str, object] = {}
    exec("from aiostreams import *", names)
    assert set(aiostreams.__all__) <= set(names)


@pytest.mark.parametrize("name", aiostreams.__all__)
def test_export_is_described(name: str) -> None:
    exported = getattr(aiostreams, name)
    if isinstance(exported, int | types.UnionType):
        return  # KiB and its like are told by their names, Result by its members
    doc = vars(exported).get("__doc__") or exported.__doc__
    assert doc, "no docstring"
    if isinstance(exported, type):
        assert all(doc != base.__doc__ for base in exported.__mro__[1:]), "inherited"
        for method, value in vars(exported).items():
            if method.startswith("_") or not callable(value):
                continue
            assert inspect.getdoc(getattr(exported, method)), f"{name}.{method}"


@pytest.mark.parametrize("module_name", MODULES)
def test_module_says_what_it_exports(module_name: str) -> None:
    module = importlib.import_module(module_name)
    tree = ast.parse(Path(module.__file__ or "").read_text())
    assert ast.get_docstring(tree), "a module opens with its plan"
    defined = {
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
    }
    exported = set(module.__all__)
    assert len(module.__all__) == len(exported)
    assert defined <= exported, "public by its name, and not in __all__"
    for name in exported:
        value = getattr(module, name)
        home = getattr(value, "__module__", module_name)
        # An alias of a type is at home where it is named.
        if (
            home != "typing"
            and module_name not in FACES
            and (inspect.isclass(value) or inspect.isfunction(value))
        ):
            # It may pass on what its own layer has, and nothing from outside.
            assert home.split(".")[:2] == module_name.split(".")[:2], home


def test_import_is_quiet() -> None:
    """Optional libraries are not needed for the import, nor warned about."""
    ran = python(
        "import sys\n"
        "for name in ('isal', 'zlib_ng', 'brotli', 'backports.zstd',"
        " 'msgspec', 'pydantic'):\n"
        "    sys.modules[name] = None\n"
        "from aiostreams import *\n"
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")


def python(code: str) -> subprocess.CompletedProcess[bytes]:
    """Run a program of its own, in which nothing was imported before.

    Without asyncio's debug mode, which writes what takes long on a busy machine.
    """
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONASYNCIODEBUG"}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment,
        capture_output=True,
        check=False,
    )
