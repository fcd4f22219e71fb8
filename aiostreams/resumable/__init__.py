"""An upload that grows over several requests, whoever serves them."""
