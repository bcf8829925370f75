"""The server process: listening socket, HTTP protocol, signals, drain and exit code."""
