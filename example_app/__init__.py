"""A small file service on aiostreams, to run, to read, and to copy from.

    command.py    the server                  uploads.py    bodies in
    flags.py      what can be said to it      downloads.py  bodies out
    settings.py   what was said               listing.py    what is there, searched
    workers.py    several processes           events.py     what happens, live
    app.py        everything put together     relay.py      a reverse proxy
    security.py   who may ask for what        numbers.py    JSON and NDJSON
    pages.py      HTML, for browsers          media.py      types, and what can be shown
    markup.py     templates

The page itself is in ``templates/`` and ``static/``: plain HTML, CSS and JavaScript
modules, as they are sent.
"""
