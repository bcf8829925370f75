"""Predictions for a labelled set, in this process and on a running server."""

from __future__ import annotations

import json
import socket
import threading
import unicodedata
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
from tests.support import colour_dataset
from tests.support.manifests import classifier_manifest
from training.data.dataset import load_dataset
from training.data.split import Split, holdout_indices
from training.errors import DatasetError, TrainingError
from training.estimators.linear import Logistic
from training.evaluation import evaluate
from training.heads import features
from training.heads import save as classifiers
from training.heads.save import TrainedHead
from training.recipes.data import DatasetSpec

SPEC = PreprocessSpec(size=colour_dataset.SIZE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colour_dataset.write(tmp_path_factory.mktemp("data") / "colours", train=20, test=9)


@pytest.fixture(scope="module")
def classifier(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    root = tmp_path_factory.mktemp("store")
    train = load_dataset(DatasetSpec(path="colours"), folder).train
    rows = features.extract_features(train, colour_dataset.extractor(), "pooled", SPEC, root / "cache")
    fitted = TrainedHead(
        Head(Logistic(kind="logistic").fit(rows, train.labels, 0)),
        colour_dataset.CLASSES,
        {},
        {},
        holdout_indices(train),
    )
    saved = classifiers.save_classifier(colour_dataset.recipe(), SPEC, colour_dataset.extractor(), fitted, Store(root))
    return load_classifier(saved, colour_dataset.extractor())


@pytest.fixture
def manifest(classifier: Classifier) -> ClassifierManifest:
    return classifier.manifest


@pytest.fixture
def images(folder: Path, manifest: ClassifierManifest) -> Split:
    return evaluate.load_labelled_split(folder, "test", manifest, {})


def test_images_are_labelled_with_the_classes_of_the_classifier(images: Split, folder: Path) -> None:
    assert images.labels.tolist() == [label for label in range(4) for _ in range(9)]
    assert [path.parts[-2] for path in images.images[::9]] == list(colour_dataset.CLASSES)
    assert images.images == load_dataset(DatasetSpec(path="colours", train="test", test=""), folder).train.images


def test_recipe_names_the_test_split(manifest: ClassifierManifest) -> None:
    assert evaluate.test_split_name(manifest) == "test"
    assert evaluate.test_split_name(manifest.model_copy(update={"recipe": {"data": {"test": "val"}}})) == "val"
    assert evaluate.test_split_name(manifest.model_copy(update={"recipe": {"data": None}})) == "test"


def test_several_folders_can_be_mapped_to_one_class(tmp_path: Path, manifest: ClassifierManifest) -> None:
    colour_dataset.write(tmp_path, train=1, test=3, classes=("azure", "navy", "red"))
    images = evaluate.load_labelled_split(tmp_path, "test", manifest, {"azure": "blue", "navy": "blue"})
    assert images.labels.tolist() == [0] * 6 + [3] * 3
    (tmp_path / "classes.tsv").write_text("azure\tblue, sky\n")
    assert len(evaluate.load_labelled_split(tmp_path, "test", manifest, {"navy": "green"})) == 9


def test_split_is_found_by_its_other_names(folder: Path, tmp_path: Path, manifest: ClassifierManifest) -> None:
    (tmp_path / "Testing").symlink_to(folder / "test")
    assert len(evaluate.load_labelled_split(tmp_path, "test", manifest, {})) == 36
    assert len(evaluate.load_labelled_split(tmp_path, "test_set", manifest, {})) == 36


def test_class_names_are_compared_normalized(tmp_path: Path, manifest: ClassifierManifest) -> None:
    composed, decomposed = (unicodedata.normalize(form, "größer") for form in ("NFC", "NFD"))
    colour_dataset.write(tmp_path, train=1, test=2, classes=(decomposed, "red"))
    known = manifest.model_copy(update={"classes": (composed, "red")})
    assert evaluate.load_labelled_split(tmp_path, "test", known, {}).labels.tolist() in ([0, 0, 1, 1], [1, 1, 0, 0])
    older = manifest.model_copy(update={"classes": (decomposed, "red")})
    assert len(evaluate.load_labelled_split(tmp_path, "test", older, {})) == 4
    assert len(evaluate.load_labelled_split(tmp_path, "test", manifest, {composed: "blue"})) == 4


def test_entries_of_the_split_that_are_not_used_are_named(tmp_path: Path, manifest: ClassifierManifest) -> None:
    colour_dataset.write(tmp_path, train=1, test=1, classes=("red",))
    (tmp_path / "test" / "blue").mkdir()
    lines: list[str] = []
    evaluate.load_labelled_split(tmp_path, "test", manifest, {}, on_left_out=lines.extend)
    assert lines == ["test/blue: is an empty folder"]


def test_class_names_of_the_recipe_are_used(tmp_path: Path, manifest: ClassifierManifest) -> None:
    colour_dataset.write(tmp_path, train=1, test=1, classes=("n01", "red"))
    renaming = manifest.model_copy(update={"recipe": {"data": {"names": {"n01": "grey"}}}})
    assert evaluate.load_labelled_split(tmp_path, "test", renaming, {}).labels.tolist() == [2, 3]
    assert evaluate.load_labelled_split(tmp_path, "test", renaming, {"n01": "green"}).labels.tolist() == [1, 3]


def test_folder_may_be_named_by_the_wordnet_id_of_its_class(tmp_path: Path) -> None:
    colour_dataset.write(tmp_path, train=1, test=1, classes=("n02088364", "pug"))
    animals = classifier_manifest({}, classes=("pug", "beagle"))
    assert evaluate.load_labelled_split(tmp_path, "test", animals, {}).labels.tolist() == [0, 1]
    renamed = animals.model_copy(update={"recipe": {"calibration": {"names": {"n02088364": "pug"}}}})
    assert evaluate.load_labelled_split(tmp_path, "test", renamed, {}).labels.tolist() == [0, 0]


def test_unknown_class_is_an_error_that_names_the_classes(tmp_path: Path, manifest: ClassifierManifest) -> None:
    colour_dataset.write(tmp_path, train=1, test=1, classes=("cat",))
    with pytest.raises(DatasetError) as raised:
        evaluate.load_labelled_split(tmp_path, "test", manifest, {})
    assert str(raised.value) == (
        "colours has no class 'cat'. Map the folder to a class with --rename FOLDER=CLASS, or in the recipe's "
        "calibration.names. The classes are: blue, green, grey, red."
    )
    with pytest.raises(DatasetError, match="no class 'dog'"):
        evaluate.load_labelled_split(tmp_path, "test", manifest, {"cat": "dog"})


def test_predictions_in_this_process_are_those_of_the_classifier(classifier: Classifier, images: Split) -> None:
    advanced: list[int] = []
    probabilities = evaluate.predict(classifier, images, advanced.append)
    assert probabilities.shape == (36, 4)
    assert sum(advanced) == 36
    assert (probabilities.argmax(axis=1) == images.labels).mean() > 0.9


@dataclass
class FakeService:
    """Responds like the real server, after the responses in `rejections`.

    Attributes:
        classifier: predicts the images.
        rejections: (status, headers, body) of the next responses.
        body: of every response, instead of the classifier's.
        queries: query of each request.
    """

    classifier: Classifier
    rejections: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    body: bytes = b""
    queries: list[dict[str, list[str]]] = field(default_factory=list)
    url: str = ""

    def answer(self, image: bytes, top_k: int) -> bytes:
        pixels = prepare(image, [SPEC])[SPEC]
        (row,) = classify(self.classifier.extractor.engine, [BatchItem(pixels, (self.classifier,))])
        best = self.classifier.top(row[0], top_k)
        predictions = [{"label": label, "index": index, "score": score} for label, index, score in best]
        return json.dumps({"predictions": predictions}).encode()


@contextmanager
def serving(service: FakeService) -> Iterator[str]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            image = self.rfile.read(int(self.headers["Content-Length"]))
            address = urlsplit(self.path)
            with lock:
                service.queries.append(parse_qs(address.query))
                rejection = service.rejections.pop() if service.rejections else None
            status, headers, body = rejection or (200, {}, service.body)
            if address.path != "/v1/classify" or self.headers["Content-Type"] != "application/octet-stream":
                status, body = 400, b"bad request"
            elif not body and status == 200:
                body = service.answer(image, int(parse_qs(address.query)["top_k"][0]))
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


def test_predictions_of_a_server_are_those_of_this_process(
    classifier: Classifier, manifest: ClassifierManifest, images: Split
) -> None:
    advanced: list[int] = []
    service = FakeService(classifier)
    with serving(service) as url:
        probabilities = evaluate.predict_by_http(url, manifest, images, advanced.append)
    assert np.allclose(probabilities, evaluate.predict(classifier, images), atol=1e-6)
    assert advanced == [1] * 36
    assert service.queries == [{"model": ["colours@1"], "top_k": ["4"]}] * 36


def test_busy_server_is_retried(classifier: Classifier, manifest: ClassifierManifest, images: Split) -> None:
    busy = [(503, {"Retry-After": "0"}, b"busy"), (429, {"Retry-After": "0"}, b"a limit")] * 10
    busy += [(503, {"Retry-After": "1"}, b"busy")]
    service = FakeService(classifier, busy)
    with serving(service) as url:
        probabilities = evaluate.predict_by_http(url, manifest, images)
    assert np.allclose(probabilities, evaluate.predict(classifier, images), atol=1e-6)
    assert len(service.queries) == 36 + 21


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
        (307, {"Location": "/elsewhere"}, b"", r"answered 400: bad request$"),
        (307, {}, b"", r"answered 307: $"),
    ],
    ids=[
        "404",
        "422 in lines",
        "503 without a time",
        "503 with a date",
        "429 for an hour",
        "401",
        "redirect",
        "no location",
    ],
)
def test_rejection_is_one_line_with_the_message_of_the_server(
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
        serving(FakeService(classifier, [(status, headers, body)])) as url,
        pytest.raises((TrainingError, ServerError), match=expected) as raised,
    ):
        evaluate.predict_by_http(url, manifest, one)
    assert str(raised.value).startswith(str(one.images[0]))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "body",
    [b"Hello", b"[]", b'{"results": []}', b'{"predictions": [{"index": 4, "score": 1}]}', b'{"predictions": [3]}'],
    ids=["no JSON", "a list", "other fields", "more classes", "numbers"],
)
def test_response_of_another_service_is_recognized(
    classifier: Classifier, manifest: ClassifierManifest, images: Split, body: bytes
) -> None:
    with (
        serving(FakeService(classifier, body=body)) as url,
        pytest.raises(ServerError, match=r"does not respond like this service\. Check the address"),
    ):
        evaluate.predict_by_http(url, manifest, images)


@pytest.mark.parametrize("form", ["http://127.0.0.1:{port}", "127.0.0.1:{port}", "http://[", "nonsense"])
def test_unreachable_server_is_a_one_line_error(manifest: ClassifierManifest, images: Split, form: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = form.format(port=free.getsockname()[1])
    with pytest.raises(ServerError) as raised:
        evaluate.predict_by_http(url, manifest, images)
    assert str(raised.value).startswith(f"No response from {url} (")
    assert str(raised.value).endswith("Check the address, or start the server: make serve")
    assert "\n" not in str(raised.value)
