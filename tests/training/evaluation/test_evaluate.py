"""A classifier measured on a labelled set, in this process and by a running server."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from models.artifacts.catalog import load_classifier
from models.artifacts.store import Store
from models.classifier import BatchItem, Classifier, classify
from models.errors import ServerError
from models.heads import Head
from models.manifests import ClassifierManifest
from models.preprocess import PreprocessSpec, prepare
from tests.support import drawn
from training.data import dataset as datasets
from training.data.dataset import Split
from training.errors import DatasetError, TrainingError
from training.estimators.heads import Logistic
from training.evaluation import evaluate
from training.heads import features
from training.heads import save as classifiers
from training.heads.save import Fitted
from training.recipes.schema import Data

SPEC = PreprocessSpec(size=drawn.SIZE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn.colours(tmp_path_factory.mktemp("data") / "colours", train=20, test=9)


@pytest.fixture(scope="module")
def classifier(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    root = tmp_path_factory.mktemp("store")
    train = datasets.load(Data(path="colours"), folder).train
    rows = features.extract(train, drawn.extractor(), "pooled", SPEC, root / "cache")
    fitted = Fitted(
        Head(Logistic(kind="logistic").fit(rows, train.labels, 0)), drawn.CLASSES, {}, {}, datasets.holdout(train)
    )
    saved = classifiers.save(drawn.recipe(), SPEC, drawn.extractor(), fitted, Store(root))
    return load_classifier(saved, drawn.extractor())


@pytest.fixture
def manifest(classifier: Classifier) -> ClassifierManifest:
    return classifier.manifest


@pytest.fixture
def images(folder: Path, manifest: ClassifierManifest) -> Split:
    return evaluate.labelled_split(folder, "test", manifest, {})


def test_images_are_labelled_by_the_classes_of_the_classifier(images: Split, folder: Path) -> None:
    assert images.labels.tolist() == [label for label in range(4) for _ in range(9)]
    assert [path.parts[-2] for path in images.paths[::9]] == list(drawn.CLASSES)
    assert images.paths == datasets.load(Data(path="colours", train="test", test=""), folder).train.paths


def test_the_recipe_names_the_test_set(manifest: ClassifierManifest) -> None:
    assert evaluate.test_split(manifest) == "test"
    assert evaluate.test_split(manifest.model_copy(update={"recipe": {"data": {"test": "val"}}})) == "val"
    assert evaluate.test_split(manifest.model_copy(update={"recipe": {"data": None}})) == "test"


def test_folders_named_otherwise_are_renamed_and_several_may_be_of_one_class(
    tmp_path: Path, manifest: ClassifierManifest
) -> None:
    drawn.colours(tmp_path, train=1, test=3, classes=("azure", "navy", "red"))
    images = evaluate.labelled_split(tmp_path, "test", manifest, {"azure": "blue", "navy": "blue"})
    assert images.labels.tolist() == [0] * 6 + [3] * 3
    (tmp_path / "classes.tsv").write_text("azure\tblue, sky\n")
    assert len(evaluate.labelled_split(tmp_path, "test", manifest, {"navy": "green"})) == 9


def test_the_renamings_of_the_recipe_count(tmp_path: Path, manifest: ClassifierManifest) -> None:
    drawn.colours(tmp_path, train=1, test=1, classes=("n01", "red"))
    renaming = manifest.model_copy(update={"recipe": {"data": {"names": {"n01": "grey"}}}})
    assert evaluate.labelled_split(tmp_path, "test", renaming, {}).labels.tolist() == [2, 3]
    assert evaluate.labelled_split(tmp_path, "test", renaming, {"n01": "green"}).labels.tolist() == [1, 3]


def test_an_unknown_class_is_answered_with_the_way_on(tmp_path: Path, manifest: ClassifierManifest) -> None:
    drawn.colours(tmp_path, train=1, test=1, classes=("cat",))
    with pytest.raises(DatasetError) as refused:
        evaluate.labelled_split(tmp_path, "test", manifest, {})
    assert str(refused.value) == (
        "colours has no class 'cat'. Say which of its classes a folder means with --rename FOLDER=CLASS; "
        "its classes are: blue, green, grey, red."
    )
    with pytest.raises(DatasetError, match="no class 'dog'"):
        evaluate.labelled_split(tmp_path, "test", manifest, {"cat": "dog"})


def test_this_process_answers_as_the_classifier_does(classifier: Classifier, images: Split) -> None:
    told: list[int] = []
    found = evaluate.predict(classifier, images, told.append)
    assert found.shape == (36, 4)
    assert sum(told) == 36
    assert (found.argmax(axis=1) == images.labels).mean() > 0.9


@dataclass
class Answering:
    """A server that answers as ours does; what is in `refusals` it says first.

    Attributes:
        classifier: answers.
        refusals: (status, headers, body) of the next answers, whoever asks.
        body: of every answer, instead of the classifier's.
        asked: the query of each request.
    """

    classifier: Classifier
    refusals: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    body: bytes = b""
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    url: str = ""

    def answer(self, picture: bytes, top_k: int) -> bytes:
        pixels = prepare(picture, [SPEC])[SPEC]
        (row,) = classify(self.classifier.extractor.engine, [BatchItem(pixels, (self.classifier,))])
        best = self.classifier.top(row[0], top_k)
        predictions = [{"label": label, "index": index, "score": score} for label, index, score in best]
        return json.dumps({"predictions": predictions}).encode()


@contextmanager
def serving(answering: Answering) -> Iterator[str]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            picture = self.rfile.read(int(self.headers["Content-Length"]))
            address = urlsplit(self.path)
            with lock:
                answering.asked.append(parse_qs(address.query))
                refusal = answering.refusals.pop() if answering.refusals else None
            status, headers, body = refusal or (200, {}, answering.body)
            if address.path != "/v1/classify" or self.headers["Content-Type"] != "application/octet-stream":
                status, body = 400, b"bad request"
            elif not body and status == 200:
                body = answering.answer(picture, int(parse_qs(address.query)["top_k"][0]))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 64

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_server_answers_as_this_process_does(
    classifier: Classifier, manifest: ClassifierManifest, images: Split
) -> None:
    told: list[int] = []
    answering = Answering(classifier)
    with serving(answering) as url:
        found = evaluate.predict_by_http(url, manifest, images, told.append)
    assert np.allclose(found, evaluate.predict(classifier, images), atol=1e-6)
    assert told == [1] * 36
    assert answering.asked == [{"model": ["colours@1"], "top_k": ["4"]}] * 36


def test_a_busy_server_is_asked_again(classifier: Classifier, manifest: ClassifierManifest, images: Split) -> None:
    busy = [(503, {"Retry-After": "0"}, b"busy"), (429, {"Retry-After": "0"}, b"a limit")] * 10
    busy += [(503, {"Retry-After": "1"}, b"busy")]
    answering = Answering(classifier, busy)
    with serving(answering) as url:
        found = evaluate.predict_by_http(url, manifest, images)
    assert np.allclose(found, evaluate.predict(classifier, images), atol=1e-6)
    assert len(answering.asked) == 36 + 21


@pytest.mark.parametrize(
    ("status", "headers", "body", "expected"),
    [
        (
            404,
            {},
            b'{"detail": "There is no model colours."}',
            r"answered 404: There is no model colours\.$",
        ),
        (422, {}, b"<html>\n<p>many\n\n  lines", r"answered 422: <html> <p>many lines$"),
        (503, {}, b"draining", r"answered 503: draining$"),
        (503, {"Retry-After": "Fri, 31 Dec 2027 23:59:59 GMT"}, b"later", r"answered 503: later$"),
        (429, {"Retry-After": "3600"}, b'{"detail": "The limit is 9 per 1 day."}', r"429: The limit is 9 per 1 day\.$"),
        (401, {}, b'{"detail": "A key is needed."}', r"401: A key is needed\. Set CLASSIFIER_API_KEY\.$"),
        (307, {"Location": "/elsewhere"}, b"", r"answered 307: $"),
    ],
    ids=["404", "422 in lines", "503 without a time", "503 with a date", "429 for an hour", "401", "redirect"],
)
def test_a_refusal_is_one_line_with_the_servers_words(
    classifier: Classifier,
    manifest: ClassifierManifest,
    images: Split,
    status: int,
    headers: dict[str, str],
    body: bytes,
    expected: str,
) -> None:
    one = images.take(np.array([5]))
    with (
        serving(Answering(classifier, [(status, headers, body)])) as url,
        pytest.raises((TrainingError, ServerError), match=expected) as refused,
    ):
        evaluate.predict_by_http(url, manifest, one)
    assert str(refused.value).startswith(str(one.paths[0]))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "body",
    [b"Hello", b"[]", b'{"results": []}', b'{"predictions": [{"index": 4, "score": 1}]}', b'{"predictions": [3]}'],
    ids=["no JSON", "a list", "other fields", "more classes", "numbers"],
)
def test_something_else_that_answers_there_is_told_apart(
    classifier: Classifier, manifest: ClassifierManifest, images: Split, body: bytes
) -> None:
    with (
        serving(Answering(classifier, body=body)) as url,
        pytest.raises(ServerError, match=r"does not answer as this service does\. Is it the right"),
    ):
        evaluate.predict_by_http(url, manifest, images)


@pytest.mark.parametrize("form", ["http://127.0.0.1:{port}", "127.0.0.1:{port}", "http://[", "nonsense"])
def test_a_server_that_is_gone_is_one_line(manifest: ClassifierManifest, images: Split, form: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = form.format(port=free.getsockname()[1])
    with pytest.raises(ServerError) as refused:
        evaluate.predict_by_http(url, manifest, images)
    assert str(refused.value).startswith(f"No answer from {url} (")
    assert str(refused.value).endswith("Is the server running? make serve")
    assert "\n" not in str(refused.value)
