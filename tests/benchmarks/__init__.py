"""What a request costs, in CPU time of the server's process, beside the peers.

``python -m tests.benchmarks [name]`` starts each contestant of a row as a server
process of its own and sends all of them the same prepared bytes, over one kept-alive
connection each. They take turns in short samples, round after round, so that whatever
else the machine does hits all alike, and the ratio of two contestants is taken within
a round. Reported are the medians, and the quartiles of the ratio.

CPU time and not wall time: it is what a server runs out of, and what another process
on the same machine disturbs least. It counts all threads, and the kernel's work for
the process.

* ``contestants``: what a server is, and the decorators that make one of a handler;
* ``serve``: the server process;
* ``client``: prepared requests over a blocking socket;
* ``measure``: rows, targets, rounds;
* ``report``: the table, and the same as JSON;
* one module for each area: ``ROWS``, and the handlers they compare.
"""
