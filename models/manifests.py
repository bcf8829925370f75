"""Manifests of extractors and classifiers: the metadata of an artifact and the digests of its files.

A manifest lists every other file of its folder with its SHA-256 and starts with a digest of itself, so that any changed
byte of an artifact is detected. Digests prove integrity, not origin: install only stores that you trust.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from models.errors import CorruptArtifact
from models.hierarchy import Hierarchy
from models.networks import Scaling
from models.preprocess import PreprocessSpec

WEIGHTS_FILE = "weights.safetensors"
HEAD_FILE = "head.pkl"
GOLDEN_FILE = "golden.npz"
HOLDOUT_FILE = "holdout.npy"
CARD_FILE = "README.md"
SEEN_FILE = "seen.npz"
OPENVINO_INT8 = ("int8.xml", "int8.bin")
OPENVINO_FLOAT = ("float16.xml", "float16.bin")


MAX_MANIFEST_BYTES = 16_000_000
_MAX_FILE_BYTES = dict.fromkeys((HEAD_FILE, GOLDEN_FILE, HOLDOUT_FILE, SEEN_FILE), 256_000_000) | {CARD_FILE: 4_000_000}
_MAX_OTHER_BYTES = 4_000_000_000  # weights, in the formats of the engines

FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$")]
"""Name of a file in the artifact's folder, never a path."""


def max_file_bytes(file: str) -> int:
    """Return the maximum size of a file of an artifact."""
    return _MAX_FILE_BYTES.get(file, _MAX_OTHER_BYTES)


def engine_files(engine: str) -> tuple[str, ...]:
    """Return the names of the files that an engine (`engine:precision`) reads."""
    if engine.startswith("openvino:"):
        return OPENVINO_INT8 if engine.endswith(":int8") else OPENVINO_FLOAT
    return (WEIGHTS_FILE,)


def sha256(data: bytes) -> str:
    """Return the SHA-256 digest as lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


class _FrozenModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Agreement(_FrozenModel):
    """Minimum agreement of an engine with the golden outputs of the reference, required before it may serve."""

    min_cosine: float = Field(ge=0, le=1, description="cosine similarity of the features, for each golden image")
    mean_cosine: float = Field(0, ge=0, le=1, description="mean cosine similarity over all golden images")
    min_top1: float = Field(ge=0, le=1, description="share of golden images with the same top class")
    accuracy: dict[str, float] = Field({}, description="top -> accuracy of this engine on its test set, if measured")


class SetRecord(_FrozenModel):
    """What had been done with the images of a labelled set before it was measured."""

    digest: str = Field(description="SHA-256 over its images and their division into classes")
    images: int
    uses: tuple[str, ...] = Field((), description="`use.stage` of other uses than to fit and to measure")
    fitted_by_head: int | None = Field(
        0, description="number of its images that the head was fitted on; null: not recorded"
    )
    fitted_by_network: int | None = Field(
        None, description="the same for the network and its initial weights, as far as recorded; null: nothing recorded"
    )
    unrecorded: tuple[str, ...] = Field((), description="initial weights whose images are not recorded one by one")
    measured_before: int | None = Field(None, description="number of earlier measurements; null: not recorded")
    measured_by: tuple[str, ...] = Field((), description="what measured it before")
    model: Literal["", "head", "network", "folds"] = Field(
        "",
        description="why the figures are not of the saved model: its head or network was fitted again after this "
        "measurement, or heads on folds were measured",
    )


Sets = Annotated[
    dict[str, SetRecord],
    Field(exclude_if=lambda sets: not sets, description="labelled set -> what had been done with its images"),
]


class ExtractorManifest(_FrozenModel):
    """A network up to its features, and the softmax layers (tops) that were fitted with it."""

    kind: Literal["extractor"] = "extractor"
    name: str
    version: int = Field(ge=1)
    created: str = Field(description="ISO 8601 date")
    network: str = Field(description="architecture, a name in models.networks")
    input_size: int
    scaling: Scaling = Field("-1..1", description="scaling of 0..255 in the graph")
    outputs: dict[str, int] = Field(description="name -> width: `pooled`, and the probabilities of each top")
    tops: dict[str, tuple[str, ...]] = Field(description="top -> class ids in the order of its columns")
    engines: dict[str, Agreement] = Field(description="`engine:precision` -> agreement with the golden outputs")
    fitted_on: dict[str, Any] = Field(description="datasets with their digests and image counts, initial weights")
    sets: Sets = {}
    recipe: dict[str, Any]
    seed: int
    libraries: dict[str, str]
    files: dict[FileName, str] = Field(description="file -> SHA-256")

    @property
    def weights_sha256(self) -> str:
        """Identity for classifiers: it stays the same when an engine's file is added."""
        return self.files[WEIGHTS_FILE]


class ExtractorReference(_FrozenModel):
    """The extractor output that a head was fitted on."""

    name: str
    weights_sha256: str
    output: str


class HeadReference(_FrozenModel):
    """A pickled estimator and its calibration temperature (1: uncalibrated)."""

    kind: str
    file: FileName = HEAD_FILE
    sha256: str
    temperature: float = Field(1.0, gt=0, allow_inf_nan=False)


class Metrics(_FrozenModel):
    """Metrics on one labelled set, as defined in training.evaluation.evaluate."""

    images: int
    accuracy: float
    accuracy_interval: tuple[float, float] = Field(description="95 %, Wilson")
    top5_accuracy: float
    log_loss: float
    expected_calibration_error: float
    accuracy_by_class: dict[str, float]
    most_frequent: float | None = Field(
        None,
        exclude_if=lambda share: share is None,  # manifests written before this field existed
        description="baseline: accuracy of always predicting the most frequent class",
    )


class ClassifierManifest(_FrozenModel):
    """A head, its classes and preprocessing, and the extractor that it needs."""

    kind: Literal["classifier"] = "classifier"
    name: str
    version: int = Field(ge=1)
    created: str = Field(description="ISO 8601 date")
    classes: tuple[str, ...]
    parents: dict[str, str] = Field(
        {},
        exclude_if=lambda parents: not parents,
        description="class or coarser class -> the coarser class directly above it",
    )
    preprocess: PreprocessSpec
    extractor: ExtractorReference
    head: HeadReference
    metrics: dict[str, Metrics] = Field(description="labelled set -> metrics; `sets` says what else it was used for")
    sets: Sets = {}
    recipe: dict[str, Any]
    data: dict[str, Any] = Field(description="dataset, digest, images fitted on, images held out")
    tuning: dict[str, Any] = Field(
        {}, exclude_if=lambda tuning: not tuning, description="head parameters that were tried, and the best of them"
    )
    seed: int
    libraries: dict[str, str]
    files: dict[FileName, str] = Field(description="file -> SHA-256")

    @model_validator(mode="after")
    def _parents_fit_classes(self) -> ClassifierManifest:
        Hierarchy(self.classes, self.parents)
        return self


Manifest = ExtractorManifest | ClassifierManifest
ManifestT = TypeVar("ManifestT", ExtractorManifest, ClassifierManifest)


def render(manifest: Manifest) -> bytes:
    """Serialize a manifest to JSON, with its own digest as the first key."""
    return _with_digest(manifest.model_dump(mode="json"))


def parse(data: bytes, model: type[ManifestT]) -> ManifestT:
    """Parse and verify a manifest.

    Raises:
        CorruptArtifact: a byte differs from what `render` wrote, or the content does not match the model.
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
