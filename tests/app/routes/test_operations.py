"""Probes, ids, headers, metrics, settings: what people run the server by."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from app import VERSION
from app.main import create_app
from app.middleware.request_context import SECURITY_HEADERS
from app.settings import Settings
from models.artifacts.catalog import Catalog
from models.artifacts.store import ArtifactVersions
from models.errors import CorruptArtifact
from tests.support.asgi import Serve, running
from tests.support.encoded_images import encoded
from tests.support.paths import ROOT

pytestmark = pytest.mark.anyio

PICTURE = encoded()


def loaded_by(module: str) -> set[str]:
    """Top-level packages that importing a module loads, in a process of its own."""
    script = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(subprocess.check_output([sys.executable, "-c", script], cwd=ROOT, text=True).split())


def test_importing_the_app_loads_no_library_of_machine_learning() -> None:
    assert not {"tensorflow", "keras", "openvino", "xgboost", "sklearn"} & loaded_by("app.server.server")


def test_the_health_check_loads_nothing_of_the_app() -> None:
    assert not {"fastapi", "pydantic", "numpy", "models"} & loaded_by("app.health")


@pytest.mark.parametrize("as_json", [True, False])
def test_a_logged_fault_does_not_show_the_values_of_variables(as_json: bool) -> None:
    script = f"""
import structlog
from app.telemetry.logging import configure_logging
configure_logging("info", {as_json})
def fail(picture): raise ZeroDivisionError
try: fail("sec" + "ret")
except ZeroDivisionError as error: structlog.get_logger("app").error("request failed", exc_info=error)
"""
    log = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stderr
    assert "ZeroDivisionError" in log
    assert "secret" not in log


def test_our_own_entries_and_those_of_libraries_look_alike() -> None:
    script = """
import logging, structlog
from app.telemetry.logging import configure_logging
configure_logging("info", True)
with structlog.contextvars.bound_contextvars(request_id="one"):
    structlog.get_logger("app").warning("ours")
    logging.getLogger("library").warning("theirs")
    structlog.get_logger("app").debug("too much")
"""
    log = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stderr
    ours, theirs = map(json.loads, log.splitlines())
    assert (ours["logger"], ours["event"]) == ("app", "ours")
    assert (theirs["logger"], theirs["event"]) == ("library", "theirs")
    assert list(ours) == list(theirs)


@pytest.mark.parametrize("nowhere", ["/dev/full", "&-"])
def test_a_log_that_cannot_be_written_does_no_harm(nowhere: str) -> None:
    script = """
import structlog
from app.telemetry.logging import configure_logging
configure_logging("info", True)
structlog.get_logger("app").info("request")
print("answered")
"""
    command = ["sh", "-c", f'exec "$0" -c "$1" 2>{nowhere}', sys.executable, script]
    assert subprocess.check_output(command, cwd=ROOT, text=True) == "answered\n"


async def test_until_the_models_are_warm_only_liveness_is_200(tiny_store: Path) -> None:
    go = threading.Event()

    def wait(_settings: Settings, _before: Catalog | None, _hidden: ArtifactVersions) -> Catalog:
        go.wait(10)
        raise CorruptArtifact("a test")

    async with running(create_app(Settings(store=tiny_store), load_models=wait)) as client:
        assert (await client.get("/livez")).status_code == 200
        for path in ("/readyz", "/healthz", "/v1/models"):
            response = await client.get(path)
            assert (response.status_code, response.json()["code"]) == (503, "not_ready")
            assert "Retry-After" in response.headers
        page = await client.get("/")
        assert page.status_code == 503
        assert 'http-equiv="refresh"' in page.text
        go.set()


async def test_models_that_cannot_be_loaded_are_told_to_the_process(tiny_store: Path) -> None:
    failed = threading.Event()

    def refuse(_settings: Settings, _before: Catalog | None, _hidden: ArtifactVersions) -> Catalog:
        raise CorruptArtifact("Refusing the test")

    app = create_app(Settings(store=tiny_store), load_models=refuse, on_failure=failed.set)
    async with running(app) as client:
        assert await asyncio.to_thread(failed.wait, 10)
        assert (await client.get("/readyz")).status_code == 503


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/"])
async def test_head_is_answered_where_get_is(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.head(path)).status_code == 200


@pytest.mark.parametrize("request_id", ["abc-123", "Root=1-67891233-abcdef012345678912345678", "x" * 128])
async def test_a_request_id_is_echoed(client: httpx.AsyncClient, request_id: str) -> None:
    response = await client.post("/v1/classify", content=PICTURE, headers={"X-Request-ID": request_id})
    assert response.headers["X-Request-ID"] == request_id
    assert response.json()["request_id"] == request_id


@pytest.mark.parametrize("request_id", [b"x" * 129, b"a\tb", "é".encode(), b"\x1b[31m"])
async def test_a_request_id_that_cannot_be_repeated_is_replaced(client: httpx.AsyncClient, request_id: bytes) -> None:
    response = await client.get("/livez", headers=[(b"X-Request-ID", request_id)])
    made = response.headers["X-Request-ID"]
    assert len(made) == 32
    assert made.isalnum()


async def test_ids_that_are_made_differ(client: httpx.AsyncClient) -> None:
    ids = {(await client.get("/livez")).headers["X-Request-ID"] for _ in range(5)}
    assert len(ids) == 5


@pytest.mark.parametrize("path", ["/", "/docs", "/v1/models", "/nowhere", "/static/page.css", "/metrics"])
async def test_every_response_has_security_headers(client: httpx.AsyncClient, path: str) -> None:
    headers = (await client.get(path)).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert all(len(headers.get_list(name)) == 1 for name in [*SECURITY_HEADERS, "X-Request-ID"])


async def test_models_are_listed(client: httpx.AsyncClient) -> None:
    models = (await client.get("/v1/models")).json()["models"]
    assert [(each["name"], each["version"], each["default"]) for each in models] == [
        ("colours", 2, True),
        ("colours", 1, False),
        ("far", 1, False),
        ("tones", 1, False),
    ]
    assert set(models[0]) == {"name", "version", "default", "classes", "extractor"}


async def test_a_model_is_described_with_its_figures_and_its_card(client: httpx.AsyncClient) -> None:
    model = (await client.get("/v1/models/colours")).json()
    assert (model["version"], model["extractor"]) == (2, "near_net")
    assert model["metrics"]["test"]["accuracy"] == 0.75
    assert model["card"].startswith("# colours")
    assert (await client.get("/v1/models/colours?version=1")).json()["version"] == 1


def samples(text: str) -> dict[str, float]:
    """Sample name and labels -> value; raises where the text is no valid exposition."""
    return {
        f"{sample.name}{sorted(sample.labels.values())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_metrics_count_and_time_requests(own_client: httpx.AsyncClient) -> None:
    for _ in range(3):
        await own_client.post("/v1/classify", content=PICTURE)
    await own_client.post("/v1/classify", content=b"text")
    await own_client.get("/v1/models/colours")
    await own_client.get("/nowhere/in/particular")
    found = samples((await own_client.get("/metrics")).text)
    assert found["classifier_requests_total['/v1/classify', '200', 'POST']"] == 3
    assert found["classifier_requests_total['/v1/classify', '415', 'POST']"] == 1
    assert found["classifier_requests_total['/v1/models/{name}', '200', 'GET']"] == 1
    assert found["classifier_requests_total['404', 'GET', 'unmatched']"] == 1
    assert found["classifier_request_duration_seconds_count['/v1/classify', 'POST']"] == 4
    assert found["classifier_decode_duration_seconds_count[]"] == 3
    assert found["classifier_queue_duration_seconds_count['near_net']"] == 3
    assert found["classifier_inference_duration_seconds_count['near_net']"] == 3
    assert found["classifier_batch_size_sum['near_net']"] == 3
    assert found["classifier_queue_depth['near_net']"] == 0
    assert found["classifier_model_info['1', 'fixture:float32', 'near_net', 'tones']"] == 1
    assert found["process_resident_memory_bytes[]"] > 0


async def test_probes_do_not_count_as_work_that_was_refused(make_app: Callable[..., FastAPI]) -> None:
    app = make_app()
    async with running(app) as client:
        app.state.app_state.lifecycle.drain()
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/v1/models")).status_code == 503
        found = samples((await client.get("/metrics")).text)
    assert found["classifier_requests_rejected_total['draining']"] == 1


async def test_metrics_can_be_turned_off(serve: Serve) -> None:
    async with serve(metrics_public=False) as client:
        assert (await client.get("/metrics")).status_code == 404


async def test_two_apps_do_not_share_metrics(serve: Serve) -> None:
    async with serve() as one, serve() as other:
        await one.post("/v1/classify", content=PICTURE)
        assert "classifier_decode_duration_seconds_count 0.0" in (await other.get("/metrics")).text


async def test_behind_a_prefix_every_address_has_it(make_app: Callable[..., FastAPI]) -> None:
    transport = httpx.ASGITransport(make_app(root_path="/vision"), root_path="/vision")
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        assert (await client.get("/vision/livez")).status_code == 200
        assert 'href="/vision/static/' in (await client.get("/vision/docs")).text
        assert (await client.get("/vision/static/page.css")).status_code == 200


@pytest.mark.parametrize("prefix", ["", "/vision"])
async def test_the_log_has_the_whole_path_of_a_file(
    make_app: Callable[..., FastAPI], prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    transport = httpx.ASGITransport(make_app(root_path=prefix), root_path=prefix)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        for path in ("/static/page.css", "/static/swagger/swagger-ui.css", "/static/nosuch"):
            await client.get(f"{prefix}{path}")
            assert f"path={path} " in capsys.readouterr().out


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["version"] == VERSION
