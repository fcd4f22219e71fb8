"""A small file service on aiostreams, to run, to read, and to copy from."""
