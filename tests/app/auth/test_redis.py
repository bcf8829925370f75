"""Servers that share their rate limits in a real Redis, which goes away and comes back."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.auth import access
from tests.support.processes import ServerProcess, free_port, get, server

REDIS = shutil.which("redis-server")
LIMIT = 20

pytestmark = pytest.mark.skipif(
    REDIS is None, reason="no redis-server is installed (Debian: apt-get install redis-server)"
)


class Redis:
    """A Redis on a port of its own, which keeps nothing."""

    def __init__(self, folder: Path) -> None:
        self.port, self._folder = free_port(), folder
        self.start()

    def start(self) -> None:
        assert REDIS
        options = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen([REDIS, *options], cwd=self._folder, stdout=subprocess.DEVNULL)
        until = time.monotonic() + 20
        while not self._answers():
            assert time.monotonic() < until, "Redis does not answer"
            time.sleep(0.02)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(10)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(7) == b"+PONG\r\n"
        except OSError:
            return False


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    started = Redis(tmp_path)
    yield started
    started.stop()


@pytest.fixture
def pair(tiny_store: Path, redis: Redis) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    """Two servers with one limit, by the day, so that no window ends in a test."""
    settings = {
        "APP_STORE": str(tiny_store),
        "APP_RATE_LIMIT": f"{LIMIT}/day",
        "APP_RATE_LIMIT_URL": f"redis://127.0.0.1:{redis.port}",
    }
    with ExitStack() as running:
        first, second = (running.enter_context(server("tests.support.tiny_server", **settings)) for _ in range(2))
        yield first, second


def left(address: str) -> int:
    """Ask once; how many requests are left, by the answer, or -1 where it was refused."""
    answer = get(address, "/v1/models")
    assert answer.status in (200, 429)
    return int(answer.headers["RateLimit"].split("r=")[1].split(";")[0]) if answer.status == 200 else -1


def test_two_servers_share_one_limit(pair: tuple[ServerProcess, ServerProcess]) -> None:
    first, second = (each.address() for each in pair)
    assert [left(each) for each in (first, second) * (LIMIT // 2)] == list(reversed(range(LIMIT)))
    assert (left(first), left(second)) == (-1, -1)


@pytest.mark.slow  # the servers ask for a lost Redis every ten seconds
def test_a_redis_that_goes_away_takes_no_server_down_and_is_used_again(
    pair: tuple[ServerProcess, ServerProcess], redis: Redis
) -> None:
    first, second = (each.address() for each in pair)
    assert (left(first), left(second)) == (LIMIT - 1, LIMIT - 2)
    redis.stop()
    for address in (first, second):
        assert [left(address) for _ in range(LIMIT + 1)] == [*reversed(range(LIMIT)), -1], "each counts alone"
        assert get(address, "/readyz").status == 200
    for each in pair:
        assert each.log.count("cannot be reached") == 1
    redis.start()
    time.sleep(access._STORAGE_AGAIN_S)
    assert (left(first), left(second)) == (LIMIT - 1, LIMIT - 2), "counted together, and anew: this Redis forgot"
    for each in pair:
        each.terminate()
        assert each.exit_code() == 0
