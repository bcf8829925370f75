"""Our own client and a server that is guarded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.auth.keys import Role, add
from models.errors import ServerError
from models.offline import client as remote
from tests.support.encoded_images import encoded
from tests.support.processes import server
from tests.support.tiny_app import COLOURS


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys"


@pytest.fixture(scope="module")
def key(keys_file: Path) -> str:
    return add(keys_file, "laptop", Role.USER)


@pytest.fixture(scope="module")
def address(tiny_store: Path, keys_file: Path, key: str) -> Iterator[str]:
    guarded = {"APP_API_KEYS_FILE": str(keys_file), "APP_MAX_CONCURRENT": "2", "TINY_DELAY_S": "0.05"}
    with server("tests.support.tiny_server", APP_STORE=str(tiny_store), **guarded) as started:
        yield started.address()


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, Path]:
    for colour in COLOURS:
        (tmp_path / colour).write_bytes(encoded(colour))
    return {colour: tmp_path / colour for colour in COLOURS}


def best(address: str, pictures: dict[str, Path]) -> dict[str, str]:
    answers = remote.classify(address, pictures, "colours", 1, lambda name, why: pytest.fail(f"{name}: {why}"))
    return {name: predictions[0][0] for name, predictions in answers}


def test_a_key_in_the_environment_opens_it_and_its_limits_are_waited_for(
    address: str, key: str, pictures: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(remote.KEY_VARIABLE, key)
    assert best(address, pictures) == {colour: colour for colour in COLOURS}


@pytest.mark.parametrize("wrong", ["", "wrong", "schlüssel"])
def test_without_the_right_key_it_is_said_where_to_put_it(
    address: str, pictures: dict[str, Path], monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setenv(remote.KEY_VARIABLE, wrong)
    with pytest.raises(ServerError, match=remote.KEY_VARIABLE) as refused:
        best(address, pictures)
    assert "\n" not in str(refused.value)
    assert not wrong or f" {wrong}" not in str(refused.value)
