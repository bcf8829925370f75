"""Reverse proxies in front of servers, nginx and Caddy with their default settings, as processes that tests start.

nginx by default sends HTTP/1.0 with `Connection: close` to its upstreams, after it has read the whole body; Caddy sends
HTTP/1.1 and forwards the body as it arrives.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from tests.support.polling import wait_until
from tests.support.processes import free_port, get

_FOLDERS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@contextmanager
def nginx(folder: Path, upstreams: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """Run nginx in front of each upstream until the block ends; yield its addresses by the names of the upstreams.

    Args:
        folder: an empty folder for its configuration and files.
        upstreams: addresses `http://host:port` by name.
    """
    ports = {name: free_port() for name in upstreams}
    sites = "\n".join(
        f"server {{ listen 127.0.0.1:{ports[name]}; client_max_body_size 64m; location / {{ proxy_pass {address}; }} }}"
        for name, address in upstreams.items()
    )
    folders = "\n".join(f"{name}_temp_path {folder / name};" for name in _FOLDERS)
    # everything but `http` only keeps it inside the folder and in the foreground
    configuration = f"""
daemon off;
{"user root;" if os.geteuid() == 0 else ""}
pid {folder / "pid"};
error_log stderr;
events {{}}
http {{
access_log off;
{folders}
{sites}
}}
"""
    file = folder / "nginx.conf"
    file.write_text(configuration)
    with _running(["nginx", "-p", str(folder), "-c", str(file)], folder, ports.values()):
        yield {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}


@contextmanager
def caddy(folder: Path, upstreams: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """Run Caddy in front of each upstream until the block ends; arguments and result are those of `nginx`."""
    ports = {name: free_port() for name in upstreams}
    sites = "\n".join(
        f"http://:{ports[name]} {{\nbind 127.0.0.1\nreverse_proxy {address.removeprefix('http://')}\n}}"
        for name, address in upstreams.items()
    )
    file = folder / "Caddyfile"
    file.write_text("{\nadmin off\n}\n" + sites + "\n")
    command = ["caddy", "run", "--config", str(file), "--adapter", "caddyfile"]
    with _running(command, folder, ports.values()):
        yield {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}


PROXIES: dict[str, Callable[[Path, Mapping[str, str]], AbstractContextManager[Mapping[str, str]]]] = {
    "nginx": nginx,
    "caddy": caddy,
}


def is_installed(name: str) -> bool:
    """Return True if the program of a proxy is installed."""
    return shutil.which(name) is not None


@contextmanager
def _running(command: list[str], folder: Path, ports: Iterable[int]) -> Iterator[None]:
    log = folder / "log"
    environment = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
    try:
        for port in ports:
            wait_until(partial(_responds, process, log, port))
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _responds(process: subprocess.Popen[bytes], log: Path, port: int) -> bool:
    assert process.poll() is None, log.read_text()
    try:
        return get(f"http://127.0.0.1:{port}", "/livez").status == 200
    except OSError:
        return False
