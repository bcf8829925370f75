"""Middleware around every request, as pure ASGI."""
