"""Resumable uploads on an ordinary handler."""
