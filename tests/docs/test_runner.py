"""What runs the pages notices when one is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.page import Page
from tests.docs.session import Session

SERVER = """
```python title="serve.py"
import http.server

print("ready at :8080")
http.server.HTTPServer(
    ("127.0.0.1", 8080), http.server.SimpleHTTPRequestHandler
).serve_forever()
```
"""


def page_of(folder: Path, text: str) -> Page:
    path = folder / "page.md"
    path.write_text(text)
    return Page(path, folder)


def session_of(folder: Path, text: str) -> Session:
    page = page_of(folder, text)
    room = folder / "room"
    room.mkdir()
    return Session(page, room, {})


def test_blocks_are_found_with_what_is_said_of_them(tmp_path: Path) -> None:
    text = (
        "# Title\n\n```python\na = 1\n```\n\n- in a list\n\n"
        "    <!-- not run: a reason -->\n    ```toml\n    b = 2\n    ```\n"
    )
    first, second = page_of(tmp_path, text).blocks
    assert (first.language, first.text, first.line) == ("python", "a = 1\n", 4)
    assert (second.text, second.line, second.excuse) == ("b = 2\n", 11, "a reason")


@pytest.mark.parametrize(
    "block",
    [
        '```python title="unused.py"\npass\n```',
        '```nginx title="unused.conf"\n```',
        "```toml\na = 1\n```",
        "```\nno language\n```",
    ],
)
def test_a_stray_block_is_named(block: str, tmp_path: Path) -> None:
    page = page_of(tmp_path, f"{block}\n\n```console\n$ true\n```\n")
    [stray] = page.stray
    assert stray.startswith("page.md:2: ")
    excused = f"<!-- not run: as a test -->\n{page.text}"
    assert page_of(tmp_path, excused).stray == []


def test_a_fence_that_does_not_close_is_seen(tmp_path: Path) -> None:
    page = page_of(tmp_path, "```python\npass\n```\n\n~~~\n")
    assert page.fences != 2 * len(page.blocks)


def test_a_module_that_is_missing_is_named(tmp_path: Path) -> None:
    text = "<!-- needs: json -->\n```python run\nimport nobody.has.it\n```\n"
    assert page_of(tmp_path, text).missing == "nobody"
    text = text.replace("json", "another")
    assert page_of(tmp_path, text).missing == "another"


@pytest.mark.parametrize(
    ("output", "right"),
    [("one\ntwo\n", True), ("o...o\n", True), ("one\n", False), ("one\n...x\n", False)],
)
def test_output_is_compared(output: str, right: bool, tmp_path: Path) -> None:
    text = f"```console\n$ printf 'one\\ntwo\\n'\n{output}```\n"
    session = session_of(tmp_path, text)
    if right:
        session.run()
    else:
        with pytest.raises(AssertionError, match=r"page\.md:2: \$ printf"):
            session.run()


def test_a_server_is_waited_for_and_ended(tmp_path: Path) -> None:
    """On a port of its own, which is called as on the page."""
    session = session_of(
        tmp_path,
        SERVER
        + "```console\n$ python serve.py &\nready at :8080\n$ ls\nserve.py\n```\n",
    )
    session.run()
    assert f":{session.ports['8080']}" in (session.folder / "serve.py").read_text()
    assert [server.poll() is not None for server in session.servers] == [True]


def test_a_page_ends_the_server_that_was_started_last(tmp_path: Path) -> None:
    session = session_of(
        tmp_path,
        SERVER + "```console\n$ python serve.py &\n$ kill %%; wait\n"
        "$ python serve.py &\n$ kill %%; wait\n"
        "$ curl -s http://127.0.0.1:8080/ || echo gone\ngone\n```\n",
    )
    session.run()
    assert [server.poll() is not None for server in session.servers] == [True, True]


def test_a_server_that_ends_is_reported_with_what_it_said(tmp_path: Path) -> None:
    text = SERVER.replace('print("ready at :8080")', 'raise SystemExit("no room")')
    session = session_of(tmp_path, text + "```console\n$ python serve.py &\n```\n")
    with pytest.raises(AssertionError, match="no room"):
        session.run()


def test_a_traceback_of_a_server_is_an_accident(tmp_path: Path) -> None:
    handler = "http.server.SimpleHTTPRequestHandler"
    text = SERVER.replace(handler, "lambda *_: 1 / 0")
    session = session_of(
        tmp_path,
        text + "```console\n$ python serve.py &\n"
        "$ python -c \"import socket as s; s.create_connection(('127.0.0.1', 8080))"
        '.recv(1)"\n```\n',
    )
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        session.run()
