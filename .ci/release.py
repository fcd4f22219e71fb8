"""What a release's tag has to agree with, and what its page says.

python .ci/release.py check v1.2.3   fail unless version and changelog say 1.2.3
python .ci/release.py notes v1.2.3   print the changelog's section of 1.2.3
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def notes(changelog: str, version: str) -> str:
    """Return the section of a version, without its heading.

    Raises:
        ValueError: there is none, it has no date, or it is empty.
    """
    for section in re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]:
        heading, _, text = section.partition("\n")
        if heading.split(" ")[0] != version:
            continue
        if not re.fullmatch(r"\S+ \(\d{4}-\d{2}-\d{2}\)", heading):
            msg = f"CHANGELOG.md: {heading!r} has no date, expected '(YYYY-MM-DD)'"
            raise ValueError(msg)
        if not text.strip():
            msg = f"CHANGELOG.md: the section {version} is empty"
            raise ValueError(msg)
        return text.strip() + "\n"
    msg = f"CHANGELOG.md has no section {version}"
    raise ValueError(msg)


def check(tag: str, pyproject: str, changelog: str) -> None:
    """Raise ValueError unless the tag, the version and the changelog agree."""
    version = tomllib.loads(pyproject)["project"]["version"]
    if tag != f"v{version}":
        msg = f"the tag is {tag}, expected v{version}, as pyproject.toml has it"
        raise ValueError(msg)
    notes(changelog, version)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("check", "notes"))
    parser.add_argument("tag")
    given = parser.parse_args()
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    try:
        if given.action == "check":
            pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
            check(given.tag, pyproject, changelog)
        else:
            sys.stdout.write(notes(changelog, given.tag.removeprefix("v")))
    except ValueError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
