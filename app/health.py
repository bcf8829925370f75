"""Container health check, `python -m app.health`: exit status 0 if the local server is ready, else 1.

It asks where APP_HOST and APP_PORT say that the server listens.
"""

from __future__ import annotations

import http.client
import os
import sys

_TIMEOUT_S = 3
_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - of servers that listen everywhere


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
    address = os.environ.get("APP_HOST", "")
    sys.exit(0 if is_ready(int(os.environ.get("APP_PORT") or 8000), _LOOPBACK.get(address, address)) else 1)
