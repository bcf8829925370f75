"""Decode images in worker processes beside the server."""
