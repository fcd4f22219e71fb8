"""The tables of README.md and the documentation that are made from the source.

``python -m tests.readme`` writes them into their pages; tests hold them to be current.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import tokenize
from pathlib import Path

from aiostreams import GiB, KiB, Limits, MiB, errors, limits
from tests.peers.answers import comparison_table

README = Path(__file__).parents[1] / "README.md"
REFERENCE = README.parent / "docs" / "reference"
TABLED = (
    README,
    REFERENCE / "limits.md",
    REFERENCE / "errors.md",
    REFERENCE.parent / "comparison.md",
)


def limits_table() -> str:
    """Every ceiling with its default, and the reason that stands above it."""
    rows = ["| limit | default | what it limits, and why |", "|---|---|---|"]
    reasons = _comments_above_fields(Path(limits.__file__))
    for field in dataclasses.fields(Limits):
        value = _human(field.name, field.default)
        rows.append(f"| `{field.name}` | {value} | {reasons[field.name]} |")
    return "\n".join(rows)


def _comments_above_fields(path: Path) -> dict[str, str]:
    with path.open("rb") as file:
        comments = {
            token.start[0]: token.string.lstrip("# ")
            for token in tokenize.tokenize(file.readline)
            if token.type == tokenize.COMMENT
        }
    tree = ast.parse(path.read_text())
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            line = node.lineno - 1
            reason: list[str] = []
            while line in comments:
                reason.insert(0, comments[line])
                line -= 1
            found[node.target.id] = " ".join(reason)
    return found


def _human(name: str, value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    assert isinstance(value, int | float)
    if name.endswith(("timeout", "grace")):
        return f"{value:g} s"
    if name == "min_rate":
        return f"{value:g} B/s"
    for unit, size in (("GiB", GiB), ("MiB", MiB), ("KiB", KiB)):
        if value >= size and value % size == 0:
            return f"{value // size} {unit}"
    return f"{value:,}"


def errors_table() -> str:
    """Every error, what else it is, its status, and what it means."""
    rows = ["| error | also a | status | meaning |", "|---|---|---|---|"]
    for name in errors.__all__:
        error = getattr(errors, name)
        if not name[0].isupper():
            continue  # makes one, or a piece of one
        also = [
            base.__name__ for base in error.__bases__ if base.__module__ == "builtins"
        ]
        if name == "ClientGone":
            status = "none is sent"
        elif name == "StorageError":
            status = "507, 503 or 500"
        else:
            status = str(error.status)
        also_a = f"`{also[0]}`" if also and name != "StreamError" else ""
        meaning = (inspect.getdoc(error) or "").partition("\n")[0].replace("``", "`")
        rows.append(f"| `{name}` | {also_a} | {status} | {meaning} |")
    return "\n".join(rows)


def with_tables(text: str) -> str:
    tables = {
        "limits": limits_table(),
        "errors": errors_table(),
        "comparison": comparison_table(),
    }
    for name, table in tables.items():
        text = re.sub(
            rf"(<!-- {name} -->\n).*?(<!-- end -->)",
            lambda match, table=table: f"{match[1]}{table}\n\n{match[2]}",  # type: ignore[misc]
            text,
            flags=re.DOTALL,
        )
    return text


if __name__ == "__main__":
    for page in TABLED:
        page.write_text(with_tables(page.read_text()))
