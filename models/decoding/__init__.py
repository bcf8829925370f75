"""Image decoding and resizing with Pillow, in this process or in worker processes."""
