"""Dynamic batching: collect items of concurrent requests and run them together in worker threads."""
