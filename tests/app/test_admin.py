"""Loading and unloading while the server runs, and by whom."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from app.keys import Role, add
from tests.app.conftest import Serve
from tests.app.pictures import encoded

pytestmark = pytest.mark.anyio

PICTURE = encoded()


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def admin(keys_file: Path) -> dict[str, str]:
    return {"X-API-Key": add(keys_file, "operator", Role.ADMIN)}


@pytest.fixture
def user(keys_file: Path) -> dict[str, str]:
    return {"X-API-Key": add(keys_file, "laptop", Role.USER)}


def labels(response: httpx.Response) -> list[str]:
    assert response.status_code == 200, response.text
    return [f"{each['name']}@{each['version']}" for each in response.json()["models"]]


async def test_a_model_is_unloaded_and_loaded_again(serve: Serve, keys_file: Path, admin: dict[str, str]) -> None:
    async with serve(api_keys_file=keys_file) as client:
        client.headers.update(admin)
        everything = labels(await client.get("/v1/models"))
        left = labels(await client.post("/v1/models/colours/unload?version=2"))
        assert left == [each for each in everything if each != "colours@2"]
        assert (await client.post("/v1/classify?model=colours", content=PICTURE)).json()["version"] == 1
        assert (await client.post("/v1/classify?model=colours@2", content=PICTURE)).status_code == 404
        assert "colours@1" not in labels(await client.post("/v1/models/colours/unload"))
        assert labels(await client.post("/v1/models/colours/load")) == everything
        assert (await client.post("/v1/classify?model=colours", content=PICTURE)).json()["version"] == 2


async def test_the_last_model_stays(serve: Serve, keys_file: Path, admin: dict[str, str]) -> None:
    async with serve(api_keys_file=keys_file) as client:
        client.headers.update(admin)
        for name in ("colours", "tones"):
            assert (await client.post(f"/v1/models/{name}/unload")).status_code == 200
        refused = await client.post("/v1/models/far/unload")
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
        assert labels(await client.get("/v1/models")) == ["far@1"]


async def test_a_default_that_was_set_stays(serve: Serve, keys_file: Path, admin: dict[str, str]) -> None:
    async with serve(api_keys_file=keys_file, default_model="far") as client:
        client.headers.update(admin)
        refused = await client.post("/v1/models/far/unload")
        assert (refused.status_code, "APP_DEFAULT_MODEL" in refused.json()["detail"]) == (409, True)
        assert "far@1" in labels(await client.get("/v1/models"))


@pytest.mark.parametrize("action", ["load", "unload"])
async def test_what_is_not_there_is_404(serve: Serve, keys_file: Path, admin: dict[str, str], action: str) -> None:
    async with serve(api_keys_file=keys_file) as client:
        assert (await client.post(f"/v1/models/nosuch/{action}", headers=admin)).status_code == 404


@pytest.mark.parametrize("action", ["load", "unload"])
async def test_admin_addresses_are_for_admin_keys(
    serve: Serve, keys_file: Path, user: dict[str, str], action: str
) -> None:
    address = f"/v1/models/colours/{action}"
    async with serve(api_keys_file=keys_file) as client:
        assert (await client.post(address)).status_code == 401
        refused = await client.post(address, headers=user)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    async with serve() as client:  # nobody has one where there are no keys
        assert (await client.post(address)).status_code == 403
        assert "colours@2" in labels(await client.get("/v1/models"))
