"""Files on the local disk, read and written in worker threads."""
