"""The client against a server with API keys and rate limits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.auth.keys import Role, add_key
from models.errors import ServerError
from models.offline import client
from tests.support import coarser_colours
from tests.support.colour_images import COLOURS
from tests.support.encoded_images import encoded
from tests.support.processes import server


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys"


@pytest.fixture(scope="module")
def key(keys_file: Path) -> str:
    return add_key(keys_file, "laptop", Role.USER)


@pytest.fixture(scope="module")
def address(tiny_store: Path, keys_file: Path, key: str) -> Iterator[str]:
    settings = {"APP_API_KEYS_FILE": str(keys_file), "APP_MAX_CONCURRENT": "2", "TINY_DELAY_S": "0.05"}
    with server("tests.support.tiny_server", APP_STORE=str(tiny_store), **settings) as process:
        yield process.address()


@pytest.fixture
def images(tmp_path: Path) -> dict[str, Path]:
    for colour in COLOURS:
        (tmp_path / colour).write_bytes(encoded(colour))
    return {colour: tmp_path / colour for colour in COLOURS}


def top_labels(address: str, images: dict[str, Path]) -> dict[str, str]:
    results = client.classify(address, images, "colours", 1, lambda name, reason: pytest.fail(f"{name}: {reason}"))
    return {name: answer.predictions[0][0] for name, answer in results}


def test_key_in_the_environment_is_used_and_rate_limits_are_awaited(
    address: str, key: str, images: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(client.KEY_VARIABLE, key)
    assert top_labels(address, images) == {colour: colour for colour in COLOURS}


@pytest.mark.parametrize("wrong", ["", "wrong", "schlüssel"])
def test_wrong_key_names_the_environment_variable(
    address: str, images: dict[str, Path], monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setenv(client.KEY_VARIABLE, wrong)
    with pytest.raises(ServerError, match=client.KEY_VARIABLE) as raised:
        top_labels(address, images)
    assert "\n" not in str(raised.value)
    assert not wrong or f" {wrong}" not in str(raised.value)


def test_coarser_classes_of_the_server_are_returned(tmp_path: Path, images: dict[str, Path]) -> None:
    coarser_colours.build(tmp_path / "store")
    with server("tests.support.tiny_server", APP_STORE=str(tmp_path / "store")) as process:

        def parents(model: str) -> list[list[str] | None]:
            answers = client.classify(process.address(), images, model, 1, lambda *failure: pytest.fail(str(failure)))
            return [None if answer.parents is None else [label for label, _ in answer.parents] for _, answer in answers]

        cold, warm = ["cold", "colour"], ["warm", "colour"]
        assert dict(zip(images, parents("shades"), strict=True)) == {
            "blue": cold, "dark": [], "green": cold, "red": warm, "white": [], "yellow": warm,
        }  # fmt: skip
        assert set(parents("colours")) == {None}
