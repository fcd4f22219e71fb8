"""Storages for objects: in memory, on disk, in object stores."""
