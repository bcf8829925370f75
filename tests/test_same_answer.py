"""The same picture by every address and by the command: the same probabilities, and the same class."""

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
TREES = "trees"  # jump, where what they read differs by nothing but rounding
EVERY_CLASS = len(CLASSES)
EXACT, PAGE = 1e-5, 6e-5
"""Least digit by which answers may differ; the page shows four digits."""


def scene(height: int, width: int, seed: int) -> Pixels:
    """Soft shapes of all colours under fine noise."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (3, 4, 3), dtype=np.uint8))
    soft = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    return np.clip(soft + random.normal(0, 6, soft.shape), 0, 255).astype(np.uint8)


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(scene(240, 330, 2), "JPEG", quality=90, exif=exif)


def _with_alpha() -> bytes:
    alpha = np.linspace(0, 255, 90 * 120).astype(np.uint8).reshape(90, 120, 1)
    return encode(np.concatenate([scene(90, 120, 3), alpha], axis=2), "PNG")


PICTURES = {
    "photo.jpg": encode(scene(400, 600, 1), "JPEG", quality=90),
    "turned.jpg": _turned(),
    "alpha.png": _with_alpha(),
    "grey.jpg": encode(Image.fromarray(scene(120, 90, 4)).convert("L"), "JPEG"),
    "source.png": encode(scene(16, 16, 5), "PNG"),  # as small as the classifiers' `source`
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All pictures."""
    made = tmp_path_factory.mktemp("pictures")
    for name, data in PICTURES.items():
        (made / name).write_bytes(data)
    return made


@pytest.fixture(scope="module")
def client(network_store: Store) -> Iterator[httpx.Client]:
    """Of a server on the same network, with as many threads as the command has in this process."""
    settings = {"APP_STORE": str(network_store.root), "APP_DEFAULT_MODEL": MODEL, "APP_THREADS": "1"}
    with server("app", **settings) as started, httpx.Client(base_url=started.address()) as ready:
        yield ready


@pytest.fixture(scope="module")
def expected(network_store: Store, folder: Path) -> dict[str, Probabilities]:
    """What the command says of each picture alone, which makes batches of one as a single request does."""
    return {name: command(network_store, folder / name, "--model", MODEL)[name] for name in PICTURES}


# --- the command


def command(store: Store, place: Path, *options: str) -> dict[str, Probabilities]:
    """By `python -m models classify`: what it says of each file."""
    arguments = ["classify", str(place), "--json", "--top", str(EVERY_CLASS), "--store", str(store.root), *options]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    return {Path(line["file"]).name: listed(line) for line in lines}


# --- the addresses


def listed(answer: Any) -> Probabilities:
    return {each["label"]: each["score"] for each in answer["predictions"]}


def classify(client: httpx.Client, model: str = MODEL, path: str = "/v1/classify", **body: Any) -> Any:
    return checked(client.post(path, params={"model": model, "top_k": EVERY_CLASS}, **body)).json()


def checked(response: httpx.Response) -> httpx.Response:
    assert response.status_code == 200, response.text
    return response


def batch(client: httpx.Client, pictures: dict[str, bytes], model: str = MODEL) -> dict[str, Probabilities]:
    files = [("files", item) for item in pictures.items()]
    items = classify(client, model, "/v1/classify/batch", files=files)["items"]
    return {item["filename"]: listed(item["result"]) for item in items}


def zipped(client: httpx.Client, picture: bytes) -> Probabilities:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("picture", picture)
    headers = {"Content-Type": "application/zip"}
    answer = classify(client, path="/v1/classify/batch", content=buffer.getvalue(), headers=headers)
    return listed(answer["items"][0]["result"])


def infer(client: httpx.Client, tensor: dict[str, Any], data: Any) -> Probabilities:
    """V2: JSON data as it is, bytes behind the JSON, and then the answer the same way."""
    path, outputs = f"/v2/models/{MODEL}/infer", [{"name": "probabilities"}]
    if not isinstance(data, bytes):
        answer = checked(client.post(path, json={"inputs": [{**tensor, "data": data}], "outputs": outputs})).json()
        return dict(zip(CLASSES, answer["outputs"][0]["data"], strict=True))
    tensor = {**tensor, "parameters": {"binary_data_size": len(data)}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    header = "Inference-Header-Content-Length"
    response = checked(client.post(path, content=head + data, headers={header: str(len(head))}))
    return dict(zip(CLASSES, np.frombuffer(response.content[int(response.headers[header]) :], "<f4"), strict=True))


def encoded_tensor(client: httpx.Client, picture: bytes, *, binary: bool) -> Probabilities:
    data = struct.pack("<I", len(picture)) + picture if binary else [base64.b64encode(picture).decode()]
    return infer(client, {"name": "image", "datatype": "BYTES", "shape": [1]}, data)


def pixel_tensor(client: httpx.Client, picture: bytes, *, binary: bool) -> Probabilities:
    pixels = decode_array(picture)
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": [1, *pixels.shape]}
    return infer(client, tensor, pixels.tobytes() if binary else pixels.ravel().tolist())


def page(client: httpx.Client, picture: bytes) -> Probabilities:
    """By the form, as a browser without JavaScript sends it; read from the table that it shows."""
    shown = Elements(checked(client.post("/", files={"file": ("photo", picture)}, data={"model": MODEL})).text)
    return {str(meter["aria-label"]): float(str(meter["value"])) for meter in shown.all("meter")}


ADDRESSES: dict[str, Callable[[httpx.Client, bytes], Probabilities]] = {
    "multipart": lambda client, picture: listed(classify(client, files={"file": picture})),
    "raw": lambda client, picture: listed(classify(client, content=picture)),
    "json": lambda client, picture: listed(classify(client, json={"image": base64.b64encode(picture).decode()})),
    "several models": lambda client, picture: listed(
        classify(client, f"own_top,{TREES},{MODEL}", content=picture)["results"][2]
    ),
    "batch of one": lambda client, picture: batch(client, {"one": picture})["one"],
    "zip of one": zipped,
    "torchserve": lambda client, picture: checked(client.put(f"/predictions/{MODEL}", content=picture)).json(),
    "v2 bytes, json": lambda client, picture: encoded_tensor(client, picture, binary=False),
    "v2 bytes, binary": lambda client, picture: encoded_tensor(client, picture, binary=True),
    "v2 pixels, json": lambda client, picture: pixel_tensor(client, picture, binary=False),
    "v2 pixels, binary": lambda client, picture: pixel_tensor(client, picture, binary=True),
    "page": page,
}


# --- the same


def likeliest(probabilities: Probabilities) -> str:
    return max(probabilities, key=probabilities.__getitem__)


def test_the_pictures_are_told_apart(expected: dict[str, Probabilities]) -> None:
    """Otherwise an address that mixes them up would pass."""
    answers = [tuple(round(answer[label], 3) for label in CLASSES) for answer in expected.values()]
    assert len(set(answers)) == len(PICTURES)
    assert all(0.3 < max(answer) < 0.999 for answer in answers)


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("name", PICTURES)
def test_an_address_answers_as_the_command_does(
    client: httpx.Client, expected: dict[str, Probabilities], name: str, address: str
) -> None:
    found = ADDRESSES[address](client, PICTURES[name])
    assert found == pytest.approx(expected[name], abs=PAGE if address == "page" else EXACT)
    if address != "page":  # whose digits may make two classes equal
        assert likeliest(found) == likeliest(expected[name])


def test_the_command_prints_what_a_server_answers_it(
    client: httpx.Client, network_store: Store, folder: Path, expected: dict[str, Probabilities]
) -> None:
    for name in PICTURES:
        found = command(network_store, folder / name, "--model", MODEL, "--url", str(client.base_url))
        assert found[name] == pytest.approx(expected[name], abs=EXACT)


@pytest.mark.parametrize("model", [MODEL, TREES])
def test_pictures_that_share_a_batch_are_answered_as_alone(
    client: httpx.Client, network_store: Store, folder: Path, model: str
) -> None:
    """Batches of other sizes round otherwise: the class stays, and where nothing jumps so do the probabilities."""
    together = {
        "the command": command(network_store, folder, "--model", model),
        "the command by a server": command(network_store, folder, "--model", model, "--url", str(client.base_url)),
        "one request": batch(client, PICTURES, model),
    }
    for way, answers in together.items():
        for name, picture in PICTURES.items():
            alone = listed(classify(client, model, content=picture))
            assert likeliest(answers[name]) == likeliest(alone), f"{way} names {name} differently"
            if model != TREES:
                assert answers[name] == pytest.approx(alone, abs=EXACT), way
