"""The glue to aiohttp: requests to streams, values to responses, errors to statuses."""
