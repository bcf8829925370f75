"""Servers that share their rate limits in a real Redis, which is stopped and started again."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.polling import wait_until
from tests.support.processes import ServerProcess, free_port, get, server

REDIS = shutil.which("redis-server")
LIMIT = 20

pytestmark = pytest.mark.skipif(
    REDIS is None, reason="no redis-server is installed (Debian: apt-get install redis-server)"
)


class Redis:
    """A Redis process that stores nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self.port, self._folder = free_port(), folder
        self.start()

    def start(self) -> None:
        assert REDIS
        options = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen([REDIS, *options], cwd=self._folder, stdout=subprocess.DEVNULL)
        wait_until(self._responds, 20)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(10)

    def _responds(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(7) == b"+PONG\r\n"
        except OSError:
            return False


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    process = Redis(tmp_path)
    yield process
    process.stop()


@pytest.fixture
def pair(tiny_store: Path, redis: Redis) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    """Return two servers that share one limit per day, so that no window ends during a test."""
    settings = {
        "APP_STORE": str(tiny_store),
        "APP_RATE_LIMIT": f"{LIMIT}/day",
        "APP_RATE_LIMIT_URL": f"redis://127.0.0.1:{redis.port}",
    }
    with ExitStack() as running:
        first, second = (running.enter_context(server("tests.support.tiny_server", **settings)) for _ in range(2))
        yield first, second


def remaining(address: str) -> int:
    """Send a request and return the number of requests that are left; -1 if it was rejected."""
    response = get(address, "/v1/models")
    assert response.status in (200, 429)
    return int(response.headers["RateLimit"].split("r=")[1].split(";")[0]) if response.status == 200 else -1


def test_two_servers_share_one_limit(pair: tuple[ServerProcess, ServerProcess]) -> None:
    first, second = (process.address() for process in pair)
    assert [remaining(address) for address in (first, second) * (LIMIT // 2)] == list(reversed(range(LIMIT)))
    assert (remaining(first), remaining(second)) == (-1, -1)


@pytest.mark.slow  # the servers try a lost Redis every ten seconds
def test_servers_count_alone_while_redis_is_down_and_share_it_again(
    pair: tuple[ServerProcess, ServerProcess], redis: Redis
) -> None:
    first, second = (process.address() for process in pair)
    assert (remaining(first), remaining(second)) == (LIMIT - 1, LIMIT - 2)
    redis.stop()
    for address in (first, second):
        assert [remaining(address) for _ in range(LIMIT + 1)] == [*reversed(range(LIMIT)), -1], "each counts alone"
        assert get(address, "/readyz").status == 200
    for process in pair:
        assert process.log.count("Redis is unreachable") == 1
    redis.start()
    wait_until(lambda: remaining(first) == LIMIT - 1)
    wait_until(lambda: remaining(second) == LIMIT - 2)  # counted together; this Redis starts empty
    for process in pair:
        process.terminate()
        assert process.exit_code() == 0
