"""An hour of mixed traffic on the example app, under limits of memory and files."""
