"""A release says what it is: its tag, its version and its changelog agree."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PYPROJECT = '[project]\nversion = "1.2.3"\n'
CHANGELOG = """# Changelog

## 1.2.3 (2026-11-29)

- News.

## 1.2.2 (2026-10-01)

## 1.3.0 (unreleased)

- More.
"""


@pytest.fixture(scope="module")
def release() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release", ROOT / ".ci/release.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_notes_are_the_section_of_the_version(release: ModuleType) -> None:
    assert release.notes(CHANGELOG, "1.2.3") == "- News.\n"
    release.check("v1.2.3", PYPROJECT, CHANGELOG)


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("1.2.2", "is empty"),
        ("1.3.0", "has no date"),
        ("1.2", "no section 1.2"),
        ("2.0.0", "no section 2.0.0"),
    ],
)
def test_a_version_without_notes_is_not_released(
    release: ModuleType, version: str, message: str
) -> None:
    pyproject = PYPROJECT.replace("1.2.3", version)
    with pytest.raises(ValueError, match=message):
        release.check(f"v{version}", pyproject, CHANGELOG)


@pytest.mark.parametrize("tag", ["1.2.3", "v1.2.4", "v1.2", "v1.2.3rc1"])
def test_a_tag_of_another_version_is_not_released(
    release: ModuleType, tag: str
) -> None:
    with pytest.raises(ValueError, match=r"expected v1\.2\.3"):
        release.check(tag, PYPROJECT, CHANGELOG)
