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
* ``serve``: the server process, and ``server`` the same from outside;
* ``client``: prepared requests over a blocking socket;
* ``rows``: what is compared, and the targets;
* one module for each area: ``ROWS``, and the handlers they compare;
* ``measure``: rounds and starts; ``crowd``: many uploads at once;
* ``machine``, ``results``: the document that says everything about a run;
* ``figures``, ``table``, ``charts``, ``page``: how it is told, in text and in docs/.
"""
