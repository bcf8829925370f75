"""Response schemas of the API; the OpenAPI document is generated from them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel
from pydantic.json_schema import SkipJsonSchema

from models.hierarchy import SURE
from models.manifests import Metrics

Absent = SkipJsonSchema[None]
"""None for a field that is omitted where it does not apply; responses never contain null."""
Count = Annotated[int, Field(ge=1)]
Milliseconds = Annotated[float, Field(ge=0)]
RequestId = Annotated[
    str,
    Field(
        description="the `X-Request-ID` of the request, or a generated one",
        min_length=1,
        max_length=128,
        examples=["0488511e18dc4cb281c31e69502728d6"],
    ),
]
BatchSize = Annotated[int, Field(ge=1, description="number of images in the inference batch", examples=[1])]


class _Schema(BaseModel):
    model_config = ConfigDict(frozen=True)


class Prediction(_Schema):
    """One class and its probability."""

    label: str = Field(examples=["cat"])
    index: int = Field(ge=0, description="position of the class in the model's `classes`", examples=[3])
    score: float = Field(ge=0, le=1, description="probability", examples=[0.94])


class CoarserClass(_Schema):
    """A coarser class, such as `dog` above the breeds."""

    label: str = Field(examples=["dog"])
    score: float = Field(ge=0, le=1, description="sum of the probabilities of all classes below it", examples=[0.93])


Parents = Annotated[
    list[CoarserClass] | Absent,
    Field(
        description="coarser classes, from the finest to the coarsest. If the most likely class is sure, or nothing "
        f"is, those above it; else the finest one that is sure, and those above it. A score of {SURE} is sure. "
        "Missing for models without coarser classes"
    ),
]


class Timing(_Schema):
    """Time spent in each step, in milliseconds."""

    decode: Milliseconds = Field(description="decoding and resizing the image")
    queue: Milliseconds = Field(description="waiting for decoding and for inference")
    inference: Milliseconds = Field(description="network and heads, for the whole batch")
    total: Milliseconds = Field(description="from the first byte of the request to the response")

    @property
    def server_timing(self) -> str:
        """These times as a Server-Timing header (W3C Server Timing), which browsers show in their developer tools."""
        return ", ".join(f"{name};dur={value}" for name, value in self)


class ModelResult(_Schema):
    """Predictions of one model."""

    model: str = Field(examples=["cifar10"])
    version: Count = Field(examples=[1])
    predictions: list[Prediction] = Field(description="most likely first")
    parents: Parents = None


class Classification(_Schema):
    """Predictions of one model, with timing."""

    model: str = Field(examples=["cifar10"])
    version: Count = Field(examples=[1])
    request_id: RequestId
    predictions: list[Prediction] = Field(description="most likely first")
    parents: Parents = None
    timing_ms: Timing
    batch_size: BatchSize


class Comparison(_Schema):
    """Predictions of several models (`?model=a,b`), with timing."""

    request_id: RequestId
    results: list[ModelResult] = Field(description="in the order in which the request names the models")
    timing_ms: Timing
    batch_size: BatchSize


class Problem(_Schema):
    """An error (problem details, RFC 9457)."""

    type: str = "about:blank"
    title: str = Field(examples=["Unsupported Media Type"])
    status: int = Field(ge=400, le=599, examples=[415])
    detail: str = Field(description="what is wrong and what to do")
    instance: str = Field(description="path of the request", examples=["/v1/classify"])
    code: str = Field(description="stable error code for programs", examples=["unsupported_format"])
    request_id: RequestId


class BatchItem(_Schema):
    """One image of a batch: its `result` (`results` where several models were named) or its `error`."""

    index: int = Field(ge=0, description="position in the request, from 0")
    filename: str = Field(description="file name as sent, or path in the zip archive")
    result: ModelResult | Absent = None
    results: list[ModelResult] | Absent = None
    error: Problem | Absent = None


class BatchResponse(_Schema):
    """The results of a batch, one item per image."""

    request_id: RequestId
    items: list[BatchItem]


class Features(_Schema):
    """The features of an image: the output of the extractor."""

    extractor: str = Field(examples=["inception_v3_96"])
    version: Count = Field(description="version of the extractor", examples=[1])
    request_id: RequestId
    features: list[float] = Field(description="pooled features, float32")
    timing_ms: Timing
    batch_size: BatchSize


class Scores(RootModel[dict[str, float]]):
    """Label -> probability, most likely first, in the form of TorchServe."""


class ModelSummary(_Schema):
    """An available classifier."""

    name: str = Field(examples=["cifar10"])
    version: Count = Field(examples=[1])
    default: bool = Field(description="used when a request names no model")
    classes: list[str] = Field(description="class labels, in the order of their `index`")
    extractor: str = Field(
        description="the extractor it uses, which other models may share", examples=["inception_v3_96"]
    )


class ModelVersion(_Schema):
    """A served version of a model."""

    name: str = Field(examples=["cifar10"])
    version: Count = Field(examples=[3])


class ExtractorStatus(_Schema):
    """Queue and expected batch times of one extractor."""

    name: str = Field(examples=["inception_v3_96"])
    engine: str = Field(description="engine and precision", examples=["openvino-int8"])
    waiting: int = Field(ge=0, description="images that wait for a batch")
    free: int = Field(description="further images that are accepted now")
    capacity: Count = Field(description="images that are accepted at the same time")
    full_batch: Count = Field(description="images of a full batch")
    single_image_ms: Milliseconds = Field(description="expected time of a batch of one image; 0 before the first batch")
    full_batch_ms: Milliseconds = Field(description="expected time of a full batch; 0 before the first batch")
    pace: float = Field(gt=0, description="duration of recent batches as a multiple of the usual one")
    concurrency: float = Field(ge=1, description="duration of a batch beside others as a multiple of one by itself")
    deadline_margin_ms: Milliseconds = Field(description="time added to estimates that a deadline depends on")


class Status(_Schema):
    """What the server is doing."""

    requests_in_flight: int = Field(ge=0, description="requests in progress, this one included")
    resizer: str = Field(description="library that resizes images, and its version")
    models: list[ModelVersion]
    extractors: list[ExtractorStatus]


class ModelList(_Schema):
    """All available classifiers."""

    models: list[ModelSummary]


class ModelDetail(ModelSummary):
    """A classifier with its metrics and model card."""

    metrics: dict[str, Metrics] = Field(description="metrics by evaluation set")
    card: str = Field(description="model card in Markdown")


class V2Tensor(_Schema):
    """Tensor metadata (Open Inference Protocol)."""

    name: str
    datatype: Literal["BYTES", "UINT8", "FP32"]
    shape: list[int] = Field(description="-1 for dimensions of any size")


class V2Model(_Schema):
    """Model metadata (Open Inference Protocol)."""

    name: str
    versions: list[str]
    platform: str = Field(description="engine and precision")
    inputs: list[V2Tensor]
    outputs: list[V2Tensor]


class V2Server(_Schema):
    """Server metadata (Open Inference Protocol)."""

    name: str
    version: str
    extensions: list[str]


class V2Live(_Schema):
    """Liveness (Open Inference Protocol)."""

    live: Literal[True]


class V2Ready(_Schema):
    """Readiness (Open Inference Protocol)."""

    ready: Literal[True]


class V2ModelReady(_Schema):
    """Readiness of a model (Open Inference Protocol)."""

    name: str
    ready: Literal[True]


class V2Output(_Schema):
    """An output tensor: in `data`, or as `parameters.binary_data_size` bytes after the JSON."""

    name: str
    datatype: Literal["FP32", "BYTES"] = Field(description="BYTES if `classification` was requested")
    shape: list[Count] = Field(description="number of images, and of values per image")
    parameters: dict[str, int] | Absent = None
    data: list[float | str] | Absent = Field(
        None, description="row by row: probabilities, or `score:index:label`, most likely first"
    )


class V2Response(_Schema):
    """An inference response (Open Inference Protocol)."""

    model_name: str
    model_version: str
    id: str | Absent = Field(None, description="`id` of the request, if it has one")
    outputs: list[V2Output]


class V2Error(_Schema):
    """An error (Open Inference Protocol)."""

    error: str = Field(description="what is wrong and what to do")


class Health(_Schema):
    """The response of a health probe."""

    status: Literal["ok"]
