"""``python -m tests.peers``: ask everybody everything, and write the answers down."""

from __future__ import annotations

import json

from tests.peers.answers import COMPARISON, ask_all, comparison_table

if __name__ == "__main__":
    text = json.dumps(ask_all(), indent=1, ensure_ascii=False)
    COMPARISON.write_text(f"{text}\n")
    print(comparison_table())
