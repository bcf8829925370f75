"""Callers: what identifies them, and how many requests each may have at a time."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from app.auth.access import AccessControl, Caller
from app.auth.keys import Role, add_key
from app.errors import ConcurrencyLimited, Forbidden, RateLimited, Unauthorized
from app.settings import Settings

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("address", "caller"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.2", "192.0.2.2"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        (None, "unknown"),
        ("", "unknown"),
        ("a socket", "unknown"),
    ],
)
def test_address_stands_for_its_subscriber(address: str | None, caller: str) -> None:
    access = AccessControl(Settings())
    assert access.authenticate(None, address) == access.anonymous_caller(address) == Caller(f"address:{caller}")


def test_only_an_admin_has_the_role_of_one() -> None:
    Caller("a").require(Role.USER)
    Caller("a", Role.ADMIN).require(Role.ADMIN)
    with pytest.raises(Forbidden):
        Caller("a").require(Role.ADMIN)


def test_key_identifies_its_caller_wherever_it_comes_from(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    key = add_key(path, "laptop", Role.ADMIN)
    access = AccessControl(Settings(api_keys_file=path))
    assert access.needs_key
    for address in ("192.0.2.1", None):
        assert access.authenticate(key, address) == Caller("key:laptop", Role.ADMIN, "laptop")
    for wrong in (None, "", "wrong"):
        with pytest.raises(Unauthorized):
            access.authenticate(wrong, "192.0.2.1")


def test_file_of_keys_is_checked_for_changes_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, now = tmp_path / "keys", 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    add_key(path, "laptop", Role.USER)
    access = AccessControl(Settings(api_keys_file=path))
    for seconds, is_known in ((0.5, False), (1.0, False), (1.1, True)):
        key = add_key(path, f"phone{seconds}", Role.USER)
        now = 100 + seconds
        if is_known:
            assert access.authenticate(key, None).key_name == f"phone{seconds}"
        else:
            with pytest.raises(Unauthorized):
                access.authenticate(key, None)


async def test_caller_may_have_as_many_requests_at_a_time_as_the_limit() -> None:
    access, one, other = AccessControl(Settings(max_concurrent=2)), Caller("one"), Caller("other")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(access.acquire(one))
        await stack.enter_async_context(access.acquire(one))
        with pytest.raises(ConcurrencyLimited) as rejected:
            await stack.enter_async_context(access.acquire(one))
        assert rejected.value.retry_after_s == 1
        await stack.enter_async_context(access.acquire(other))
    async with access.acquire(one):
        assert dict(access._concurrent) == {"one": 1}
    assert not access._concurrent, "callers without requests are forgotten"


async def test_rejected_request_is_not_counted_as_running() -> None:
    access, caller = AccessControl(Settings(max_concurrent=1, rate_limit="1/hour")), Caller("one")
    async with access.acquire(caller):
        pass
    for _ in range(2):
        with pytest.raises(RateLimited):
            async with access.acquire(caller):
                pass
    assert not access._concurrent
