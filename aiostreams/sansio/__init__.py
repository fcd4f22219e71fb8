"""Bytes in, events out: HTTP's grammars as pure code.

Nothing here knows asyncio, files or aiohttp, so each module can be fed any way
bytes arrive, and fuzzed without a server.
"""
