"""Other people's HTTP clients, unchanged, against a server process: requests, and the fetch of Node."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from base64 import b64encode
from pathlib import Path

import pytest
import requests

from tests.support.encoded_images import encoded

IMAGE = encoded("blue", "JPEG", (300, 200))
TIMEOUT_S = 30

FETCH = """
const [address, path] = process.argv.slice(1);
const image = await (await import("node:fs")).openAsBlob(path, { type: "image/jpeg" });
const form = new FormData();
form.append("upload", image, "photo.jpg");
const compressed = image.stream().pipeThrough(new CompressionStream("gzip"));
const requests = [
  { body: form },
  { body: image },
  { body: compressed, duplex: "half", headers: { "Content-Type": "image/jpeg", "Content-Encoding": "gzip" } },
];
const labels = [];
for (const request of requests) {
  const response = await fetch(`${address}/v1/classify`, { method: "POST", ...request });
  labels.push((await response.json()).predictions[0].label);
}
console.log(JSON.stringify(labels));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node is installed (Debian: apt-get install nodejs)")
def test_fetch_of_node(tiny_address: str, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(IMAGE)
    command = ["node", "--input-type=module", "-e", FETCH, tiny_address, str(photo)]
    process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    if "openAsBlob is not a function" in process.stderr:
        pytest.skip("this Node is older than 20")
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout) == ["blue"] * 3


def test_requests(tiny_address: str) -> None:
    address = f"{tiny_address}/v1/classify"
    with requests.Session() as session:
        session.trust_env = False  # no proxy between this test and the server
        responses = [
            session.post(address, files={"image": IMAGE}, timeout=TIMEOUT_S),
            session.post(address, data=IMAGE, timeout=TIMEOUT_S),
            session.post(address, json={"image": b64encode(IMAGE).decode()}, timeout=TIMEOUT_S),
            session.post(address, data=gzip.compress(IMAGE), headers={"Content-Encoding": "gzip"}, timeout=TIMEOUT_S),
            session.post(f"{address}/batch", files=[("files[]", ("a.jpg", IMAGE))] * 30, timeout=TIMEOUT_S),
        ]
        assert session.head(f"{tiny_address}/readyz", timeout=TIMEOUT_S).status_code == 200
        redirected = session.get(f"{tiny_address}/v1/models/", timeout=TIMEOUT_S)
    assert [response.status_code for response in responses] == [200] * 5
    assert all(response.json()["predictions"][0]["label"] == "blue" for response in responses[:4])
    assert len(responses[4].json()["items"]) == 30
    assert responses[4].headers["Content-Encoding"] == "gzip"
    assert (redirected.status_code, redirected.url) == (200, f"{tiny_address}/v1/models")
