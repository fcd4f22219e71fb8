"""What aiostreams and its peers do with the same requests, found out by sending them.

* ``contenders``: one small upload handler for each way, written as its documentation
  shows, with its own defaults;
* ``wire``: forms, and connections that break off;
* ``probes``: one question each, asked of a running server, answered in a few words;
* ``answers``: all answers in one file, ``docs/benchmarks/comparison.json``, and the
  table that is made of it.

``python -m tests.peers`` asks everybody everything and writes the file; the tests ask
again, and hold it to what they hear.
"""
