"""Statistics of requests, and the callbacks that report them."""
