"""A typed client, generated from the OpenAPI document of a server process and used with that server."""

from __future__ import annotations

import base64
import importlib
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest

from tests.support.encoded_images import encoded
from tests.support.paths import ROOT

NAME = "generated_client"
RED, BLUE = encoded("red"), encoded("blue", "JPEG")


@pytest.fixture(scope="module")
def package(tiny_address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Generate the package, with warnings as errors, and return a function that imports its modules."""
    folder = tmp_path_factory.mktemp("client")
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning", "--meta", "none"]
    where = ["--url", f"{tiny_address}/openapi.json", "--config", str(ROOT / "docs/client.yml")]
    done = subprocess.run([*command, *where, "--output-path", folder / NAME], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield lambda name: importlib.import_module(f"{NAME}.{name}")


@pytest.fixture(scope="module")
def client(package: Any, tiny_address: str) -> Iterator[Any]:
    with package("client").Client(base_url=tiny_address) as client:
        yield client


@pytest.fixture
def models(package: Any) -> Any:
    return package("models")


@pytest.fixture
def file(package: Any) -> Any:
    return lambda image, name="a.png": package("types").File(payload=BytesIO(image), file_name=name)


def test_classify_accepts_every_form_of_body(package: Any, client: Any, models: Any, file: Any) -> None:
    classify = package("api.classify.classify")
    in_json = models.ImageJson(image=base64.b64encode(RED).decode())
    for body in (models.ImageForm(file=file(RED)), file(RED), in_json):
        result = classify.sync(client=client, body=body, top_k=2, x_request_id="mine")
        assert isinstance(result, models.Classification)
        assert (result.model, result.version, result.request_id) == ("colours", 2, "mine")
        assert (result.predictions[0].label, len(result.predictions)) == ("red", 2)
        assert result.timing_ms.total > 0


def test_several_models(package: Any, client: Any, models: Any, file: Any) -> None:
    comparison = package("api.classify.classify").sync(client=client, body=file(BLUE), model="colours@1,far")
    assert isinstance(comparison, models.Comparison)
    assert [(result.model, result.predictions[0].label) for result in comparison.results] == [
        ("colours", "blue"),
        ("far", "blue"),
    ]


def test_batch_with_a_failed_image(package: Any, client: Any, models: Any, file: Any) -> None:
    body = models.ImagesForm(files=[file(RED, "red.png"), file(b"text", "notes.txt"), file(BLUE, "blue.jpg")])
    batch = package("api.classify.classify_batch").sync(client=client, body=body)
    first, failed, last = batch.items
    assert [first.result.predictions[0].label, last.result.predictions[0].label] == ["red", "blue"]
    assert isinstance(failed.error, models.Problem)
    assert (failed.filename, failed.error.code, failed.error.status) == ("notes.txt", "unsupported_format", 415)


def test_features(package: Any, client: Any, file: Any) -> None:
    assert len(package("api.classify.embed").sync(client=client, body=file(RED)).features) == 12


def test_models_and_health(package: Any, client: Any, models: Any) -> None:
    listed = package("api.models.list_models").sync(client=client).models
    assert [(model.name, model.version) for model in listed][:2] == [("colours", 2), ("colours", 1)]
    shown = package("api.models.show_model").sync("colours", client=client)
    assert shown.metrics["test"].accuracy_interval == [0.7, 0.8]
    assert package("api.health.readyz").sync(client=client) == models.Health(status="ok")


def test_torchserve_and_the_open_inference_protocol(package: Any, client: Any, models: Any, file: Any) -> None:
    scores = package("api.torch_serve.predict").sync("colours", client=client, body=file(RED))
    assert max(scores.additional_properties, key=scores.additional_properties.get) == "red"
    image = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(BLUE).decode()]}
    output = {"name": "probabilities", "parameters": {"classification": 1}}
    body = models.InferRequest.from_dict({"inputs": [image], "outputs": [output]})
    response = package("api.open_inference_protocol.infer").sync("colours", client=client, body=body)
    assert response.outputs[0].data[0].endswith(":blue")


def test_errors_are_parsed_into_their_types(package: Any, client: Any, models: Any, file: Any) -> None:
    response = package("api.classify.classify").sync_detailed(client=client, body=file(RED), model="none")
    assert (response.status_code, type(response.parsed)) == (404, models.Problem)
    assert response.parsed.code == "model_not_found"
    error = package("api.open_inference_protocol.model_metadata").sync("none", client=client)
    assert isinstance(error, models.V2Error)
    assert "colours@2" in error.error
