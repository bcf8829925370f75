"""Container health check, `python -m app.health`: exit status 0 if the local server is ready, else 1."""

from __future__ import annotations

import http.client
import os
import sys

_TIMEOUT_S = 3


def is_ready(port: int, host: str = "127.0.0.1") -> bool:
    """Return whether `/readyz` responds with 200."""
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if is_ready(int(os.environ.get("APP_PORT") or 8000)) else 1)
