"""Whether the server holds out: hours of mixed load, clients that hang up, and ends in the middle of work."""
