"""A body as sites with comments answer it: JSON of prose, ids, names and times.

The rows of ``json_bodies`` differ from one another by counters and shrink to a
twelfth, as tables do; prose does not. What makes compressors look good or bad differs
between the two, so both are measured. The text is Python's own help.
"""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import json
import random
import re
import uuid
from pydoc_data.topics import topics
from typing import Any

__all__ = ["comments"]


@functools.cache
def _sentences() -> list[str]:
    text = " ".join(topics[name] for name in sorted(topics))
    text = re.sub(r"\s+", " ", text)
    return [piece for piece in re.split(r"(?<=[.:]) ", text) if 20 < len(piece) < 300]


@functools.cache
def comments(size: int) -> bytes:
    """About ``size`` bytes of JSON, the same ones at every call."""
    draw = random.Random(7)
    sentences = _sentences()
    text = itertools.cycle(sentences)
    words = sorted(
        {word for line in sentences for word in re.findall(r"[a-z]{4,}", line)}
    )
    time = dt.datetime(2026, 1, 1)
    rows: list[dict[str, Any]] = []
    length = 2
    while length < size:
        time += dt.timedelta(seconds=draw.randrange(4000))
        name = draw.choice(words)
        row = {
            "id": str(uuid.UUID(int=draw.getrandbits(128))),
            "created_at": time.isoformat() + "Z",
            "author": {"name": name, "url": f"/users/{draw.randrange(50_000)}"},
            "text": " ".join(next(text) for _ in range(draw.randrange(1, 4))),
            "votes": draw.randrange(500),
            "tags": [draw.choice(words[:60]) for _ in range(draw.randrange(4))],
            "edited": draw.random() < 0.1,
            "parent": None,
        }
        rows.append(row)
        length += len(json.dumps(row)) + 2
    return json.dumps(rows).encode()
