"""`python -m tests.support.fuzz`: good requests, mutated at random, against a server process; `make fuzz`.

Each case follows from the seed and its number, so what is found can be repeated: `--seed 1 --first 4711 --cases 1`.
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
from tests.support.processes import Answer, get, server

CLIENTS = 4
_MAX_MUTATIONS = 6
_LONGEST_RUN = 64
_FORM = "multipart/form-data; boundary=b"
_MADE_FOR_TROUBLE = (
    b"\x00",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\r\n--b--",
    b"\xff\xd8\xff",
    b'"',
    b"[{",
    b"-1",
)
_REFUSALS = {400, 404, 413, 415, 422, 503, 504}
_CODES = {kind.code for kind in problems.STATUS}  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Request:
    """What is sent."""

    path: str
    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True)
class Finding:
    """A case whose answer is none that a client should get."""

    case: int
    request: Request
    what: str


def seeds() -> tuple[Request, ...]:
    """A good request of each kind: every format, every form of a body, every address that takes one."""
    pictures = [encoded(kind=kind, size=(24, 18)) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")]
    found = []
    for picture in pictures:
        text = base64.b64encode(picture).decode()
        found += [
            Request("/v1/classify", picture, {"Content-Type": "image/png"}),
            Request("/v1/classify", _form("file", [picture]), {"Content-Type": _FORM}),
            Request("/predictions/colours", json.dumps({"image": text}).encode(), {"Content-Type": "application/json"}),
            Request("/v1/embed", picture, {"Content-Type": "application/octet-stream"}),
        ]
    return (
        *found,
        Request("/v1/classify/batch", _form("files", pictures), {"Content-Type": _FORM}),
        Request("/v1/classify/batch", _zip(pictures), {"Content-Type": "application/zip"}),
        *_tensors(pictures[0]),
    )


def _form(field: str, pictures: Iterable[bytes]) -> bytes:
    head = f'--b\r\nContent-Disposition: form-data; name="{field}"; filename="f.png"\r\n\r\n'.encode()
    return b"".join(head + picture + b"\r\n" for picture in pictures) + b"--b--\r\n"


def _zip(pictures: Iterable[bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, picture in enumerate(pictures):
            archive.writestr(f"{number}.png", picture)
    return buffer.getvalue()


def _tensors(picture: bytes) -> tuple[Request, Request]:
    path, tensor = "/v2/models/colours/infer", {"name": "image", "datatype": "BYTES", "shape": [1]}
    in_json = json.dumps({"inputs": [{**tensor, "data": [base64.b64encode(picture).decode()]}]}).encode()
    raw = len(picture).to_bytes(4, "little") + picture
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": len(raw)}}]}).encode()
    return (
        Request(path, in_json, {"Content-Type": "application/json"}),
        Request(path, head + raw, {"Inference-Header-Content-Length": str(len(head))}),
    )


def mutated(request: Request, others: tuple[Request, ...], dice: random.Random) -> Request:
    """Some of it changed, cut out, repeated, put in, or taken from another request."""
    body = bytearray(request.body)
    for _ in range(dice.randint(1, _MAX_MUTATIONS)):
        begin = dice.randint(0, len(body))
        end = min(begin + dice.randint(1, _LONGEST_RUN), len(body))
        match dice.randrange(7):
            case 0 if begin < len(body):
                body[begin] ^= 1 << dice.randrange(8)
            case 1:
                body[begin:end] = dice.randbytes(end - begin)
            case 2:
                del body[begin:end]
            case 3:
                body[begin:begin] = body[begin:end] * dice.randint(1, 50)
            case 4:
                body[begin:end] = dice.choice(_MADE_FOR_TROUBLE)
            case 5:
                body[begin:] = dice.choice(others).body[begin:]
            case 6 if dice.random() < 0.3:
                del body[begin:]
    headers = dice.choice(others).headers if dice.random() < 0.05 else request.headers
    return Request(request.path, bytes(body), headers)


def wrong_with(answer: Answer) -> str | None:
    """Why no client should get this answer; none where it may."""
    if answer.status == 200:
        return None if isinstance(answer.json, dict) else "no JSON object"
    if answer.status not in _REFUSALS:
        return f"status {answer.status}"
    told = answer.json
    if "error" not in told and told.get("code") not in _CODES:
        return f"unknown code {told.get('code')}"
    return None


def run(address: str, cases: Iterable[int], seed: int) -> tuple[list[Finding], Counter[int]]:
    """Send the cases by several clients; what was wrong, and how often each status came."""
    known, statuses = seeds(), Counter[int]()
    numbers = list(cases)

    def client(mine: list[int]) -> list[Finding]:
        found = []
        connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
        for case in mine:
            dice = random.Random(f"{seed}/{case}")
            request = mutated(dice.choice(known), known, dice)
            try:
                connection.request("POST", request.path, request.body, request.headers)
                response = connection.getresponse()
                answer = Answer(response.status, response.headers, response.read())
                statuses[answer.status] += 1
                what = wrong_with(answer)
            except (OSError, http.client.HTTPException, ValueError) as error:
                connection.close()
                what = repr(error)
            if what:
                found.append(Finding(case, request, what))
        connection.close()
        return found

    with ThreadPoolExecutor(CLIENTS) as pool:
        found = [each for some in pool.map(client, (numbers[i::CLIENTS] for i in range(CLIENTS))) for each in some]
    if get(address, "/readyz").status != 200:
        raise AssertionError("the server is no longer ready")
    return found, statuses


def main() -> int:
    """Fuzz a server of its own; 1 if there was anything, and the bodies are kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        colour_store.build(Path(folder))
        with server("tests.support.tiny_server", APP_STORE=folder, APP_LOG_LEVEL="info") as started:
            cases = range(chosen.first, chosen.first + chosen.cases)
            found, statuses = run(started.address(), cases, chosen.seed)
            log = started.log
    print(f"{chosen.cases} cases, answered with {dict(sorted(statuses.items()))}; {len(found)} found")
    for each in found:
        kept = Path(tempfile.gettempdir()) / f"fuzz-{chosen.seed}-{each.case}.body"
        kept.write_bytes(each.request.body)
        print(f"case {each.case}: {each.what}; POST {each.request.path} {each.request.headers} {kept}")
    if found:
        print(log[-5000:], file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
