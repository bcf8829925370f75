"""Parameters that would be ignored are errors that name them."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import httpx
import pytest

from tests.support.encoded_images import encoded

pytestmark = pytest.mark.anyio

IMAGE = encoded()
BASE64 = b64encode(IMAGE).decode()

QUERIES = {
    "models=tones": "models: unknown parameter. Did you mean model?",
    "model_name=tones": "model_name: unknown parameter. Did you mean model?",
    "topk=1": "topk: unknown parameter. Did you mean top_k?",
    "Top-K=1": "Top-K: unknown parameter. Did you mean top_k?",
    "x=1": "x: unknown parameter. Known here: model, threshold, top_k, version.",
    "model=tones&model=colours": "model: given 2 times; send it once. For several models send model=a,b.",
    "top_k=1&top_k=1": "top_k: given 2 times; send it once.",
    "%C3%A4=1": "\\xe4: unknown parameter.",
}


@pytest.mark.parametrize(("query", "message"), QUERIES.items())
@pytest.mark.parametrize("path", ["/v1/classify", "/v1/classify/batch"])
async def test_query_parameter_is_named(client: httpx.AsyncClient, path: str, query: str, message: str) -> None:
    response = await client.post(f"{path}?{query}", files={"file": IMAGE})
    assert (response.status_code, response.json()["code"]) == (422, "bad_parameter")
    assert message in response.json()["detail"]


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/models"])
async def test_query_of_thousands_of_parameters_is_rejected_unparsed(client: httpx.AsyncClient, path: str) -> None:
    response = await client.request("GET" if path.endswith("models") else "POST", f"{path}?{'a&' * 5000}")
    assert response.status_code == 422
    assert "too many parameters" in response.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/embed?top_k=1"),
        ("POST", "/predictions/colours?model=tones"),
        ("POST", "/v2/models/colours/infer?version=1"),
        ("GET", "/v1/models?name=colours"),
        ("GET", "/v1/models/colours?Version=1"),
        ("GET", "/v2?x=1"),
        ("GET", "/v2/models/colours?version=1"),
    ],
)
async def test_every_path_of_the_api_rejects_unknown_parameters(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    response = await client.request(method, path, content=IMAGE if method == "POST" else None)
    assert response.status_code == 422
    assert "unknown parameter" in response.text


@pytest.mark.parametrize(
    "path", ["/livez?t=1", "/readyz?t=1", "/v2/health/live?t=1", "/v2/health/ready?t=1", "/?utm=1"]
)
async def test_probes_and_pages_ignore_unknown_parameters(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize("name", ["model", "models", "top_k", "topK", "threshold", "version"])
@pytest.mark.parametrize("path", ["/v1/classify", "/v1/classify/batch", "/v1/embed", "/predictions/colours"])
async def test_parameter_as_form_field_is_an_error(client: httpx.AsyncClient, path: str, name: str) -> None:
    response = await client.post(path, files={"file": IMAGE}, data={name: "1"})
    assert response.status_code == 422
    assert f"{name}: a form field is not a parameter; send it in the query" in response.json()["detail"]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"model": "tones"}, "model: a JSON key is not a parameter; send it in the query: ?model=..."),
        ({"topk": 3}, "topk: a JSON key is not a parameter; send it in the query: ?top_k=..."),
        ({"images": []}, "images: unknown key of the JSON. Did you mean image?"),
        ({"filename": "a.jpg"}, "filename: unknown key of the JSON. Known here: image."),
    ],
)
async def test_unknown_json_key_is_an_error(client: httpx.AsyncClient, extra: dict[str, Any], message: str) -> None:
    response = await client.post("/v1/classify", json={"image": BASE64, **extra})
    assert response.status_code == 422
    assert message in response.json()["detail"]


async def test_two_files_for_one_image_are_an_error(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/classify", files=[("file", IMAGE), ("data", IMAGE)])
    assert response.status_code == 422
    assert "2 files ('file', 'data')" in response.json()["detail"]
    assert "/v1/classify/batch" in response.json()["detail"]
