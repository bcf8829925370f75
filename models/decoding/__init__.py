"""Image decoding and resizing, in this process or in worker processes."""
