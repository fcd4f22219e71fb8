"""What is shipped: built as for a release, installed where nothing else is, and tried.

In an environment with the wheel and no extra, the package is imported and tested, and
whatever needs an extra says which one. ``make matrix`` runs all tests there; here run
those that are quick and have to do with what may be missing.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.shipped import (
    ROOT,
    Environment,
    NoIndex,
    Shipped,
    build,
    clean_environ,
    require_index,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# What `import aiostreams` may load: the three that it asks for, and what they do.
DEPENDENCIES = {
    "aiohappyeyeballs", "aiohttp", "aiosignal", "aiostreams", "attr", "attrs",
    "frozenlist", "idna", "multidict", "propcache", "typing_extensions", "yarl",
}  # fmt: skip
# Features that need an extra, and which.
FEATURES = {
    "EncodedStream(ByteStream(b''), 'br')": "brotli",
    "EncodedStream(ByteStream(b''), 'zstd')": "zstd",
    "ObjectStorage(object())": "s3",
    "EncryptedStorage(MemoryStorage(), {'a': bytes(32)})": "encryption",
    "storage_from_url('s3://bucket/prefix')": "s3",
    "storage_from_url('gs://bucket')": "s3",
    "magic_sniffer()": "magic",
    "opentelemetry_stats()": "opentelemetry",
    "prometheus_stats()": "prometheus",
    "asyncio.run(JSON.decode(ByteStream(b'[]'), type=bytes))": "msgspec",
    "asyncio.run(JSON.decode(ByteStream(b'[]'), type=int))": "pydantic",
}


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    folder = tmp_path_factory.mktemp("shipped")
    try:
        require_index(folder)
    except NoIndex as error:
        pytest.skip(str(error))
    return build(folder / "dist")


@pytest.fixture(scope="module")
def bare(shipped: Shipped, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the wheel, what the tests need, and no extra."""
    environment = Environment(tmp_path_factory.mktemp("bare") / "venv")
    environment.install(f"{shipped.wheel}[test]")
    return environment


def run(environment: Environment, code: str, folder: Path) -> str:
    done = subprocess.run(
        [environment.python, "-W", "error", "-c", code],
        cwd=folder, env=clean_environ(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_is_the_package_and_says_that_it_is_typed(shipped: Shipped) -> None:
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "aiostreams").rglob("*")
        if path.suffix in {".py", ".typed"}
    }
    assert "aiostreams/py.typed" in package
    others = {
        re.sub(r"^aiostreams-[^/]+\.dist-info/", "", name)
        for name in shipped.wheel_names() - package
    }
    assert package <= shipped.wheel_names()
    assert others == {"METADATA", "RECORD", "WHEEL", "licenses/LICENSE"}


def test_the_source_distribution_can_be_tested(shipped: Shipped) -> None:
    names = shipped.sdist_names()
    assert {"Makefile", ".ci/run", "CHANGELOG.md", "LICENSE", "README.md"} <= names
    tests = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("tests/**/*.py")}
    assert {name for name in tests if "/results/" not in name} <= names


def test_import_takes_what_is_asked_for_and_nothing_else(
    bare: Environment, tmp_path: Path
) -> None:
    code = (
        "import sys, aiostreams\n"
        "tops = {name.partition('.')[0] for name in sys.modules}\n"
        "print(*sorted(tops - sys.stdlib_module_names))\n"
        "print(aiostreams.__file__)"
    )
    modules, file = run(bare, code, tmp_path).splitlines()
    loaded = {name for name in modules.split() if not name.startswith("_")}
    # The second is Debian's.
    assert loaded - {"cython_runtime", "sitecustomize"} <= DEPENDENCIES
    assert Path(file).is_relative_to(bare.python.parents[1])


@pytest.fixture(scope="module")
def answers(bare: Environment, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What is said where each feature is used and its library is missing."""
    code = "import asyncio\nfrom aiohttp import web\nfrom aiostreams import *\n"
    code += "from aiostreams.sniffing import *\nfrom aiostreams.stats import *\n"
    for feature in FEATURES:
        code += f"try: {feature}\nexcept Exception as error: print(error)\n"
        code += "else: print('nothing is missing')\n"
    return run(bare, code, tmp_path_factory.mktemp("nowhere")).splitlines()


@pytest.mark.parametrize("feature", FEATURES)
def test_what_is_missing_is_named_with_its_extra(
    feature: str, answers: list[str]
) -> None:
    extra = FEATURES[feature]
    assert extra in PROJECT["optional-dependencies"]
    answer = answers[list(FEATURES).index(feature)]
    if extra == "zstd" and sys.version_info >= (3, 14):  # comes with Python
        assert answer == "nothing is missing"
    else:
        assert f"aiostreams[{extra}]" in answer


def test_every_extra_is_asked_for_by_name() -> None:
    """Those that only make things faster need not be."""
    users = set(PROJECT["optional-dependencies"]) - {
        "all", "bench", "dev", "docs", "fuzz", "plugins", "release", "speedups", "test",
    }  # fmt: skip
    assert set(FEATURES.values()) == users


def test_without_extras_the_rest_works(bare: Environment) -> None:
    done = bare.test_installed(
        "-q", "tests/test_exports.py", "tests/test_extras.py",
        "tests/content/test_json.py", "tests/content/test_jsontext.py",
        "tests/content/test_models.py", "tests/content/test_fieldtext.py",
        "tests/codings/test_registry.py", "tests/codings/test_zlib_backend.py",
        "tests/uploads/test_formmodel.py", "tests/storage/test_url.py",
        "tests/web/test_errors.py", "tests/web/test_iter_json.py",
        "tests/example_app/test_app.py",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    skipped = set(re.findall(r"SKIPPED \[\d+\] \S+: (.*)", done.stdout))
    assert skipped
    assert all(re.fullmatch(r"needs the extra \w+", reason) for reason in skipped)
