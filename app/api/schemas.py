"""What the API answers, as data; OpenAPI is made from it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel
from pydantic.json_schema import SkipJsonSchema

from models.manifests import Metrics

Absent = SkipJsonSchema[None]
"""None for a field that is left out where it does not apply: no answer holds a null."""
Count = Annotated[int, Field(ge=1)]
Milliseconds = Annotated[float, Field(ge=0)]
RequestId = Annotated[
    str,
    Field(
        description="the `X-Request-ID` sent, or one made here",
        min_length=1,
        max_length=128,
        examples=["0488511e18dc4cb281c31e69502728d6"],
    ),
]
BatchSize = Annotated[int, Field(ge=1, description="pictures that shared the run of the network", examples=[1])]


class _Schema(BaseModel):
    model_config = ConfigDict(frozen=True)


class Prediction(_Schema):
    """One class and its probability."""

    label: str = Field(examples=["cat"])
    index: int = Field(ge=0, description="place of the class in the model's `classes`", examples=[3])
    score: float = Field(ge=0, le=1, description="probability", examples=[0.94])


class Timing(_Schema):
    """Where the time went, in milliseconds."""

    decode: Milliseconds = Field(description="decoding and resizing the picture")
    queue: Milliseconds = Field(description="waiting to be decoded and for the network")
    inference: Milliseconds = Field(description="the network and the heads, for the whole batch")
    total: Milliseconds = Field(description="from the first byte of the request to the answer")


class ModelResult(_Schema):
    """What one model makes of the picture."""

    model: str = Field(examples=["cifar10"])
    version: Count = Field(examples=[1])
    predictions: list[Prediction] = Field(description="likeliest first")


class Classification(_Schema):
    """What one model makes of the picture, and what it took."""

    model: str = Field(examples=["cifar10"])
    version: Count = Field(examples=[1])
    request_id: RequestId
    predictions: list[Prediction] = Field(description="likeliest first")
    timing_ms: Timing
    batch_size: BatchSize


class Comparison(_Schema):
    """What several models make of the picture (`?model=a,b`), and what it took."""

    request_id: RequestId
    results: list[ModelResult] = Field(description="in the order in which the models were named")
    timing_ms: Timing
    batch_size: BatchSize


class Problem(_Schema):
    """What went wrong, as RFC 9457 has it."""

    type: str = "about:blank"
    title: str = Field(examples=["Unsupported Media Type"])
    status: int = Field(ge=400, le=599, examples=[415])
    detail: str = Field(description="what to do, for people")
    instance: str = Field(description="the path that was asked for", examples=["/v1/classify"])
    code: str = Field(description="stable name, for programs", examples=["unsupported_format"])
    request_id: RequestId


class BatchItem(_Schema):
    """One image of a batch: its `result` (`results` where several models were named) or its `error`."""

    index: int = Field(ge=0, description="place in the request, from 0")
    filename: str = Field(description="as it was sent, or its path in the zip")
    result: ModelResult | Absent = None
    results: list[ModelResult] | Absent = None
    error: Problem | Absent = None


class BatchResponse(_Schema):
    """What became of each image of a batch."""

    request_id: RequestId
    items: list[BatchItem]


class Features(_Schema):
    """What the network makes of an image before any head."""

    extractor: str = Field(examples=["inception_v3_96"])
    version: Count = Field(description="of the extractor", examples=[1])
    request_id: RequestId
    features: list[float] = Field(description="pooled, float32")
    timing_ms: Timing
    batch_size: BatchSize


class Scores(RootModel[dict[str, float]]):
    """Label -> probability, likeliest first, as TorchServe has it."""


class ModelSummary(_Schema):
    """A classifier that can be asked."""

    name: str = Field(examples=["cifar10"])
    version: Count = Field(examples=[1])
    default: bool = Field(description="answers when no model is named")
    classes: list[str] = Field(description="in the order of their `index`")
    extractor: str = Field(description="the network below it, shared with other models", examples=["inception_v3_96"])


class ModelList(_Schema):
    """Every classifier that can be asked."""

    models: list[ModelSummary]


class ModelDetail(ModelSummary):
    """A classifier, how well it does, and what it is good for."""

    metrics: dict[str, Metrics] = Field(description="set of labelled images -> figures")
    card: str = Field(description="model card, Markdown")


class V2Tensor(_Schema):
    """A tensor as the Open Inference Protocol describes it."""

    name: str
    datatype: Literal["BYTES", "UINT8", "FP32"]
    shape: list[int] = Field(description="-1 where any size is taken")


class V2Model(_Schema):
    """A model as the Open Inference Protocol describes it."""

    name: str
    versions: list[str]
    platform: str = Field(description="engine and precision")
    inputs: list[V2Tensor]
    outputs: list[V2Tensor]


class V2Server(_Schema):
    """This server as the Open Inference Protocol describes it."""

    name: str
    version: str
    extensions: list[str]


class V2Output(_Schema):
    """A tensor of an answer: in `data`, or as bytes behind the JSON (`parameters.binary_data_size` of them)."""

    name: str
    datatype: Literal["FP32", "BYTES"] = Field(description="BYTES where `classification` was asked for")
    shape: list[Count] = Field(description="images, and values for each")
    parameters: dict[str, int] | Absent = None
    data: list[float | str] | Absent = Field(
        None, description="row after row: probabilities, or `score:index:label`, likeliest first"
    )


class V2Response(_Schema):
    """What a model makes of images, as the Open Inference Protocol has it."""

    model_name: str
    model_version: str
    id: str | Absent = Field(None, description="of the request, where it had one")
    outputs: list[V2Output]


class V2Error(_Schema):
    """What went wrong, as the Open Inference Protocol has it."""

    error: str = Field(description="what to do, for people")


class Health(_Schema):
    """The answer of a probe."""

    status: Literal["ok"]
