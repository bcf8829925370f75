"""Every endpoint and the command predict the same probabilities and the same class for the same image."""

from __future__ import annotations

import base64
import json
import struct
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from models.__main__ import app
from models.arrays import Pixels
from models.artifacts.store import Store
from models.preprocess import decode_array
from tests.support.html import Elements
from tests.support.images import encode
from tests.support.manifests import CLASSES
from tests.support.processes import server

Probabilities = dict[str, float]

MODEL = "colours"
TREES = "trees"  # its probabilities are not continuous: rounding of features can change them much
EVERY_CLASS = len(CLASSES)
EXACT = 1e-5  # tolerance of probabilities
PAGE = 6e-5  # tolerance on the page, which shows four digits


def scene(height: int, width: int, seed: int) -> Pixels:
    """Return smooth colour gradients with fine noise: uint8 [height, width, 3]."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (3, 4, 3), dtype=np.uint8))
    soft = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    return np.clip(soft + random.normal(0, 6, soft.shape), 0, 255).astype(np.uint8)


def _rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(scene(240, 330, 2), "JPEG", quality=90, exif=exif)


def _with_alpha() -> bytes:
    alpha = np.linspace(0, 255, 90 * 120).astype(np.uint8).reshape(90, 120, 1)
    return encode(np.concatenate([scene(90, 120, 3), alpha], axis=2), "PNG")


IMAGES = {
    "photo.jpg": encode(scene(400, 600, 1), "JPEG", quality=90),
    "rotated.jpg": _rotated(),
    "alpha.png": _with_alpha(),
    "grey.jpg": encode(Image.fromarray(scene(120, 90, 4)).convert("L"), "JPEG"),
    "source.png": encode(scene(16, 16, 5), "PNG"),  # as small as the classifiers' `source`
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with all images."""
    images_folder = tmp_path_factory.mktemp("images")
    for name, data in IMAGES.items():
        (images_folder / name).write_bytes(data)
    return images_folder


@pytest.fixture(scope="module")
def client(network_store: Store) -> Iterator[httpx.Client]:
    """Yield a client of a server that has the same network and number of threads as the command in this process."""
    settings = {"APP_STORE": str(network_store.root), "APP_DEFAULT_MODEL": MODEL, "APP_THREADS": "1"}
    with server("app", **settings) as started, httpx.Client(base_url=started.address()) as ready:
        yield ready


@pytest.fixture(scope="module")
def expected(network_store: Store, folder: Path) -> dict[str, Probabilities]:
    """Return the predictions of the command for each image in a batch of one, like a single request."""
    return {name: classify_with_command(network_store, folder / name, "--model", MODEL)[name] for name in IMAGES}


# --- the command


def classify_with_command(store: Store, path: Path, *options: str) -> dict[str, Probabilities]:
    """Return the predictions of `python -m models classify` for each file."""
    arguments = ["classify", str(path), "--json", "--top", str(EVERY_CLASS), "--store", str(store.root), *options]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    return {Path(line["file"]).name: by_label(line) for line in lines}


# --- the endpoints


def by_label(result: Any) -> Probabilities:
    return {prediction["label"]: prediction["score"] for prediction in result["predictions"]}


def classify(client: httpx.Client, model: str = MODEL, path: str = "/v1/classify", **body: Any) -> Any:
    return checked(client.post(path, params={"model": model, "top_k": EVERY_CLASS}, **body)).json()


def checked(response: httpx.Response) -> httpx.Response:
    assert response.status_code == 200, response.text
    return response


def classify_batch(client: httpx.Client, images: dict[str, bytes], model: str = MODEL) -> dict[str, Probabilities]:
    files = [("files", item) for item in images.items()]
    items = classify(client, model, "/v1/classify/batch", files=files)["items"]
    return {item["filename"]: by_label(item["result"]) for item in items}


def classify_zip(client: httpx.Client, image: bytes) -> Probabilities:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("image", image)
    headers = {"Content-Type": "application/zip"}
    document = classify(client, path="/v1/classify/batch", content=buffer.getvalue(), headers=headers)
    return by_label(document["items"][0]["result"])


def infer(client: httpx.Client, tensor: dict[str, Any], data: Any) -> Probabilities:
    """Send a V2 inference request; `bytes` are sent and returned as binary data, other data as JSON."""
    path, outputs = f"/v2/models/{MODEL}/infer", [{"name": "probabilities"}]
    if not isinstance(data, bytes):
        document = checked(client.post(path, json={"inputs": [{**tensor, "data": data}], "outputs": outputs})).json()
        return dict(zip(CLASSES, document["outputs"][0]["data"], strict=True))
    tensor = {**tensor, "parameters": {"binary_data_size": len(data)}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    header = "Inference-Header-Content-Length"
    response = checked(client.post(path, content=head + data, headers={header: str(len(head))}))
    return dict(zip(CLASSES, np.frombuffer(response.content[int(response.headers[header]) :], "<f4"), strict=True))


def encoded_tensor(client: httpx.Client, image: bytes, *, binary: bool) -> Probabilities:
    data = struct.pack("<I", len(image)) + image if binary else [base64.b64encode(image).decode()]
    return infer(client, {"name": "image", "datatype": "BYTES", "shape": [1]}, data)


def pixel_tensor(client: httpx.Client, image: bytes, *, binary: bool) -> Probabilities:
    pixels = decode_array(image)
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": [1, *pixels.shape]}
    return infer(client, tensor, pixels.tobytes() if binary else pixels.ravel().tolist())


def classify_on_page(client: httpx.Client, image: bytes) -> Probabilities:
    """Send the form like a browser without JavaScript; read the probabilities from the table of the page."""
    elements = Elements(checked(client.post("/", files={"file": ("photo", image)}, data={"model": MODEL})).text)
    return {str(meter["aria-label"]): float(str(meter["value"])) for meter in elements.all("meter")}


ENDPOINTS: dict[str, Callable[[httpx.Client, bytes], Probabilities]] = {
    "multipart": lambda client, image: by_label(classify(client, files={"file": image})),
    "raw": lambda client, image: by_label(classify(client, content=image)),
    "json": lambda client, image: by_label(classify(client, json={"image": base64.b64encode(image).decode()})),
    "several models": lambda client, image: by_label(
        classify(client, f"own_top,{TREES},{MODEL}", content=image)["results"][2]
    ),
    "batch of one": lambda client, image: classify_batch(client, {"one": image})["one"],
    "zip of one": classify_zip,
    "torchserve": lambda client, image: checked(client.put(f"/predictions/{MODEL}", content=image)).json(),
    "v2 bytes, json": lambda client, image: encoded_tensor(client, image, binary=False),
    "v2 bytes, binary": lambda client, image: encoded_tensor(client, image, binary=True),
    "v2 pixels, json": lambda client, image: pixel_tensor(client, image, binary=False),
    "v2 pixels, binary": lambda client, image: pixel_tensor(client, image, binary=True),
    "page": classify_on_page,
}


# --- the tests


def most_likely(probabilities: Probabilities) -> str:
    return max(probabilities, key=probabilities.__getitem__)


def test_predictions_of_the_images_differ(expected: dict[str, Probabilities]) -> None:
    """Check that the other tests would notice an endpoint that confuses images."""
    rows = [tuple(round(probabilities[label], 3) for label in CLASSES) for probabilities in expected.values()]
    assert len(set(rows)) == len(IMAGES)
    assert all(0.3 < max(row) < 0.999 for row in rows)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("name", IMAGES)
def test_endpoint_predicts_the_same_as_the_command(
    client: httpx.Client, expected: dict[str, Probabilities], name: str, endpoint: str
) -> None:
    probabilities = ENDPOINTS[endpoint](client, IMAGES[name])
    assert probabilities == pytest.approx(expected[name], abs=PAGE if endpoint == "page" else EXACT)
    if endpoint != "page":  # rounded to four digits, two classes may be equal
        assert most_likely(probabilities) == most_likely(expected[name])


def test_command_with_a_server_predicts_the_same(
    client: httpx.Client, network_store: Store, folder: Path, expected: dict[str, Probabilities]
) -> None:
    for name in IMAGES:
        predictions = classify_with_command(
            network_store, folder / name, "--model", MODEL, "--url", str(client.base_url)
        )
        assert predictions[name] == pytest.approx(expected[name], abs=EXACT)


@pytest.mark.parametrize("model", [MODEL, TREES])
def test_images_of_one_batch_get_the_same_predictions_as_alone(
    client: httpx.Client, network_store: Store, folder: Path, model: str
) -> None:
    """Check the class and, except for trees, the probabilities: the batch size changes the rounding."""
    together = {
        "the command": classify_with_command(network_store, folder, "--model", model),
        "the command with a server": classify_with_command(
            network_store, folder, "--model", model, "--url", str(client.base_url)
        ),
        "one request": classify_batch(client, IMAGES, model),
    }
    for source, predictions in together.items():
        for name, image in IMAGES.items():
            alone = by_label(classify(client, model, content=image))
            assert most_likely(predictions[name]) == most_likely(alone), f"{source} classifies {name} differently"
            if model != TREES:
                assert predictions[name] == pytest.approx(alone, abs=EXACT), source
