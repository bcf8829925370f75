"""What an artifact says of itself: the manifests of extractors and classifiers, as data.

A manifest names every other file of its folder with its SHA-256, and carries a digest of itself, so a
changed byte anywhere in an artifact shows. Digests prove integrity, not origin: install only stores you
trust.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from models.errors import CorruptArtifact
from models.preprocess import PreprocessSpec

WEIGHTS_FILE = "weights.safetensors"
HEAD_FILE = "head.pkl"
GOLDEN_FILE = "golden.npz"
HOLDOUT_FILE = "holdout.npy"
CARD_FILE = "README.md"
OPENVINO_INT8 = ("int8.xml", "int8.bin")
OPENVINO_FLOAT = ("float16.xml", "float16.bin")


def engine_files(engine: str) -> tuple[str, ...]:
    """The files that an engine reads, by its name with its precision."""
    if engine.startswith("openvino:"):
        return OPENVINO_INT8 if engine.endswith(":int8") else OPENVINO_FLOAT
    return (WEIGHTS_FILE,)


def sha256(data: bytes) -> str:
    """Digest of bytes, as lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Agreement(_Data):
    """How closely an engine must repeat the golden outputs before it may serve."""

    min_cosine: float = Field(ge=0, le=1, description="of features, for each golden image")
    mean_cosine: float = Field(0, ge=0, le=1, description="of features, over all golden images")
    min_top1: float = Field(ge=0, le=1, description="share of golden images whose top class is the same")
    accuracy: dict[str, float] = Field(
        {},
        description="top -> share of its test images that this engine names rightly, where it was measured",
    )


class ExtractorManifest(_Data):
    """A network up to its features, and the softmax layers (tops) that were fitted with it."""

    kind: Literal["extractor"] = "extractor"
    name: str
    version: int = Field(ge=1)
    created: str = Field(description="ISO 8601 date")
    network: str = Field(description="a name that models.networks builds")
    input_size: int
    scaling: Literal["-1..1", "imagenet_mean"] = Field("-1..1", description="what the graph makes of 0..255")
    outputs: dict[str, int] = Field(description="name -> width: `pooled`, and the probabilities of each top")
    tops: dict[str, tuple[str, ...]] = Field(description="top -> class ids in the order of its columns")
    engines: dict[str, Agreement] = Field(description="`engine:precision` -> agreement with the golden outputs")
    fitted_on: dict[str, Any] = Field(description="datasets, their digests and image counts; start weights")
    recipe: dict[str, Any]
    seed: int
    libraries: dict[str, str]
    files: dict[str, str] = Field(description="file -> SHA-256")

    @property
    def weights_sha256(self) -> str:
        """What classifiers refer to; adding an engine file invalidates none of them."""
        return self.files[WEIGHTS_FILE]


class ExtractorReference(_Data):
    """The features that a head was fitted on."""

    name: str
    weights_sha256: str
    output: str


class HeadReference(_Data):
    """The pickled estimator, and the temperature that calibrates its probabilities (1: none)."""

    kind: str
    file: str = HEAD_FILE
    sha256: str
    temperature: float = Field(1.0, gt=0)


class Metrics(_Data):
    """What was measured on one labelled set (definitions in training.evaluation.evaluate)."""

    images: int
    accuracy: float
    accuracy_interval: tuple[float, float] = Field(description="95 %, Wilson")
    top5_accuracy: float
    log_loss: float
    expected_calibration_error: float
    accuracy_by_class: dict[str, float]
    most_frequent: float | None = Field(
        None,
        exclude_if=lambda share: share is None,  # of what was measured before this was told
        description="accuracy of always naming the class that most of these images have",
    )


class ClassifierManifest(_Data):
    """A head, its classes, the preprocessing before it, and the extractor below it."""

    kind: Literal["classifier"] = "classifier"
    name: str
    version: int = Field(ge=1)
    created: str = Field(description="ISO 8601 date")
    classes: tuple[str, ...]
    preprocess: PreprocessSpec
    extractor: ExtractorReference
    head: HeadReference
    metrics: dict[str, Metrics] = Field(description="set -> figures; the test set is used for nothing else")
    recipe: dict[str, Any]
    data: dict[str, Any] = Field(description="dataset, digest, images fitted on, images held out")
    tuning: dict[str, Any] = Field(
        {}, exclude_if=lambda tuning: not tuning, description="sets of parameters of the head that were tried, the best"
    )
    seed: int
    libraries: dict[str, str]
    files: dict[str, str] = Field(description="file -> SHA-256")


Manifest = ExtractorManifest | ClassifierManifest
M = TypeVar("M", ExtractorManifest, ClassifierManifest)


def render(manifest: Manifest) -> bytes:
    """The manifest as the bytes of its file, its own digest first."""
    return _with_digest(manifest.model_dump(mode="json"))


def parse(data: bytes, model: type[M]) -> M:
    """Read a manifest's bytes back.

    Raises:
        CorruptArtifact: any byte differs from what `render` wrote, or the content is of no known form.
    """
    try:
        content = json.loads(data)
        content.pop("digest")
        if _with_digest(content) != data:
            raise ValueError("its digest does not match")
        return model.model_validate(content)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptArtifact(f"its manifest.json was changed or is damaged ({_first_line(error)})") from error


def _with_digest(content: dict[str, Any]) -> bytes:
    digest = sha256(_to_json(content))
    return _to_json({"digest": digest, **content})


def _to_json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
