"""Another parser's reading of a sequence of requests: h11, which shares no code with httptools."""

from __future__ import annotations

from dataclasses import dataclass, field

import h11

from tests.support.echo_servers import digest


@dataclass
class Reading:
    """Method, target and digest of the body of each request up to the first that is invalid or incomplete.

    `error` says why the next one is invalid; empty if it is only incomplete or follows the end of the connection.
    """

    requests: list[tuple[str, str, str]] = field(default_factory=list)
    error: str = ""


def read(data: bytes) -> Reading:
    """Read bytes as a server that responds to each request at once."""
    connection, reading = h11.Connection(h11.SERVER), Reading()
    connection.receive_data(data)
    method = target = ""
    body = b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                method, target, body = event.method.decode(), event.target.decode("latin-1"), b""
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                reading.requests.append((method, target, digest(body)))
                connection.send(h11.Response(status_code=204, headers=[]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE:
                    return reading
                connection.start_next_cycle()
            else:  # NEED_DATA or PAUSED
                return reading
    except h11.RemoteProtocolError as error:
        reading.error = str(error)
        return reading
