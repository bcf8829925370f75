"""`python -m tests.support.fuzz`: send randomly mutated requests to a server process; `make fuzz`.

The seed and the number of a case determine it, so findings can be reproduced: `--seed 1 --first 4711 --cases 1`.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import io
import json
import random
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from app.api import problems
from tests.support import colour_store
from tests.support.encoded_images import encoded
from tests.support.heic import heic
from tests.support.processes import Answer, get, server

CLIENTS = 4
_MAX_MUTATIONS = 6
_MAX_RUN_BYTES = 64
_FORM = "multipart/form-data; boundary=b"
_HOSTILE_BYTES = (
    b"\x00",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\r\n--b--",
    b"\xff\xd8\xff",
    b'"',
    b"[{",
    b"-1",
)
_ERROR_STATUSES = {400, 404, 413, 415, 422, 503, 504}
_CODES = {kind.code for kind in problems.STATUS}  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Request:
    """A POST request."""

    path: str
    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True)
class Finding:
    """A case with an invalid response."""

    case: int
    request: Request
    problem: str


def seeds() -> tuple[Request, ...]:
    """Return a valid request of each kind: every image format, body form and path."""
    images = [encoded(kind=kind, size=(24, 18)) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")]
    images.append(heic("blocks"))
    requests = []
    for image in images:
        text = base64.b64encode(image).decode()
        requests += [
            Request("/v1/classify", image, {"Content-Type": "image/png"}),
            Request("/v1/classify", _form("file", [image]), {"Content-Type": _FORM}),
            Request("/predictions/colours", json.dumps({"image": text}).encode(), {"Content-Type": "application/json"}),
            Request("/v1/embed", image, {"Content-Type": "application/octet-stream"}),
        ]
    return (
        *requests,
        Request("/v1/classify/batch", _form("files", images), {"Content-Type": _FORM}),
        Request("/v1/classify/batch", _zip(images), {"Content-Type": "application/zip"}),
        *_tensors(images[0]),
    )


def _form(field: str, images: Iterable[bytes]) -> bytes:
    head = f'--b\r\nContent-Disposition: form-data; name="{field}"; filename="f.png"\r\n\r\n'.encode()
    return b"".join(head + image + b"\r\n" for image in images) + b"--b--\r\n"


def _zip(images: Iterable[bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, image in enumerate(images):
            archive.writestr(f"{number}.png", image)
    return buffer.getvalue()


def _tensors(image: bytes) -> tuple[Request, Request]:
    path, tensor = "/v2/models/colours/infer", {"name": "image", "datatype": "BYTES", "shape": [1]}
    in_json = json.dumps({"inputs": [{**tensor, "data": [base64.b64encode(image).decode()]}]}).encode()
    raw = len(image).to_bytes(4, "little") + image
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": len(raw)}}]}).encode()
    return (
        Request(path, in_json, {"Content-Type": "application/json"}),
        Request(path, head + raw, {"Inference-Header-Content-Length": str(len(head))}),
    )


def mutate(request: Request, others: tuple[Request, ...], dice: random.Random) -> Request:
    """Change, delete, repeat or insert parts of a request, or replace them by parts of another."""
    body = bytearray(request.body)
    for _ in range(dice.randint(1, _MAX_MUTATIONS)):
        start = dice.randint(0, len(body))
        end = min(start + dice.randint(1, _MAX_RUN_BYTES), len(body))
        match dice.randrange(7):
            case 0 if start < len(body):
                body[start] ^= 1 << dice.randrange(8)
            case 1:
                body[start:end] = dice.randbytes(end - start)
            case 2:
                del body[start:end]
            case 3:
                body[start:start] = body[start:end] * dice.randint(1, 50)
            case 4:
                body[start:end] = dice.choice(_HOSTILE_BYTES)
            case 5:
                body[start:] = dice.choice(others).body[start:]
            case 6 if dice.random() < 0.3:
                del body[start:]
    headers = dice.choice(others).headers if dice.random() < 0.05 else request.headers
    return Request(request.path, bytes(body), headers)


def describe_invalid(answer: Answer) -> str | None:
    """Describe why a response is invalid; None if it is valid."""
    if answer.status == 200:
        return None if isinstance(answer.json, dict) else "no JSON object"
    if answer.status not in _ERROR_STATUSES:
        return f"status {answer.status}"
    document = answer.json
    if "error" not in document and document.get("code") not in _CODES:
        return f"unknown code {document.get('code')}"
    return None


def run(address: str, cases: Iterable[int], seed: int) -> tuple[list[Finding], Counter[int]]:
    """Send the cases from several clients; return the findings and the number of responses by status."""
    known, statuses = seeds(), Counter[int]()
    numbers = list(cases)

    def client(own_cases: list[int]) -> list[Finding]:
        findings = []
        connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
        for case in own_cases:
            dice = random.Random(f"{seed}/{case}")
            request = mutate(dice.choice(known), known, dice)
            try:
                connection.request("POST", request.path, request.body, request.headers)
                response = connection.getresponse()
                answer = Answer(response.status, response.headers, response.read())
                statuses[answer.status] += 1
                problem = describe_invalid(answer)
            except (OSError, http.client.HTTPException, ValueError) as error:
                connection.close()
                problem = repr(error)
            if problem:
                findings.append(Finding(case, request, problem))
        connection.close()
        return findings

    with ThreadPoolExecutor(CLIENTS) as pool:
        shares = [numbers[start::CLIENTS] for start in range(CLIENTS)]
        findings = [finding for part in pool.map(client, shares) for finding in part]
    if get(address, "/readyz").status != 200:
        raise AssertionError("the server is no longer ready")
    return findings, statuses


def main() -> int:
    """Fuzz a new server process; return 1 after findings, whose bodies are written to files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        colour_store.build(Path(folder))
        with server("tests.support.tiny_server", APP_STORE=folder, APP_LOG_LEVEL="info") as started:
            cases = range(options.first, options.first + options.cases)
            findings, statuses = run(started.address(), cases, options.seed)
            log = started.log
    print(f"{options.cases} cases, answered with {dict(sorted(statuses.items()))}; {len(findings)} findings")
    for finding in findings:
        file = Path(tempfile.gettempdir()) / f"fuzz-{options.seed}-{finding.case}.body"
        file.write_bytes(finding.request.body)
        print(f"case {finding.case}: {finding.problem}; POST {finding.request.path} {finding.request.headers} {file}")
    if findings:
        print(log[-5000:], file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
